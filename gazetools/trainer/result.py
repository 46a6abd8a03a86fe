"""What a run gives back and leaves as `result.json`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from gazetools.schemas.errors import ExitCode


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """The outcome of `train`."""

    status: Literal["done", "interrupted", "dry_run"]
    folder: str
    epochs_done: int
    steps_done: int
    random_weights: bool
    anchor_rule: str
    data: dict[str, Any]
    """Clips, videos, classes, heatmap coverage and what was left out, per split."""
    model: dict[str, Any]
    """Parameters in all and trained, tokens, sizes."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Of the last finished epoch: `train_*` and `val_<anchor>_*`."""
    best: dict[str, Any] | None = None
    """Epoch, metric name, value and checkpoint of the chosen epoch, where the run has one model."""
    best_by_learner: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    """Models that were dropped, and why."""
    final: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Model -> split (`held_out`, `val_<anchor>`, `horizon_<seconds>`) -> metrics with the chosen weights."""
    horizons: list[float] = field(default_factory=list)
    processes: int = 1
    checkpoint: str | None = None
    notes: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    """The resolved config."""

    @property
    def exit_code(self) -> ExitCode:
        """0, or 130 where the run was interrupted."""
        return ExitCode.INTERRUPTED if self.status == "interrupted" else ExitCode.OK

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)
