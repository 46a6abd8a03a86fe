"""State dicts: V-JEPA 2's key names to this package's, and strict loading that lists every mismatch."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from gazetools.schemas.errors import CheckpointError

_PREFIXES = re.compile(r"^(?:(?:module|backbone)\.)+")
# Released checkpoints may hold these; with rotary positions nothing reads them.
_UNUSED = {"pos_embed", "predictor_pos_embed"}
_QKV = ("query", "key", "value")
_OWN_QUERY = re.compile(r"^((?:predictor_)?blocks\.\d+\.)attention\.query\.(weight|bias)$")
_OWN_KEY_VALUE = re.compile(r"^(?:predictor_)?blocks\.\d+\.attention\.(?:key|value)\.")
_ADDED = ("heatmap_tokens.", "heatmap_fusion.")
_UPSTREAM_QKV = re.compile(r"^((?:predictor_)?blocks\.\d+\.)attn\.qkv\.(weight|bias)$")


def strip_prefixes(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights without the prefixes `module.` and `backbone.` of Meta's training wrappers."""
    return {_PREFIXES.sub("", key): value for key, value in state.items()}


def from_upstream(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Encoder or predictor weights under V-JEPA 2's names -> this package's (fused qkv split into three)."""
    result: dict[str, Tensor] = {}
    for key, value in strip_prefixes(state).items():
        if key in _UNUSED:
            continue
        if match := _UPSTREAM_QKV.match(key):
            for name, part in zip(_QKV, value.chunk(3, dim=0), strict=True):
                result[f"{match[1]}attention.{name}.{match[2]}"] = part
        else:
            result[key.replace(".attn.proj.", ".attention.proj.")] = value
    return result


def to_upstream(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Encoder or predictor weights under this package's names -> V-JEPA 2's (query, key and value fused).

    Heatmap weights, which V-JEPA 2 does not have, keep their names.
    """
    result: dict[str, Tensor] = {}
    for key, value in state.items():
        if match := _OWN_QUERY.match(key):
            parts = [state[f"{match[1]}attention.{name}.{match[2]}"] for name in _QKV]
            result[f"{match[1]}attn.qkv.{match[2]}"] = torch.cat(parts, dim=0)
        elif not _OWN_KEY_VALUE.match(key):
            name = key if key.startswith(_ADDED) else key.replace(".attention.proj.", ".attn.proj.")
            result[name] = value
    return result


def load_strict(module: nn.Module, state: Mapping[str, Tensor], *, what: str, new: tuple[str, ...] = ()) -> list[str]:
    """Load `state` (own names) into `module`; every key must match in name and shape.

    Arguments and errors as of `refuse_misfit`; nothing is loaded where it raises.

    Returns the keys that were not loaded; all begin with a prefix of `new`.
    """
    refuse_misfit(module, state, what=what, new=new)
    module.load_state_dict(dict(state), strict=False)
    return [k for k in module.state_dict() if k not in state]


def refuse_misfit(module: nn.Module, state: Mapping[str, Tensor], *, what: str, new: tuple[str, ...] = ()) -> None:
    """Raise CheckpointError with the missing, unexpected and mis-shaped keys of `state` (own names) for `module`.

    Args:
        what: name of the weights in the error, such as `encoder weights of FILE`.
        new: prefixes of keys that `state` may lack (the heatmap part of a pretrained predictor).
    """
    own = module.state_dict()
    missing = [k for k in own if k not in state and not k.startswith(new)]
    unexpected = [k for k in state if k not in own]
    shapes = [
        f"{k}: file {tuple(state[k].shape)}, model {tuple(own[k].shape)}"
        for k in own
        if k in state and state[k].shape != own[k].shape
    ]
    wrong = {"missing": missing, "unexpected": unexpected, "mis-shaped": shapes}
    if any(wrong.values()):
        parts = [f"{len(keys)} {kind} ({_some(keys)})" for kind, keys in wrong.items() if keys]
        raise CheckpointError(
            f"The {what} do not fit the model: {'; '.join(parts)}.",
            hint="Check model_kwargs.checkpoint, checkpoint_key and the sizes under pretrain_kwargs.",
            missing=missing,
            unexpected=unexpected,
            mis_shaped=shapes,
        )


def _some(keys: list[str], limit: int = 6) -> str:
    return ", ".join(keys[:limit]) + (f" and {len(keys) - limit} more" if len(keys) > limit else "")
