"""`load_page`: from a name, file or folder to a checked PaGE model on a device."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch

from gazetools.gazemodels.devices import DtypeName, resolve_device, resolve_dtype
from gazetools.gazemodels.gazelle.checkpoints import WeightFile
from gazetools.gazemodels.gazelle.packed import PackKind, pack_linears, pays
from gazetools.gazemodels.gazelle.preprocess import PreprocessKind
from gazetools.gazemodels.interface import LoadSettings
from gazetools.gazemodels.model_table import GAZE_MODELS
from gazetools.gazemodels.page.checkpoints import checked_tensors, config_of, read_page_weights
from gazetools.gazemodels.page.config import PAGE_MODELS, PageConfig, released_page_config
from gazetools.gazemodels.page.decoder import PageDecoder
from gazetools.gazemodels.page.model import PageModel
from gazetools.gazemodels.page.names import TOWERS, decoder_state, tower_state
from gazetools.gazemodels.presence import own_file_needed
from gazetools.gazemodels.vit.image import ImageTower, ImageTowerShape
from gazetools.schemas.errors import CheckpointError, UsageError


def load_page(
    name_or_path: str,
    *,
    checkpoint: str | Path | None = None,
    device: str | torch.device = "cpu",
    dtype: DtypeName = "auto",
    preprocess: PreprocessKind = "exact",
    pack: PackKind = "auto",
) -> PageModel:
    """Load a PaGE model for inference.

    Args:
        name_or_path: `page_vits`, `page_vitsplus`, `page_vitb` or `page_vithplus`, or a file or folder with weights.
        checkpoint: weights of a named size: .safetensors, .pt or a folder as the hub has it, whole or in shards.
        device: `auto` (CUDA where there is one), `cpu`, `cuda` or `cuda:N`.
        dtype: `auto` is float32 on the CPU and bfloat16 on CUDA.
        preprocess: `exact` or `fast`, see `gazetools.gazemodels.gazelle.preprocess.preprocess`.
        pack: oneDNN's layout for the wide linear layers on the CPU; `auto` where it pays, see
            `gazetools.gazemodels.gazelle.packed`.

    Raises CheckpointError for weights that do not fit, UsageError for an unknown name or device (exit 2),
    EnvironmentLacksError without weights or the device, with the remedy (exit 3).
    """
    torch_device = resolve_device(device)
    torch_dtype = resolve_dtype(dtype, torch_device)
    config, file = _find(name_or_path, None if checkpoint is None else Path(checkpoint))
    tensors = checked_tensors(file, config)
    with torch.device("meta"):
        decoder, *towers = PageDecoder(config), *(ImageTower(tower_shape(config)) for _ in TOWERS)
    for name, tower in zip(TOWERS, towers, strict=True):
        tower.load_state_dict(tower_state(tensors, name, config.tower), strict=True, assign=True)
    decoder.load_state_dict(decoder_state(tensors, config), strict=True, assign=True)
    model = PageModel(
        config,
        (towers[0], towers[1]),
        decoder,
        weights_sha256={"checkpoint": file.sha256},
        device=torch_device,
        dtype=torch_dtype,
        preprocess_kind=preprocess,
    )
    if pays(pack, torch_device, torch_dtype):
        for part in (model.scene_tower, model.head_tower, model.decoder):
            pack_linears(part)
    return model


def load(settings: LoadSettings) -> PageModel:
    """`load_page` in the form of a `gazetools.gazemodels.Loader`."""
    if settings.backbone is not None:
        raise UsageError(
            f"PaGE has both towers in its own file, and --backbone gives {settings.backbone}.",
            hint="Leave out --backbone.",
        )
    return load_page(
        settings.name,
        checkpoint=settings.checkpoint,
        device=settings.device,
        dtype=cast(DtypeName, settings.dtype),  # resolve_dtype refuses other words
        preprocess=settings.preprocess,
        pack=settings.pack,
    )


def tower_shape(config: PageConfig) -> ImageTowerShape:
    """Both towers' shape for `ImageTower`."""
    tower = config.tower
    return ImageTowerShape(
        width=tower.hidden_size,
        depth=tower.num_hidden_layers,
        num_heads=tower.num_attention_heads,
        hidden=tower.intermediate_size,
        patch_size=tower.patch_size,
        registers=tower.num_register_tokens,
        positions="rotary",
        gated=tower.use_gated_mlp,
        activation=tower.hidden_act,
        key_bias=False,
        eps=tower.layer_norm_eps,
    )


def _find(name: str, checkpoint: Path | None) -> tuple[PageConfig, WeightFile]:
    if name not in PAGE_MODELS and Path(name).exists():
        if checkpoint is not None:
            raise UsageError(
                f"The model {name} is a place with its own weights, and --checkpoint gives others ({checkpoint}).",
                hint="Give either --model PATH, or --model NAME with --checkpoint PATH.",
            )
        file = read_page_weights(Path(name))
        return config_of(file), file
    wanted = released_page_config(name)
    if checkpoint is None:
        raise own_file_needed(GAZE_MODELS[name])
    file = read_page_weights(checkpoint)
    config = config_of(file)
    if config.name != wanted.name:
        raise CheckpointError(
            f"{file.path} has the weights of {config.name}, not of {name}.",
            hint=f"Give --model {config.name if config.name in PAGE_MODELS else file.path}, or weights of {name}.",
            path=str(file.path),
        )
    return config, file
