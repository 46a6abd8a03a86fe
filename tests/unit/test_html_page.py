"""The frame of the HTML pages: nothing is loaded, texts from outside stay texts, a missing name is an error."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import jinja2
import pytest
import yaml
from markupsafe import escape

from gazetools.html.charts import Line, lines
from gazetools.html.frame import environment, render

ROOT = Path(__file__).parents[2]
PAGES = ["demo", "evaluation", "extraction", "trainer/finetune", "trainer/report", "validation"]


@pytest.mark.parametrize(("with_video", "media"), [(False, ""), (True, " media-src data:;")])
def test_the_policy_lets_nothing_in_but_what_the_page_holds(with_video: bool, media: str) -> None:
    page = render("html/base.html.jinja", title="a <b>", command="<c>", version="1", with_video=with_video)
    policy = f"default-src 'none'; img-src data:;{media} style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    assert f'content="{policy}"' in page
    assert "<b>gazetools</b> &lt;c&gt;" in page, "the header says which command wrote the page"
    assert "<title>a &lt;b&gt;</title>" in page and "* { box-sizing:border-box }" in page


def test_a_template_escapes_its_values_and_lacks_none() -> None:
    assert environment().from_string("<p>{{ text }}</p>").render(text="<script>") == "<p>&lt;script&gt;</p>"
    with pytest.raises(jinja2.UndefinedError, match="other"):
        environment().from_string("{{ other }}").render(text="")


@pytest.mark.parametrize("room", PAGES)
def test_every_page_extends_the_one_frame(room: str) -> None:
    text = files("gazetools").joinpath(f"{room}/page.html.jinja").read_text(encoding="utf-8")
    assert text.startswith('{% extends "html/base.html.jinja" %}')
    assert "<style" not in text and "<script" not in text
    own = [rule for rule in re.findall(r'style="([^"]*)"', text) if not re.fullmatch(r"width:[^;]*", rule)]
    assert own == [], "a rule belongs into the one style sheet; only the length of a bar is the page's own"
    assert "|safe" not in text and "autoescape" not in text, "what is from outside stays text; charts escape themselves"


def test_templates_and_style_sheet_are_installed_with_the_package() -> None:
    """Package data that no pattern of pyproject.toml names would be missing from a wheel."""
    line = next(line for line in (ROOT / "pyproject.toml").read_text().splitlines() if '"py.typed"' in line)
    patterns = yaml.safe_load(line.partition("=")[2])
    package = ROOT / "gazetools"
    installed = {path for pattern in patterns for path in package.glob(pattern)}
    found = {path for kind in ("*.jinja", "*.css") for path in package.rglob(kind)}
    assert found | set(package.rglob("*.js")) <= installed
    others = {"html/base.html.jinja", "html/style.css", "trainer/starting/config.yaml.jinja"}
    others |= {"trainer/finetune/page.html.jinja"}
    others |= {
        "viewer/clip.html.jinja",
        "viewer/static/page.html.jinja",
        "viewer/static/viewer.css",
        "viewer/static/boxes.css",
    }
    assert {str(path.relative_to(package)) for path in found} == others | {f"{room}/page.html.jinja" for room in PAGES}


@pytest.mark.parametrize("last", [0.0, 0.5, 40.0], ids=["on the line", "close to it", "far away"])
def test_the_name_of_a_level_lies_on_no_point(last: float) -> None:
    """It stands in the legend: next to the dashed line it would hide the last point wherever that is near."""
    series = {"a": Line(points=[(0.5, 20.0), (2.0, last)])}
    drawn = escape(lines(series, x_label="s", y_label="y", level=("no gain", 0.0)))
    chart, legend = drawn.split("</svg>")
    assert 'class="level"' in chart and "no gain" not in chart
    assert legend.endswith('<span><i class="level"></i>no gain</span></p>')
    without = escape(lines(series, x_label="s", y_label="y"))
    assert "level" not in without


def test_the_style_sheet_is_whole() -> None:
    """Each colour has a light and a dark value, every variable that is used exists, and paper is always light."""
    style = files("gazetools").joinpath("html/style.css").read_text(encoding="utf-8")
    light, dark = (
        set(re.findall(r"(--[a-z]+):", part)) for part in re.findall(r":root \{(.*?)\}", style, flags=re.DOTALL)
    )
    assert light == dark and len(light) > 20
    assert set(re.findall(r"var\((--[a-z]+)\)", style)) == light | {"--own"}
    assert "@media screen and (prefers-color-scheme:dark)" in style and "@media print" in style
    assert style.count("{") == style.count("}") and "url(" not in style and "@import" not in style


def test_classes_of_templates_have_rules() -> None:
    """A class without a rule is a misspelt one, or one whose rule has gone."""
    style = files("gazetools").joinpath("html/style.css").read_text(encoding="utf-8")
    known = set(re.findall(r"\.([a-z][a-z0-9-]*)", style))
    for room in PAGES:
        text = files("gazetools").joinpath(f"{room}/page.html.jinja").read_text(encoding="utf-8")
        plain = re.sub(r"\{%.*?%\}|\{\{.*?\}\}", "", text)
        used = {name for names in re.findall(r'class="([^"]*)"', plain) for name in names.split()}
        assert used <= known, f"{room}: {used - known}"
