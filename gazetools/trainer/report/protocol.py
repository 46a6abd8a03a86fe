"""Whether runs may be compared: the settings that decide what is measured must be equal in all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gazetools.schemas.errors import UsageError

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
    "model_kwargs.pretrain_kwargs.encoder",
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
    found: Any = config
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found
