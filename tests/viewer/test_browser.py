"""`gazetools view` in headless Chromium, as a person uses it: overlay and picture of a numbered video agree."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gazetools.schemas.view import ViewOptions
from gazetools.viewer import export_clip
from tests.helpers.stores import make_video
from tests.helpers.viewing import (
    FRAMES,
    READ_STAGE,
    browser_page,
    running_view,
    store_numbered,
    until,
    write_numbered_video,
)

pytestmark = pytest.mark.slow
OPENED = "document.querySelector('#place').textContent.startsWith('frame ')"
LABELS = """
async () => {
  const { paintLabel } = await import('/static/paint.js');
  const [context, plates] = [document.createElement('canvas').getContext('2d'), []];
  for (const x of [50, 60, 55]) paintLabel(context, 'id 1  in 0.99', x, 60, '#fff', 390, plates);
  return [11 * 1.45, ...plates.map((one) => one.bottom)];
}
"""
"""Height of a label's plate, and the lower edges of three that would lie on each other."""
UNEVEN = {frame: frame / 30 + (0.011 if frame % 3 else 0.0) for frame in range(FRAMES)}

VIDEOS: dict[str, tuple[str, dict[str, Any], str]] = {
    # name: (file, how it is made, how it is played)
    "B-frames": ("b.mp4", {}, "direct"),
    "late start": ("late.mp4", {"start_seconds": 1.5}, "direct"),
    "late start in Matroska": ("late_mkv.mkv", {"start_seconds": 1.5}, "direct"),
    "uneven times": ("uneven.mp4", {"times": UNEVEN}, "direct"),
    "VP9": ("vp9.webm", {"codec": "libvpx-vp9", "settings": {"deadline": "realtime", "cpu-used": "8"}}, "direct"),
    "H.265": ("h265.mp4", {"codec": "libx265", "settings": {"x265-params": "log-level=none:bframes=3"}}, "ready"),
    "H.265, late start": (
        "h265_late.mp4",
        {"codec": "libx265", "settings": {"x265-params": "log-level=none"}, "start_seconds": 2.0},
        "ready",
    ),
}


@pytest.fixture(scope="module")
def numbered_kinds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the videos of the table."""
    root = tmp_path_factory.mktemp("kinds")
    for file, settings, _ in VIDEOS.values():
        store_numbered(root / "store", write_numbered_video(root / "videos" / file, **settings))
    return root


@pytest.fixture(scope="module")
def address(numbered_kinds: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running `gazetools view` of that store, compared with itself."""
    store = numbered_kinds / "store"
    with running_view(store, "--compare", store, cache=tmp_path_factory.mktemp("cache")) as found:
        yield found


def agree(seen: list[dict[str, Any]]) -> None:
    """Every drawn frame shows its own picture and, once loaded, its own heatmap."""
    for one in seen:
        assert one["barcode"] == one["frame"], one
        if one["loaded"]:
            assert one["cell"] == (None if one["frame"] % 10 == 9 else one["frame"] % 256), one


@pytest.mark.parametrize("name", VIDEOS)
def test_the_overlay_is_that_of_the_frame_shown(address: str, name: str) -> None:
    file, _, way = VIDEOS[name]
    with browser_page(f"{address}#video={Path(file).stem}") as page:
        until(page, OPENED)
        page.evaluate(READ_STAGE)
        for frame in (50, 0, FRAMES - 1, 37, 38, 24, 23):
            page.evaluate(f"player.show({frame})")
            assert page.evaluate("readStage().frame") == frame
        for key, count in ((".", 9), (",", 13)):
            for _ in range(count):
                page.keyboard.press(key)
            until(page, "player.showing === null")
        assert page.evaluate("readStage().frame") == 23 + 9 - 13
        page.evaluate("for (let i = 0; i < 30; i += 1) player.show((i * 37) % 120)")  # a drag along the timeline
        until(page, "player.showing === null")
        agree(page.evaluate("seen"))
        assert page.evaluate("readStage(1).barcode === player.frameIndex")

        until(page, f"player.way === '{way}'")
        page.evaluate("player.show(30)")
        page.evaluate("seen.length = 0")
        page.keyboard.press(" ")
        until(page, "seen.filter(one => one.playing).length > 25")
        page.keyboard.press(" ")
        until(page, "player.showing === null && !player.playing")
        played = [one["frame"] for one in page.evaluate("seen") if one["playing"]]
        assert played == sorted(played) and played[0] >= 30
        agree(page.evaluate("seen"))
        paused = page.evaluate("player.frameIndex")
        assert abs(paused - played[-1]) <= 1, "pausing stays at the frame that was shown"
        page.evaluate("player.show(100)")
        page.keyboard.press(" ")
        until(page, f"!player.playing && player.frameIndex === {FRAMES - 1}")
        agree(page.evaluate("seen"))
        assert page.evaluate("player.way") == way, page.text_content("#notices")


