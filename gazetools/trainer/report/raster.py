"""A drawing as PNG, drawn by matplotlib from the same shapes as its SVG.

matplotlib brings its own font and needs no library of the system (cairo, pango), so that a PNG is the same everywhere.
"""

from __future__ import annotations

import io
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

from gazetools.html.drawing import Drawing, DrawnShape, Value
from gazetools.schemas.errors import EnvironmentLacksError

if TYPE_CHECKING:
    from matplotlib.artist import Artist

_PIXELS_PER_UNIT = 3
_EAST_ASIAN = (
    "Noto Sans CJK SC",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "PingFang SC",
    "Microsoft YaHei",
    "SimHei",
)
_ANCHORS: dict[str, Literal["left", "center", "right"]] = {"start": "left", "middle": "center", "end": "right"}


def require_png() -> None:
    """Raise EnvironmentLacksError where matplotlib is not installed."""
    if find_spec("matplotlib") is None:
        raise EnvironmentLacksError(
            "PNG files of plots need matplotlib, which is not installed.",
            hint="pip install 'gazetools[report]', or choose --plots svg",
        )


def png_of(drawing: Drawing) -> bytes:
    """PNG with three pixels per unit of the drawing, on white. Raises EnvironmentLacksError without matplotlib."""
    require_png()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.transforms import Affine2D

    # a point is 1/72 inch: with so many inches a unit of the drawing is a point, as widths and fonts are given
    figure = Figure(figsize=(drawing.width / 72, drawing.height / 72), dpi=72 * _PIXELS_PER_UNIT, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    place = Affine2D().scale(_PIXELS_PER_UNIT, -_PIXELS_PER_UNIT).translate(0, drawing.height * _PIXELS_PER_UNIT)
    for order, shape in enumerate(drawing.shapes):
        artist = _artist(shape)
        artist.set(transform=place, zorder=order, clip_on=False)
        figure.add_artist(artist)
    out = io.BytesIO()
    canvas.print_png(out, metadata={"Title": drawing.title}, pil_kwargs={"compress_level": 2})
    return out.getvalue()


def _artist(shape: DrawnShape) -> Artist:
    """The shape as matplotlib draws it, in the units of the drawing."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Circle, Rectangle
    from matplotlib.text import Text

    place, style = shape.place, shape.style
    if shape.tag == "text":
        return Text(
            _float(place["x"]),
            _float(place["y"]),
            shape.text,
            fontsize=_float(style["font-size"]),
            color=str(style["fill"]),
            fontweight=str(style.get("font-weight", "normal")),
            fontfamily=_families(),
            horizontalalignment=_ANCHORS[str(style.get("text-anchor", "start"))],
            parse_math=False,  # a name with dollar signs is no formula
        )
    if shape.tag == "rect":
        size = _float(place["width"]), _float(place["height"])
        return Rectangle((_float(place["x"]), _float(place["y"])), *size, facecolor=str(style["fill"]), linewidth=0)
    if shape.tag == "circle":
        centre = _float(place["cx"]), _float(place["cy"])
        return Circle(centre, _float(place["r"]), facecolor=str(style["fill"]), linewidth=0)
    line = Line2D(
        *_points(shape),
        color=str(style["stroke"]),
        linewidth=_float(style.get("stroke-width", 1)),
        alpha=_float(style.get("opacity", 1)),
        solid_capstyle="butt",
    )
    if "stroke-dasharray" in style:
        line.set_dashes([float(length) for length in str(style["stroke-dasharray"]).split()])
    return line


@lru_cache(maxsize=1)
def _families() -> list[str]:
    """matplotlib's own font, then fonts of this machine that have Chinese, Japanese and Korean letters."""
    from matplotlib.font_manager import fontManager

    there = {font.name for font in fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in _EAST_ASIAN if name in there)]


def _points(shape: DrawnShape) -> tuple[list[float], list[float]]:
    """x and y of the points of a line."""
    if shape.tag == "line":
        return [_float(shape.place[name]) for name in ("x1", "x2")], [
            _float(shape.place[name]) for name in ("y1", "y2")
        ]
    pairs = [pair.split(",") for pair in str(shape.place["points"]).split()]
    return [float(x) for x, _ in pairs], [float(y) for _, y in pairs]


def _float(value: Value) -> float:
    return float(value)
