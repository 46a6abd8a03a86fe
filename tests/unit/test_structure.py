"""The scan that the layout test rests on sees what it must: a small package with one fault of every kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.structure import Package, body_lines, circles, parameter_count, used_names


@pytest.fixture
def package(tmp_path: Path) -> Package:
    files = {
        "toy/__init__.py": ["from toy.low.one import shown"],
        "toy/low/__init__.py": [],
        "toy/low/one.py": [
            '"""One."""',
            "from typing import TYPE_CHECKING",
            "if TYPE_CHECKING:",
            "    from toy.high import z",
            "def shown(): pass",
            "def unused(): pass",
        ],
        "toy/low/two.py": [
            "def f(a, *b, c=1, **d):",
            "    '''Doc",
            "    string.'''",
            "    from toy.low.three import g",
            "    return g",
        ],
        "toy/low/three.py": [
            "class C:",
            "    def m(self, x): return x  # a comment",
            "def g():",
            "    import toy.low.two",
        ],
        "toy/high.py": ["from toy import shown", "def z(): return shown"],
    }
    for name, lines in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    return Package(tmp_path, "toy")


def test_imports_inside_functions_count_and_those_for_types_do_not(package: Package) -> None:
    assert package.imports["toy.low.two"] == {"toy.low.three"}
    assert package.imports["toy.low.one"] == set()
    assert package.imports["toy.high"] == {"toy.low.one"}, "a re-exported name leads to the file that defines it"


def test_circles_are_found(package: Package) -> None:
    assert circles(package.imports) == [["toy.low.three", "toy.low.two"]]
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
    assert circles({"a": {"b"}, "b": set()}) == []
    assert package.folder_imports(Path("toy")) == {"high": {"low"}}


def test_functions_are_measured_without_docstring_and_self(package: Package) -> None:
    functions = {name: (node, method) for f in package.files for name, node, method in f.functions()}
    assert body_lines(functions["f"][0]) == 3
    assert parameter_count(*functions["f"]) == 4
    assert parameter_count(*functions["C.m"]) == 1


def test_prose_and_uses_are_seen(package: Package) -> None:
    (comment,) = package.by_name["toy.low.three"].comments()
    assert comment == (2, "# a comment")
    assert [text for _, text in package.by_name["toy.low.one"].docstrings()] == ["One."]
    assert "shown" in used_names(package)
    assert "unused" not in used_names(package)
