"""The documentation site: built strictly, with every page and every public name."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import gazetools
from gazetools import trainer

ROOT = Path(__file__).parents[2]
MISSING = importlib.util.find_spec("mkdocs") is None or importlib.util.find_spec("mkdocstrings") is None


def test_every_page_is_in_the_navigation() -> None:
    """The strict build says so too, but only with the extra."""
    config = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in (ROOT / "docs").rglob("*.md"):
        assert page.relative_to(ROOT / "docs").as_posix() in config, f"{page} is not in the nav of mkdocs.yml"


@pytest.mark.slow
@pytest.mark.skipif(MISSING, reason="the extra [docs] is not installed: pip install -e '.[docs]'")
def test_the_site_builds_strictly_and_shows_every_public_name(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    for page, package in (("gazetools", gazetools), ("trainer", trainer)):
        html = (tmp_path / "site" / "reference" / f"{page}.html").read_text(encoding="utf-8")
        names = [name for name in package.__all__ if name != "trainer"]
        assert [name for name in names if f'id="{package.__name__}.{name}"' not in html] == []
