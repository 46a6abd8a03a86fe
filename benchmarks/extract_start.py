"""How long `extract` of a short clip takes until its store is there, against `import torch` alone, in turns."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.helpers.clips import write_boxes, write_clip  # noqa: E402


def seconds_of(*arguments: str | Path) -> tuple[float, float]:
    """(wall seconds, CPU seconds of the process and its children) of a Python command."""
    cpu, began = os.times(), time.perf_counter()
    subprocess.run([sys.executable, *map(str, arguments)], check=True, capture_output=True, cwd=ROOT)
    wall, after = time.perf_counter() - began, os.times()
    return wall, after.children_user + after.children_system - cpu.children_user - cpu.children_system


def main() -> None:
    """Print both medians and the median of their ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frames", type=int, default=4, help="few, so that the model's work counts little")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        clip = write_clip(root / "clip.mp4", frames=options.frames)
        boxes = write_boxes(root / "clip.csv", frames=range(options.frames))
        command = ("-m", "gazetools", "extract", clip, "--heads", f"file:{boxes}", "--model", "gazelle_tiny")
        starts, imports = [], []
        for number in range(options.rounds + 1):  # the first round warms the disk's cache and is left out
            start, alone = seconds_of(*command, "-o", root / f"store{number}"), seconds_of("-c", "import torch")
            if number:
                starts.append(start)
                imports.append(alone)
    for name, found in (("extract", starts), ("import torch", imports)):
        wall, cpu = (statistics.median(values) for values in zip(*found, strict=True))
        print(f"{name:<14} {wall:6.2f} s wall {cpu:6.2f} s CPU")
    ratios = [start[0] / alone[0] for start, alone in zip(starts, imports, strict=True)]
    print(f"ratio          {statistics.median(ratios):6.2f} (median of {len(ratios)} rounds)")


if __name__ == "__main__":
    main()
