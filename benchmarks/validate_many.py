"""Time of `validate` for many small files: 10,000 .npz of 100 frames without video (goal: < 120 s on 2 cores).

    python benchmarks/validate_many.py [--files 10000] [--frames 100] [--different 200] [--folder DIR] [--json]

Writes `--different` files of 64x64 float16 and hard links to them under other names. `validate` still reads the bytes
of all files; the page cache holds them in both cases. Peak memory is that of the process.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from gazetools import validate


def main() -> None:
    """Run the benchmark and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--different", type=int, default=200)
    parser.add_argument("--folder", type=Path, help="where to write (default: the temporary folder)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    generator = np.random.default_rng(0)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        root = Path(name)
        for number in range(options.files):
            path = root / f"v{number:06d}.npz"
            if number < options.different:
                np.savez(path, heatmap=generator.random((options.frames, 64, 64), dtype=np.float32).astype(np.float16))
            else:
                os.link(root / f"v{number % options.different:06d}.npz", path)
        size = sum(path.stat().st_size for path in root.iterdir())
        begin = time.perf_counter()
        report = validate(root)
        seconds = time.perf_counter() - begin
    figures = {
        "files": options.files,
        "gigabytes": round(size / 1e9, 2),
        "seconds": round(seconds, 2),
        "maps_per_second": round(options.files * options.frames / seconds),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "exit_code": report.exit_code,
        "cores": os.cpu_count(),
    }
    if options.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:18s} {value}")


if __name__ == "__main__":
    main()
