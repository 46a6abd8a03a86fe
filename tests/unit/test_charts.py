"""The charts of every page: where values, intervals and levels are drawn, and that texts are escaped."""

from __future__ import annotations

import re

import pytest
from markupsafe import escape

from gazetools.html.charts import IntervalMark, Line, area_path, bars_path, forest, lines, ticks


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 10, [0, 2, 4, 6, 8, 10]),
        (-3.2, 41, [0, 10, 20, 30, 40]),
        (0.11, 0.13, [0.11, 0.115, 0.12, 0.125, 0.13]),
        (-0.3, 0.31, [-0.2, 0, 0.2]),
        (19.2, 20.8, [19.5, 20, 20.5]),
    ],
)
def test_ticks_are_round_and_inside(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_charts_place_values_in_order() -> None:
    chart = forest(
        {"a<b": IntervalMark(value=-5, low=-9, high=-1), "c": IntervalMark(value=7, low=2, high=12)},
        unit="points",
        strong="c",
    )
    drawn = escape(chart)
    left, right = (float(x) for x in re.findall(r'circle cx="([\d.]+)"', drawn))
    (zero,) = (float(x) for x in re.findall(r'x1="([\d.]+)"[^>]*class="zero"', drawn))
    assert left < zero < right and "a&lt;b" in drawn and "+7.0" in drawn
    chart = lines({"one": Line(points=[(1, 10.0), (2, 30.0)])}, x_label="epoch", y_label="%", level=("chance", 0.0))
    curve = escape(chart)
    (first, second) = re.findall(r"[\d.]+,([\d.]+)", re.findall(r'polyline points="([^"]+)"', curve)[0])
    assert float(first) > float(second), "a higher value is drawn higher up"
    assert "chance" in curve


def test_an_empty_chart_of_one_point_does_not_divide_by_zero() -> None:
    assert "<svg" in escape(lines({"one": Line(points=[(1.0, 5.0)])}, x_label="x", y_label="y"))


def test_a_note_stands_in_the_place_of_the_value() -> None:
    drawn = escape(forest({"a": IntervalMark(value=1.5, low=1, high=2, note="+1.50, p < 0.01")}, unit="points"))
    assert "+1.50, p &lt; 0.01" in drawn and "+1.5<" not in drawn


def test_an_interval_stands_on_its_own_point() -> None:
    line = Line(points=[(0.0, 10.0), (1.0, 30.0)], bars=[(5.0, 15.0), (20.0, 40.0)])
    drawn = escape(lines({"one": line, "two": line}, x_label="s", y_label="%"))
    dots = re.findall(r'circle cx="([\d.]+)"', drawn)
    bars = re.findall(r'line x1="([\d.]+)" x2="\1" y1="[\d.]+" y2="[\d.]+" stroke=', drawn)
    assert bars == dots and len(set(dots)) == 4, "the intervals of two lines do not cover each other"


@pytest.mark.parametrize("level", [-50.0, 90.0])
def test_a_level_outside_the_values_is_inside_the_chart(level: float) -> None:
    drawn = escape(lines({"one": Line(points=[(1, 10.0), (2, 30.0)])}, x_label="x", y_label="y", level=("a<b", level)))
    (at,) = (float(y) for y in re.findall(r'y1="([-\d.]+)"[^>]*class="level"', drawn))
    assert 26 < at < 270 - 44 and "a&lt;b" in drawn


def test_paths_fill_a_box_of_height_one() -> None:
    assert area_path([1.0, None, 0.25]) == "M0 1V0.0000H1V1Z" + "M2 1V0.7500H3V1Z"
    assert bars_path([0, 2, 4]) == "M1.08 1V0.5000H1.92V1Z" + "M2.08 1V0.0000H2.92V1Z"
    assert bars_path([]) == ""
