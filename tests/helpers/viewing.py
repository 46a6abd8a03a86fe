"""What tests of `view` need: numbered videos with heatmaps that name their frame too, a server, and a browser page."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.helpers.browser import find_browser
from tests.helpers.stores import make_video
from tests.media.barcode import draw_barcode

TICK_SECONDS = Fraction(1, 90_000)
SIDE = 16
"""Rows and columns of the maps: cell `frame % 256` of person 1 is the highest."""
FRAMES = 120


def write_numbered_video(
    path: Path,
    *,
    frames: int = FRAMES,
    size_wh: tuple[int, int] = (192, 128),
    codec: str = "libx264",
    settings: Mapping[str, str] | None = None,
    times: Mapping[int, float] | None = None,
    start_seconds: float = 0.0,
    rate: int = 30,
) -> Path:
    """A video whose frame i shows the barcode i; `times` moves single frames, `start_seconds` all of them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    settings = settings if settings is not None else {"g": "24", "bf": "2", "crf": "16"}
    kind = {".mkv": "matroska", ".webm": "webm"}.get(path.suffix, "mp4")
    with av.open(str(path), "w", format=kind) as container:
        stream: Any = container.add_stream(codec, rate=rate, options=dict(settings))
        stream.width, stream.height = size_wh
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = TICK_SECONDS
        for index in range(frames):
            drawn = draw_barcode(index, width=size_wh[0], height=size_wh[1])
            picture = av.VideoFrame.from_ndarray(drawn, format="rgb24")
            seconds = start_seconds + (times or {}).get(index, index / rate)
            picture.pts, picture.time_base = round(seconds / TICK_SECONDS), TICK_SECONDS
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def numbered_map(frame: int, track: int) -> np.ndarray:
    """[16, 16]: cell `frame % 256` is the highest; the maps of another person are those of half a cycle later."""
    drawn = np.zeros((SIDE, SIDE))
    cell = (frame + 128 * (track - 1)) % (SIDE * SIDE)
    drawn[cell // SIDE, cell % SIDE] = 0.9
    return drawn


def store_numbered(root: Path, video: Path, *, frames: int = FRAMES, people: int = 2, **changes: Any) -> None:
    """The heatmaps of a numbered video; every tenth frame (9, 19, ...) has no people."""
    tracks = list(range(1, people + 1))
    make_video(
        root,
        video.stem,
        frame_count=frames,
        size_hw=(SIDE, SIDE),
        people={frame: tracks for frame in range(frames) if frame % 10 != 9},
        make_map=numbered_map,
        video={"path": str(video), "size_bytes": video.stat().st_size},
        **changes,
    )


@contextmanager
def running_view(*arguments: object, cache: Path, cwd: Path | None = None) -> Iterator[str]:
    """`gazetools view ARGUMENTS --no-open` in a process of its own; yields its address, ends it by Ctrl-C."""
    environment = dict(os.environ, GAZETOOLS_CACHE=str(cache), PYTHONPATH=str(Path(__file__).parents[2]))
    command = [sys.executable, "-m", "gazetools", "view", *map(str, arguments), "--no-open"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=cwd
    )
    try:
        assert process.stdout is not None and process.stderr is not None
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:"), address + process.stderr.read()
        yield address
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0, "Ctrl-C is the usual end"
        assert process.stderr.read() == ""
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


@contextmanager
def browser_page(
    address: str, *, width: int = 1280, height: int = 800, dark: bool = False, scale: float = 1.0
) -> Iterator[Any]:
    """A page of headless Chromium at `address`; an error in a script, or a message of the console, fails the test.

    `width` and `height` are in CSS pixels, each of them `scale` pixels of the screen.
    """
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="the extra [browser] is not installed: pip install -e '.[browser]'"
    )
    complaints: list[str] = []
    with playwright.sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=find_browser(), args=["--no-sandbox"])
        try:
            page = browser.new_page(
                viewport={"width": width, "height": height},
                color_scheme="dark" if dark else "light",
                device_scale_factor=scale,
            )
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("console", lambda message: message.type == "error" and complaints.append(message.text))
            page.goto(address)
            yield page
        finally:
            browser.close()
    assert complaints == []


def until(page: Any, expression: str, *, seconds: float = 30.0) -> Any:
    """The value of `expression` in the page once it is true; the page's policy forbids Playwright's own waiting."""
    end = time.monotonic() + seconds
    while not (value := page.evaluate(expression)):
        assert time.monotonic() < end, f"{expression} did not come true in {seconds} s"
        page.wait_for_timeout(30)
    return value


READ_STAGE = """
async () => {
  const { player } = await import('/static/page.js');
  window.player = player;
  window.readStage = (source = 0) => {
    const { picture, layers } = player.stages[source];
    const own = picture.getContext('2d').getImageData(0, 0, picture.width, picture.height);
    const unit = picture.height / player.size.height * 16;
    const middle = (number) => Math.round((number + 0.5) * unit);
    const bit = (row, column) => own.data[4 * (middle(row) * own.width + middle(column))] > 128;
    let number = 0, whole = true;
    for (let i = 0; i < 6; i += 1) {
      number += (bit(0, i) ? 1 : 0) * 2 ** i + (bit(1, i) ? 1 : 0) * 2 ** (6 + i);
      whole = whole && bit(0, i) !== bit(2, i);
    }
    const heat = layers.getContext('2d').getImageData(0, 0, layers.width, layers.height);
    let best = 0, cell = null;
    for (let row = 0; row < 16; row += 1) for (let column = 0; column < 16; column += 1) {
      const x = Math.floor((column + 0.5) * layers.width / 16), y = Math.floor((row + 0.5) * layers.height / 16);
      const alpha = heat.data[4 * (y * layers.width + x) + 3];
      if (alpha > best) { best = alpha; cell = 16 * row + column; }
    }
    return { frame: player.frameIndex, barcode: whole ? number : -1, cell };
  };
  window.seen = [];
  player.layers.boxes = player.layers.gaze = false;
  player.opacity = 1;
  player.setHidden(2, true);
  player.on('frame', () => {
    const { playing } = player;
    window.seen.push({ ...window.readStage(), loaded: player.rows(0) !== null, playing });
  });
}
"""
"""Gives the page `player`, `readStage()` (frame, number in the picture, highest cell of the overlay) and `seen`, the
same for every frame that was drawn since; only the heatmap of person 1 is shown."""
