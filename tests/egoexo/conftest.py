"""One synthetic Ego-Exo4D root for all tests, and copies of it to be broken."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.synthetic_takes import write_root


@pytest.fixture(scope="session")
def egoexo_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three takes, see tests/helpers/synthetic_takes.py; not to be changed."""
    return write_root(tmp_path_factory.mktemp("egoexo") / "root")


@pytest.fixture
def broken_root(egoexo_root: Path, tmp_path: Path) -> Path:
    """A copy that a test may break."""
    return Path(shutil.copytree(egoexo_root, tmp_path / "root"))


@pytest.fixture
def edit_csv() -> Callable[[Path, Callable[[list[list[str]]], None]], None]:
    """Change the cells of a CSV in place: `edit(path, change)` with all rows, the header first."""

    def edit(path: Path, change: Callable[[list[list[str]]], None]) -> None:
        rows = [line.split(",") for line in path.read_text().splitlines()]
        change(rows)
        path.write_text("\n".join(",".join(row) for row in rows) + "\n")

    return edit
