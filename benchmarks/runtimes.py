"""A gaze model in torch, onnxruntime and OpenVINO, from preprocessed input to heat maps: CPU seconds and their ratios.

python benchmarks/runtimes.py --model gazelle_dinov2_vitb14_inout --threads 1 --json

Weights are random (numbers do not change the time). Programs run in turns; each round gives a ratio to torch, and the
median over the rounds is reported. CPU seconds count all threads of the process, so that other jobs on the machine
change them less than wall time.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[1]))
from gazetools.gazemodels import GazeModel, load_gaze_model
from gazetools.gazemodels.gazelle.config import RELEASED_MODELS, released_config
from gazetools.gazemodels.runtimes.choosing import processor_name
from tests.helpers.random_checkpoints import random_model_tensors

BOX = (0.4, 0.2, 0.55, 0.4)


def _cpu_seconds(model: GazeModel, people: int) -> float:
    frame = torch.zeros((1, 3, *model.in_size))
    began = time.process_time()
    assert len(model(frame, [[BOX] * people])) == people
    return time.process_time() - began


def _load(arguments: argparse.Namespace, folder: str) -> dict[str, GazeModel]:
    os.environ["GAZETOOLS_CACHE"] = folder
    checkpoint = arguments.checkpoint
    if checkpoint is None and arguments.model in RELEASED_MODELS:
        checkpoint = str(Path(folder) / "random.safetensors")
        save_file(random_model_tensors(released_config(arguments.model), 0), checkpoint)
    found = {}
    for name in arguments.runs:
        runtime, _, dtype = name.partition(":")
        backend = "gazetools" if runtime == "torch" else runtime
        found[name] = load_gaze_model(
            arguments.model, checkpoint=checkpoint, device="cpu", dtype=dtype or "float32", backend=backend
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="gazelle_tiny")
    parser.add_argument("--checkpoint", help="weights of the model; default: random ones, or the model's own")
    parser.add_argument(
        "--runs", nargs="+", default=["torch", "onnxruntime", "openvino"], help="RUNTIME[:DTYPE]; the first is the base"
    )
    parser.add_argument("--people", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        models = _load(arguments, folder)
        rows = []
        for people in arguments.people:
            times: dict[str, list[float]] = {name: [] for name in models}
            for turn in range(arguments.rounds + 1):  # the first round warms up
                for name, model in models.items():
                    seconds = _cpu_seconds(model, people)
                    if turn:
                        times[name].append(seconds)
            base = times[arguments.runs[0]]
            for name, some in times.items():
                ratio = statistics.median(b / s for b, s in zip(base, some, strict=True))
                rows.append(
                    {
                        "run": name,
                        "program": models[name].implementation,
                        "people": people,
                        "cpu_ms": round(1000 * statistics.median(some), 1),
                        "times_the_speed": round(ratio, 2),
                    }
                )
    result = {"model": arguments.model, "processor": processor_name(), "threads": arguments.threads, "rows": rows}
    if arguments.json:
        print(json.dumps(result))
        return
    print(f"{result['model']} on {result['processor']}, {result['threads']} threads, torch {torch.__version__}")
    for row in rows:
        print(
            f"{row['run']:20} {row['people']} people  {row['cpu_ms']:9.1f} cpu ms per frame  "
            f"{row['times_the_speed']:5.2f} times the speed of {arguments.runs[0]}"
        )


if __name__ == "__main__":
    main()
