"""Whether the weights of a checkpoint are those of the config's model: version, levels, widths, then every key."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from gazetools.schemas.errors import CheckpointError
from gazetools.schemas.training_model import PretrainSettings

_PRETRAIN = "model_kwargs.pretrain_kwargs"
_CONTEXT_HEAD = "predictor_proj_context."


def refuse_other_version(encoder: Mapping[str, Tensor], *, use_v2_1: bool, path: str) -> None:
    """Raise CheckpointError where a 2.0 encoder is read as 2.1 or the reverse; keys by this package's names."""
    is_2_1, is_2_0 = any(key.startswith("norms_block.") for key in encoder), "norm.weight" in encoder
    if use_v2_1 and is_2_0 and not is_2_1:
        raise CheckpointError(
            f"{path} holds V-JEPA 2.0 (its encoder has norm.weight and no norms_block), but {_PRETRAIN}.use_v2_1 is "
            "true.",
            hint=f"Set {_PRETRAIN}.use_v2_1=false and remove the keys of 2.1, or use a checkpoint such as "
            "vjepa2_1_vitl_dist_vitG_384.pt.",
        )
    if not use_v2_1 and is_2_1:
        raise CheckpointError(
            f"{path} holds V-JEPA 2.1 (its encoder has norms_block), but {_PRETRAIN}.use_v2_1 is false.",
            hint=f"Set {_PRETRAIN}.use_v2_1=true with the keys of docs/vjepa21.md, or use a checkpoint of V-JEPA 2.0.",
        )


def refuse_other_predictor(
    predictor: Mapping[str, Tensor], settings: PretrainSettings, *, encoder_width: int, path: str
) -> None:
    """Raise CheckpointError where a V-JEPA 2.1 predictor has other levels or another output than the config says."""
    wanted = settings.predictor.n_output_distillation
    found = 4 if "predictor_embed.0.weight" in predictor else 1
    if ("predictor_embed.weight" in predictor or "predictor_embed.0.weight" in predictor) and found != wanted:
        raise CheckpointError(
            f"The predictor of {path} reads {found} level(s) of the encoder, "
            f"{_PRETRAIN}.predictor.n_output_distillation is {wanted}.",
            hint=f"Set it to {found}: 1 for ViT-B and ViT-L, 4 for ViT-g and ViT-G.",
        )
    head = predictor.get("predictor_proj.weight")
    given = settings.predictor.teacher_embed_dim
    if head is not None and head.shape[0] != (given or wanted * encoder_width):
        raise CheckpointError(
            f"The predictor of {path} gives {head.shape[0]} channels, the config asks for "
            f"{given or wanted * encoder_width} ({_PRETRAIN}.predictor.teacher_embed_dim is "
            f"{'not set' if given is None else given}).",
            hint=f"Set teacher_embed_dim={head.shape[0]}: probes read the last {encoder_width} channels, which are the "
            "teacher's, as in V-JEPA 2's code.",
        )


def without_context_head(predictor: Mapping[str, Tensor], settings: PretrainSettings) -> dict[str, Tensor]:
    """The weights that a predictor has with `return_all_tokens` as it is: without, those of the context's head go."""
    keep = settings.predictor.return_all_tokens or not settings.use_v2_1
    return {key: value for key, value in predictor.items() if keep or not key.startswith(_CONTEXT_HEAD)}
