"""A person corrects head boxes in headless Chromium, saves, and computes only the frames whose boxes have changed."""

from __future__ import annotations

import csv
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gazetools.heads.corrections import read_corrected
from gazetools.store import open_store
from tests.helpers.browser import find_browser
from tests.helpers.equal_stores import assert_stores_equal
from tests.helpers.viewing import running_view, until, write_numbered_video

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
FRAMES, WIDTH, HEIGHT, BATCH = 60, 640, 360, 4
_SAVED = "document.querySelector('#box-words').textContent.includes('No unsaved edits')"
SHOWN = "document.querySelector('#place')?.textContent.startsWith('frame')"


def _first_box(frame: int) -> tuple[int, int, int, int]:
    return 200 + 2 * frame, 80, 280 + 2 * frame, 180


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A folder with a video, its head boxes of two people, and the store that `extract` made of them."""
    folder = tmp_path_factory.mktemp("correcting")
    video = write_numbered_video(folder / "videos" / "kitchen.mp4", frames=FRAMES, size_wh=(WIDTH, HEIGHT))
    lines = ["frame,track_id,xmin,ymin,xmax,ymax"]
    for frame in range(FRAMES):
        lines.append(f"{frame},1,{','.join(map(str, _first_box(frame)))}")
        lines.append(f"{frame},2,420,{100 + frame / 2},500,{190 + frame / 2}")
    (folder / "heads.csv").write_text("\n".join(lines) + "\n")
    heads = f"file:{folder / 'heads.csv'}"
    command = ["extract", video, "-o", folder / "store", "--heads", heads, "--model", tiny_model, "--device", "cpu"]
    _gazetools(*map(str, command), "--batch-size", str(BATCH), "--small-heads", "none")
    return folder


def _gazetools(*words: str) -> dict[str, Any]:
    """The JSON of a command that a shell runs."""
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    command = [sys.executable, "-m", "gazetools", *words, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads(done.stdout))


@contextmanager
def _tabs(address: str, *sizes: tuple[int, int], touch: bool = False) -> Iterator[list[Any]]:
    """Tabs of one browser, which share their cookie. A refused save is the one message that the console may have."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="the extra [browser] is not installed: pip install -e '.[browser]'"
    )
    complaints: list[str] = []
    with playwright.sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=find_browser(), args=["--no-sandbox"])
        context = browser.new_context(has_touch=touch)
        try:
            tabs = []
            for width, height in sizes:
                tab = context.new_page()
                tab.set_viewport_size({"width": width, "height": height})
                tab.on("pageerror", lambda error: complaints.append(str(error)))
                tab.on(
                    "console",
                    lambda text: text.type == "error" and "409" not in text.text and complaints.append(text.text),
                )
                tab.goto(address)
                until(tab, SHOWN)
                tab.click("#correct")
                until(tab, "document.querySelector('#box-words')?.textContent.includes('edits')")
                tabs.append(tab)
            yield tabs
        finally:
            browser.close()
    assert complaints == []


def _to_frame(tab: Any, frame: int) -> None:
    tab.evaluate("async (frame) => (await import('/static/page.js')).player.show(frame)", frame)
    until(tab, f"document.querySelector('#place').textContent.startsWith('frame {frame} ')")


def _on_screen(tab: Any) -> Callable[[float, float], tuple[float, float]]:
    """Pixels of the video -> pixels of the window."""
    area = tab.locator(".layers").first.bounding_box()
    return lambda x, y: (area["x"] + x * area["width"] / WIDTH, area["y"] + y * area["height"] / HEIGHT)


