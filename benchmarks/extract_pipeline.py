"""Speed of the whole `extract` as a share of its slower part, decoding alone or the model alone.

python benchmarks/extract_pipeline.py [--model FILE] [--frames 400] [--size 1920x1080] [--device cpu] [--rounds 3]
python benchmarks/extract_pipeline.py --device-ms 8 [--batch-size 32] ...

A model on the CPU shares its cores with the decoder, so that the whole can't reach the slower part. `--device-ms`
replaces the model by a simulated GPU, which takes that time per frame, works in parallel with the process and uses no
core: then every loss is the pipeline's. The speed of `extract` is the number of frames of all `--videos`, divided by
the time from the loaded model to the last store file.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from gazetools.extraction.decoding.decoder import Decoder
from gazetools.extraction.model import batches as batching
from gazetools.extraction.model.batches import BatchResult, BatchRunner, Pending
from gazetools.extraction.run import extract
from gazetools.gazemodels.gazelle.loading import load_model
from gazetools.heads.prompts import FramePrompts
from tests.helpers.clips import write_clip
from tests.helpers.random_checkpoints import write_tiny_gazelle


class _Elsewhere(BatchRunner):
    """Computes maps of zeros on a device that takes `MS_PER_FRAME` and accepts the next batch while it is busy."""

    MS_PER_FRAME = 0.0
    works_in_parallel = True
    _free_at = 0.0

    def begin(self, images: list[np.ndarray], prompts: list[FramePrompts]) -> Pending:
        """As `BatchRunner.begin`: copy the frames once; then the device works without the process."""
        np.stack(images)
        now = time.perf_counter()
        self._free_at = done_at = max(now, self._free_at) + len(images) * self.MS_PER_FRAME / 1000
        rows = sum(len(frame.prompt_boxes) for frame in prompts)

        return _Elapsing(done_at, (rows, *self.heatmap_shape))


@dataclass(frozen=True)
class _Elapsing:
    """A batch that is finished at the time `done_at`."""

    done_at: float
    shape: tuple[int, ...]

    def result(self) -> BatchResult:
        """Wait until `done_at`, then return zeros."""
        time.sleep(max(0.0, self.done_at - time.perf_counter()))
        return BatchResult(heatmap=np.zeros(self.shape, np.float16), inout=np.zeros(self.shape[0], np.float32))


def main() -> None:
    """Alternate the three measurements and print medians as one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="default: a tiny random one of 224x224 input")
    parser.add_argument("--checkpoint", help="weights of a --model given by name")
    parser.add_argument("--frames", type=int, default=400)
    parser.add_argument("--size", default="1920x1080")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--videos", type=int, default=1, help="copies of the clip, done one after the other")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=0, help="0: extract chooses")
    parser.add_argument("--device-ms", type=float, default=0.0, help="milliseconds per frame of a simulated GPU")
    arguments = parser.parse_args()
    if arguments.device_ms:
        _Elsewhere.MS_PER_FRAME = arguments.device_ms
        batching.BatchRunner = _Elsewhere  # type: ignore[misc]
    width, height = map(int, arguments.size.split("x"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = write_clip(folder / "clip.mp4", frames=arguments.frames, width=width, height=height, gop=48)
        copies = [shutil.copy(clip, folder / f"clip{number}.mp4") for number in range(1, arguments.videos)]
        model_path = arguments.model or str(write_tiny_gazelle(folder / "tiny.safetensors", in_size=(224, 224)))
        weights = {"checkpoint": arguments.checkpoint, "device": arguments.device}
        batch_size = arguments.batch_size or "auto"
        runner = batching.BatchRunner(load_model(model_path, **weights), batch_size)
        rounds = []
        for number in range(arguments.rounds):
            decode, frame = _decode_alone(clip, runner.batch_size)
            report = extract(
                [clip, *copies], folder / f"store{number}", model=model_path, batch_size=batch_size, **weights
            )
            assert report.profile is not None
            whole = report.profile.frames / report.profile.wall
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
            pending.result()
        pending = begun
    if pending is not None:
        pending.result()
    return frames / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
