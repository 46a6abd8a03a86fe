"""What `finetune` returns and prints."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from gazetools.schemas.errors import ExitCode

MISSING = frozenset({"picture_missing", "video_missing", "video_not_usable", "video_not_readable", "frame_missing"})
"""Reasons for which heads are left out that are nothing of the labels' own."""
RunStatus = Literal["done", "interrupted", "dry_run"]


@dataclass(frozen=True, kw_only=True)
class FinetuneResult:
    """The outcome of a training of a gaze model, or of the look at its data."""

    status: RunStatus
    folder: str
    model: dict[str, Any]
    """Name, parameters in all, those that learn, input and heatmap sizes."""
    data: dict[str, Any]
    """Heads, videos and shares of training and held-out heads, and what was left out."""
    epochs_done: int = 0
    steps_done: int = 0
    steps: int = 0
    """Steps of the whole training."""
    best: dict[str, Any] | None = None
    """Epoch, metric and value of the weights in `best.safetensors`; None without held-out heads."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Figures of the last finished epoch."""
    weights: str | None = None
    """File for `--model`; None before the first epoch ended."""
    page: str | None = None
    curve: list[dict[str, Any]] = field(default_factory=list)
    """Learning curve: share, heads and held-out figures of each training."""
    cost: dict[str, Any] | None = None
    """Time and memory that a dry run has measured on a few heads; None without."""
    notes: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def exit_code(self) -> ExitCode:
        """130 where it was interrupted, 1 where pictures or videos were missing, else 0."""
        if self.status == "interrupted":
            return ExitCode.INTERRUPTED
        missing = any(MISSING & some["left_out"].keys() for some in self.data.values())
        return ExitCode.FINDINGS if missing else ExitCode.OK

    def as_dict(self) -> dict[str, Any]:
        """JSON document."""
        return {"schema_name": "gazetools.finetune", "schema_version": 1, **asdict(self)}
