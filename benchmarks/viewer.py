"""First picture of `gazetools view` for a store of 10,000 videos, and the time of a step by one frame at 1080p.

    python benchmarks/viewer.py [--videos 10000] [--steps 60] [--folder DIR] [--browser] [--json]

The store is one small video with its heatmaps, linked under 10,000 ids with a sidecar each. "first picture" is the time
from the request of the page until list, facts, times, still and heatmaps of the first video are there, asked one after
the other as the page does, over HTTP from another process; "open" is the time until the server answers, without the
start of Python. "no cache" is the first call for this store, "cache" the next one; "all read" is the time until every
sidecar is read without a cache. A step is one still with its heatmaps, `--pause` seconds apart as a person steps, and
without pauses as a held key does. With --browser the same in headless Chromium: until the frame is drawn.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).parents[1]))

from gazetools.schemas.view import ViewOptions
from gazetools.viewer.guard import TOKEN_HEADER, cookie_of
from gazetools.viewer.server import bound_socket, serve
from gazetools.viewer.showing import Showing
from tests.helpers.viewing import browser_page, store_numbered, until, write_numbered_video

TOKEN = "benchmark"


def _many(root: Path, count: int) -> Path:
    """A store of `count` ids that are one video."""
    video = write_numbered_video(root / "one" / "video.mp4", frames=60)
    store_numbered(root / "one" / "store", video, frames=60)
    payload = root / "one" / "store" / "video.h5"
    sidecar = json.loads(payload.with_suffix(".json").read_text())
    store = root / "store"
    for number in range(count):
        name = f"P{number % 40:02d}/video_{number:05d}"
        place = store / f"{name}.h5"
        place.parent.mkdir(parents=True, exist_ok=True)
        os.link(payload, place)
        place.with_suffix(".json").write_text(json.dumps(sidecar | {"video_id": name, "payload": place.name}))
    return store


def _serve(store: Path, listening: Any, told: Any) -> None:
    begin = time.perf_counter()
    with Showing(store, ViewOptions()) as showing:
        serve(showing, listening, TOKEN, ready=lambda: told.send(time.perf_counter() - begin))


@contextmanager
def _server(store: Path) -> Iterator[tuple[str, float]]:
    """(address, seconds until it answered) of a server in another process."""
    mine, told = multiprocessing.Pipe()
    with bound_socket(None) as listening:
        process = multiprocessing.get_context("fork").Process(target=_serve, args=(store, listening, told))
        process.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}", mine.recv()
        finally:
            os.kill(process.pid or 0, 2)
            process.join()


def _client(address: str) -> httpx.Client:
    port = httpx.URL(address).port
    assert port is not None, "a server of ours names it"
    headers = {"cookie": "=".join(cookie_of(TOKEN, port)), TOKEN_HEADER: TOKEN}
    return httpx.Client(base_url=address, timeout=120, headers=headers)


def _seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _picture(client: httpx.Client) -> None:
    client.get("/").raise_for_status()
    first = client.get("/api/videos", params={"limit": 100}).raise_for_status().json()["videos"][0]["id"]
    client.get("/api/video", params={"id": first}).raise_for_status()
    client.get("/api/times", params={"id": first}).raise_for_status()
    _step(client, first, 0, 128)


def _step(client: httpx.Client, video_id: str, frame: int, height: int) -> None:
    client.get("/api/still", params={"id": video_id, "frame": frame, "height": height}).raise_for_status()
    start = frame // 128 * 128
    client.get("/api/block", params={"id": video_id, "start": start, "stop": start + 128}).raise_for_status()


def first_picture(root: Path, count: int) -> dict[str, float]:
    """Seconds by name."""
    store = _many(root, count)
    found = {}
    with _server(store) as (address, opened), _client(address) as client:
        begin = time.perf_counter()
        found["open, no cache"] = opened
        found["first picture, no cache"] = _seconds(lambda: _picture(client))
        while client.get("/api/videos", params={"limit": 1}).json()["waiting"]:
            time.sleep(0.02)
        found["all read, no cache"] = time.perf_counter() - begin
        time.sleep(1)  # the cache is written
    with _server(store) as (address, opened), _client(address) as client:
        found["open, cache"] = opened
        found["first picture, cache"] = _seconds(lambda: _picture(client))
        found["list sorted by coverage"] = _seconds(lambda: client.get("/api/videos", params={"sort": "coverage"}))
    return found


def steps(root: Path, count: int, pause: float) -> dict[str, float]:
    """Milliseconds per step at 1080p by name."""
    _step_store(root)
    found: dict[str, float] = {}
    with _server(root / "steps") as (address, _), _client(address) as client:
        for way, direction, wait in (
            ("on", 1, pause), ("back", -1, pause), ("on, key held", 1, 0.0), ("back, key held", -1, 0.0)
        ):  # fmt: skip
            start = 10 if direction > 0 else 230
            _step(client, "hd", start, 1080)
            time.sleep(2)
            times = []
            for number in range(1, count + 1):
                begin = time.perf_counter()
                _step(client, "hd", start + direction * number, 1080)
                times.append(1000 * (time.perf_counter() - begin))
                time.sleep(wait)
            found |= {f"{way}, median": statistics.median(times), f"{way}, 95 %": sorted(times)[int(0.95 * len(times))]}
            start += 7
    return found


def _step_store(root: Path) -> None:
    settings = {"g": "250", "bf": "2", "crf": "23", "preset": "ultrafast"}
    video = write_numbered_video(root / "hd.mp4", frames=250, size_wh=(1920, 1080), settings=settings)
    store_numbered(root / "steps", video, frames=250)


def in_browser(root: Path, count: int, pause: float) -> dict[str, float]:
    """The same as a person sees it; needs the store and the video that the other parts have made."""
    found = {}
    with _server(root / "store") as (address, _), browser_page(f"{address}/?token={TOKEN}") as page:
        until(page, "document.querySelector('#place').textContent.startsWith('frame 0')")
        found["browser: first picture, cache (s)"] = page.evaluate("performance.now() / 1000")
    measure = """
    async ([direction, count, pause]) => {
      const { player } = await import('/static/page.js');
      await player.show(direction > 0 ? 10 : 230);
      await new Promise(resolve => setTimeout(resolve, 2000));
      const times = [];
      for (let i = 0; i < count; i += 1) {
        const begin = performance.now();
        await player.step(direction);
        times.push(performance.now() - begin);
        await new Promise(resolve => setTimeout(resolve, 1000 * pause));
      }
      return times.sort((one, other) => one - other);
    }"""
    with _server(root / "steps") as (address, _), browser_page(f"{address}/?token={TOKEN}", width=1920) as page:
        until(page, "document.querySelector('#place').textContent.startsWith('frame 0')")
        for way, direction in (("on", 1), ("back", -1)):
            times = page.evaluate(measure, [direction, count, pause])
            found[f"browser: step {way}, median (ms)"] = times[count // 2]
            found[f"browser: step {way}, 95 % (ms)"] = times[int(0.95 * count)]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=10_000)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--pause", type=float, default=0.1)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--browser", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="gazetools-viewer-", dir=options.folder))
    os.environ["GAZETOOLS_CACHE"] = str(root / "cache")
    try:
        found = {f"{name} (s)": value for name, value in first_picture(root, options.videos).items()}
        found |= {f"step {name} (ms)": value for name, value in steps(root, options.steps, options.pause).items()}
        if options.browser:
            found |= in_browser(root, options.steps, options.pause)
    finally:
        shutil.rmtree(root)
    if options.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:45s} {value:8.2f}")


if __name__ == "__main__":
    main()
