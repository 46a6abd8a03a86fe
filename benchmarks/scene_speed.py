"""Seconds of synthetic kitchens per second: python benchmarks/scene_speed.py [--clips 4] [--seconds 20] [--rounds 3].

The clips are 796x448 at 30 fps, with all files that `render_scenes` writes. One process per core (at most 4) works; the
start of the processes is included.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from gazetools.scenes.clips import render_scenes
from gazetools.scenes.settings import SceneSettings


def main() -> None:
    """Render new clips in each round and print every round's ratio and their median."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    ratios = []
    for number in range(options.rounds):
        with tempfile.TemporaryDirectory() as name:
            began = time.monotonic()
            render_scenes(
                Path(name), clips=options.clips, seconds=options.seconds, seed=number, settings=SceneSettings()
            )
            ratios.append(options.clips * options.seconds / (time.monotonic() - began))
        print(f"round {number + 1}: {ratios[-1]:.1f} times real time", flush=True)
    print(f"median {statistics.median(ratios):.1f} times real time on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
