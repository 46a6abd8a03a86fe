"""Charts as inline SVG that scale with the page: differences with their intervals, and lines."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# Okabe-Ito without yellow, which is hard to see on white; told apart also by colour-blind people
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#7a5c00", "#56b4e9", "#333333")
_WIDTH = 420


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A value with its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Line:
    """Points (x, y), ascending in x; `bars` are intervals (low, high) at the same places, or none."""

    points: Sequence[tuple[float, float]]
    bars: Sequence[tuple[float, float]] = ()


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers inside [low, high], about so many.

    >>> ticks(-3.2, 41.0)
    [0.0, 10.0, 20.0, 30.0, 40.0]
    """
    span = max(high - low, 1e-9) / max(about, 1)
    power = 10.0 ** math.floor(math.log10(span))
    step = min((m * power for m in (1, 2, 5, 10)), key=lambda s: abs(s - span))
    first = math.ceil(low / step - 1e-9)
    return [round(n * step, 10) + 0.0 for n in range(first, math.floor(high / step + 1e-9) + 1)]


def forest(
    rows: Mapping[str, Estimate], *, unit: str, strong: str | None = None, colours: Mapping[str, str] | None = None
) -> str:
    """One line per name: a dot with its interval on a common axis, zero marked; `strong` is drawn bold."""
    values = [v for row in rows.values() for v in (row.low, row.high, 0.0)]
    low, high = _widened(min(values), max(values))
    left, right, row_height, top = 112, _WIDTH - 70, 34, 12
    bottom = top + row_height * len(rows)

    def x(value: float) -> float:
        return left + (value - low) / (high - low) * (right - left)

    parts = []
    for tick in ticks(low, high):
        parts.append(f'<line x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{top}" y2="{bottom}" class="grid"/>')
        parts.append(f'<text x="{x(tick):.1f}" y="{bottom + 17}" text-anchor="middle" class="tick">{tick:g}</text>')
    parts.append(f'<line x1="{x(0):.1f}" x2="{x(0):.1f}" y1="{top - 6}" y2="{bottom}" class="zero"/>')
    for number, (name, row) in enumerate(rows.items()):
        y = top + row_height * (number + 0.5)
        kind = ' class="strong"' if name == strong else ""
        colour = (colours or {}).get(name) or COLOURS[number % len(COLOURS)]
        parts.append(f'<text x="0" y="{y + 5:.1f}"{kind}>{html.escape(name)}</text>')
        parts.append(
            f'<line x1="{x(row.low):.1f}" x2="{x(row.high):.1f}" y1="{y:.1f}" y2="{y:.1f}" stroke="{colour}" '
            f'stroke-width="{5 if name == strong else 3}"/>'
        )
        parts.append(f'<circle cx="{x(row.value):.1f}" cy="{y:.1f}" r="{7 if name == strong else 5}" fill="{colour}"/>')
        parts.append(f'<text x="{_WIDTH}" y="{y + 5:.1f}" text-anchor="end"{kind}>{row.value:+.1f}</text>')
    middle = (left + right) / 2
    parts.append(f'<text x="{middle}" y="{bottom + 36}" text-anchor="middle" class="tick">{html.escape(unit)}</text>')
    return _svg("".join(parts), bottom + 42, f"differences in {unit}")


def lines(
    series: Mapping[str, Line], *, x_label: str, y_label: str, level: tuple[str, float] | None = None, height: int = 270
) -> str:
    """One line per name with its legend below; `level` is a dashed horizontal with its name."""
    xs = [x for line in series.values() for x, _ in line.points]
    ys = [y for line in series.values() for _, y in line.points] + [
        v for s in series.values() for b in s.bars for v in b
    ]
    first, last = (min(xs), max(xs)) if min(xs, default=0.0) < max(xs, default=0.0) else (min(xs) - 0.5, min(xs) + 0.5)
    low, high = _widened(min([*ys, *([level[1]] if level else [])]), max(ys))
    left, right, top, bottom = 40, _WIDTH - 12, 26, height - 44

    def x(value: float) -> float:
        return left + (value - first) / (last - first) * (right - left)

    def y(value: float) -> float:
        return bottom - (value - low) / (high - low) * (bottom - top)

    parts = [f'<text x="0" y="14" class="tick">{html.escape(y_label)}</text>']
    for tick in ticks(low, high):
        parts.append(f'<line x1="{left}" x2="{right}" y1="{y(tick):.1f}" y2="{y(tick):.1f}" class="grid"/>')
        parts.append(f'<text x="{left - 6}" y="{y(tick) + 4:.1f}" text-anchor="end" class="tick">{tick:g}</text>')
    places = sorted(set(xs)) if len(set(xs)) <= 6 else ticks(first, last)
    named = [(x(place), 18, f"{place:g}") for place in places] + [((left + right) / 2, 38, html.escape(x_label))]
    parts += [
        f'<text x="{at:.1f}" y="{bottom + below}" text-anchor="middle" class="tick">{text}</text>'
        for at, below, text in named
    ]
    if level:
        parts.append(f'<line x1="{left}" x2="{right}" y1="{y(level[1]):.1f}" y2="{y(level[1]):.1f}" class="level"/>')
        parts.append(f'<text x="{right}" y="{y(level[1]) - 5:.1f}" text-anchor="end" class="tick">{level[0]}</text>')
    legend = []
    for number, (name, line) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        points = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in line.points)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2.5"/>')
        if len(line.points) <= 6:
            parts += [f'<circle cx="{x(a):.1f}" cy="{y(b):.1f}" r="4" fill="{colour}"/>' for a, b in line.points]
        for (a, _), (under, over) in zip(line.points, line.bars, strict=False):
            at = x(a) + 3 * (number - len(series) / 2)  # intervals of several lines stay apart
            parts.append(
                f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{y(under):.1f}" y2="{y(over):.1f}" stroke="{colour}" '
                'stroke-width="1.5" opacity=".7"/>'
            )
        legend.append(f'<span><i style="background:{colour}"></i>{html.escape(name)}</span>')
    return _svg("".join(parts), height, f"{y_label} against {x_label}") + f'<p class="legend">{"".join(legend)}</p>'


def _widened(low: float, high: float) -> tuple[float, float]:
    edge = 0.05 * (high - low) or 1.0
    return low - edge, high + edge


def _svg(body: str, height: float, title: str) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height:g}" role="img" aria-label="{html.escape(title)}" '
        f'preserveAspectRatio="xMidYMid meet">{body}</svg>'
    )