def _drag(tab: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    place = _on_screen(tab)
    tab.mouse.move(*place(*start))
    tab.mouse.down()
    tab.mouse.move(*place(*end), steps=5)
    tab.mouse.up()


def _boxes(tab: Any) -> list[list[float]]:
    """All boxes as the page has them: frame, id, four sides, origin."""
    return tab.evaluate(  # type: ignore[no-any-return]
        """async (frames) => {
          const { editor } = await import('/static/boxes.js');
          const people = (frame) => [...editor.boxes.at(frame)].sort(([one], [other]) => one - other);
          const rows = (frame) => people(frame).map(([track, { box, origin }]) => [frame, track, ...box, origin]);
          return Array.from({ length: frames }, (_, frame) => rows(frame)).flat();
        }""",
        FRAMES,
    )


def _saved(path: Path) -> list[list[float]]:
    found = read_corrected(path)
    return np.column_stack([found.frame, found.track, found.box_xyxy, found.origin]).tolist()  # type: ignore[no-any-return]


def _save(tab: Any, press: Callable[[], None] | None = None) -> None:
    (press or (lambda: tab.click("#save")))()
    until(tab, f"{_SAVED} || document.querySelector('#notices').textContent.includes('Not saved')")
    assert tab.evaluate(_SAVED), tab.text_content("#notices")


def _shot(tab: Any, name: str) -> None:
    """Keep a screenshot where GAZETOOLS_SHOTS says, to be looked at."""
    if folder := os.environ.get("GAZETOOLS_SHOTS"):
        tab.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


def test_boxes_are_corrected_saved_and_only_their_frames_computed(work: Path, tiny_model: Path, tmp_path: Path) -> None:
    store, path = work / "store", work / "store" / ".corrected" / "kitchen.csv"
    original = (work / "heads.csv").read_bytes()
    with (
        running_view(store, "--videos", work / "videos", cache=tmp_path) as address,
        _tabs(address, (1280, 800)) as (tab,),
    ):
        # drag the box of person 1, mark it as a key, go on, drag again, fill what is between
        _drag(tab, (240, 130), (250, 150))
        assert "Id 1: 210, 100, 290, 200." in tab.text_content("#box-words")
        tab.keyboard.press("x")
        _to_frame(tab, 10)
        _drag(tab, (260, 130), (280, 110))
        tab.click("#fill")
        # resize at a corner; then give the id 5 to person 2 from frame 40 on
        _to_frame(tab, 20)
        _drag(tab, (280, 130), (280, 130))  # a click selects
        _drag(tab, (320, 180), (330, 200))
        _to_frame(tab, 40)
        _drag(tab, (460, 150), (460, 150))
        tab.fill("#box-id", "5")
        tab.click("#id-on")
        # draw a new person, give the box up, draw again, delete person 1 in one frame
        _to_frame(tab, 50)
        _drag(tab, (40, 40), (100, 120))
        tab.keyboard.press("u")
        _drag(tab, (40, 200), (100, 280))
        _drag(tab, (340, 130), (340, 130))
        tab.keyboard.press("Delete")
        _shot(tab, "correct-1280")
        shown = _boxes(tab)
        _save(tab)
        assert _boxes(tab) == shown == _saved(path), "the page, the server and the file agree"
        _shot(tab, "correct-saved-1280")
        words = shlex.split(tab.text_content("#box-command"))
        assert (work / "heads.csv").read_bytes() == original

        rows = {(int(row[0]), int(row[1])): row[2:] for row in shown}
        assert rows[0, 1] == [210, 100, 290, 200, 1]
        assert rows[10, 1] == [240, 60, 320, 160, 1]
        assert rows[5, 1] == [225, 80, 305, 180, 2]
        assert rows[20, 1] == [240, 80, 330, 200, 1]
        assert rows[39, 2][:1] == rows[40, 5][:1] == [420]
        assert (40, 2) not in rows
        assert rows[50, 6] == [40, 200, 100, 280, 1]
        assert (50, 1) not in rows
        history = [json.loads(line)["what"] for line in Path(f"{path}.history.jsonl").read_text().splitlines()]
        assert history == ["begin", "set", "set", "interpolate", "set", "assign", "set", "remove", "save"]

        # the command of the page computes the changed batches alone: 0-11, 20-23, 48-51 (50 has other people)
        item = _gazetools(*words[1:])["items"][0]
        assert (item["status"], item["taken_over_frames"]) == ("done", FRAMES - 12 - BATCH - BATCH)
        until(tab, "document.querySelector('#notices').textContent.includes('were written again')")
        _shot(tab, "correct-extracted-1280")
    full = [*words[1:-1], "-o", str(tmp_path / "full")]
    assert _gazetools(*full)["items"][0]["taken_over_frames"] == 0
    assert_stores_equal(store / "kitchen.h5", tmp_path / "full" / "kitchen.h5")
    with open_store(store / "kitchen.h5") as made:
        assert made.provenance.heads.counts == {"corrections": 7.0, "filled_boxes": 9.0}
        assert any("corrected by hand (7 edits)" in note for note in made.provenance.heads.notes)
    checked = _gazetools(
        "validate", str(store), "--videos", str(work / "videos"), "--deep", "8", "--model", str(tiny_model)
    )
    assert checked["summary"]["errors"] == 0


def test_two_tabs_on_one_file_lose_nothing_and_keys_do_all_of_it(work: Path, tmp_path: Path) -> None:
    folder = tmp_path / "boxes"
    with (
        running_view(work / "store", "--boxes", folder, cache=tmp_path) as address,
        _tabs(address, (1280, 800), (1280, 800)) as (first, second),
    ):
        for tab, moves in ((first, "ddd"), (second, "ss")):
            tab.bring_to_front()
            tab.keyboard.press("]")
            for key in moves:
                tab.keyboard.press(key)
        # each has moved the same box; the second one has also drawn a person and deleted another in all later frames
        second.keyboard.press("c")
        second.keyboard.press("Shift+d")
        second.keyboard.press("]")
        second.keyboard.press("Shift+Delete")
        first.bring_to_front()
        _save(first, lambda: first.keyboard.press("Control+s"))
        before = _saved(folder / "kitchen.csv")
        second.bring_to_front()
        wanted = second.text_content("#box-words")
        second.keyboard.press("Control+s")
        until(second, "!document.querySelector('#box-panel .banner').hidden")
        _shot(second, "correct-merge-1280")
        assert _saved(folder / "kitchen.csv") == before, "a stale save changes nothing"
        second.click("#merge")
        until(second, "document.querySelector('#notices').textContent.includes('edits are here again')")
        assert wanted.split()[-4:] == second.text_content("#box-words").split()[-4:], "all its edits are still there"
        _save(second)
        lines = [json.loads(line) for line in (folder / "kitchen.csv.history.jsonl").read_text().splitlines()]
        assert sum(line["what"] == "save" for line in lines) == 2, "both saves are in the history"
        assert _saved(folder / "kitchen.csv") == _boxes(second)
        # a reload in the middle of the work brings the edits back
        second.keyboard.press("]")
        second.keyboard.press("w")
        second.on("dialog", lambda dialog: dialog.accept())
        second.reload()
        until(second, SHOWN)
        second.click("#correct")
        until(second, "document.querySelector('#notices').textContent.includes('1 of your 1 edits')")


def test_a_finger_moves_a_box_on_a_narrow_screen(work: Path, tmp_path: Path) -> None:
    folder = tmp_path / "boxes"
    with (
        running_view(work / "store", "--boxes", folder, cache=tmp_path) as address,
        _tabs(address, (390, 844), touch=True) as (tab,),
    ):
        place = _on_screen(tab)
        touches = tab.context.new_cdp_session(tab)

        def touch(kind: str, *points: tuple[float, float]) -> None:
            at = [{"x": x, "y": y} for x, y in points]
            touches.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": at})

        scrolled = tab.evaluate("window.scrollY")
        before = {(row[0], row[1]): row[2:] for row in _boxes(tab)}[0, 2]
        start = (sum(before[0:4:2]) / 2, sum(before[1:4:2]) / 2)
        touch("touchStart", place(*start))
        for step in range(1, 6):
            touch("touchMove", place(start[0] + 4 * step, start[1] - 10 * step))
        touch("touchEnd")
        assert tab.evaluate("window.scrollY") == scrolled, "the page does not scroll under the finger"
        after = {(row[0], row[1]): row[2:] for row in _boxes(tab)}[0, 2]
        np.testing.assert_allclose(np.subtract(after[:4], before[:4]), [20, -50, 20, -50], atol=2)
        overflow = tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert overflow <= 0, "nothing is wider than the screen"
        tab.wait_for_timeout(400)  # Chromium takes a tap in the moment after a fast drag as the end of a fling
        _save(tab, lambda: tab.locator("#save").tap())
        _shot(tab, "correct-390")
        with (folder / "kitchen.csv").open(newline="") as file:
            row = next(row for row in csv.DictReader(file) if (row["frame"], row["track_id"]) == ("0", "2"))
        assert row["origin"] == "hand"
