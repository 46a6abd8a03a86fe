"""Inline SVG charts for reports: differences with their intervals, and lines over seconds or epochs."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

# Okabe and Ito's, without yellow: told apart also by colour-blind people and on white
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#4f5d75", "#000000")
_WIDTH = 480
"""Units of a chart; it is shown as wide as the screen allows, so that a phone's text stays readable."""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One line of a forest plot."""

    label: str
    value: float
    low: float
    high: float
    note: str = ""
    strong: bool = False


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a line chart; `low` and `high` draw an interval at each point."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None


def ticks(low: float, high: float, *, count: int = 5) -> list[float]:
    """About `count` round numbers from `low` to `high`, 1, 2 or 5 times a power of ten apart.

    >>> ticks(0.0, 10.0)
    [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    """
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(n * step, 10) for n in range(first, math.floor(high / step + 1e-9) + 1)]


def forest(bars: Sequence[Bar], *, unit: str) -> str:
    """Values with intervals, one per row, around a line at zero."""
    left, right, row = 112, _WIDTH - 118, 30
    height = row * len(bars) + 54
    low, high = _span([0.0, *(value for bar in bars for value in (bar.low, bar.high))])

    def x(value: float) -> float:
        return left + (value - low) / (high - low) * (right - left)

    parts = []
    for value in ticks(low, high):
        parts.append(f'<line class=grid x1="{x(value):.1f}" x2="{x(value):.1f}" y1="8" y2="{height - 40}"/>')
        parts.append(f'<text x="{x(value):.1f}" y="{height - 24}" text-anchor="middle">{value:g}</text>')
    parts.append(f'<line class=zero x1="{x(0):.1f}" x2="{x(0):.1f}" y1="8" y2="{height - 40}"/>')
    for place, bar in enumerate(bars):
        y, colour = 24 + row * place, COLOURS[0] if bar.strong else COLOURS[6]
        weight = ' font-weight="600"' if bar.strong else ""
        parts.append(f'<text x="{left - 10}" y="{y + 4}" text-anchor="end"{weight}>{_e(bar.label)}</text>')
        parts.append(
            f'<line x1="{x(bar.low):.1f}" x2="{x(bar.high):.1f}" y1="{y}" y2="{y}" stroke="{colour}" '
            'stroke-width="2.5"/>'
        )
        parts.append(f'<circle cx="{x(bar.value):.1f}" cy="{y}" r="5" fill="{colour}"/>')
        parts.append(f'<text x="{right + 8}" y="{y + 4}"{weight}>{_e(bar.note)}</text>')
    parts.append(f'<text x="{(left + right) / 2}" y="{height - 6}" text-anchor="middle">{_e(unit)}</text>')
    return _svg(height, parts, title=unit)


def line_chart(lines: Sequence[Line], *, x_title: str, y_title: str, height: int = 280) -> str:
    """Lines with points, intervals where given, and a legend below."""
    left, right, top, bottom = 48, _WIDTH - 16, 14, height - 46
    everything = [v for line in lines for values in (line.y, line.low or (), line.high or ()) for v in values]
    low, high = _span(everything)
    xs = sorted({value for line in lines for value in line.x})
    first, last = (xs[0], xs[-1]) if len(xs) > 1 else (xs[0] - 0.5, xs[0] + 0.5)

    def x(value: float) -> float:
        return left + 10 + (value - first) / (last - first) * (right - left - 20)

    def y(value: float) -> float:
        return bottom - (value - low) / (high - low) * (bottom - top)

    parts = []
    for value in ticks(low, high):
        parts.append(f'<line class=grid x1="{left}" x2="{right}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>')
        parts.append(f'<text x="{left - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:g}</text>')
    shown = xs if len(xs) <= 8 else ticks(first, last)
    parts += [f'<text x="{x(v):.1f}" y="{bottom + 18}" text-anchor="middle">{v:g}</text>' for v in shown]
    parts.append(f'<text x="{(left + right) / 2}" y="{height - 6}" text-anchor="middle">{_e(x_title)}</text>')
    for number, line in enumerate(lines):
        colour = COLOURS[number % len(COLOURS)]
        shift = 3 * (number - (len(lines) - 1) / 2) if line.low is not None else 0.0  # intervals stay apart
        points = [(x(a) + shift, y(b)) for a, b in zip(line.x, line.y, strict=True)]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{colour}"/>' for a, b in points]
        for (a, _), least, most in zip(points, line.low or (), line.high or (), strict=line.low is not None):
            parts.append(
                f'<line x1="{a:.1f}" x2="{a:.1f}" y1="{y(least):.1f}" y2="{y(most):.1f}" stroke="{colour}" '
                'stroke-opacity=".55"/>'
            )
    names = "".join(
        f'<span><i style="background:{COLOURS[n % len(COLOURS)]}"></i>{_e(line.label)}</span>'
        for n, line in enumerate(lines)
    )
    return f"<h4>{_e(y_title)}</h4>{_svg(height, parts, title=y_title)}<p class=legend>{names}</p>"


def _span(values: Sequence[float]) -> tuple[float, float]:
    """The range of `values` with a margin, never empty."""
    low, high = min(values), max(values)
    margin = 0.06 * (high - low) or 0.5
    return low - margin, high + margin


def _svg(height: int, parts: Sequence[str], *, title: str) -> str:
    head = f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{_e(title)}">'
    return f"{head}{''.join(parts)}</svg>"


def _e(text: str) -> str:
    return html.escape(text)
