"""Options of `demo`: what differs from its plan."""

from __future__ import annotations

from pydantic import Field

from gazetools.schemas.base import OptionsModel


class DemoOptions(OptionsModel):
    """Which plan the demo follows, and what replaces its numbers; None: the plan's."""

    full: bool = False
    """More scenes and two seeds: a narrow interval in about 15 minutes."""
    clips: int | None = Field(default=None, ge=1, le=2000)
    """Synthetic clips instead of the plan's."""
    seconds: float | None = Field(default=None, ge=1, le=600)
    """Length of each clip."""
    epochs: int | None = Field(default=None, ge=1, le=1000)
    """Epochs of training."""
    seed: int | None = Field(default=None, ge=0, le=999_999)
    """Seed of scenes, data order and encoder."""
    model: str | None = None
    """Gaze model of the step extract (default: gazelle_tiny)."""
