"""`load`: a gazelle-dinov3 model from a name and a file, or from a self-describing file, on a device."""

from __future__ import annotations

from pathlib import Path

from gazetools.gazemodels.devices import resolve_device, resolve_dtype
from gazetools.gazemodels.gazelle.checkpoints import WeightFile, read_metadata, read_weight_file
from gazetools.gazemodels.gazelle.model import GazelleModel
from gazetools.gazemodels.gazelle.packed import pack_linears, pays
from gazetools.gazemodels.gazelle_dinov3.reading_dinov3 import build_dinov3
from gazetools.gazemodels.gazelle_dinov3.variants_dinov3 import (
    DINOV3_MODELS,
    Dinov3GazeConfig,
    dinov3_config_from_metadata,
)
from gazetools.gazemodels.interface import LoadSettings
from gazetools.gazemodels.model_table import GAZE_MODELS
from gazetools.gazemodels.presence import own_file_needed
from gazetools.schemas.errors import UsageError


def load(settings: LoadSettings) -> GazelleModel:
    """A model of the family, in the form of a `gazetools.gazemodels.Loader`.

    `settings.name` is a key of `DINOV3_MODELS`, with its file as `checkpoint`, or the path of a self-describing
    .safetensors file. Nothing is ever downloaded.

    Raises CheckpointError for weights that do not fit (exit 2), EnvironmentLacksError without weights or the device
    (exit 3), UsageError for options that make no sense here (exit 2).
    """
    if settings.preprocess not in ("exact", "fast"):
        raise UsageError(f"preprocess={settings.preprocess!r} is neither 'exact' nor 'fast'.")
    if settings.backbone is not None:
        raise UsageError(
            f"The model {settings.name} has its backbone in its own file; --backbone {settings.backbone} is not used.",
            hint="Leave out --backbone.",
        )
    device = resolve_device(settings.device)
    dtype = resolve_dtype(settings.dtype, device)
    config, file = _find(settings)
    backbone, decoder = build_dinov3(config, file)
    model = GazelleModel(
        config,
        backbone,
        decoder,
        weights_sha256={"checkpoint": file.sha256},
        device=device,
        dtype=dtype,
        preprocess_kind=settings.preprocess,
    )
    if pays(settings.pack, device, dtype):
        pack_linears(model.backbone)
        pack_linears(model.decoder.transformer)
    return model


def _find(settings: LoadSettings) -> tuple[Dinov3GazeConfig, WeightFile]:
    name, checkpoint = settings.name, settings.checkpoint
    if name in DINOV3_MODELS:
        if checkpoint is None:
            raise own_file_needed(GAZE_MODELS[name])
        return DINOV3_MODELS[name], read_weight_file(Path(checkpoint), entry="model")
    if checkpoint is not None:
        raise UsageError(
            f"The model {name} is a file with its own weights, and --checkpoint {checkpoint} gives others.",
            hint="Give either --model PATH, or --model NAME with --checkpoint PATH.",
        )
    config = dinov3_config_from_metadata(read_metadata(Path(name)), path=name)
    if config is None:
        raise UsageError(f"There is no gazelle-dinov3 model {name!r}.", hint=f"Known: {', '.join(DINOV3_MODELS)}.")
    return config, read_weight_file(Path(name))
