"""Reading a folder of pictures: `VideoReader` against a loop of `cv2.imread`; alternated rounds, medians.

    python benchmarks/picture_read.py P01_01 --frame-rate 60

The loop turns BGR into RGB as well; it checks nothing: neither that a picture is whole nor its size.
"""

from __future__ import annotations

import argparse
import statistics
import time
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


def measured(folder: Path, rate: str, rounds: int) -> dict[str, tuple[float, float]]:
    """Reader -> (speed as a multiple of the loop's, CPU ms per picture), medians over the rounds."""
    kinds = {
        "cv2.imread": lambda: loop_of_imread(folder),
        "VideoReader, 1 thread": lambda: reader(folder, rate, 1),
        "VideoReader, a thread per core": lambda: reader(folder, rate, 0),
    }
    speeds: dict[str, list[float]] = {name: [] for name in kinds}
    costs: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(rounds):
        for name, run in kinds.items():
            began, used = time.perf_counter(), time.process_time()
            count = run()
            speeds[name].append(count / (time.perf_counter() - began))
            costs[name].append((time.process_time() - used) / count * 1000)
    ratios = {name: [mine / loop for mine, loop in zip(own, speeds["cv2.imread"], strict=True)]
              for name, own in speeds.items()}  # fmt: skip
    return {name: (statistics.median(ratios[name]), statistics.median(costs[name])) for name in kinds}


def main() -> None:
    """Print one line for each reader."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--frame-rate", default="30")
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    for name, (ratio, cost) in measured(given.folder, given.frame_rate, given.rounds).items():
        print(f"{name}: {ratio:.2f} times the loop, {cost:.2f} ms of CPU time per picture")


if __name__ == "__main__":
    main()
