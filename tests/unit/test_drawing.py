"""Charts as files: an SVG that is whole in itself, a PNG with the same shapes, and words where one can't be made."""

from __future__ import annotations

import importlib.util
import re
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from markupsafe import escape

from gazetools.html.charts import Chart, IntervalMark, Line, forest, lines
from gazetools.html.drawing import COLOURS
from gazetools.html.frame import environment
from gazetools.schemas.errors import EnvironmentLacksError, ExitCode
from gazetools.trainer.report import raster
from gazetools.trainer.report.raster import png_of

HOSTILE = 'a<b>&"$x_1$'
NEEDED = {"line": "stroke", "polyline": "stroke", "rect": "fill", "circle": "fill", "text": "fill"}
"""Attribute without which an element of a file has no colour, or a wrong one."""


def charts() -> dict[str, Chart]:
    marks = {HOSTILE: IntervalMark(value=2, low=-1, high=5), "zeros": IntervalMark(value=-1, low=-3, high=1)}
    points = [(0.0, 10.0), (1.0, 30.0)]
    series = {HOSTILE: Line(points=points, bars=[(5, 15), (20, 40)]), "none": Line(points=points)}
    return {
        "forest": forest(marks, unit="points", strong=HOSTILE, strip=0.5),
        "lines": lines(series, x_label="s", y_label="%", level=("chance", 5.0)),
    }


@pytest.mark.parametrize("name", ["forest", "lines"])
def test_a_file_is_whole_in_itself(name: str) -> None:
    drawing = charts()[name].whole()
    root = ElementTree.fromstring(drawing.as_file())
    assert root.tag == "{http://www.w3.org/2000/svg}svg" and root.attrib["font-family"]
    for element in root:
        tag = element.tag.rpartition("}")[2]
        if tag == "title":
            continue
        assert re.fullmatch("#[0-9a-f]{6}", element.attrib[NEEDED[tag]]), ElementTree.tostring(element)
        assert tag != "text" or element.attrib["font-size"], "a text without a size depends on the program"
    texts = [element.text for element in root if element.tag.endswith("}text")]
    assert HOSTILE in texts, "the legend is in the file, and a name is what it was"
    wide, high = (float(root.attrib["viewBox"].split()[place]) for place in (2, 3))
    for element in root:
        for key, most in (
            ("x", wide),
            ("x1", wide),
            ("x2", wide),
            ("cx", wide),
            ("y", high),
            ("y2", high),
            ("cy", high),
        ):
            assert 0 <= float(element.attrib.get(key, 0)) <= most, "nothing is outside"


@pytest.mark.parametrize("name", ["forest", "lines"])
def test_the_page_and_the_file_show_the_same_shapes(name: str) -> None:
    chart = charts()[name]
    page = escape(chart)
    for shape in chart.drawing.shapes:
        assert shape.svg() in page
    framed = chart.whole()
    assert len(framed.shapes) >= len(chart.drawing.shapes)
    assert framed.shapes[0].text == chart.drawing.shapes[0].text and framed.width == chart.drawing.width + 20


def test_every_look_has_its_rule_in_the_one_style_sheet() -> None:
    """A class that the sheet lacks keeps its light colour on a dark page."""
    style = str(environment().globals["style"])
    used = {name for chart in charts().values() for shape in chart.drawing.shapes for name in shape.look.split()}
    assert used >= {"grid", "zero", "strip", "level", "tick", "drawn", "filled", "c0", "c1"}
    for name in used - {"name", "strong"}:  # these two are in the ink of every text
        assert re.search(rf"\\.{name}\\b".replace("\\\\", "\\"), style), name


def test_a_png_has_the_dots_where_the_drawing_has_them() -> None:
    drawing = charts()["forest"].whole()
    pixels = cv2.imdecode(np.frombuffer(png_of(drawing), np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    assert pixels.shape[:2] == (round(3 * drawing.height), round(3 * drawing.width))
    dots = [shape for shape in drawing.shapes if shape.tag == "circle"]
    assert len(dots) == 2
    for dot, colour in zip(dots, COLOURS, strict=False):
        found = pixels[round(3 * float(dot.place["cy"])), round(3 * float(dot.place["cx"]))][::-1]
        assert np.abs(found.astype(int) - [int(colour[i : i + 2], 16) for i in (1, 3, 5)]).max() <= 3
    assert (pixels[:6] == 255).all(), "the ground is white"
    name = pixels[90:156, 30:300]
    assert (name < 100).any(), "the name of the first row is written"


def test_without_matplotlib_the_words_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(raster, "find_spec", lambda name: None if name == "matplotlib" else found(name))
    with pytest.raises(EnvironmentLacksError, match="matplotlib") as caught:
        png_of(charts()["forest"].whole())
    assert caught.value.exit_code == ExitCode.ENVIRONMENT
    assert "pip install 'gazetools[report]'" in str(caught.value) and "--plots svg" in str(caught.value)


def test_a_long_name_ends_before_the_chart_begins() -> None:
    long = "gazelle_dinov3_vits16_inout_with_many_words"
    drawing = forest({long: IntervalMark(value=1, low=0, high=2)}, unit="x").drawing
    shown = next(shape.text for shape in drawing.shapes if shape.look == "name")
    assert shown.startswith("gazelle") and shown.endswith("words") and "…" in shown
    first = min(float(shape.place["x1"]) for shape in drawing.shapes if shape.tag == "line")
    assert len(shown) * 7.9 < first
