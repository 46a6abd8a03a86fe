"""Lossless filters for the heatmaps of a store: size and speed of each against the unfiltered file.

python benchmarks/store_filters.py [--store STORE.h5] [--rows 4096] [--rounds 3]

Without a store, the benchmark makes heatmaps that look like Gaze-LLE's: one smooth peak on a low constant, float16. The
chunks are those of the store (32 rows of 64x64).
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

FILTERS: dict[str, dict[str, Any]] = {
    "none": {},
    "fletcher32": {"fletcher32": True},
    "shuffle+lzf": {"shuffle": True, "compression": "lzf", "fletcher32": True},
    "lzf": {"compression": "lzf", "fletcher32": True},
    "shuffle+gzip1": {"shuffle": True, "compression": "gzip", "compression_opts": 1},
    "gzip1": {"compression": "gzip", "compression_opts": 1},
    "shuffle+gzip4": {"shuffle": True, "compression": "gzip", "compression_opts": 4},
}


def main() -> None:
    """Alternate the filters and print one JSON line each: share of the raw size, MB/s written and read."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path, help="a store file with heatmaps")
    parser.add_argument("--rows", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    maps = _from_store(arguments.store, arguments.rows) if arguments.store else _synthetic(arguments.rows)
    taken: dict[str, list[tuple[float, float, int]]] = {name: [] for name in FILTERS}
    for _ in range(arguments.rounds):
        for name, settings in FILTERS.items():
            taken[name].append(_measure(maps, settings))
    for name, rounds in taken.items():
        write, read, size = (statistics.median(column) for column in zip(*rounds, strict=True))
        megabytes = maps.nbytes / 1e6
        print(json.dumps({"filter": name, "share_of_raw": round(size / maps.nbytes, 3),
                          "write_mb_s": round(megabytes / write), "read_mb_s": round(megabytes / read)}))  # fmt: skip


def _measure(maps: np.ndarray, settings: dict[str, Any]) -> tuple[float, float, int]:
    """(CPU seconds to write, to read, bytes) in memory, so that the disk does not affect the times."""
    buffer = io.BytesIO()
    began = time.process_time()
    with h5py.File(buffer, "w") as file:
        file.create_dataset("heatmap", data=maps, chunks=(32, *maps.shape[1:]), **settings)
    written = time.process_time() - began
    began = time.process_time()
    with h5py.File(buffer) as file:
        back = file["heatmap"][()]
    read = time.process_time() - began
    assert np.array_equal(back, maps)
    return written, read, len(buffer.getvalue())


def _from_store(path: Path, rows: int) -> np.ndarray:
    with h5py.File(path) as file:
        maps: np.ndarray = file["rows/heatmap"][:rows]
    return maps


def _synthetic(rows: int) -> np.ndarray:
    chance = np.random.default_rng(0)
    y, x = np.mgrid[0:64, 0:64].astype(np.float32)
    maps = np.empty((rows, 64, 64), np.float16)
    for row in range(rows):
        cx, cy = chance.uniform(4, 60, 2)
        width = chance.uniform(2, 7)
        peak = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * width**2)) * chance.uniform(0.2, 0.95)
        coarse = chance.uniform(0, 0.004, (8, 8)).astype(np.float32)
        maps[row] = peak + np.kron(coarse, np.ones((8, 8), np.float32)) * (1 + 0.1 * np.sin(x / 3 + y / 5))
    return maps


if __name__ == "__main__":
    main()
