"""Tables that the code states stand in the pages as they are."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
TABLES = runpy.run_path(str(DOCS / "make_tables.py"))["TABLES"]


@pytest.mark.parametrize("page", TABLES)
def test_the_page_has_the_table_of_the_code(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    assert TABLES[page]() in text, f"docs/{page} and the code differ: run docs/make_tables.py"
