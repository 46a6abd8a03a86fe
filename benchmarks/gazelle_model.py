"""Frames per second of a Gaze-LLE model alone (preprocessed input to heatmaps), by dtype, batch size and people.

python benchmarks/gazelle_model.py --model gazelle_dinov2_vitb14_inout --threads 2 --json

Weights are random (numbers do not change the time). Settings are measured in turns over several rounds, so that a
change in the machine's load affects all of them; the median over the rounds is reported.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[1]))
from gazetools.gazemodels.gazelle.config import released_config
from gazetools.gazemodels.gazelle.loading import load_model
from gazetools.gazemodels.gazelle.model import GazelleModel
from gazetools.gazemodels.gazelle.preprocess import preprocess
from tests.helpers.random_checkpoints import random_model_tensors

BOX = (0.4, 0.2, 0.55, 0.4)


def _seconds(model: GazelleModel, batch: int, people: int) -> tuple[float, float]:
    """(wall, CPU) seconds of one call; CPU time over all threads, which other load on the machine changes less."""
    inputs = torch.zeros((batch, 3, *model.in_size), device=model.device)
    boxes = [[BOX] * people] * batch
    _wait(model)
    began, began_cpu = time.perf_counter(), time.process_time()
    out = model(inputs, boxes)
    _wait(model)
    assert len(out) == batch * people
    return time.perf_counter() - began, time.process_time() - began_cpu


def _wait(model: GazelleModel) -> None:
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)


def _preprocess_ms(device: torch.device, rounds: int) -> dict[str, float]:
    frame = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, 1080, 1920, 3), dtype=np.uint8)).to(device)
    taken: dict[str, list[float]] = {"exact": [], "fast": []}
    for _ in range(rounds + 1):
        for kind, times in taken.items():
            began = time.perf_counter()
            preprocess(frame, (448, 448), kind=kind).cpu()  # type: ignore[arg-type]
            times.append(1000 * (time.perf_counter() - began))
    return {kind: round(statistics.median(times[1:]), 2) for kind, times in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="gazelle_dinov2_vitb14_inout")
    parser.add_argument("--checkpoint", type=Path, help="weights of the whole model; default: random ones")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--pack", nargs="+", default=["auto"], help="auto, on, off: oneDNN's layout of weights")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--people", nargs="+", type=int, default=[1, 3])
    parser.add_argument("--threads", type=int, default=0, help="threads of torch on the CPU; 0: torch chooses")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = arguments.checkpoint
        if checkpoint is None:
            checkpoint = Path(folder) / "random.safetensors"
            save_file(random_model_tensors(released_config(arguments.model), 0), checkpoint)
        models = {
            (dtype, pack): load_model(
                arguments.model, checkpoint=checkpoint, device=arguments.device, dtype=dtype, pack=pack
            )
            for dtype in arguments.dtypes
            for pack in arguments.pack
        }
        settings = [(d, b, p) for d in models for b in arguments.batches for p in arguments.people]
        taken: dict[tuple[tuple[str, str], int, int], list[tuple[float, float]]] = {setting: [] for setting in settings}
        for turn in range(arguments.rounds + 1):  # the first round warms up
            for setting in settings:
                seconds = _seconds(models[setting[0]], *setting[1:])
                if turn:
                    taken[setting].append(seconds)
    rows = []
    for ((dtype, pack), batch, people), times in taken.items():
        wall, cpu = (statistics.median(column) for column in zip(*times, strict=True))
        rows.append(
            {
                "dtype": dtype,
                "pack": pack,
                "batch": batch,
                "people": people,
                "frames_per_second": round(batch / wall, 3),
                "cpu_ms_per_frame": round(1000 * cpu / batch, 1),
            }
        )
    device = next(iter(models.values())).device
    result = {
        "model": arguments.model,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu",
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "rows": rows,
        "preprocess_1080p_ms": _preprocess_ms(device, arguments.rounds),
    }
    if arguments.json:
        print(json.dumps(result))
        return
    print(f"{result['model']} on {result['device']}, {result['threads']} threads, torch {result['torch']}")
    for row in rows:
        print(
            f"{row['dtype']:9} pack {row['pack']:4} batch {row['batch']}  {row['people']} people  "
            f"{row['frames_per_second']:8.3f} frames/s  {row['cpu_ms_per_frame']:8.1f} cpu ms per frame"
        )
    print(f"preprocess of a 1080p frame, ms: {result['preprocess_1080p_ms']}")


if __name__ == "__main__":
    main()
