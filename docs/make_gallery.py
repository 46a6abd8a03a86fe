"""Make the pictures of docs/gallery.md: the viewer and the pages, of synthetic kitchens, photographed in Chromium.

PYTHONPATH=. python docs/make_gallery.py                  (some minutes; needs playwright and Chromium)
PYTHONPATH=. python docs/make_gallery.py --only-record    (for a change that no picture shows)

`made_of.json` next to the pictures has their sizes and the sha256 of each file that decides how they look. A test
compares it with these files, so that no picture shows a page of yesterday.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import dataclasses
import hashlib
import importlib.util
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from gazetools.scenes.clips import render_scenes
from gazetools.scenes.settings import HEIGHT, WIDTH, SceneSettings
from gazetools.schemas.store import Piece
from gazetools.store import StoreContent, open_store, write_store
from tests.helpers.browser import find_browser
from tests.helpers.true_gaze import store_true_gaze
from tests.helpers.viewing import browser_page, running_view, until

ROOT = Path(__file__).parents[1]
OUTPUT = ROOT / "docs" / "pictures" / "gallery"
RECORD = "made_of.json"
Picture = npt.NDArray[np.uint8]

WIDE = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844, "scale": 2}
PAGE = {"width": 1120, "height": 1300}
SHOWN_VIDEO, FRAME = "P03_03", 40
NAN_FRAMES, STILL_FRAMES = (56, 60), (75, 100)

VIEW = "gazetools view kitchens/store --findings kitchens/findings.json --annotations kitchens/actions.csv"
COMPARE = "gazetools view kitchens/store --compare kitchens/directions"
CORRECT = "gazetools view kitchens/store --boxes kitchens/corrected"
EXTRACT = "gazetools extract kitchens/videos -o kitchens/store --model gazelle_tiny --heads file:kitchens/heads"
VALIDATE = "gazetools validate kitchens/store --videos kitchens/videos --html kitchens/validation.html"
REPORT = "gazetools report demo/run -o report --k 1"
EVALUATE = "gazetools evaluate kitchens/store --truth kitchens/truth --html kitchens/scores.html"
SHOWN = (VIEW, COMPARE, CORRECT, EXTRACT, VALIDATE, REPORT, EVALUATE)
"""Commands that docs/gallery.md shows, and that make what is photographed."""

_DEMO = "gazetools demo -o demo --clips 24 --seconds 12 --epochs 6"  # the smallest one whose report has every part
_DIRECTIONS = (
    "gazetools extract kitchens/videos -o kitchens/directions --model head-direction --heads file:kitchens/heads"
)
_FINDINGS = "gazetools validate kitchens/store --videos kitchens/videos --json"
_UNSEEN = {"box_edits.js", "clip.js", "keys.js", "maps.js", "pictures.js", "server.js"}
"""Scripts of the viewer that draw nothing on these pages."""


def inputs() -> list[Path]:
    """The files that decide how the pictures look; figures and words may also change with other code."""
    package = ROOT / "gazetools"
    static = [path for path in (package / "viewer" / "static").iterdir() if path.is_file()]
    templates = [package / room / "page.html.jinja" for room in ("extraction", "validation", "evaluation")]
    return sorted([
        Path(__file__),
        *(path for path in static if path.name not in _UNSEEN),
        *(package / "html" / name for name in ("style.css", "base.html.jinja", "charts.py", "drawing.py")),
        *templates,
        package / "trainer" / "report" / "page.html.jinja",
        package / "preview" / "overlay.py",
    ])  # fmt: skip


def digests() -> dict[str, str]:
    """Path in the repository -> sha256 of each of `inputs()`."""
    return {path.relative_to(ROOT).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in inputs()}


def main() -> None:
    """Make all pictures into --output and write the record next to them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=OUTPUT)
    parser.add_argument("--work", type=Path, help="folder for stores and pages, kept (default: a temporary one)")
    parser.add_argument(
        "--only-record", action="store_true", help="keep the pictures: for a change that none of them shows"
    )
    arguments = parser.parse_args()
    record = arguments.output / RECORD
    if arguments.only_record:
        _write_record(record, json.loads(record.read_text(encoding="utf-8"))["pictures"], digests())
        return
    _check_tools()
    before = digests()
    with contextlib.ExitStack() as stack:
        work = arguments.work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        work.mkdir(parents=True, exist_ok=True)
        if any(work.iterdir()):
            raise SystemExit(f"--work {work} is not empty: the pictures are made from nothing. Name a new folder.")
        prepare(work)
        pictures = {**photograph_viewer(work), **photograph_pages(work)}
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name, picture in pictures.items():
        (arguments.output / name).write_bytes(_webp(picture))
    _write_record(record, {name: f"{one.shape[1]}x{one.shape[0]}" for name, one in pictures.items()}, before)


