"""Read a config of `finetune`: YAML with overrides, checked as a whole, relative paths as they stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gazetools.io.yaml_files import read_yaml_mapping
from gazetools.schemas.base import parse_settings
from gazetools.schemas.finetune import FinetuneConfig
from gazetools.schemas.finetune_from_nothing import FromNothingConfig
from gazetools.trainer.plan.config import apply_overrides


def load_finetune_config(
    config: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()
) -> FinetuneConfig | FromNothingConfig:
    """The checked config of a YAML file or mapping with `key.path=value` overrides applied.

    With a key `from_nothing` it is the recipe of gazelle_tiny.

    Raises UsageError with every unknown key (and its nearest known name) and every wrong value at once.
    """
    if isinstance(config, Mapping):
        values, what = dict(config), "The finetune config"
    else:
        values, what = read_yaml_mapping(Path(config)), str(config)
    values = apply_overrides(values, overrides)
    if "from_nothing" in values:
        return parse_settings(FromNothingConfig, values, what=what)
    return parse_settings(FinetuneConfig, values, what=what)


def processes_of(config: str | Path, overrides: Sequence[str] = ()) -> int:
    """Processes that a config asks for by itself: those of `from_nothing`, else one."""
    settings = load_finetune_config(config, overrides)
    return settings.from_nothing.ranks if isinstance(settings, FromNothingConfig) else 1
