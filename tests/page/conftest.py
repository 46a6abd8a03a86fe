"""A small PaGE of random weights, as a file and loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from gazetools.gazemodels.page.loading import load_page
from gazetools.gazemodels.page.model import PageModel
from tests.helpers.page_weights import TINY_PAGE, write_page_file


@pytest.fixture(scope="session")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """64x64 input, 4x4 grid, 16x16 maps, with in/out."""
    return write_page_file(tmp_path_factory.mktemp("page") / "page.safetensors", TINY_PAGE)


@pytest.fixture(scope="session")
def page(page_file: Path) -> PageModel:
    return load_page(str(page_file))
