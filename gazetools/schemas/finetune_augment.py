"""The config of `finetune`: with which probability each augmentation runs."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, FiniteFloat

from gazetools.schemas.base import StrictModel

Chance = Annotated[FiniteFloat, Field(ge=0, le=1)]


class AugmentSettings(StrictModel):
    """`augment`: the probability of each change of a training sample, 0 for never; by default as Gaze-LLE."""

    photometric: Chance = 0.0
    """Brightness, contrast, saturation, hue and order of the channels, before the others (gazelle-dinov3: 0.5)."""
    crop: Chance = 0.5
    """A part of the picture that keeps the head and the gaze point."""
    flip: Chance = 0.5
    """Left and right exchanged."""
    jitter: Chance = 0.5
    """Edges of the head box moved by up to a fifth of its sides."""
