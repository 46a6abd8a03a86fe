"""`--slurm`, `--ray` and the Slurm environment of `gazetools extract`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from gazetools.cli.common import TERMINAL

if TYPE_CHECKING:
    from gazetools.schemas.extract import ExtractOptions
    from gazetools.schemas.ray import RayOptions
    from gazetools.schemas.slurm import SlurmOptions


def slurm_settings(pairs: list[str], options: ExtractOptions) -> SlurmOptions | None:
    """`--slurm KEY=VALUE ...` as settings; None for another engine."""
    from gazetools.schemas.base import parse_settings
    from gazetools.schemas.slurm import SlurmOptions

    values = _values("slurm", pairs, options.engine, lists=("setup",))
    return None if values is None else parse_settings(SlurmOptions, values, what="extract --slurm")


def ray_settings(pairs: list[str], options: ExtractOptions) -> RayOptions | None:
    """`--ray KEY=VALUE ...` as settings; None for another engine."""
    from gazetools.schemas.base import parse_settings
    from gazetools.schemas.ray import RayOptions

    values = _values("ray", pairs, options.engine)
    return None if values is None else parse_settings(RayOptions, values, what="extract --ray")


def _values(name: str, pairs: list[str], engine: str, *, lists: tuple[str, ...] = ()) -> dict[str, Any] | None:
    """KEY=VALUE pairs of `--NAME` as a mapping; keys of `lists` may come several times. None for another engine."""
    from gazetools.schemas.errors import UsageError

    values: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"--{name} {pair} has no '='.", hint="Write it as KEY=VALUE.")
        if key in lists:
            values.setdefault(key, []).append(value)
        else:
            values[key] = int(value) if value.isdigit() else value
    if engine == name:
        return values
    if pairs:
        raise UsageError(f"--{name} {pairs[0]} needs --engine {name}.", hint=f"Add it, or leave --{name} out.")
    return None


def slurm_shard() -> str | None:
    """I/N of a Slurm array task; None outside of one."""
    values = [os.environ.get(f"SLURM_ARRAY_TASK_{name}") for name in ("ID", "COUNT")]
    if values[0] is None or values[1] is None:
        return None
    first, step = (int(os.environ.get(f"SLURM_ARRAY_TASK_{name}", "1")) for name in ("MIN", "STEP"))
    shard = f"{(int(values[0]) - first) // step + 1}/{values[1]}"
    TERMINAL.say(f"Slurm array task {values[0]}: doing shard {shard} of the inputs. --shard 1/1 does all of them here.")
    return shard
