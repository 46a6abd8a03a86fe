"""Activations that one model keeps for its backward pass, counted without memory and without a GPU.

The predictor with its heatmap part and the probe of a released config run on torch's fake tensors, in bfloat16 autocast
by the list of operations of the CPU, which differs from that of CUDA. Counted are the bytes that autograd keeps, each
piece of memory once, without the weights. A step has the activations of one model at a time. Prints one JSON document.

    python benchmarks/step_activations.py --config configs/eval/vitg-384/ek100-heatmap.yaml
"""

from __future__ import annotations

import argparse
import json

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from gazetools.trainer.models.build import build_encoder, build_predictor, build_probe, choose_trained, trained_part
from gazetools.trainer.plan.config import load_config

CLASSES = {"verb": 97, "noun": 300, "action": 3806}
"""EPIC-KITCHENS-100: classes of training."""
CHECKPOINTING = "model_kwargs.pretrain_kwargs.predictor.use_activation_checkpointing"


class Kept:
    """Bytes that autograd keeps, without those of `weights`."""

    def __init__(self, weights: list[Tensor]) -> None:
        self._own = {weight.untyped_storage()._cdata for weight in weights}
        self._kept: dict[int, Tensor] = {}

    def keep(self, tensor: Tensor) -> Tensor:
        """Note a tensor that is kept for the backward pass."""
        place = tensor.untyped_storage()._cdata
        if place not in self._own:
            self._kept[place] = tensor  # held, so that no other memory gets its address
        return tensor

    @property
    def bytes(self) -> int:
        """Bytes so far."""
        return sum(tensor.untyped_storage().nbytes() for tensor in self._kept.values())


def kept_bytes(path: str, *, clips: int, checkpointing: bool) -> dict[str, int]:
    """Bytes after the predictor, and after predictor and probe."""
    config = load_config(path, ["model_kwargs.checkpoint=random", f"{CHECKPOINTING}={str(checkpointing).lower()}"])
    data = config.experiment.data
    side = data.resolution // config.model_kwargs.pretrain_kwargs.encoder.patch_size
    steps = data.frames_per_clip // config.model_kwargs.pretrain_kwargs.encoder.tubelet_size
    cells = side**2
    with torch.device("meta"):
        width = build_encoder(config.model_kwargs.pretrain_kwargs.encoder).embed_dim
        predictor = build_predictor(config, width, {}).requires_grad_(False)
        probe = build_probe(config, CLASSES, width)
    choose_trained(predictor, trained_part(config))
    with FakeTensorMode(allow_non_fake_inputs=True):
        predictor, probe = predictor.to_empty(device="cpu"), probe.to_empty(device="cpu")
        tokens = torch.empty(clips, steps * cells, width)
        maps = torch.empty(clips, data.frames_per_clip, data.resolution, data.resolution)
        places = torch.arange((steps + 1) * cells).expand(clips, -1)
        kept = Kept([*predictor.parameters(), *probe.parameters()])
        with torch.autocast("cpu", dtype=torch.bfloat16), torch.autograd.graph.saved_tensors_hooks(kept.keep, _same):
            observed, predicted = places[:, : steps * cells], places[:, steps * cells :]
            tokens = torch.cat([tokens, predictor(tokens, observed, predicted, maps, reach=float(steps))], dim=1)
            in_predictor = kept.bytes
            probe(tokens)
    return {"predictor": in_predictor, "predictor_and_probe": kept.bytes}


def _same(tensor: Tensor) -> Tensor:
    return tensor


def main() -> None:
    """Print the bytes for one and two clips, with activation checkpointing in the predictor and without."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/eval/vitg-384/ek100-heatmap.yaml")
    options = parser.parse_args()
    rows = [
        {"clips": clips, "checkpointing": again, **kept_bytes(options.config, clips=clips, checkpointing=again)}
        for clips in (1, 2)
        for again in (False, True)
    ]
    print(json.dumps({"config": options.config, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
