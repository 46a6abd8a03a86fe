"""Frames per second of a folder of pictures: `VideoReader` against a loop of `cv2.imread`.

    python benchmarks/picture_read.py P01_01 --frame-rate 60

The loop turns BGR into RGB as well; it checks nothing: neither that a picture is whole nor its size.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import cv2

from gazetools import VideoReader


def loop_of_imread(folder: Path) -> int:
    """Read every picture by OpenCV, one after the other."""
    count = 0
    for path in sorted(folder.iterdir()):
        picture = cv2.imread(str(path))
        if picture is not None:
            cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
            count += 1
    return count


def reader(folder: Path, rate: str, threads: int) -> int:
    """Read every frame by gazetools."""
    with VideoReader(folder, frame_rate=rate, threads=threads) as opened:
        return sum(1 for _ in opened.frames())


def measured(folder: Path, rate: str, rounds: int) -> Iterator[tuple[str, float]]:
    """(what, best frames per second of all rounds), the kinds in turn so that all see the same machine."""
    kinds = {
        "cv2.imread": lambda: loop_of_imread(folder),
        "VideoReader, 1 thread": lambda: reader(folder, rate, 1),
        "VideoReader, a thread per core": lambda: reader(folder, rate, 0),
    }
    best = dict.fromkeys(kinds, 0.0)
    for _ in range(rounds):
        for name, run in kinds.items():
            began = time.perf_counter()
            count = run()
            best[name] = max(best[name], count / (time.perf_counter() - began))
    yield from best.items()


def main() -> None:
    """Print one line for each kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--frame-rate", default="30")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    for name, rate in measured(given.folder, given.frame_rate, given.rounds):
        print(f"{name}: {rate:.0f} frames/s")


if __name__ == "__main__":
    main()
