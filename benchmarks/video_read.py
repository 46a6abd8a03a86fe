"""Video reading, compared with decord and OpenCV: alternated rounds, medians of per-round ratios.

    python benchmarks/video_read.py [VIDEO] [--rounds 7] [--json]

Jobs: every frame to RGB (`sequential`), every 4th frame (`every_4th`), and clips of 32 frames spread over the file at
stride 2 (`clips`). Each round runs every reader once, in turn, so that other load affects all equally; wall and CPU
time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from gazetools.video import VideoReader
from tests.helpers.clips import write_clip

Job = Callable[[], int]


def clip_starts(count: int) -> list[int]:
    """First frames of up to eight clips of 32 frames at stride 2, in a fixed shuffled order."""
    starts = np.linspace(0, max(count - 64, 0), 8).astype(int)
    return [int(start) for start in np.random.default_rng(0).permutation(starts)]


def clip_indices(start: int, count: int) -> list[int]:
    """Indices of the 32 frames of the clip at `start`; beyond the end the last frame repeats."""
    return [min(start + 2 * step, count - 1) for step in range(32)]


def jobs_of_gazetools(path: Path) -> dict[str, Job]:
    reader = VideoReader(path)
    count = reader.frame_count
    return {
        "sequential": lambda: sum(1 for _ in reader.frames()),
        "every_4th": lambda: sum(1 for _ in reader.frames(range(0, count, 4))),
        "clips": lambda: sum(len(reader.read(clip_indices(start, count))) for start in clip_starts(count)),
    }


def jobs_of_decord(path: Path) -> dict[str, Job]:
    import decord

    reader = decord.VideoReader(str(path))
    count = len(reader)

    def sequential() -> int:
        reader.seek(0)
        return sum(1 for _ in range(count) if reader.next().asnumpy() is not None)

    return {
        "sequential": sequential,
        "every_4th": lambda: sum(len(reader.get_batch([index]).asnumpy()) for index in range(0, count, 4)),
        "clips": lambda: sum(len(reader.get_batch(clip_indices(s, count)).asnumpy()) for s in clip_starts(count)),
    }


def jobs_of_opencv(path: Path) -> dict[str, Job]:
    import cv2

    capture = cv2.VideoCapture(str(path))
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))

    def strided(start: int, stop: int, stride: int) -> int:
        capture.set(cv2.CAP_PROP_POS_FRAMES, start)
        got = 0
        for index in range(start, stop):
            if not capture.grab():
                break
            if (index - start) % stride == 0:
                _, bgr = capture.retrieve()
                cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
                got += 1
        return got

    return {
        "sequential": lambda: strided(0, count, 1),
        "every_4th": lambda: strided(0, count, 4),
        "clips": lambda: sum(strided(start, min(start + 63, count), 2) for start in clip_starts(count)),
    }


def measure(path: Path, rounds: int) -> dict[str, dict[str, dict[str, float]]]:
    """Per job and reader: median frames/s, CPU ms per frame, and median ratios to decord (above 1 = faster)."""
    readers = {
        "gazetools": jobs_of_gazetools(path),
        "decord": jobs_of_decord(path),
        "opencv": jobs_of_opencv(path),
    }
    report: dict[str, dict[str, dict[str, float]]] = {}
    for job in ("sequential", "every_4th", "clips"):
        wall: dict[str, list[float]] = {name: [] for name in readers}
        cpu: dict[str, list[float]] = {name: [] for name in readers}
        for round_number in range(rounds + 1):
            for name, jobs in readers.items():
                wall_start, cpu_start = time.perf_counter(), time.process_time()
                frames = jobs[job]()
                if round_number:  # the first round warms caches
                    wall[name].append((time.perf_counter() - wall_start) / frames)
                    cpu[name].append((time.process_time() - cpu_start) / frames)
        report[job] = {
            name: {
                "frames_per_second": 1 / statistics.median(wall[name]),
                "cpu_ms_per_frame": 1000 * statistics.median(cpu[name]),
                "wall_ratio": statistics.median(d / n for d, n in zip(wall["decord"], wall[name], strict=True)),
                "cpu_ratio": statistics.median(d / n for d, n in zip(cpu["decord"], cpu[name], strict=True)),
            }
            for name in readers
        }
    return report


def main() -> None:
    """Parse the command line, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path, nargs="?", help="default: a made 1080p clip of 300 frames")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        video = arguments.video or write_clip(Path(name) / "made.mp4", frames=300, width=1920, height=1080)
        report = measure(video, arguments.rounds)
    if arguments.json:
        print(json.dumps(report, indent=2))
        return
    for job, rows in report.items():
        print(f"{job:12}{'frames/s':>10}{'cpu ms':>9}{'wall/decord':>13}{'cpu/decord':>12}")
        for name, row in rows.items():
            print(
                f"  {name:10}{row['frames_per_second']:10.1f}{row['cpu_ms_per_frame']:9.2f}"
                f"{row['wall_ratio']:13.2f}{row['cpu_ratio']:12.2f}"
            )


if __name__ == "__main__":
    main()
