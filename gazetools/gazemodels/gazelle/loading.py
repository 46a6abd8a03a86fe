"""`load_model`: from a name or a file, through the cache or local weights, to a checked model on a device."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeAlias, cast

import torch

from gazetools.gazemodels.devices import DtypeName, resolve_device, resolve_dtype
from gazetools.gazemodels.facts_gazelle import BACKBONE_URLS, DECODER_URLS
from gazetools.gazemodels.families import other_family
from gazetools.gazemodels.gazelle.backbone import build_backbone
from gazetools.gazemodels.gazelle.checkpoints import (
    WeightFile,
    read_metadata,
    read_transformers_folder,
    read_weight_file,
)
from gazetools.gazemodels.gazelle.config import (
    CONFIG_METADATA_KEY,
    RELEASED_MODELS,
    TINY_MODEL,
    GazelleConfig,
    config_from_metadata,
    released_config,
)
from gazetools.gazemodels.gazelle.decoder import GazeDecoder
from gazetools.gazemodels.gazelle.matching import BACKBONE_PREFIX, decoder_and_backbone
from gazetools.gazemodels.gazelle.model import GazelleModel
from gazetools.gazemodels.gazelle.packed import PackKind, pack_linears, pays
from gazetools.gazemodels.gazelle.preprocess import PreprocessKind
from gazetools.gazemodels.interface import LoadSettings
from gazetools.gazemodels.weights import RemoteFile, obtain
from gazetools.gazemodels.without_weights import RUNS_NOW
from gazetools.progress import Progress
from gazetools.schemas.errors import CheckpointError, EnvironmentLacksError, UsageError

TINY_WEIGHTS = Path(__file__).parent / "weights_tiny" / "gazelle_tiny.safetensors"
"""Package data; made by `gazetools.trainer.finetune.tiny`, described in docs/gazelle-tiny.md."""

_Obtain: TypeAlias = Callable[[list[RemoteFile]], list[tuple[Path, str]]]


def load_model(
    name_or_path: str | os.PathLike[str],
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    backbone: str | os.PathLike[str] | None = None,
    device: str | torch.device = "cpu",
    dtype: DtypeName = "auto",
    in_size: tuple[int, int] | None = None,
    offline: bool | None = None,
    preprocess: PreprocessKind = "exact",
    pack: PackKind = "auto",
    progress: Progress | None = None,
) -> GazelleModel:
    """Load a Gaze-LLE model for inference.

    Args:
        name_or_path: a released model (`gazelle_dinov2_vitb14`, `..._vitl14`, each also with `_inout`),
            `gazelle_tiny`, whose weights come with this package, or the path of a self-describing .safetensors file,
            which carries its shape in its metadata.
        checkpoint: decoder weights (.pt, .safetensors), with or without the backbone. Without it the released file is
            taken from the cache or downloaded.
        backbone: DINOv2 weights: the hub's .pth, .safetensors of the same names, or a folder of transformers. Without
            it those inside the checkpoint are used, else the released file from the cache or a download.
        device: `auto` (CUDA where there is one), `cpu`, `cuda` or `cuda:N`.
        dtype: `auto` is float32; `gazetools models NAME --check-precision VIDEO` shows which other one may be used.
        in_size: (height, width) of the model input, multiples of 14; default as released, (448, 448).
        offline: True never touches the network; None asks `$GAZETOOLS_OFFLINE`.
        preprocess: `exact` or `fast`, see `gazetools.gazemodels.gazelle.preprocess.preprocess`.
        pack: oneDNN's layout for the wide linear layers on the CPU; `auto` where it pays, see
            `gazetools.gazemodels.gazelle.packed`.
        progress: shows downloads.

    Raises CheckpointError for weights that do not fit, with every missing, unexpected and mis-shaped tensor (exit 2),
    EnvironmentLacksError without weights and network or the device, with the remedy (exit 3), UsageError for an unknown
    name, dtype, device or in_size (exit 2).
    """
    if preprocess not in ("exact", "fast"):
        raise UsageError(f"preprocess={preprocess!r} is neither 'exact' nor 'fast'.")
    torch_device = resolve_device(device)
    torch_dtype = resolve_dtype(dtype, torch_device)
    own_checkpoint, own_backbone = (None if path is None else Path(path) for path in (checkpoint, backbone))
    fetch = partial(obtain, offline=offline, progress=progress)
    config, checkpoint_file = _find_decoder(os.fspath(name_or_path), own_checkpoint, own_backbone, fetch)
    if in_size is not None:
        config = config.with_in_size(in_size)
    backbone_file = _find_backbone(config, checkpoint_file, own_backbone, fetch)
    decoder_tensors, hub_tensors = decoder_and_backbone(
        config, checkpoint_file, backbone_file, other_grid_allowed=in_size is not None
    )
    with torch.device("meta"):
        decoder = GazeDecoder(config)
    decoder.load_state_dict(decoder_tensors, strict=True, assign=True)
    sums = {"checkpoint": checkpoint_file.sha256}
    if backbone_file is not None:
        sums["backbone"] = backbone_file.sha256
    model = GazelleModel(
        config,
        build_backbone(config.backbone, config.in_size, hub_tensors),
        decoder,
        weights_sha256=sums,
        device=torch_device,
        dtype=torch_dtype,
        preprocess_kind=preprocess,
    )
    if pays(pack, torch_device, torch_dtype):
        pack_linears(model.backbone)
        pack_linears(model.decoder.transformer)
    return model


def load(settings: LoadSettings) -> GazelleModel:
    """`load_model` in the form of a `gazetools.gazemodels.Loader`."""
    return load_model(
        settings.name,
        checkpoint=settings.checkpoint,
        backbone=settings.backbone,
        device=settings.device,
        dtype=cast(DtypeName, settings.dtype),  # resolve_dtype refuses other words
        preprocess=settings.preprocess,
        pack=settings.pack,
        progress=settings.progress,
    )


def _find_decoder(
    name: str, checkpoint: Path | None, backbone: Path | None, fetch: _Obtain
) -> tuple[GazelleConfig, WeightFile]:
    if name == TINY_MODEL.name:
        if checkpoint is None and not TINY_WEIGHTS.exists():
            raise EnvironmentLacksError(
                f"The weights of {name} are not in this installation ({TINY_WEIGHTS}).",
                hint="Train them with `make gazelle-tiny` in a clone and give --model gazelle_tiny_run/"
                "gazelle_tiny.safetensors, or use another model.",
                model=name,
            )
        return TINY_MODEL, read_weight_file(checkpoint or TINY_WEIGHTS)
    if name not in RELEASED_MODELS and (Path(name).exists() or name.lower().endswith((".safetensors", ".pt", ".pth"))):
        return _self_describing(Path(name), checkpoint)
    config = released_config(name)
    if checkpoint is not None:
        return config, read_weight_file(checkpoint, entry="model")
    wanted = [RemoteFile(DECODER_URLS[name], "--checkpoint")]
    if backbone is None:
        # Both at once, so that the message on a machine without network names both.
        wanted.append(RemoteFile(BACKBONE_URLS[config.backbone.name], "--backbone"))
    return config, read_weight_file(*fetch(wanted)[0])


def _self_describing(path: Path, checkpoint: Path | None) -> tuple[GazelleConfig, WeightFile]:
    if checkpoint is not None:
        raise UsageError(
            f"The model {path} is a file with its own weights, and checkpoint={str(checkpoint)!r} gives others.",
            hint="Give either --model PATH, or --model NAME with --checkpoint PATH.",
        )
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        hint = f"Give a .safetensors file, or a name that `gazetools models` lists. {RUNS_NOW}"
        raise CheckpointError(f"The model file {path} {what}.", hint=hint)
    config = config_from_metadata(read_metadata(path), path=str(path))
    if config is None:
        raise CheckpointError(
            f"{path} does not describe its model: it has no metadata '{CONFIG_METADATA_KEY}', which only .safetensors "
            "files can have.",
            hint=f"Name the model and give the file as its weights: --model NAME --checkpoint '{path}'.",
            path=str(path),
        )
    return config, read_weight_file(path)


def _find_backbone(
    config: GazelleConfig, checkpoint: WeightFile, backbone: Path | None, fetch: _Obtain
) -> WeightFile | None:
    if backbone is not None:
        return read_transformers_folder(backbone, config.backbone) if backbone.is_dir() else read_weight_file(backbone)
    if any(key.startswith(BACKBONE_PREFIX) for key in checkpoint.tensors):
        return None
    if other_family(checkpoint.tensors, "Gaze-LLE"):
        return None  # decoder_and_backbone refuses it; nothing is downloaded for it
    url = BACKBONE_URLS.get(config.backbone.name)
    if url is None or "heatmap_head.0.weight" not in checkpoint.tensors:
        return None  # decoder_and_backbone then says what is missing; nothing is downloaded for a file of another kind
    return read_weight_file(*fetch([RemoteFile(url, "--backbone")])[0])
