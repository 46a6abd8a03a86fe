"""The engines by name: where the workers of an extraction run, and the settings that `--NAME KEY=VALUE` gives them.

A new engine is a module of this package, one entry here and one word in `gazetools.schemas.extract.ENGINE_NAMES`; from
outside, `register` adds both. Nothing here imports an engine before it is used, since `--help` reads this table.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_origin

from gazetools.schemas.base import StrictModel, parse_settings
from gazetools.schemas.errors import EnvironmentLacksError, UsageError
from gazetools.schemas.extract import ENGINE_NAMES
from gazetools.schemas.ray import RayOptions
from gazetools.schemas.slurm import SlurmOptions


@dataclass(frozen=True, kw_only=True)
class Engine:
    """One way to run the workers of an extraction."""

    name: str
    """Value of `--engine`, and name of the flag with its settings."""
    module: str
    """Module with `run(inputs, output, options, settings, progress) -> ExtractReport`. It may also have
    `script(inputs, output, options, settings) -> str`, which `--dry-run` prints."""
    settings: type[StrictModel] | None = None
    """Model of the KEY=VALUE pairs; None: the engine has none."""

    def parse(self, pairs: Sequence[str]) -> StrictModel | None:
        """Settings from `KEY=VALUE` texts; a key whose field is a list may come several times."""
        if self.settings is None:
            return None
        values: dict[str, Any] = {}
        fields = self.settings.model_fields
        for pair in pairs:
            key, equals, value = pair.partition("=")
            if not equals:
                raise UsageError(f"--{self.name} {pair} has no '='.", hint="Write it as KEY=VALUE.")
            if key in fields and get_origin(fields[key].annotation) is list:
                values.setdefault(key, []).append(value)
            else:
                values[key] = int(value) if value.isdigit() else value
        return parse_settings(self.settings, values, what=f"extract --{self.name}")

    def load(self) -> Any:
        """The engine's module."""
        return importlib.import_module(self.module)


ENGINES: dict[str, Engine] = {
    engine.name: engine
    for engine in (
        Engine(name="local", module="gazetools.engines.local"),
        Engine(name="slurm", module="gazetools.engines.slurm", settings=SlurmOptions),
        Engine(name="ray", module="gazetools.engines.ray", settings=RayOptions),
    )
}


def register(engine: Engine) -> None:
    """Add an engine from outside this package. Raises ValueError where its name is taken."""
    ENGINE_NAMES.add(engine.name)
    ENGINES[engine.name] = engine


def engine_settings(name: str, pairs: Mapping[str, Sequence[str]]) -> StrictModel | None:
    """Settings of engine `name` (None: it has none); UsageError for a wrong pair and for pairs of another engine."""
    for other, given in pairs.items():
        if given and other != name:
            raise UsageError(f"--{other} {given[0]} needs --engine {other}.", hint=f"Add it, or leave --{other} out.")
    return ENGINES[name].parse(pairs.get(name, ()))


def import_for(engine: str, package: str, *, otherwise: str) -> Any:
    """The package that an engine needs; without it EnvironmentLacksError says how to get it, or what to do instead."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise EnvironmentLacksError(
            f"--engine {engine} needs {package}, which can't be imported: {error}.",
            hint=f"Install it: pip install 'gazetools[{engine}]'. Or {otherwise}.",
        ) from error
