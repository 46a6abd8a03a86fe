"""Speed of `pack`, compared with plain numpy, with the disk alone, and with the minimum that any packer must compute.

    python benchmarks/pack_speed.py [--frames 9000] [--videos 4] [--rounds 7] [--folder DIR] [--json]

Each round runs these one after the other, each with fsync at its end:
- one video: `np.stack` of its store and `np.savez`; the same for a folder of .npy; a plain write of as many bytes;
  pack;
- several videos: plain writes of as many files in as many threads as pack has; pack;
- the minimum work: sha256 of source and result, and the CRC-32 that a zip member needs, of bytes in memory.
Ratios are medians over rounds of (time of the other method / time of pack). CPU seconds are those of the whole process:
if they exceed wall time x cores x the goal, no packer that computes these checksums can be faster on this machine.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from gazetools import pack
from gazetools.store import open_store
from tests.helpers.stores import make_video

BLOCK = 8 << 20
WORKERS = min(4, os.cpu_count() or 1)


def _synced(path: Path, write: Callable[[Path], None]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path)
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _by_hand(root: Path, target: Path, frames: int) -> None:
    with open_store(root / "one" / "v0.h5") as store:
        maps = np.stack([store.read_heatmaps(row, row + 1)[0] for row in range(frames)])
    _synced(target, lambda path: np.savez(path, heatmap=maps))


def _folder_by_hand(root: Path, target: Path) -> None:
    names = sorted((root / "npy" / "v0").glob("frame_*.npy"))
    _synced(target, lambda path: np.savez(path, heatmap=np.stack([np.load(name) for name in names])))


def _raw(target: Path, data: memoryview) -> None:
    def write(path: Path) -> None:
        with path.open("wb") as file:
            for start in range(0, len(data), BLOCK):
                file.write(data[start : start + BLOCK])

    _synced(target, write)


def _raw_files(folder: Path, data: memoryview, videos: int) -> None:
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(lambda number: _raw(folder / f"{number}.raw", data), range(videos)))


def _least_work(data: memoryview) -> None:
    hashlib.sha256(data).hexdigest()
    hashlib.sha256(data).hexdigest()
    zlib.crc32(data)


def _rounds(root: Path, options: argparse.Namespace) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Wall seconds and CPU seconds of each method per round."""
    generator = np.random.default_rng(0)
    data = generator.random(options.frames * 2048, dtype=np.float32).view(np.uint8).data
    out = root / "out"
    contenders: dict[str, Callable[[], object]] = {
        "stack of the store + savez": lambda: _by_hand(root, out / "a.npz", options.frames),
        "stack of an npy folder + savez": lambda: _folder_by_hand(root, out / "b.npz"),
        "raw write": lambda: _raw(out / "c.raw", data),
        "pack": lambda: pack(root / "one", out / "one"),
        "pack --normalize max": lambda: pack(root / "one", out / "max", normalize="max"),
        "raw write, several": lambda: _raw_files(out / "raw", data, options.videos),
        "pack, several": lambda: pack(root / "many", out / "many"),
        "pack --normalize max, several": lambda: pack(root / "many", out / "manymax", normalize="max"),
        "least work of one": lambda: _least_work(data),
    }
    wall: dict[str, list[float]] = {}
    cpu: dict[str, list[float]] = {}
    for number in range(options.rounds + 1):
        for name, work in contenders.items():
            shutil.rmtree(out, ignore_errors=True)
            os.sync()
            begin, begin_cpu = time.perf_counter(), time.process_time()
            work()
            elapsed, used = time.perf_counter() - begin, time.process_time() - begin_cpu
            if number:  # the first round fills caches
                wall.setdefault(name, []).append(elapsed)
                cpu.setdefault(name, []).append(used)
    return wall, cpu


def main() -> None:
    """Run all and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=9000)
    parser.add_argument("--videos", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="where to write (default: the temporary folder)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        root = Path(name)
        make_video(root / "one", "v0", frame_count=options.frames, size_hw=(64, 64))
        for number in range(options.videos):
            make_video(root / "many", f"v{number}", frame_count=options.frames, size_hw=(64, 64))
        pack(root / "one", root / "npy", layout="npy")
        wall, cpu = _rounds(root, options)
    ratios = {
        f"{ours} vs {peer}": statistics.median(a / b for a, b in zip(wall[peer], wall[ours], strict=True))
        for peer, ours in (
            ("stack of the store + savez", "pack"),
            ("stack of an npy folder + savez", "pack"),
            ("raw write", "pack"),
            ("raw write", "pack --normalize max"),
            ("raw write, several", "pack, several"),
            ("raw write, several", "pack --normalize max, several"),
        )
    }
    figures = {
        "ratios": ratios,
        "wall_s": {name: statistics.median(values) for name, values in wall.items()},
        "cpu_s": {name: statistics.median(values) for name, values in cpu.items()},
    }
    if options.json:
        print(json.dumps({"frames": options.frames, "videos": options.videos, "workers": WORKERS, **figures}, indent=2))
        return
    print(f"{options.frames} frames a video, {options.videos} videos, {WORKERS} workers, {os.cpu_count()} cores")
    for title, table in figures.items():
        print(title)
        for name, value in table.items():
            print(f"  {name:50s} {value:9.3f}")


if __name__ == "__main__":
    main()
