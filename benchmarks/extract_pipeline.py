"""The whole `extract` against its parts, decoding alone and the model alone: how much of the slower one it keeps.

python benchmarks/extract_pipeline.py [--model FILE] [--frames 400] [--size 1920x1080] [--device cpu] [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from gazetools.extraction import extract
from gazetools.extraction.batching import BatchRunner, Pending
from gazetools.extraction.decoding import Decoder
from gazetools.extraction.prompts import FramePrompts
from gazetools.gazelle import load_model
from tests.helpers.clips import write_clip
from tests.helpers.random_checkpoints import write_tiny_gazelle


def main() -> None:
    """Alternate the three measurements and print medians as one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="default: a tiny random one of 224x224 input")
    parser.add_argument("--frames", type=int, default=400)
    parser.add_argument("--size", default="1920x1080")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    width, height = map(int, arguments.size.split("x"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = write_clip(folder / "clip.mp4", frames=arguments.frames, width=width, height=height, gop=48)
        model_path = arguments.model or str(write_tiny_gazelle(folder / "tiny.safetensors", in_size=(224, 224)))
        runner = BatchRunner(load_model(model_path, device=arguments.device), "auto")
        rounds = []
        for number in range(arguments.rounds):
            decode, frame = _decode_alone(clip, runner.batch_size)
            report = extract(clip, folder / f"store{number}", model=model_path, device=arguments.device)
            assert report.profile is not None
            whole = report.items[0].frames / report.items[0].seconds
            rounds.append({"decode": decode, "model": _model_alone(runner, frame, arguments.frames), "extract": whole})
        profile = report.profile
    medians = {name: round(statistics.median(r[name] for r in rounds), 2) for name in rounds[0]}
    kept = statistics.median(r["extract"] / min(r["decode"], r["model"]) for r in rounds)
    writing = (profile.write_wait + profile.join) / profile.wall
    beside = profile.write_busy / profile.wall
    print(json.dumps({"frames_per_second": medians, "kept": round(kept, 3), "writing_share": round(writing, 4),
                      "writing_beside": round(beside, 4),
                      "bottleneck": profile.bottleneck, "batch": runner.batch_size}))  # fmt: skip


def _decode_alone(clip: Path, batch_size: int) -> tuple[float, np.ndarray]:
    with Decoder() as decoder, decoder.open(clip, batch_size=batch_size) as reader:
        began = time.perf_counter()
        for frame in reader.frames(np.arange(reader.frame_count)):
            last = frame.rgb.copy() if frame.index == reader.frame_count - 1 else frame.rgb
            reader.release(frame)
        return reader.frame_count / (time.perf_counter() - began), last


def _model_alone(runner: BatchRunner, frame: np.ndarray, frames: int) -> float:
    whole = FramePrompts(
        track_id=np.zeros(1, np.int32),
        box_xyxy=np.array([[0, 0, 1, 1]], np.float32),
        prompt_boxes=[None],
        prompt=np.array([3], np.uint8),
    )
    pending: Pending | None = None
    began = time.perf_counter()
    for first in range(0, frames, runner.batch_size):
        count = min(runner.batch_size, frames - first)
        begun = runner.begin([frame] * count, [whole] * count)
        if pending is not None:  # one batch ahead, as the pipeline does it
            pending()
        pending = begun
    if pending is not None:
        pending()
    return frames / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
