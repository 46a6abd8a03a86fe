"""The browser in which pages are drawn."""

from __future__ import annotations

import shutil

import pytest


def find_browser() -> str:
    """Chromium or Chrome; where there is none the test is skipped."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    pytest.skip("neither chromium, chromium-browser nor google-chrome is on PATH: install one")
