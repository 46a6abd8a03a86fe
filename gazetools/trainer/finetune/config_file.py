"""Read a config of `finetune`: YAML with overrides, checked as a whole, relative paths as they stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gazetools.io.yaml_files import read_yaml_mapping
from gazetools.schemas.base import parse_settings
from gazetools.schemas.finetune import FinetuneConfig
from gazetools.trainer.plan.config import apply_overrides


def load_finetune_config(config: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> FinetuneConfig:
    """The checked config of a YAML file or mapping with `key.path=value` overrides applied.

    Raises UsageError with every unknown key (and its nearest known name) and every wrong value at once.
    """
    if isinstance(config, Mapping):
        values, what = dict(config), "The finetune config"
    else:
        values, what = read_yaml_mapping(Path(config)), str(config)
    return parse_settings(FinetuneConfig, apply_overrides(values, overrides), what=what)
