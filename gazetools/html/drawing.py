"""Shapes of a chart: the SVG of the page and of a file is made of them, and so is a PNG."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

Tag = Literal["line", "rect", "circle", "polyline", "text"]
Value = str | float

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#7a5c00", "#56b4e9", "#333333", "#e69f00")
"""Okabe and Ito's palette without yellow, which is hard to see on white: colour-blind people can distinguish these."""
MUTED = "#4f5d75"
"""Colour of rows that are not the main ones."""
FONT = "DejaVu Sans, Verdana, Helvetica, Arial, sans-serif"
_COORDINATES = ("x", "y", "x1", "x2", "y1", "y2", "cx", "cy")
_INK, _SOFT = "#17212b", "#5a6672"
LOOKS: dict[str, dict[str, Value]] = {
    "grid": {"stroke": "#e3e7ec"},
    "zero": {"stroke": _INK, "stroke-width": 1.5},
    "level": {"stroke": _SOFT, "stroke-dasharray": "5 4"},
    "strip": {"fill": "#e6e9ed"},
    "name": {"fill": _INK, "font-size": 14},
    "strong": {"fill": _INK, "font-size": 14, "font-weight": "bold"},
    "tick": {"fill": _SOFT, "font-size": 13},
}
"""Look of a shape -> its attributes in SVG. In a page the style sheet's class of that name, which has dark colours too,
goes before them; a file has no style sheet."""


@dataclass(frozen=True, kw_only=True)
class DrawnShape:
    """One element of SVG."""

    tag: Tag
    place: dict[str, Value]
    """Attributes that say where it is, in the units of the drawing."""
    look: str
    """Name in `LOOKS`, or the classes of a coloured shape."""
    style: dict[str, Value]
    """Attributes of colour, width and font; all that a file needs."""
    text: str = ""
    """What a `text` says; plain, not escaped."""

    def svg(self) -> str:
        """The element with its class and its attributes."""
        attributes = {**self.place, **self.style, "class": self.look}
        written = " ".join(f'{name}="{_number(value)}"' for name, value in attributes.items())
        return f"<{self.tag} {written}/>" if self.tag != "text" else f"<text {written}>{html.escape(self.text)}</text>"


@dataclass(kw_only=True)
class Drawing:
    """Shapes on a white ground, from the back to the front; x goes to the right, y down."""

    width: float
    height: float
    title: str
    """What the drawing shows, in one line; plain, not escaped."""
    shapes: list[DrawnShape] = field(default_factory=list)

    def line(self, start_xy: tuple[float, float], stop_xy: tuple[float, float], look: str) -> None:
        """A straight line of a look in `LOOKS`."""
        self._add("line", _ends(start_xy, stop_xy), look, LOOKS[look])

    def mark(
        self,
        start_xy: tuple[float, float],
        stop_xy: tuple[float, float],
        colour: str,
        *,
        width: float,
        share: float = 1,
    ) -> None:
        """A straight line in a colour of `COLOURS`; `share`: its opacity in 0..1."""
        style: dict[str, Value] = {"stroke": colour, "stroke-width": width}
        self._add("line", _ends(start_xy, stop_xy), _classes(colour, "drawn"), style | _opacity(share))

    def dot(self, centre_xy: tuple[float, float], colour: str, *, radius: float) -> None:
        """A filled circle."""
        place: dict[str, Value] = {"cx": centre_xy[0], "cy": centre_xy[1], "r": radius}
        self._add("circle", place, _classes(colour, "filled"), {"fill": colour})

    def curve(self, points_xy: Sequence[tuple[float, float]], colour: str, *, width: float) -> None:
        """Straight lines from point to point."""
        place: dict[str, Value] = {"points": " ".join(f"{x:.1f},{y:.1f}" for x, y in points_xy)}
        style: dict[str, Value] = {"fill": "none", "stroke": colour, "stroke-width": width}
        self._add("polyline", place, _classes(colour, "drawn"), style)

    def box(self, corner_xy: tuple[float, float], size_xy: tuple[float, float], look: str) -> None:
        """A filled rectangle of a look in `LOOKS`, from its upper left corner."""
        place: dict[str, Value] = {"x": corner_xy[0], "y": corner_xy[1], "width": size_xy[0], "height": size_xy[1]}
        self._add("rect", place, look, LOOKS[look])

    def label(
        self,
        text: str,
        place_xy: tuple[float, float],
        look: str,
        *,
        anchor: Literal["start", "middle", "end"] = "start",
    ) -> None:
        """A text whose base line is at `place_xy`: it begins, has its middle or ends there."""
        place: dict[str, Value] = {"x": place_xy[0], "y": place_xy[1]}
        style = {**({} if anchor == "start" else {"text-anchor": anchor}), **LOOKS[look]}
        self._add("text", place, look, style, text)

    def in_page(self) -> str:
        """An `<svg>` as wide as its place in a page, with the colours of the style sheet."""
        return (
            f'<svg class="chart" viewBox="0 0 {_number(self.width)} {_number(self.height)}" role="img" '
            f'aria-label="{html.escape(self.title)}" preserveAspectRatio="xMidYMid meet" font-family="{FONT}">'
            f"{''.join(shape.svg() for shape in self.shapes)}</svg>"
        )

    def framed(self, margin: float) -> Drawing:
        """The same drawing with an empty margin around it."""
        moved = [replace(shape, place=_moved(shape.place, margin)) for shape in self.shapes]
        wide, high = self.width + 2 * margin, self.height + 2 * margin
        return Drawing(width=wide, height=high, title=self.title, shapes=moved)

    def as_file(self) -> str:
        """A whole SVG file: every colour and font is in it, on white, 1.5 pixels per unit."""
        wide, high = _number(self.width), _number(self.height)
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" width="{_number(1.5 * self.width)}" '
            f'height="{_number(1.5 * self.height)}" font-family="{FONT}">\n<title>{html.escape(self.title)}</title>\n'
            f'<rect x="0" y="0" width="{wide}" height="{high}" fill="#ffffff"/>\n'
            + "".join(f"{shape.svg()}\n" for shape in self.shapes)
            + "</svg>\n"
        )

    def _add(self, tag: Tag, place: dict[str, Value], look: str, style: dict[str, Value], text: str = "") -> None:
        self.shapes.append(DrawnShape(tag=tag, place=place, look=look, style=style, text=text))


def colour_class(colour: str) -> str:
    """The style sheet's class of a colour in `COLOURS`, or of `MUTED`."""
    return f"c{COLOURS.index(colour)}" if colour in COLOURS else "muted"


def _classes(colour: str, kind: str) -> str:
    return f"{kind} {colour_class(colour)}"


def _ends(start_xy: tuple[float, float], stop_xy: tuple[float, float]) -> dict[str, Value]:
    return {"x1": start_xy[0], "x2": stop_xy[0], "y1": start_xy[1], "y2": stop_xy[1]}


def _moved(place: dict[str, Value], by: float) -> dict[str, Value]:
    """A place `by` units further to the right and down."""
    moved = {name: float(value) + by if name in _COORDINATES else value for name, value in place.items()}
    if "points" in moved:
        pairs = [pair.split(",") for pair in str(moved["points"]).split()]
        moved["points"] = " ".join(f"{float(x) + by:.1f},{float(y) + by:.1f}" for x, y in pairs)
    return moved


def _opacity(share: float) -> dict[str, Value]:
    return {} if share == 1 else {"opacity": share}


def _number(value: Value) -> str:
    return value if isinstance(value, str) else f"{value:.1f}".removesuffix(".0")
