"""Whether runs may be compared: the settings that decide what is measured must be equal in all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gazetools.schemas.base import default_at
from gazetools.schemas.errors import UsageError
from gazetools.schemas.training import EncoderSettings, TrainingConfig

_PROTOCOL = (
    "compat",
    "experiment.data.anchor",
    "experiment.data.anticipation_time_sec",
    "experiment.data.val_anticipation_point",
    "experiment.data.evaluation_crop",
    "experiment.data.resolution",
    "experiment.data.frames_per_clip",
    "experiment.data.frames_per_second",
    "experiment.evaluation.choose",
    "experiment.evaluation.held_out",
    "model_kwargs.checkpoint",
    "model_kwargs.pretrain_kwargs.use_v2_1",
    *(f"model_kwargs.pretrain_kwargs.encoder.{name}" for name in EncoderSettings.model_fields),
)
"""Keys of the config: what a clip shows, when it ends, and who chose the epoch. Paths may differ between machines."""


def check_one_protocol(configs: Mapping[str, Mapping[str, Any]]) -> None:
    """UsageError for runs (name -> config) that measure different things, with the key and both values."""
    (first, expected), *others = configs.items()
    for name, config in others:
        for key in _PROTOCOL:
            values = _at(expected, key), _at(config, key)
            if values[0] != values[1]:
                raise UsageError(
                    f"{first} and {name} follow different protocols: {key} is {str(values[0])[:100]} in the one and "
                    f"{str(values[1])[:100]} in the other.",
                    hint="Report runs of equal protocol together, others apart.",
                )


def _at(config: Mapping[str, Any], key: str) -> Any:
    """The value of a dotted key; its default where the run's version did not know the key."""
    found: Any = config
    for part in key.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return default_at(TrainingConfig, key)
        found = found[part]
    return found
