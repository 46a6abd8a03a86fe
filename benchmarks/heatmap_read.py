"""Random reads of heatmaps on disk, compared with plain numpy (for packing see pack_speed.py).

    python benchmarks/heatmap_read.py [--frames 9000] [--rounds 15] [--folder DIR] [--json]

A read takes 32 strided frames of one video. Every round runs all methods in turn on new positions. The result is the
median over rounds of (time of the other method / our time), because other load changes both. Cold rounds first drop the
file from the page cache (posix_fadvise, no special rights needed).
Opening a reader parses the manifest and the archive's directory and checks every header; its time is shown separately.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from gazetools import HeatmapReader, pack
from tests.helpers.stores import make_video

WANTED = 32
STRIDE = 8


def _seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _drop_from_cache(*paths: Path) -> None:
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def _positions(frames: int, round_number: int) -> np.ndarray:
    start = int(np.random.default_rng(round_number).integers(0, frames - WANTED * STRIDE))
    return start + STRIDE * np.arange(WANTED)


def _read_rounds(root: Path, frames: int, rounds: int, *, cold: bool) -> dict[str, list[float]]:
    """Milliseconds of each method per round."""
    npz, folder = root / "npz" / "clip.npz", root / "npy" / "clip"
    ours = HeatmapReader(root / "npz", "clip")
    ours_folder = HeatmapReader(root / "npy", "clip")
    ours_shards = HeatmapReader(root / "webdataset", "clip")
    shards = sorted((root / "webdataset" / "shards").iterdir())
    times: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        wanted = _positions(frames, number)

        def whole(wanted: np.ndarray = wanted) -> np.ndarray:
            with np.load(npz) as archive:
                return archive["heatmap"][wanted]

        def one_by_one(wanted: np.ndarray = wanted) -> np.ndarray:
            return np.stack([np.load(folder / f"frame_{index:06d}.npy") for index in wanted])

        contenders = {
            "np.load(npz)[key][idx]": whole,
            "np.load of 32 .npy": one_by_one,
            "HeatmapReader npz": lambda wanted=wanted: ours.read(wanted),
            "HeatmapReader npz, opening alone": lambda: HeatmapReader(root / "npz", "clip"),
            "HeatmapReader npz, opened anew": lambda wanted=wanted: HeatmapReader(root / "npz", "clip").read(wanted),
            "HeatmapReader npy folder": lambda wanted=wanted: ours_folder.read(wanted),
            "HeatmapReader webdataset": lambda wanted=wanted: ours_shards.read(wanted),
            "HeatmapReader webdataset, opening alone": lambda: HeatmapReader(root / "webdataset", "clip"),
        }
        for name, work in contenders.items():
            if cold:
                _drop_from_cache(npz, *shards, *(folder / f"frame_{index:06d}.npy" for index in wanted))
            elapsed = 1e3 * _seconds(work)
            if number:  # the first round warms up imports and caches
                times.setdefault(name, []).append(elapsed)
    return times


def _ratio(times: dict[str, list[float]], peer: str, ours: str) -> float:
    return statistics.median(a / b for a, b in zip(times[peer], times[ours], strict=True))


def main() -> None:
    """Run all and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=9000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--folder", type=Path, help="where to write (default: the temporary folder)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results: dict[str, object] = {"frames": options.frames, "rounds": options.rounds}
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        root = Path(name)
        make_video(root / "store", frame_count=options.frames, size_hw=(64, 64))
        pack(root / "store", root / "npz")
        pack(root / "store", root / "npy", layout="npy")
        pack(root / "store", root / "webdataset", layout="webdataset", shard_size=32)
        for state, cold in (("warm", False), ("cold", True)):
            times = _read_rounds(root, options.frames, options.rounds, cold=cold)
            results[f"read_{state}_ms"] = {k: statistics.median(v) for k, v in times.items()}
            results[f"read_{state}_ratios"] = {
                "npz vs np.load(npz)": _ratio(times, "np.load(npz)[key][idx]", "HeatmapReader npz"),
                "npz opened anew vs np.load(npz)": _ratio(
                    times, "np.load(npz)[key][idx]", "HeatmapReader npz, opened anew"
                ),
                "npz vs np.load of .npy": _ratio(times, "np.load of 32 .npy", "HeatmapReader npz"),
                "webdataset vs npz": _ratio(times, "HeatmapReader npz", "HeatmapReader webdataset"),
                "npy folder vs np.load of .npy": _ratio(times, "np.load of 32 .npy", "HeatmapReader npy folder"),
            }
    if options.json:
        print(json.dumps(results, indent=2))
        return
    for title, table in results.items():
        print(title if isinstance(table, dict) else f"{title}: {table}")
        for name, value in table.items() if isinstance(table, dict) else ():
            print(f"  {name:45s} {value:10.3f}")


if __name__ == "__main__":
    main()
