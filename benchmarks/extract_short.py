"""What a short video costs beyond its frames: many short clips against one long clip of as many frames.

python benchmarks/extract_short.py [--videos 40] [--frames 60] [--size 448x448] [--rounds 3] [--device cpu]

One worker with a loaded model does all clips as `extract` does: in parallel, the next video is opened and the store
file of the previous one is written. Reports the medians over the rounds, and the CPU time of the process.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from gazetools.extraction.inputs import VideoItem
from gazetools.extraction.run import _run_here, decode_settings
from gazetools.extraction.tasks import Task, WorkQueue
from gazetools.extraction.work import WorkOrder
from gazetools.progress import NoProgress
from gazetools.schemas.extract import ExtractOptions, ItemResult
from gazetools.schemas.stage_times import StageTimes
from tests.helpers.clips import write_clip
from tests.helpers.random_checkpoints import write_tiny_gazelle


def main() -> None:
    """Alternate the two and print medians as one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=40)
    parser.add_argument("--frames", type=int, default=60, help="frames of each short clip")
    parser.add_argument("--size", default="448x448")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    width, height = map(int, arguments.size.split("x"))
    many, frames = arguments.videos, arguments.frames
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = str(write_tiny_gazelle(folder / "tiny.safetensors", in_size=(112, 112)))
        options = ExtractOptions(model=model, device=arguments.device)
        warm = _item(write_clip(folder / "warm.mp4", frames=frames, width=width, height=height))
        long = _item(write_clip(folder / "long.mp4", frames=many * frames, width=width, height=height))
        first = write_clip(folder / "short0.mp4", frames=frames, width=width, height=height)
        short = [_item(first)]
        for number in range(1, many):  # a separate file each, with the same frames
            copy = folder / f"short{number}.mp4"
            copy.write_bytes(first.read_bytes())
            short.append(_item(copy))
        rounds = []
        for turn in range(arguments.rounds):
            one, one_cpu, _ = _measure(folder / f"one{turn}", options, [warm, long])
            all_short, short_cpu, times = _measure(folder / f"many{turn}", options, [warm, *short])
            rounds.append({"ms_per_video": 1000 * (all_short - one) / many,
                           "cpu_ms_per_video": 1000 * (short_cpu - one_cpu) / many,
                           "share_of_time": (all_short - one) / all_short})  # fmt: skip
    medians = {key: round(statistics.median(row[key] for row in rounds), 3) for key in rounds[0]}
    stages = {key: round(getattr(times, key), 2) for key in ("open", "decode_wait", "model", "join", "other", "wall")}
    print(json.dumps({"videos": many, "frames_each": frames, **medians, "stages_of_the_last_round": stages}))


def _item(path: Path) -> VideoItem:
    return VideoItem(video_id=path.stem, path=path)


def _measure(store: Path, options: ExtractOptions, items: list[VideoItem]) -> tuple[float, float, StageTimes]:
    """(wall seconds of the worker, CPU seconds of this process, stages) of all items.

    A store file is written while the next video is computed, so only the times of whole runs can be compared.
    """
    order = WorkOrder(store=store, options=options, decoding=decode_settings(options), video_ids=["x"])

    def on_result(result: ItemResult, ended: bool) -> None:
        assert result.status == "done", result.reason

    queue = WorkQueue(items, [Task(item=item, cost=1.0) for item in items])
    began = time.process_time()
    times = _run_here(order, queue, NoProgress(), on_result)
    return times.wall, time.process_time() - began, times


if __name__ == "__main__":
    main()
