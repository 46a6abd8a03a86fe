"""Mistakes of rate that are common enough to be known by their ratio, and whether one is possible for a video."""

from __future__ import annotations

from dataclasses import dataclass

_RATE_TOLERANCE = 0.004  # Share by which a video's rate may differ from a named one: 30 and 29.97 differ by 0.001


@dataclass(frozen=True, kw_only=True)
class RateMistake:
    """A way to take frames at another rate than they have."""

    ratio: float
    """Rows per decoded frame."""
    text: str
    rates: tuple[float, ...] = ()
    """Frames per second of the videos to which it happens; empty: to all."""

    def is_possible_at(self, rate: float) -> bool:
        """Whether it can happen to a video of `rate` frames per second."""
        return not self.rates or any(abs(rate - one) <= _RATE_TOLERANCE * one for one in self.rates)


def _misread(name: str, taken_name: str, ratio: float, *rates: float) -> RateMistake:
    return RateMistake(ratio=ratio, text=f"{name} fps was read as {taken_name}", rates=rates)


def _stride(stride: int) -> RateMistake:
    share = {2: " (half the rate)", 3: " (a third of the rate)"}.get(stride, "")
    return RateMistake(ratio=1 / stride, text=f"only one frame in {stride} has a map{share}")


_STRIDE_7 = 59.94 / 7
MISTAKES = (
    _misread("29.97", "30", 30 / 29.97, 29.97, 59.94),
    _misread("30", "29.97", 29.97 / 30, 30, 60),
    _misread("29.97", "29", 29 / 29.97, 29.97),
    _misread("8.56 (59.94 with the stride 7)", "8", 8 / _STRIDE_7, _STRIDE_7),
    _misread("8", "8.56 (59.94 with the stride 7)", _STRIDE_7 / 8, 8),
    _misread("24", "25", 25 / 24, 24, 23.976, 48),
    _misread("25", "24", 24 / 25, 25, 50),
    _misread("25 (or 50)", "30 (or 60)", 30 / 25, 25, 50),
    _misread("30 (or 60)", "25 (or 50)", 25 / 30, 30, 29.97, 60, 59.94),
    *(_stride(stride) for stride in range(2, 9)),
    RateMistake(ratio=2.0, text="every frame has two maps (double the rate)"),
)

KNOWN_RATES = tuple((mistake.ratio, mistake.text) for mistake in MISTAKES)
"""Row count / decoded frames, and the mistake that gives this ratio."""


def mistake_of(ratio: float, *, within: float, rate: float) -> str | None:
    """The text of the known mistake nearest to `ratio`; None where none is within, or possible at the video's `rate`.

    `within` is absolute.

    >>> mistake_of(0.501, within=0.01, rate=24)
    'only one frame in 2 has a map (half the rate)'
    """
    near = [m for m in MISTAKES if abs(m.ratio - ratio) <= within and m.is_possible_at(rate)]
    return min(near, key=lambda m: abs(m.ratio - ratio)).text if near else None
