"""`Verdict`: how stored samples lie against the decoded frames, as `--deep` found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

VerdictKind = Literal["aligned", "shifted", "jumping", "drifting", "transformed", "unexplained"]


@dataclass(frozen=True, kw_only=True)
class Jump:
    """A place from which on the samples fit frames further on or back than before it."""

    first: int
    """The frame after the last that fits `before`."""
    last: int
    """The first frame that fits `after`. Frames in between fit both, neither, or were not looked at."""
    before: int
    """k before the place: a sample of frame i fits frame i + k."""
    after: int


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The explanation of the samples that are off."""

    kind: VerdictKind
    frames: list[int]
    """Frames of the samples that are off; none where aligned."""
    of: int
    """Samples compared at first; more are taken where a change lies between two of them."""
    shifts: tuple[int, int] = (0, 0)
    """shifted: the smallest and largest k that fit equally well. drifting: k at the first and at the last of `span`."""
    span: tuple[int, int] = (0, 0)
    """drifting: first and last frame that were compared."""
    jumps: tuple[Jump, ...] = ()
    change: str = ""
    """transformed: its name."""
    identifiable: bool = True
    """False where neighbouring frames look the same, so that a shift by a few frames could not be seen."""

    @property
    def speed(self) -> float:
        """drifting: frames of the video per stated frame, such as 1.001 where 29.97 was read as 30."""
        (low, high), (first, last) = self.shifts, self.span
        return 1 + (high - low) / max(last - first, 1)
