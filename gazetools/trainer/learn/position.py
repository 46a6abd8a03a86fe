"""Where a run stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(kw_only=True)
class Position:
    """Where a run stands; all of it is saved."""

    epoch: int = 0
    step_in_epoch: int = 0
    global_step: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    """One entry per finished epoch."""
    final: dict[str, Any] | None = None
    """What the chosen weights gave at the end of the run."""
