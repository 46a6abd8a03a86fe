"""Speed of `convert --layout webdataset` and `hf`, compared with the disk alone.

    python benchmarks/shard_speed.py [--videos 8] [--frames 9000] [--rounds 5] [--folder DIR] [--json]

Each round runs, one after the other: a plain write of as many bytes as the shards have, in files of one shard's size
with fsync, and convert from a dataset of .npz to either layout (shards hashed while they are written, fsynced, source
read and hashed). The rate of a round is bytes of the shards / seconds; the ratio is the median over rounds of (seconds
of the plain write / seconds of convert). CPU seconds are those of the process, for machines that share their cores.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from gazetools import convert

LAYOUTS = ("webdataset", "hf")
BLOCK = 8 << 20


def _plain_write(folder: Path, data: memoryview, total: int, shard_bytes: int) -> None:
    folder.mkdir(parents=True)
    for number, start in enumerate(range(0, total, shard_bytes)):
        with (folder / f"{number}.raw").open("wb") as file:
            left = min(shard_bytes, total - start)
            while left:
                left -= file.write(data[: min(BLOCK, left)])
            file.flush()
            os.fsync(file.fileno())


def main() -> None:
    """Run all and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=8)
    parser.add_argument("--frames", type=int, default=9000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shard-size", type=int, default=256, help="MB")
    parser.add_argument("--folder", type=Path, help="where to write (default: the temporary folder)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    total = options.videos * options.frames * 64 * 64 * 2
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        root, out = Path(name), Path(name) / "out"
        (root / "maps").mkdir()
        generator = np.random.default_rng(0)
        for number in range(options.videos):
            maps = generator.random((options.frames, 64, 64), dtype=np.float32).astype(np.float16)
            np.savez(root / "maps" / f"v{number}.npz", maps=maps)
        convert(root / "maps", root / "npz")
        shutil.rmtree(root / "maps")
        data = generator.integers(0, 256, BLOCK, dtype=np.uint8).data
        work: dict[str, Callable[[], object]] = {
            "plain write": lambda: _plain_write(out, data, total, options.shard_size * 10**6),
            **{
                layout: lambda layout=layout: convert(  # type: ignore[misc]
                    root / "npz", out, layout=layout, shard_size=options.shard_size
                )
                for layout in LAYOUTS
            },
        }
        wall: dict[str, list[float]] = {title: [] for title in work}
        cpu: dict[str, list[float]] = {title: [] for title in work}
        for number in range(options.rounds + 1):
            for title, call in work.items():
                shutil.rmtree(out, ignore_errors=True)
                os.sync()
                began, began_cpu = time.perf_counter(), time.process_time()
                call()
                if number:  # the first round fills caches
                    wall[title].append(time.perf_counter() - began)
                    cpu[title].append(time.process_time() - began_cpu)
    figures = {
        title: {
            "MB_per_s": total / 1e6 / statistics.median(wall[title]),
            "ratio_to_plain": statistics.median(a / b for a, b in zip(wall["plain write"], wall[title], strict=True)),
            "cpu_s": statistics.median(cpu[title]),
        }
        for title in work
    }
    if options.json:
        print(json.dumps({"MB": total / 1e6, "shard_MB": options.shard_size, **figures}, indent=2))
        return
    print(f"{total / 1e6:.0f} MB in {options.videos} videos, shards of {options.shard_size} MB, {os.cpu_count()} cores")
    for title, found in figures.items():
        print(f"  {title:12s}", "  ".join(f"{key} {value:8.2f}" for key, value in found.items()))


if __name__ == "__main__":
    main()
