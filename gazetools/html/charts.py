"""Charts of all pages: differences with their intervals, lines, and bare timelines."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gazetools.html.drawing import COLOURS, Drawing, colour_class

_WIDTH = 420  # in a chart's own units: few of them keep text readable on a phone
_MARGIN = 10.0  # around a chart in a file
_LETTER = 7.9  # mean width of a letter of 14 units
_WIDEST_NAME = 180.0
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


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A drawing and what its lines are called."""

    drawing: Drawing
    legend: Sequence[tuple[str, str | None]] = ()
    """(name, colour) of each line; None: the dashed one."""

    def __html__(self) -> str:
        """The chart in a page: templates call this. The legend is text below it, which wraps on a phone."""
        if not self.legend:
            return self.drawing.in_page()
        entries = "".join(
            f'<span><i class="{"level" if colour is None else colour_class(colour)}"></i>{html.escape(name)}</span>'
            for name, colour in self.legend
        )
        return f'{self.drawing.in_page()}<p class="legend">{entries}</p>'

    def whole(self) -> Drawing:
        """The drawing of a file, which has the legend in it and a margin around it."""
        drawing = replace(self.drawing, shapes=list(self.drawing.shapes))
        at, y = 0.0, drawing.height + 16
        for name, colour in self.legend:
            width = 28 + _LETTER * len(name) + 14
            if at and at + width > _WIDTH + 14:
                at, y = 0.0, y + 20
            if colour is None:
                drawing.line((at, y - 4), (at + 22, y - 4), "level")
            else:
                drawing.mark((at, y - 4), (at + 22, y - 4), colour, width=4)
            drawing.label(name, (at + 28, y), "name")
            at += width
        return replace(drawing, height=y + 4 if self.legend else drawing.height).framed(_MARGIN)


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
) -> Chart:
    """Chart with one row per name: a dot with its interval on a common axis, zero marked; `strong` is drawn bold.

    `strip` greys the values up to so far from zero: what is mere noise.
    """
    edges = [] if strip is None else [-strip, strip]
    low, high = _widened([0.0, *edges, *(value for row in rows.values() for value in (row.low, row.high))])
    # a bold "+12.34, p 0.0012" takes 140 units, which leaves room for fewer ticks
    margin, about = (140, 4) if any(row.note for row in rows.values()) else (70, 5)
    left = min(max(112.0, 12 + _LETTER * max(map(len, rows), default=0)), _WIDEST_NAME)
    right, row_height, top = _WIDTH - margin, 34, 12
    bottom = top + row_height * len(rows)
    x = _scale(low, high, left, right)
    drawing = Drawing(width=_WIDTH, height=bottom + 42, title=unit)
    if strip is not None:
        drawing.box((x(-strip), top), (x(strip) - x(-strip), bottom - top), "strip")
    for tick in ticks(low, high, about=about if left == 112 else about - 1):
        drawing.line((x(tick), top), (x(tick), bottom), "grid")
        drawing.label(f"{tick:g}", (x(tick), bottom + 17), "tick", anchor="middle")
    drawing.line((x(0), top - 6), (x(0), bottom), "zero")
    for number, (name, row) in enumerate(rows.items()):
        y = top + row_height * (number + 0.5)
        look, width, radius = ("strong", 5, 7) if name == strong else ("name", 3, 5)
        colour = (colours or {}).get(name) or COLOURS[number % len(COLOURS)]
        drawing.label(_shortened(name, left - 8), (0, y + 5), look)
        drawing.mark((x(row.low), y), (x(row.high), y), colour, width=width)
        drawing.dot((x(row.value), y), colour, radius=radius)
        drawing.label(row.note or f"{row.value:+.1f}", (_WIDTH, y + 5), look, anchor="end")
    drawing.label(unit, ((left + right) / 2, bottom + 36), "tick", anchor="middle")
    return Chart(drawing=drawing)


def lines(
    series: Mapping[str, Line], *, x_label: str, y_label: str, level: tuple[str, float] | None = None, height: int = 270
) -> Chart:
    """Chart with one line per name; `level` (name, value) is a dashed horizontal one. The legend below names all."""
    ys = [y for line in series.values() for _, y in line.points]
    ys += [end for line in series.values() for bar in line.bars for end in bar] + ([level[1]] if level else [])
    low, high = _widened(ys)
    xs = sorted({x for line in series.values() for x, _ in line.points})
    first, last = (xs[0], xs[-1]) if len(xs) > 1 else (xs[0] - 0.5, xs[0] + 0.5)
    left, right, top, bottom = 40, _WIDTH - 12, 26, height - 44
    x, y = _scale(first, last, left + 10, right - 10), _scale(low, high, bottom, top)
    drawing = Drawing(width=_WIDTH, height=height, title=f"{y_label} against {x_label}")
    drawing.label(y_label, (0, 14), "tick")
    for tick in ticks(low, high):
        drawing.line((left, y(tick)), (right, y(tick)), "grid")
        drawing.label(f"{tick:g}", (left - 6, y(tick) + 4), "tick", anchor="end")
    for place in xs if len(xs) <= _FEW else ticks(first, last):
        drawing.label(f"{place:g}", (x(place), bottom + 18), "tick", anchor="middle")
    drawing.label(x_label, ((left + right) / 2, bottom + 38), "tick", anchor="middle")
    if level:
        drawing.line((left, y(level[1])), (right, y(level[1])), "level")
    legend: list[tuple[str, str | None]] = []
    for number, (name, line) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        aside = 3 * (number - (len(series) - 1) / 2) if line.bars else 0.0  # intervals of several lines stay apart
        places = [(x(a) + aside, y(b)) for a, b in line.points]
        drawing.curve(places, colour, width=2.5)
        for place_xy in places if len(places) <= _FEW else ():
            drawing.dot(place_xy, colour, radius=4)
        for (at, _), (under, over) in zip(places if line.bars else (), line.bars, strict=True):
            drawing.mark((at, y(under)), (at, y(over)), colour, width=1.5, share=0.7)
        legend.append((name, colour))
    if level:  # next to its line the name could hide a point
        legend.append((level[0], None))
    return Chart(drawing=drawing, legend=legend)


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


def _shortened(text: str, room: float) -> str:
    """`text`, with dots in its middle where it is longer than `room` units."""
    most = int(room / _LETTER)
    return text if len(text) <= most else f"{text[: most // 2]}…{text[len(text) - most + most // 2 + 1 :]}"
