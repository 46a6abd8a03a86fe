"""`--backend upstream`: Gaze-LLE by the importable package `gazelle` (fkryan/gazelle), behind our interface."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from gazetools.gazemodels.devices import resolve_device
from gazetools.gazemodels.gazelle.checkpoints import read_weight_file
from gazetools.gazemodels.gazelle.config import DECODER_URLS, RELEASED_MODELS, released_config
from gazetools.gazemodels.gazelle.preprocess import as_tensor, preprocess
from gazetools.gazemodels.gazelle.prompts import check_box
from gazetools.gazemodels.interface import Boxes, GazeOutput, Images, LoadSettings
from gazetools.gazemodels.weights import RemoteFile, obtain
from gazetools.schemas.errors import CheckpointError, EnvironmentLacksError, UsageError


class UpstreamModel:
    """The original network with our preprocessing (the same numbers to 8e-7) and our checks around it.

    The network receives neither images without people nor boxes beyond the left or top edge, which it gets wrong.
    """

    implementation = "upstream gazelle"
    needs_boxes = False

    def __init__(
        self, network: Any, settings: LoadSettings, *, weights_sha256: dict[str, str], device: torch.device
    ) -> None:
        config = released_config(settings.name)
        self._network = network.to(device).eval().requires_grad_(False)
        self._preprocess_kind = settings.preprocess
        self.device, self.dtype, self.weights_sha256 = device, torch.float32, weights_sha256
        self.name, self.backbone_name = settings.name, config.backbone.name
        self.in_size: tuple[int, int] = tuple(network.in_size)
        self.out_size: tuple[int, int] = tuple(network.out_size)
        self.grid: tuple[int, int] = (int(network.featmap_h), int(network.featmap_w))
        self.has_inout = bool(network.inout)
        self.settings: dict[str, Any] = {"backend": "upstream"}

    @torch.inference_mode()
    def preprocess(self, images: Images) -> torch.Tensor:
        return preprocess(as_tensor(images).to(self.device), self.in_size, kind=self._preprocess_kind)

    @torch.inference_mode()
    def __call__(self, images: Images, boxes: Boxes) -> GazeOutput:
        used = [i for i, some in enumerate(boxes) if some]
        index = torch.tensor([i for i in used for _ in boxes[i]], dtype=torch.int64, device=self.device)
        if not used:
            empty = torch.zeros((0, *self.out_size), device=self.device)
            return GazeOutput(empty, torch.zeros(0, device=self.device) if self.has_inout else None, index)
        frames = as_tensor(images)[torch.tensor(used)]
        inputs = frames.to(self.device) if frames.is_floating_point() else self.preprocess(frames)
        out = self._network({"images": inputs, "bboxes": [[_inside(box) for box in boxes[i]] for i in used]})
        inout = torch.cat(list(out["inout"])).float() if self.has_inout else None
        return GazeOutput(torch.cat(list(out["heatmap"])).float(), inout, index)


def load_upstream(settings: LoadSettings) -> UpstreamModel:
    """The original network, made by its `get_gazelle_model` with torch.hub's backbone; the decoder's weights must fit.

    Raises EnvironmentLacksError without that function or weights, UsageError for a model that the original does not
    have, a backbone of your own or a dtype other than float32, CheckpointError for weights that do not fit.
    """
    if settings.name not in RELEASED_MODELS:
        raise UsageError(
            f"--backend upstream knows {', '.join(RELEASED_MODELS)}, not {settings.name!r}.",
            hint="Name one of these and give its weights by --checkpoint.",
        )
    if settings.backbone is not None:
        raise UsageError("--backend upstream takes its backbone from torch.hub.", hint="Leave out --backbone.")
    device = resolve_device(settings.device)
    if settings.dtype not in {"auto", "float32"}:
        raise UsageError(f"--backend upstream computes in float32, not {settings.dtype}.", hint="Use --dtype auto.")
    try:
        make_network = importlib.import_module("gazelle.model").get_gazelle_model
    except (ImportError, AttributeError) as error:
        raise EnvironmentLacksError(
            f"--backend upstream needs the package gazelle with gazelle.model.get_gazelle_model ({error}).",
            hint="git clone https://github.com/fkryan/gazelle && export PYTHONPATH=$PWD/gazelle (its wheel is empty; "
            "it also needs timm and torchvision), or use the default --backend gazetools.",
        ) from None
    if settings.checkpoint is not None:
        weights = read_weight_file(Path(settings.checkpoint))
    else:
        weights = read_weight_file(*obtain([RemoteFile(DECODER_URLS[settings.name], "--checkpoint")])[0])
    network, _ = make_network(settings.name)
    decoder, wanted = (
        {key: value for key, value in tensors.items() if not key.startswith("backbone")}
        for tensors in (weights.tensors, network.state_dict())
    )
    missing, unexpected = sorted(wanted.keys() - decoder.keys()), sorted(decoder.keys() - wanted.keys())
    misshaped = [key for key in wanted.keys() & decoder.keys() if wanted[key].shape != decoder[key].shape]
    if missing or unexpected or misshaped:
        raise CheckpointError(
            f"The weights do not fit upstream's {settings.name}: missing {missing[:5]}, unexpected {unexpected[:5]}, "
            f"of another shape {sorted(misshaped)[:5]}.",
            hint="Give the checkpoint of this very model.",
        )
    network.load_gazelle_state_dict(decoder)
    return UpstreamModel(network, settings, weights_sha256={"checkpoint": weights.sha256}, device=device)


def _inside(box: Sequence[float] | None) -> tuple[float, ...] | None:
    """Cut at the frame: a negative corner is a slice from the far edge in the original."""
    return None if box is None else tuple(min(max(value, 0.0), 1.0) for value in check_box(box))