def _check_tools() -> None:
    """End with a message where playwright or a browser is missing, before minutes of work."""
    try:
        find_browser()
    except pytest.skip.Exception as missing:
        raise SystemExit(str(missing)) from None
    if importlib.util.find_spec("playwright") is None:
        raise SystemExit("playwright is not installed: pip install -e '.[browser]'")


def _write_record(path: Path, sizes: dict[str, str], made_of: dict[str, str]) -> None:
    record = {"pictures": sizes, "made_of": made_of}
    path.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def prepare(work: Path) -> None:
    """Run the commands: four kitchens with their heatmaps, a broken video, damaged maps, a small demo."""
    kitchens, settings = work / "kitchens", SceneSettings(people=(2, 3))
    ids = render_scenes(kitchens, clips=4, seconds=4, seed=3, settings=settings)
    whole = (kitchens / "videos" / f"{ids[0]}.mp4").read_bytes()
    (kitchens / "videos" / "P05_05.mp4").write_bytes(whole[: len(whole) // 3])
    run(EXTRACT, work, may_end=(1,))  # P05_05 is broken
    run(_DIRECTIONS, work, may_end=(1,))
    store_true_gaze(kitchens, kitchens / "store", kitchens / "truth")
    run(EVALUATE, work)
    _spoil(kitchens)
    run(VALIDATE, work, may_end=(1,))
    (kitchens / "findings.json").write_text(run(_FINDINGS, work, may_end=(1,)), encoding="utf-8")
    run(_DEMO, work, may_end=(0, 1))
    run(REPORT, work)


def run(command: str, work: Path, *, may_end: tuple[int, ...] = (0,)) -> str:
    """What a command prints that ran in `work`; raises RuntimeError for an exit code that is not in `may_end`."""
    environment = dict(os.environ, PYTHONPATH=str(ROOT), GAZETOOLS_CACHE=str(work / "cache"), COLUMNS="100")
    words = [sys.executable, "-m", *shlex.split(command)]
    done = subprocess.run(words, cwd=work, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in may_end:
        raise RuntimeError(f"{command}\nended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done.stdout


def _spoil(kitchens: Path) -> None:
    """Replace maps of `SHOWN_VIDEO` in the store: four frames become NaN, and 25 repeat the one before them."""
    with open_store(kitchens / "store" / f"{SHOWN_VIDEO}.h5") as store:
        rows, frames, provenance, tracks = store.rows(), store.frames, store.provenance, store.tracks
    heatmap = rows.heatmap.copy()
    heatmap[np.isin(rows.frame, np.arange(*NAN_FRAMES))] = np.nan
    for track in tracks:
        own = rows.track_id == track
        (still,) = heatmap[own & (rows.frame == STILL_FRAMES[0])]
        heatmap[own & np.isin(rows.frame, np.arange(*STILL_FRAMES))] = still
    piece = Piece(
        frame_index=frames.index,
        pts_seconds=frames.pts_seconds,
        fingerprint=frames.fingerprint,
        fingerprint_index=frames.fingerprint_index,
        rows=dataclasses.replace(rows, heatmap=heatmap),
        batch_size=1,
    )
    shape = (heatmap.shape[1], heatmap.shape[2])
    content = StoreContent(provenance=provenance, pieces=[lambda: piece], track_roles=tracks, heatmap_shape=shape)
    write_store(kitchens / "store", SHOWN_VIDEO, content)


def photograph_viewer(work: Path) -> dict[str, Picture]:
    """Name -> RGB of the pictures of `gazetools view`."""
    pictures = {}
    with _viewer(VIEW, work) as address:
        for name, size in {"viewer.webp": WIDE, "viewer-phone.webp": PHONE}.items():
            with browser_page(f"{address}#video={SHOWN_VIDEO}&frame={FRAME}", **size) as page:
                _wait(page, FRAME)
                pictures[name] = _photograph(page)
    with _viewer(COMPARE, work) as address, browser_page(address, **WIDE) as page:
        _go(page, FRAME)
        pictures["compare.webp"] = _photograph(page)
    with _viewer(CORRECT, work) as address, browser_page(address, **{**WIDE, "height": 950}) as page:
        _correct(page, work / "kitchens" / "heads" / "P01_01.csv")
        pictures["correcting.webp"] = _photograph(page)
        for _ in range(2):
            page.keyboard.press("u")  # a page with edits asks before it closes
    return pictures


def photograph_pages(work: Path) -> dict[str, Picture]:
    """Name -> RGB of the upper end of each page."""
    pages = {
        "extract.webp": ("kitchens/store/extract_report.html", {}),
        "validate.webp": ("kitchens/validation.html", {}),
        "report.webp": ("report/report.html", {}),
        "report-dark.webp": ("report/report.html", {"dark": True}),
        "evaluate.webp": ("kitchens/scores.html", {}),
    }
    pictures = {}
    for name, (path, how) in pages.items():
        with browser_page((work / path).resolve().as_uri(), **PAGE, **how) as page:
            pictures[name] = _photograph(page)
    return pictures


@contextlib.contextmanager
def _viewer(command: str, work: Path) -> Iterator[str]:
    with running_view(*shlex.split(command)[2:], cache=work / "cache", cwd=work) as address:
        yield address


def _wait(page: Any, frame: int) -> None:
    until(page, f"document.querySelector('#place').textContent.startsWith('frame {frame} ')")
    page.wait_for_timeout(1500)  # maps of later frames, stills


def _go(page: Any, frame: int) -> None:
    until(page, "document.querySelector('#place').textContent.startsWith('frame')")
    page.evaluate("async (frame) => (await import('/static/page.js')).player.show(frame)", frame)
    _wait(page, frame)


def _correct(page: Any, heads: Path) -> None:
    """Interpolate the boxes of person 1 up to `FRAME`, and drag a corner of person 3's box at an earlier frame."""
    until(page, "document.querySelector('#place').textContent.startsWith('frame')")
    page.click("#correct")
    until(page, "document.querySelector('#box-words').textContent.includes('edits')")
    page.keyboard.press("]")
    page.keyboard.press("x")
    _go(page, FRAME)
    page.keyboard.press("f")
    _go(page, FRAME - 20)
    with heads.open(newline="", encoding="utf-8") as file:
        (box,) = [row for row in csv.DictReader(file) if (row["frame"], row["track_id"]) == (str(FRAME - 20), "3")]
    area = page.locator(".layers").first.bounding_box()
    x = area["x"] + float(box["xmin"]) * area["width"] / WIDTH
    y = area["y"] + float(box["ymin"]) * area["height"] / HEIGHT
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 12, y - 12, steps=4)
    page.mouse.up()


def _photograph(page: Any) -> Picture:
    bgr = cv2.imdecode(np.frombuffer(page.screenshot(), np.uint8), cv2.IMREAD_COLOR)
    return np.asarray(bgr[:, :, ::-1], np.uint8)


def _webp(picture: Picture) -> bytes:
    good, encoded = cv2.imencode(".webp", picture[:, :, ::-1], [cv2.IMWRITE_WEBP_QUALITY, 80])
    if not good:
        raise RuntimeError("OpenCV writes no WebP here.")
    return encoded.tobytes()


if __name__ == "__main__":
    main()
