"""The engines by name: where the workers of an extraction run, and the settings that `--NAME KEY=VALUE` gives them.

A new engine is a module of this package, one entry here and one word in `gazetools.schemas.extract.ENGINE_NAMES`; from
outside, `register` adds both. Nothing here imports an engine before it is used, since `--help` reads this table.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_origin

from gazetools.progress import Progress
from gazetools.schemas.base import StrictModel, parse_settings
from gazetools.schemas.errors import EnvironmentLacksError, UsageError
from gazetools.schemas.extract import ENGINE_NAMES, ExtractOptions, ExtractReport
from gazetools.schemas.ray import RayOptions
from gazetools.schemas.slurm import SlurmOptions


@dataclass(frozen=True, kw_only=True)
class Engine:
    """One way to run the workers of an extraction."""

    name: str
    """Value of `--engine`, and name of the flag with its settings."""
    module: str
    """Module with `run(inputs, output, options, settings, progress) -> ExtractReport`."""
    settings: type[StrictModel] | None = None
    """Model of the KEY=VALUE pairs; None: the engine has none."""
    has_script: bool = False
    """The module also has `script(inputs, output, options, settings) -> str`, which `--dry-run` prints."""

    def parse(self, pairs: Sequence[str]) -> StrictModel | None:
        """Settings from `KEY=VALUE` texts; a key whose field is a list may come several times."""
        values = self.values(pairs)
        return None if self.settings is None else parse_settings(self.settings, values, what=f"extract --{self.name}")

    def values(self, pairs: Sequence[str]) -> dict[str, Any]:
        """`KEY=VALUE` texts as a mapping that is not checked yet. Raises UsageError for a text without '='."""
        values: dict[str, Any] = {}
        fields = {} if self.settings is None else self.settings.model_fields
        for pair in pairs:
            key, equals, value = pair.partition("=")
            if not equals:
                raise UsageError(f"--{self.name} {pair} has no '='.", hint="Write it as KEY=VALUE.")
            if key in fields and get_origin(fields[key].annotation) is list:
                values.setdefault(key, []).append(value)
            else:
                values[key] = int(value) if value.isdigit() else value
        return values

    def run(
        self, inputs: Sequence[str], output: Path, options: ExtractOptions, settings: Any, progress: Progress
    ) -> ExtractReport:
        """Extract `inputs` into the store `output`; raises as `gazetools.extract`."""
        report: ExtractReport = importlib.import_module(self.module).run(inputs, output, options, settings, progress)
        return report

    def script(self, inputs: Sequence[str], output: Path, options: ExtractOptions, settings: Any) -> str:
        """The text of a script that does the same elsewhere; only where `has_script`."""
        return str(importlib.import_module(self.module).script(inputs, output, options, settings))


ENGINES: dict[str, Engine] = {
    engine.name: engine
    for engine in (
        Engine(name="local", module="gazetools.engines.local"),
        Engine(name="slurm", module="gazetools.engines.slurm", settings=SlurmOptions, has_script=True),
        Engine(name="ray", module="gazetools.engines.ray", settings=RayOptions),
    )
}


def import_package(package: str, *, engine: str, instead: str) -> Any:
    """The module `package` of the extra `engine`. Raises EnvironmentLacksError where it can't be imported."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise EnvironmentLacksError(
            f"--engine {engine} needs {package}, which can't be imported: {error}.",
            hint=f"Install it: pip install 'gazetools[{engine}]'. Or {instead}.",
        ) from error


def register(engine: Engine) -> None:
    """Add an engine from outside this package. Raises ValueError where its name is taken."""
    ENGINE_NAMES.add(engine.name)
    ENGINES[engine.name] = engine


def engine_settings(name: str, pairs: Mapping[str, Sequence[str]]) -> StrictModel | None:
    """Settings of engine `name` from the KEY=VALUE pairs given for each engine; None where it has none.

    Raises UsageError for a wrong pair, and for pairs of another engine.
    """
    for other, given in pairs.items():
        if given and other != name:
            ENGINES[other].values(given)
            raise UsageError(f"--{other} {given[0]} needs --engine {other}.", hint=f"Add it, or leave --{other} out.")
    return ENGINES[name].parse(pairs.get(name, ()))