def test_a_browser_that_cannot_play_gets_a_copy_and_then_stills(address: str) -> None:
    with browser_page(f"{address}#video=b") as page:
        until(page, OPENED)
        page.evaluate(READ_STAGE)
        page.evaluate(
            "Object.defineProperty(HTMLVideoElement.prototype, 'requestVideoFrameCallback', {value: undefined})"
        )
        page.keyboard.press(" ")
        until(page, "player.way === 'ready'")
        assert "does not tell which frame it shows. A copy is played" in page.text_content("#notices")
        page.evaluate("player.show(0)")
        page.keyboard.press(" ")
        until(page, "player.way === 'stills'")
        until(page, "seen.filter(one => one.playing).length > 5")
        assert "Playing shows the server's stills" in page.text_content("#notices")
        page.evaluate("player.show(3)")
        agree(page.evaluate("seen"))


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve videos, findings in one of them, actions, and a second store with one person."""
    root = tmp_path_factory.mktemp("kitchen")
    video = write_numbered_video(root / "videos" / "take_03.mp4")
    for number in range(12):
        if number != 3:
            make_video(root / "store", f"take_{number:02d}", people={frame: [1] for frame in range(number)})
    store_numbered(root / "store", video)
    store_numbered(root / "second", video, people=1)
    finding = {"severity": "error", "video_id": "take_03", "remedy": "r"}
    findings = [
        {"code": "map-missing", "frames": [9, 19], "message": "Two maps are missing.", **finding},
        {"code": "inout-odd", "frames": [60], "message": "<img src=x onerror=alert(1)>", **finding, "severity": "note"},
    ]
    (root / "report.json").write_text(json.dumps({"summary": {}, "findings": findings}))
    text = "narration_id,video_id,start_timestamp,stop_timestamp,verb_class,noun_class\n"
    (root / "actions.csv").write_text(text + "n0,take_03,0.5,1.9,3,12\nn1,take_03,1.0,2.5,4,1\n")
    return root


@pytest.mark.parametrize("width", [1280, 390])
def test_as_a_person_uses_it(kitchen: Path, tmp_path: Path, width: int) -> None:
    options = ["--compare", kitchen / "second", "--annotations", kitchen / "actions.csv"]
    options += ["--findings", kitchen / "report.json", "--videos", kitchen / "videos"]
    with (
        running_view(kitchen / "store", *options, cache=tmp_path) as address,
        browser_page(address, width=width) as page,
    ):
        until(page, OPENED)
        assert "token" not in page.url
        assert "The heatmaps are shown alone." in page.text_content("#notices"), "take_00 has no video"
        if width == 390:
            page.click("#show-list")
        page.fill("#query", "TAKE_03")
        until(page, "document.querySelector('#list-words').textContent === '1 of 12 videos'")
        assert page.text_content(".line .badge.error") == "1"
        page.click(".line")
        until(page, "document.querySelector('#about h2')?.textContent === 'take_03'")
        until(page, OPENED)
        assert page.locator(".stage").count() == 2
        page.evaluate(READ_STAGE)
        page.locator("#player").evaluate("element => element.focus()")
        page.keyboard.press("n")
        until(page, "player.frameIndex === 9")
        page.keyboard.press("n")
        page.keyboard.press("n")
        until(page, "player.frameIndex === 60 && !player.showing")
        page.keyboard.press("p")
        until(page, "player.frameIndex === 19")
        page.click("text=Go to frame 60")
        until(page, "player.frameIndex === 60 && readStage().cell === 60")
        assert page.text_content(".finding.note") == "note inout-odd <img src=x onerror=alert(1)> Go to frame 60"
        page.locator("#timeline").scroll_into_view_if_needed()
        bounds = page.locator("#timeline").bounding_box()
        page.mouse.click(bounds["x"] + bounds["width"] * 0.25, bounds["y"] + 10)
        until(page, "player.frameIndex === 30 && !player.showing")
        page.locator("#timeline").focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Shift+ArrowRight")
        until(page, "player.frameIndex === 61 && !player.showing")
        page.click(".chip[data-track='1']")
        assert page.evaluate("readStage().cell") is None, "person 1 is switched off, person 2 was before"
        page.click(".chip[data-track='1']")
        until(page, "readStage().cell === 61")
        page.keyboard.press("h")
        assert page.evaluate("readStage().cell") is None
        page.keyboard.press("h")
        page.keyboard.press("?")
        marks = page.locator("dialog[open] kbd").all_text_contents()
        assert "+" in marks and "" not in map(str.strip, marks) and "Next finding" in page.text_content("#help")
        assert page.evaluate("document.querySelector('#help').scrollTop") == 0, "it opens at its beginning"
        high, *bottoms = page.evaluate(LABELS)
        assert min(abs(one - other) for one, other in itertools.combinations(bottoms, 2)) >= high - 1e-6, bottoms
        page.keyboard.press("Escape")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, "nothing is wider than the screen"
        names = page.evaluate(
            "[...document.querySelectorAll('button, input, select')].filter(one => one.offsetParent && "
            "!(one.ariaLabel || one.textContent.trim() || one.labels?.length)).map(one => one.outerHTML)"
        )
        assert names == [], "every control has a name"
        agree(page.evaluate("seen"))
        until(page, "location.hash === '#video=take_03&frame=61'")
        page.reload()
        until(page, "document.querySelector('#place').textContent.startsWith('frame 61')")


def test_a_store_that_changes_is_told_and_shown_anew(tmp_path: Path) -> None:
    video = write_numbered_video(tmp_path / "clip.mp4", frames=40)
    store_numbered(tmp_path / "store", video, frames=40)
    with running_view(tmp_path / "store", cache=tmp_path / "cache") as address, browser_page(address) as page:
        until(page, OPENED)
        page.evaluate(READ_STAGE)
        page.evaluate("player.show(20)")
        time.sleep(0.05)
        make_video(
            tmp_path / "store", "clip", frame_count=40, size_hw=(16, 16), video={"path": str(video)},
            people={frame: [5] for frame in range(40)},
        )  # fmt: skip
        until(page, "document.querySelector('#notices').textContent.includes('were written again')")
        until(page, "player.frameIndex === 20 && player.rows(0)?.[0].track === 5")


def test_ids_with_markup_are_text(tmp_path: Path) -> None:
    name = "<img src=x onerror=alert(1)>&amp;"
    store_numbered(tmp_path / "store", write_numbered_video(tmp_path / f"{name}.mp4", frames=10), frames=10)
    with running_view(tmp_path / "store", cache=tmp_path / "cache") as address, browser_page(address) as page:
        page.on("dialog", lambda dialog: pytest.fail("a script of the id has run"))
        until(page, OPENED)
        assert page.text_content(".line b") == name == page.text_content("#about h2")
        assert page.locator("img").count() == 0


@pytest.mark.parametrize("width", [1280, 390])
def test_an_exported_page_plays_from_the_disk(kitchen: Path, tmp_path: Path, width: int) -> None:
    output = tmp_path / "clip.html"
    options = ViewOptions(videos=kitchen / "videos", video="take_03", export=output, start=1.0, stop=3.0)
    assert export_clip(kitchen / "store", options) == 60
    with browser_page(output.as_uri(), width=width) as page:
        until(page, "document.body.dataset.frame === '30'")
        page.keyboard.press("ArrowRight")
        until(page, "document.body.dataset.frame === '31'")
        page.click("#boxes")
        page.click("#gaze")
        read = """() => {
          const canvas = document.querySelector('canvas'), unit = canvas.width / 192 * 16;
          const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
          const at = (x, y) => data[4 * (Math.round(y) * canvas.width + Math.round(x)) + 1] > 128;
          return [0, 1, 2, 3, 4, 5].reduce((sum, i) => sum + at((i + 0.5) * unit, 0.5 * unit) * 2 ** i, 0);
        }"""
        page.fill("#opacity", "0")
        for frame in (31, 32, 33):
            until(page, f"document.body.dataset.frame === '{frame}'")
            assert page.evaluate(read) == frame % 64
            page.keyboard.press("Tab")
            page.click("#on")
        page.click("#play")
        until(page, "document.body.dataset.frame === '89'")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
