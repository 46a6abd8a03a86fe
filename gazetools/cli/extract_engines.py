"""The Slurm environment of `gazetools extract`."""

from __future__ import annotations

import os

from gazetools.cli.common import TERMINAL


def slurm_shard() -> str | None:
    """I/N of a Slurm array task; None outside of one."""
    values = [os.environ.get(f"SLURM_ARRAY_TASK_{name}") for name in ("ID", "COUNT")]
    if values[0] is None or values[1] is None:
        return None
    first, step = (int(os.environ.get(f"SLURM_ARRAY_TASK_{name}", "1")) for name in ("MIN", "STEP"))
    shard = f"{(int(values[0]) - first) // step + 1}/{values[1]}"
    TERMINAL.say(f"Slurm array task {values[0]}: doing shard {shard} of the inputs. --shard 1/1 does all of them here.")
    return shard
