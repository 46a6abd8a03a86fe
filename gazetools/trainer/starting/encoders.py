"""The encoder of a new config, recognised from its file or folder: family, sizes, and what a clip looks like for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from gazetools.io.json_files import read_json
from gazetools.schemas.errors import CheckpointError, UsageError
from gazetools.schemas.training import RANDOM_WEIGHTS
from gazetools.trainer.models.build import read_checkpoint
from gazetools.trainer.models.keys import strip_prefixes
from gazetools.trainer.models.sizes import ENCODER_SIZES
from gazetools.trainer.models.transformers_folder import CONFIG_NAME, transformers_folder

_RELEASED = {"vit_giant": "vit_giant_xformers", "vit_gigantic": "vit_gigantic_xformers"}
"""Names of one width and depth: V-JEPA 2 releases those with the heads of the second."""
_TINY = "vit_tiny_test"


@dataclass(frozen=True, kw_only=True)
class FoundVersion21:
    """What the predictor's weights say of a V-JEPA 2.1 checkpoint."""

    levels: int
    """Levels of the encoder that the predictor reads."""
    teacher_width: int | None
    """Channels of the predicted tokens where they are not those that are read."""
    context_head: bool

    @staticmethod
    def of(weights: Mapping[str, Tensor], predictor: Mapping[str, Tensor]) -> FoundVersion21 | None:
        """From encoder and predictor by V-JEPA 2's names; None for version 2.0."""
        if not any(key.startswith("norms_block.") for key in weights):
            return None
        levels = 4 if "predictor_embed.0.weight" in predictor else 1
        read = levels * weights["patch_embed.proj.weight"].shape[0]
        given = predictor["predictor_proj.weight"].shape[0] if "predictor_proj.weight" in predictor else read
        return FoundVersion21(
            levels=levels,
            teacher_width=given if given != read else None,
            context_head="predictor_proj_context.weight" in predictor,
        )


@dataclass(frozen=True, kw_only=True)
class FoundEncoder:
    """An encoder and the clips that it reads."""

    checkpoint: str
    what: str
    """Family and size, for people."""
    embed_dim: int
    resolution: int
    frames_per_clip: int
    patch_size: int = 16
    tubelet_size: int = 2
    model_name: str | None = None
    """Key of the config; None: the sizes come from the checkpoint's own config."""
    checkpoint_key: str | None = None
    version21: FoundVersion21 | None = None
    """None: V-JEPA 2.0."""

    @property
    def is_random(self) -> bool:
        """Whether it has no weights and is for trials only."""
        return self.checkpoint == RANDOM_WEIGHTS

    @property
    def tokens_bytes(self) -> int:
        """Bytes of a clip's tokens in float32."""
        cells = (self.resolution // self.patch_size) ** 2
        levels = 1 if self.version21 is None else self.version21.levels
        return 4 * levels * self.embed_dim * cells * (self.frames_per_clip // self.tubelet_size)


def find_encoder(name: str) -> FoundEncoder:
    """The encoder that `--encoder` names.

    Raises UsageError for a name that is nothing, CheckpointError for a file that is no V-JEPA 2, EnvironmentLacksError
    for a hub name that was not downloaded.
    """
    if name == RANDOM_WEIGHTS:
        size = ENCODER_SIZES[_TINY]
        return FoundEncoder(
            checkpoint=name, what=f"{_TINY} with random weights, for trials only", embed_dim=size.embed_dim,
            resolution=64, frames_per_clip=8, model_name=_TINY,
        )  # fmt: skip
    folder = transformers_folder(name)
    if folder is not None:
        return _of_folder(name, folder)
    if not Path(name).is_file():
        raise UsageError(
            f"--encoder {name}: it is no file, no folder and no name on the Hugging Face hub.",
            hint="Pass Meta's .pt file, a folder of save_pretrained, a name such as facebook/vjepa2-vitl-fpc64-256, or "
            "random for a small encoder to try with.",
        )
    return _of_file(name)


def _of_folder(name: str, folder: Path) -> FoundEncoder:
    path = folder / CONFIG_NAME
    if not path.is_file():
        raise CheckpointError(
            f"The folder {folder} has no {CONFIG_NAME}.", hint="Pass a folder that transformers' save_pretrained wrote."
        )
    facts: dict[str, Any] = read_json(path)
    if facts.get("model_type") != "vjepa2":
        raise CheckpointError(f"{path} describes a model of type {facts.get('model_type')!r}; vjepa2 is needed.")
    width, depth = int(facts.get("hidden_size", 1024)), int(facts.get("num_hidden_layers", 24))
    known = next((n for n, size in ENCODER_SIZES.items() if (size.embed_dim, size.depth) == (width, depth)), "V-JEPA 2")
    return FoundEncoder(
        checkpoint=name, what=f"{known}, width {width}, {depth} blocks, from {CONFIG_NAME}", embed_dim=width,
        resolution=int(facts.get("crop_size", 256)), frames_per_clip=min(32, int(facts.get("frames_per_clip", 64))),
        patch_size=int(facts.get("patch_size", 16)), tubelet_size=int(facts.get("tubelet_size", 2)),
    )  # fmt: skip


def _of_file(name: str) -> FoundEncoder:
    """Meta's file: the weights say width, depth and patches; the resolution is in the file's name or 256."""
    checkpoint = read_checkpoint(Path(name))
    key = next(
        (one for one in ("target_encoder", "ema_encoder", "encoder") if isinstance(checkpoint.get(one), dict)), None
    )
    if key is None:
        there = ", ".join(map(str, [*checkpoint][:8]))
        raise CheckpointError(
            f"{name} has no weights under 'target_encoder', 'ema_encoder' or 'encoder'; it has {there}.",
            hint="Pass a checkpoint of V-JEPA 2, such as vitl.pt.",
        )
    weights = strip_prefixes({k: v for k, v in checkpoint[key].items() if isinstance(v, Tensor)})
    patches = weights.get("patch_embed.proj.weight")
    if patches is None or patches.ndim != 5:
        raise CheckpointError(
            f"{name}: {key!r} has no patch_embed.proj.weight of a video encoder.",
            hint="Pass a checkpoint of V-JEPA 2, such as vitl.pt.",
        )
    width, depth = patches.shape[0], len({k.split(".")[1] for k in weights if k.startswith("blocks.")})
    found = next((n for n, size in ENCODER_SIZES.items() if (size.embed_dim, size.depth) == (width, depth)), None)
    if found is None:
        raise CheckpointError(
            f"{name} has an encoder of width {width} with {depth} blocks, which is none of {', '.join(ENCODER_SIZES)}.",
            hint="Write the config by hand: embed_dim, depth and num_heads under pretrain_kwargs.encoder.",
        )
    found = _RELEASED.get(found, found)
    if not isinstance(checkpoint.get("predictor"), dict):
        raise CheckpointError(
            f"{name} has no weights under 'predictor', which anticipation needs.",
            hint="Pass the whole checkpoint of V-JEPA 2.",
        )
    predictor = strip_prefixes({k: v for k, v in checkpoint["predictor"].items() if isinstance(v, Tensor)})
    later = FoundVersion21.of(weights, predictor)
    what = f"{'V-JEPA 2.1 ' if later else ''}{found}, width {width}, {depth} blocks, from its weights"
    return FoundEncoder(
        checkpoint=name, what=what, embed_dim=width, version21=later,
        resolution=384 if "384" in Path(name).stem else 256, frames_per_clip=32, patch_size=patches.shape[-1],
        tubelet_size=patches.shape[2], model_name=found, checkpoint_key=key,
    )  # fmt: skip
