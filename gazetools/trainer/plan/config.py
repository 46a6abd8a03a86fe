"""The training config: reading the YAML, `key.path=value` overrides, and its JSON schema for editors."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from gazetools.io.yaml_files import parse_yaml, read_yaml_mapping
from gazetools.schemas.base import parse_settings
from gazetools.schemas.errors import UsageError
from gazetools.schemas.flags import field_docstrings
from gazetools.schemas.training import TrainingConfig

_MAX_DEPTH = 32


def apply_overrides(values: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """A copy of `values` with every `key.path=value` set; values are YAML, list entries are named by number.

    Example: `["experiment.optimization.batch_size=4", "experiment.optimization.multihead_kwargs.0.lr=1e-4"]`.
    """
    result = copy.deepcopy(dict(values))
    for override in overrides:
        path, equals, text = override.partition("=")
        parts = path.strip().split(".")
        if not equals or not all(parts) or len(parts) > _MAX_DEPTH:
            raise UsageError(
                f"The override {override!r} is not of the form key.path=value.",
                hint="For example: experiment.optimization.num_epochs=1",
            )
        _set_at(result, parts, parse_yaml(text, what=f"The value of {path}"), override)
    return result


def _set_at(values: dict[str, Any], parts: list[str], value: Any, override: str) -> None:
    current: Any = values
    for depth, part in enumerate(parts):
        key: Any = part
        if isinstance(current, list):
            if not part.isdigit() or int(part) >= len(current):
                raise UsageError(
                    f"The override {override!r} names entry {part!r} of a list with {len(current)} entries.",
                    hint=f"Use a number in 0..{len(current) - 1}, or set the whole list.",
                )
            key = int(part)
        elif not isinstance(current, dict):
            raise UsageError(
                f"The override {override!r} goes below '{'.'.join(parts[:depth])}', which is a single value."
            )
        if depth == len(parts) - 1:
            current[key] = value
        elif isinstance(current, dict) and current.get(key) is None:
            current[key] = current = {}
        else:
            current = current[key]


def load_config(config: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> TrainingConfig:
    """The checked config of a YAML file or mapping with overrides applied.

    Raises UsageError with every unknown key (and its nearest known name) and every wrong value at once.
    """
    if isinstance(config, Mapping):
        values, what = dict(config), "The training config"
    else:
        values, what = read_yaml_mapping(Path(config)), str(config)
    return parse_settings(TrainingConfig, apply_overrides(values, overrides), what=what)


def json_schema(model: type[BaseModel] = TrainingConfig, *, title: str = "gazetools training config") -> dict[str, Any]:
    """JSON schema of a config for editors, with the docstring under each field as its description."""
    schema = model.model_json_schema(schema_generator=_DescribedFields)
    return {"$schema": _DescribedFields.schema_dialect, **schema, "title": title}


class _DescribedFields(GenerateJsonSchema):
    """pydantic's generator, which reads field docstrings only when a schema is asked for: reading takes about 14 ms
    per model, too long for each import of the settings."""

    def model_schema(self, schema: core_schema.ModelSchema) -> dict[str, Any]:
        made = super().model_schema(schema)
        for name, text in field_docstrings(schema["cls"]).items():
            if name in made.get("properties", {}):
                made["properties"][name]["description"] = " ".join(text.split())
        return made
