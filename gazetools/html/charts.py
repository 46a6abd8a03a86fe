"""Charts as inline SVG that scale with the page: differences with their intervals, lines, and bare timelines."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Okabe and Ito's palette without yellow, which is hard to see on white: colour-blind people can distinguish these
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#7a5c00", "#56b4e9", "#333333", "#e69f00")
MUTED = "#4f5d75"  # rows that are not the main ones
_WIDTH = 420  # in a chart's own units: few of them keep text readable on a phone
_FEW = 8  # Most places on the x axis that are named one by one, and most points of a line that are drawn as dots


@dataclass(frozen=True, kw_only=True)
class IntervalMark:
    """A value with its interval."""

    value: float
    low: float
    high: float
    note: str = ""
    """Text at the end of its row; empty: the value."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """Points (x, y), ascending in x; `bars` holds an interval (low, high) for each point, or nothing."""

    points: Sequence[tuple[float, float]]
    bars: Sequence[tuple[float, float]] = ()


def interval_lines(rows: Sequence[Mapping[str, Any]], *, x: str, y: str) -> dict[str, Line]:
    """For each row["arm"] the line through (row[x], row[y]) with the intervals (row["low"], row["high"])."""
    found = {}
    for arm in dict.fromkeys(row["arm"] for row in rows):
        own = sorted((row for row in rows if row["arm"] == arm), key=lambda row: float(row[x]))
        found[arm] = Line(points=[(row[x], row[y]) for row in own], bars=[(row["low"], row["high"]) for row in own])
    return found


def ticks(low: float, high: float, *, about: int = 5) -> list[float]:
    """Round numbers inside [low, high], roughly `about` of them: 1, 2 or 5 times a power of ten apart.

    >>> ticks(-3.2, 41.0)
    [0.0, 10.0, 20.0, 30.0, 40.0]
    """
    least = max(high - low, 1e-9) / about
    power = 10.0 ** math.floor(math.log10(least))
    # Accept a step that is a thousandth too small: rounding errors would else take 0..10 from steps of 2 to steps of 5.
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(n * step, 10) for n in range(first, math.floor(high / step + 1e-9) + 1)]


def forest(
    rows: Mapping[str, IntervalMark],
    *,
    unit: str,
    strong: str | None = None,
    colours: Mapping[str, str] | None = None,
    strip: float | None = None,
) -> str:
    """Chart with one row per name: a dot with its interval on a common axis, zero marked; `strong` is drawn bold.

    `strip` greys the values up to so far from zero: what is mere noise.
    """
    edges = [] if strip is None else [-strip, strip]
    low, high = _widened([0.0, *edges, *(value for row in rows.values() for value in (row.low, row.high))])
    # a bold "+12.34, p 0.0012" takes 140 units, which leaves room for fewer ticks
    margin, about = (140, 4) if any(row.note for row in rows.values()) else (70, 5)
    left, right, row_height, top = 112, _WIDTH - margin, 34, 12
    bottom = top + row_height * len(rows)
    x = _scale(low, high, left, right)
    parts = []
    if strip is not None:
        wide = x(strip) - x(-strip)
        parts.append(f'<rect x="{x(-strip):.1f}" width="{wide:.1f}" y="{top}" height="{bottom - top}" class="strip"/>')
    for tick in ticks(low, high, about=about):
        parts.append(f'<line x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{top}" y2="{bottom}" class="grid"/>')
        parts.append(_tick(x(tick), bottom + 17, f"{tick:g}"))
    parts.append(f'<line x1="{x(0):.1f}" x2="{x(0):.1f}" y1="{top - 6}" y2="{bottom}" class="zero"/>')
    for number, (name, row) in enumerate(rows.items()):
        y = top + row_height * (number + 0.5)
        kind = ' class="strong"' if name == strong else ""
        colour = (colours or {}).get(name) or COLOURS[number % len(COLOURS)]
        note = html.escape(row.note or f"{row.value:+.1f}")
        parts.append(f'<text x="0" y="{y + 5:.1f}"{kind}>{html.escape(name)}</text>')
        parts.append(
            f'<line x1="{x(row.low):.1f}" x2="{x(row.high):.1f}" y1="{y:.1f}" y2="{y:.1f}" stroke="{colour}" '
            f'stroke-width="{5 if name == strong else 3}"/>'
        )
        parts.append(f'<circle cx="{x(row.value):.1f}" cy="{y:.1f}" r="{7 if name == strong else 5}" fill="{colour}"/>')
        parts.append(f'<text x="{_WIDTH}" y="{y + 5:.1f}" text-anchor="end"{kind}>{note}</text>')
    parts.append(_tick((left + right) / 2, bottom + 36, unit))
    return _svg(parts, bottom + 42, unit)


def lines(
    series: Mapping[str, Line], *, x_label: str, y_label: str, level: tuple[str, float] | None = None, height: int = 270
) -> str:
    """Chart with one line per name; `level` (name, value) is a dashed horizontal one. The legend below names all."""
    ys = [y for line in series.values() for _, y in line.points]
    ys += [end for line in series.values() for bar in line.bars for end in bar] + ([level[1]] if level else [])
    low, high = _widened(ys)
    xs = sorted({x for line in series.values() for x, _ in line.points})
    first, last = (xs[0], xs[-1]) if len(xs) > 1 else (xs[0] - 0.5, xs[0] + 0.5)
    left, right, top, bottom = 40, _WIDTH - 12, 26, height - 44
    x, y = _scale(first, last, left + 10, right - 10), _scale(low, high, bottom, top)
    parts = [f'<text x="0" y="14" class="tick">{html.escape(y_label)}</text>']
    for tick in ticks(low, high):
        parts.append(f'<line x1="{left}" x2="{right}" y1="{y(tick):.1f}" y2="{y(tick):.1f}" class="grid"/>')
        parts.append(_tick(left - 6, y(tick) + 4, f"{tick:g}", anchor="end"))
    parts += [_tick(x(place), bottom + 18, f"{place:g}") for place in (xs if len(xs) <= _FEW else ticks(first, last))]
    parts.append(_tick((left + right) / 2, bottom + 38, x_label))
    if level:
        at = y(level[1])
        parts.append(f'<line x1="{left}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}" class="level"/>')
    legend = []
    for number, (name, line) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        aside = 3 * (number - (len(series) - 1) / 2) if line.bars else 0.0  # intervals of several lines stay apart
        places = [(x(a) + aside, y(b)) for a, b in line.points]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2.5"/>')
        if len(places) <= _FEW:
            parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="4" fill="{colour}"/>' for a, b in places]
        for (at, _), (under, over) in zip(places if line.bars else (), line.bars, strict=True):
            parts.append(
                f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{y(under):.1f}" y2="{y(over):.1f}" stroke="{colour}" '
                'stroke-width="1.5" opacity=".7"/>'
            )
        legend.append(f'<span><i style="background:{colour}"></i>{html.escape(name)}</span>')
    if level:  # next to its line the name could hide a point
        legend.append(f'<span><i class="level"></i>{html.escape(level[0])}</span>')
    return _svg(parts, height, f"{y_label} against {x_label}") + f'<p class="legend">{"".join(legend)}</p>'


def area_path(values: Sequence[float | None]) -> str:
    """SVG path of a filled step line in a box of len(values) x 1; gaps where a value is None."""
    return "".join(f"M{x} 1V{1 - value:.4f}H{x + 1}V1Z" for x, value in enumerate(values) if value)


def bars_path(counts: Sequence[int]) -> str:
    """SVG path of bars in a box of len(counts) x 1, the highest of height 1."""
    most = max(counts, default=0) or 1
    return "".join(f"M{x + 0.08:.2f} 1V{1 - n / most:.4f}H{x + 0.92:.2f}V1Z" for x, n in enumerate(counts) if n)


def _widened(values: Sequence[float]) -> tuple[float, float]:
    """Range of `values` plus a margin; its ends always differ."""
    low, high = min(values), max(values)
    edge = 0.05 * (high - low) or 0.5
    return low - edge, high + edge


def _scale(low: float, high: float, start: float, stop: float) -> Callable[[float], float]:
    """The linear map from values to places: `low` to `start`, `high` to `stop`."""
    return lambda value: start + (value - low) / (high - low) * (stop - start)


def _tick(x: float, y: float, text: str, *, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="tick">{html.escape(text)}</text>'


def _svg(parts: Sequence[str], height: float, title: str) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {height:g}" role="img" aria-label="{html.escape(title)}" '
        f'preserveAspectRatio="xMidYMid meet">{"".join(parts)}</svg>'
    )
