"""docs/architecture.md and CONTRIBUTING.md name files, rooms and tables that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.unit.test_layout import LAYERS, PACKAGE

ROOT = Path(__file__).parents[2]
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_the_drawing_is_the_layers_of_the_layout_test() -> None:
    drawing = ARCHITECTURE.split("```")[1].splitlines()[1:]
    drawn = [re.split(r"\s{4,}| {2,}(?=[a-z]+ )", line.strip().replace("gazetools/", ""))[0:6] for line in drawing]
    rooms = {room for layer in LAYERS for room in layer} - {"__main__"}
    for line, layer in zip(drawn, reversed(LAYERS[:-1]), strict=True):
        words = set(re.findall(r"[\w]+", " ".join(line)))
        assert words & rooms == set(layer), f"{line} is not {layer}"


def _table(text: str, heading: str) -> list[list[str]]:
    """Cells of the rows of the first table below a heading."""
    rows = [line for line in text.split(heading)[1].split("\n## ", maxsplit=1)[0].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


@pytest.mark.parametrize("row", _table(ARCHITECTURE, "## The main path"), ids=lambda row: row[0])
def test_a_main_path_has_files_that_exist_and_at_most_four(row: list[str]) -> None:
    path = row[1].split(";")[0]
    names = re.findall(r"`([\w/]+\.py)`", path)
    assert 1 <= len(names) <= 4
    folder = (ROOT / "gazetools" / names[0]).parent
    for name in re.findall(r"`([\w/]+\.py)`", row[1]):
        beside_the_first = [folder / name, *(parent / name for parent in folder.parents)]
        assert any(file.exists() for file in [ROOT / "gazetools" / name, *beside_the_first]), name


def test_tables_of_kinds_are_where_the_page_says() -> None:
    for _, table, _ in _table(ARCHITECTURE, "## A kind is an object"):
        for file in re.findall(r"`([\w/]+\.py)`", table):
            source = PACKAGE.by_name[
                "gazetools." + file.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
            ]
            for name in re.findall(r"`([A-Z]+)`", table):
                assert re.search(rf"^{name}\b", source.text, re.MULTILINE), f"{file} has no {name}"


def test_files_and_calls_of_the_contributors_table_exist() -> None:
    for _, files, call in _table(CONTRIBUTING, "## Where does my change go"):
        for name in re.findall(r"`([\w/]+\.py)`", files):
            if "NEW" not in name and "FILE" not in name:
                places = [ROOT / "gazetools" / name, *(ROOT / "gazetools").rglob(name)]
                assert any(place.exists() for place in places), name
        for dotted in re.findall(r"`([a-z_.]+\.register)`", call):
            module, name = f"gazetools.{dotted}".rsplit(".", 1)
            assert re.search(rf"^def {name}\(", PACKAGE.by_name[module].text, re.MULTILINE), dotted
