"""`load_model`: from a name or a file, through the cache or local weights, to a checked model on a device."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import torch

from gazetools.gazemodels.gazelle.backbone import build_backbone
from gazetools.gazemodels.gazelle.checkpoints import (
    WeightFile,
    read_metadata,
    read_transformers_folder,
    read_weight_file,
)
from gazetools.gazemodels.gazelle.config import (
    BACKBONE_URLS,
    CONFIG_METADATA_KEY,
    DECODER_URLS,
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
from gazetools.gazemodels.weights import RemoteFile, obtain
from gazetools.progress import Progress
from gazetools.schemas.errors import CheckpointError, EnvironmentLacksError, UsageError

DtypeName = Literal["auto", "float32", "bfloat16", "float16"]
TINY_WEIGHTS = Path(__file__).parent / "weights_tiny" / "gazelle_tiny.safetensors"
"""Package data; made by `gazetools.finetune`, described in docs/gazelle-tiny.md."""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


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
        dtype: `auto` is float32 on the CPU and bfloat16 on CUDA.
        in_size: (height, width) of the model input, multiples of 14; default as released, (448, 448).
        offline: True never touches the network; None asks `$GAZETOOLS_OFFLINE`.
        preprocess: `exact` or `fast`, see `gazetools.gazemodels.gazelle.preprocess.preprocess`.
        pack: oneDNN's layout for the wide linear layers on the CPU; `auto` where it pays, see
            `gazetools.gazemodels.gazelle.packed`.
        progress: told of downloads.

    Raises:
        CheckpointError: weights that do not fit, with every missing, unexpected and mis-shaped tensor (exit 2).
        EnvironmentLacksError: no weights and no network, or no such device, with the remedy (exit 3).
        UsageError: an unknown name, dtype, device or in_size (exit 2).
    """
    if preprocess not in ("exact", "fast"):
        raise UsageError(f"preprocess={preprocess!r} is neither 'exact' nor 'fast'.")
    torch_device = resolve_device(device)
    torch_dtype = resolve_dtype(dtype, torch_device)
    config, checkpoint_file = _find_decoder(name_or_path, checkpoint, backbone, offline, progress)
    if in_size is not None:
        config = config.with_in_size(in_size)
    backbone_file = _find_backbone(config, checkpoint_file, backbone, offline, progress)
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


def resolve_device(device: str | torch.device) -> torch.device:
    """`auto`, `cpu`, `cuda` or `cuda:N` as a device that is there.

    Raises:
        UsageError: another word. EnvironmentLacksError: CUDA, or that card, is missing.
    """
    text = str(device)
    if text == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    kind, _, number = text.partition(":")
    if text != "cpu" and not (kind == "cuda" and (number.isdigit() or text == "cuda")):
        raise UsageError(f"device={text!r} is unknown.", hint="Use auto, cpu, cuda or cuda:N.")
    if text == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "a CPU build"
        raise EnvironmentLacksError(
            f"device={text!r}: CUDA is not available (torch {torch.__version__} is {built}).",
            hint="Use --device cpu, or install a CUDA build of torch and a driver (https://pytorch.org/get-started).",
        )
    index = int(number or 0)
    if index >= torch.cuda.device_count():
        raise EnvironmentLacksError(
            f"device={text!r}: this machine has {torch.cuda.device_count()} CUDA device(s), numbered from 0.",
            hint="Use one of those, or --device auto.",
        )
    return torch.device("cuda", index)


def resolve_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """The torch dtype for `auto`, `float32`, `bfloat16` or `float16` on `device`; else UsageError."""
    if dtype == "auto":
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    if dtype not in DTYPES:
        raise UsageError(f"dtype={dtype!r} is unknown.", hint=f"Use auto, {', '.join(DTYPES)}.")
    return DTYPES[dtype]


def _find_decoder(
    name_or_path: str | os.PathLike[str],
    checkpoint: str | os.PathLike[str] | None,
    backbone: str | os.PathLike[str] | None,
    offline: bool | None,
    progress: Progress | None,
) -> tuple[GazelleConfig, WeightFile]:
    name = os.fspath(name_or_path)
    if name == TINY_MODEL.name:
        if checkpoint is None and not TINY_WEIGHTS.exists():
            raise EnvironmentLacksError(
                f"The weights of {name} are not in this installation ({TINY_WEIGHTS}).",
                hint="Train them with `make gazelle-tiny` in a clone and give --model gazelle_tiny_run/"
                "gazelle_tiny.safetensors, or use another model.",
                model=name,
            )
        return TINY_MODEL, read_weight_file(TINY_WEIGHTS if checkpoint is None else Path(checkpoint))
    if name not in RELEASED_MODELS and _is_path(name):
        return _self_describing(Path(name), checkpoint)
    config = released_config(name)
    if checkpoint is not None:
        return config, read_weight_file(Path(checkpoint))
    wanted = [RemoteFile(DECODER_URLS[name], "--checkpoint")]
    if backbone is None:
        # Both at once, so that a machine without network is told of both.
        wanted.append(RemoteFile(BACKBONE_URLS[config.backbone.name], "--backbone"))
    path, sha256 = obtain(wanted, offline=offline, progress=progress)[0]
    return config, read_weight_file(path, sha256=sha256)


def _is_path(name: str) -> bool:
    return Path(name).exists() or Path(name).suffix.lower() in {".safetensors", ".pt", ".pth"}


def _self_describing(path: Path, checkpoint: str | os.PathLike[str] | None) -> tuple[GazelleConfig, WeightFile]:
    if checkpoint is not None:
        raise UsageError(
            f"The model {path} is a file with its own weights, and checkpoint={os.fspath(checkpoint)!r} gives others.",
            hint="Give either --model PATH, or --model NAME with --checkpoint PATH.",
        )
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise CheckpointError(
            f"The model file {path} {what}.", hint=f"Known names: {', '.join([*RELEASED_MODELS, TINY_MODEL.name])}."
        )
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
    config: GazelleConfig,
    checkpoint: WeightFile,
    backbone: str | os.PathLike[str] | None,
    offline: bool | None,
    progress: Progress | None,
) -> WeightFile | None:
    if backbone is not None:
        path = Path(backbone)
        return read_transformers_folder(path, config.backbone) if path.is_dir() else read_weight_file(path)
    if any(key.startswith(BACKBONE_PREFIX) for key in checkpoint.tensors):
        return None
    url = BACKBONE_URLS.get(config.backbone.name)
    if url is None or "heatmap_head.0.weight" not in checkpoint.tensors:
        return None  # decoder_and_backbone then says what is missing; nothing is downloaded for a file of another kind
    path, sha256 = obtain([RemoteFile(url, "--backbone")], offline=offline, progress=progress)[0]
    return read_weight_file(path, sha256=sha256)
