"""Open a gaze model for training: loaded as for inference, on plain layers in float32, then told what learns."""

from __future__ import annotations

from pathlib import Path

import torch

from gazetools.gazemodels.gazelle.checkpoints import read_weight_file
from gazetools.gazemodels.gazelle.config import GazelleConfig
from gazetools.gazemodels.gazelle.matching import BACKBONE_PREFIX
from gazetools.gazemodels.gazelle.model import GazelleModel
from gazetools.gazemodels.gazelle_dinov3.reading_dinov3 import BACKBONE, vit_tensors
from gazetools.gazemodels.gazelle_dinov3.variants_dinov3 import Dinov3GazeConfig
from gazetools.gazemodels.interface import GazeModel, LoadSettings
from gazetools.gazemodels.page.checkpoints import read_page_weights
from gazetools.gazemodels.page.model import PageModel
from gazetools.gazemodels.registry import find_loader
from gazetools.gazemodels.vit.names import to_hub
from gazetools.progress import Progress
from gazetools.schemas.errors import UsageError
from gazetools.schemas.finetune_model import FinetuneModel
from gazetools.trainer.finetune.gaze_network import GazeNetwork
from gazetools.trainer.finetune.page_network import PageNetwork
from gazetools.trainer.finetune.prompted_network import PromptedNetwork


def open_network(settings: FinetuneModel, progress: Progress | None = None) -> GazeNetwork:
    """The model that `settings` name, ready to learn, on the CPU in float32.

    First weights that are drawn (a random decoder, low-rank changes) come from torch's generator: seed it before.

    Raises UsageError for a model without weights or of a plug-in, and for parts that can't learn; else as `load_model`.
    """
    load = LoadSettings(
        name=settings.name,
        checkpoint=settings.checkpoint,
        backbone=settings.backbone,
        device="cpu",
        dtype="float32",
        pack="off",
        progress=progress,
    )
    network = _network(find_loader(settings.name)(load), settings)
    for parameter in network.parameters():
        parameter.data = parameter.data.clone()  # files may be mapped, and a released one must never change
    return network.train()


def _network(model: GazeModel, settings: FinetuneModel) -> GazeNetwork:
    weights = Path(settings.checkpoint or settings.name)
    if isinstance(model, PageModel):
        file = read_page_weights(weights)
        names = ("0.weight", "0.bias", "1.weight")
        return PageNetwork(model, settings, {name: file.tensors[f"heatmap_head.{name}"].float() for name in names})
    if isinstance(model, GazelleModel) and isinstance(model.config, GazelleConfig):
        return _gazelle(model, model.config, settings)
    if isinstance(model, GazelleModel) and isinstance(model.config, Dinov3GazeConfig):
        return _dinov3(model, model.config, settings, weights)
    raise UsageError(
        f"The model {settings.name} can't be trained: it has no weights, or another package computes it.",
        hint="Name a model of Gaze-LLE, gazelle-dinov3 or PaGE; `gazetools models` lists them.",
    )


def _gazelle(model: GazelleModel, config: GazelleConfig, settings: FinetuneModel) -> PromptedNetwork:
    rows, columns = config.grid
    if rows != columns:
        raise UsageError(
            f"{config.name} has a grid of {rows}x{columns}; only square ones can be written as a checkpoint.",
            hint="Take a model with a square input.",
        )
    # The tower's position embedding is that of this input's grid.
    changed = {"inout": _inout(config.inout, settings), "name": _named(config.name, config.inout, settings)}
    config = config.model_copy(update={**changed, "backbone": config.backbone.model_copy(update={"native_grid": rows})})

    def tower_tensors(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {BACKBONE_PREFIX + key: value for key, value in to_hub(state).items()}

    return PromptedNetwork(model, settings, config=config, tower_tensors=tower_tensors, metadata=config.to_metadata())


def _dinov3(model: GazelleModel, config: Dinov3GazeConfig, settings: FinetuneModel, path: Path) -> PromptedNetwork:
    if config.backbone.vit is None and settings.trains == "tower":
        raise UsageError(
            f"{config.name} has a convolutional tower, whose batch statistics are part of its convolutions here.",
            hint="Set model.trains to decoder.",
        )
    changed = {"inout": _inout(config.inout, settings), "name": _named(config.name, config.inout, settings)}
    config = config.model_copy(update=changed)
    tensors = read_weight_file(path, entry="model").tensors
    kept = {key: value.float() for key, value in tensors.items() if key.startswith(BACKBONE)}

    def tower_tensors(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        vit = config.backbone.vit
        return kept if vit is None or settings.trains == "decoder" else kept | vit_tensors(vit, state)

    return PromptedNetwork(model, settings, config=config, tower_tensors=tower_tensors, metadata=config.to_metadata())


def _inout(has: bool, settings: FinetuneModel) -> bool:
    if settings.inout_head == "kept":
        return has
    return settings.inout_head == "random"


def _named(name: str, has: bool, settings: FinetuneModel) -> str:
    """The name, with `_inout` added or taken away where the head is."""
    wanted = _inout(has, settings)
    if wanted == has:
        return name
    return name + "_inout" if wanted else name.removesuffix("_inout")
