"""Does channels-last or torch.compile pay for a Gaze-LLE model? Each against the plain model, in turns.

python benchmarks/gazelle_compile.py [--model gazelle_dinov2_vitb14_inout] [--device cpu] [--threads 1] [--rounds 3]

Weights are random (numbers do not change the time). A round runs every variant once; the ratio is plain / variant
within the round (above 1 = faster than plain), of CPU time on the CPU and of wall time on CUDA, and the median over the
rounds is reported, with the largest difference of the heatmaps and the seconds of the first call. A variant that
can't run on this machine is reported with the reason.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[1]))
from gazetools.gazemodels.gazelle.config import released_config
from gazetools.gazemodels.gazelle.loading import load_model
from gazetools.gazemodels.gazelle.model import GazelleModel
from tests.helpers.random_checkpoints import random_model_tensors

VARIANTS = ("plain", "channels_last", "compile", "compile+channels_last")
BOX = (0.4, 0.2, 0.55, 0.4)


def _parts(model: GazelleModel) -> list[Any]:
    """Untyped: torch's stubs do not know `to(memory_format=...)` of modules."""
    return [model.backbone, model.decoder]


def _variant(name: str, load: Any) -> GazelleModel:
    model: GazelleModel = load()
    for part in _parts(model):
        if "channels_last" in name:
            part.to(memory_format=torch.channels_last)
        if "compile" in name:
            part.compile()
    return model


def _call(model: GazelleModel, inputs: torch.Tensor) -> tuple[float, torch.Tensor]:
    """(seconds, heatmaps) of one call: CPU seconds of all threads on the CPU, wall seconds on CUDA."""
    cuda = model.device.type == "cuda"
    clock = time.perf_counter if cuda else time.process_time
    if cuda:
        torch.cuda.synchronize(model.device)
    began = clock()
    heatmap = model(inputs, [[BOX]] * len(inputs)).heatmap
    if cuda:
        torch.cuda.synchronize(model.device)
    return clock() - began, heatmap.float().cpu()


def main() -> None:
    """Warm every variant up, then alternate them; one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="gazelle_dinov2_vitb14_inout")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS[1:], default=VARIANTS[1:])
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "random.safetensors"
        save_file(random_model_tensors(released_config(arguments.model), 0), weights)

        def load() -> GazelleModel:
            return load_model(arguments.model, checkpoint=weights, device=arguments.device, dtype=arguments.dtype)

        models = {name: _variant(name, load) for name in ("plain", *arguments.variants)}
    plain = models["plain"]
    pixels = torch.rand((arguments.batch, 3, *plain.in_size), generator=torch.Generator().manual_seed(0))
    inputs = {name: pixels.to(plain.device) for name in models}
    for name in models:
        if "channels_last" in name:
            inputs[name] = inputs[name].to(memory_format=torch.channels_last)
    first: dict[str, float] = {}
    maps: dict[str, torch.Tensor] = {}
    rows: dict[str, dict[str, Any]] = {}
    for name in list(models):
        began = time.perf_counter()
        try:
            maps[name] = _call(models[name], inputs[name])[1]
        except Exception as error:  # no compiler, no Triton, an operator that can't be compiled: that is the result
            rows[name] = {"cannot_run": f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"}
            del models[name]
        first[name] = round(time.perf_counter() - began, 1)
    taken: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(arguments.rounds):
        for name, model in models.items():
            taken[name].append(_call(model, inputs[name])[0])
    for name, seconds in taken.items():
        ratios = [before / after for before, after in zip(taken["plain"], seconds, strict=True)]
        rows[name] = {
            "seconds_per_frame": round(statistics.median(seconds) / arguments.batch, 4),
            "ratio": round(statistics.median(ratios), 3),
            "ratios": [round(ratio, 3) for ratio in ratios],
            "largest_difference": float((maps[name] - maps["plain"]).abs().max()),
            "first_call_seconds": first[name],
        }
    settings = {name: value for name, value in vars(arguments).items() if name != "variants"}
    print(json.dumps({**settings, "dtype": str(plain.dtype), "torch": torch.__version__, "variants": rows}))


if __name__ == "__main__":
    main()
