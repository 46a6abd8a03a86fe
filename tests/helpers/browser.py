"""The browser that renders HTML pages in tests."""

from __future__ import annotations

import shutil

import pytest


def find_browser() -> str:
    """Path of Chromium or Chrome; skips the test if neither is installed."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    pytest.skip("neither chromium, chromium-browser nor google-chrome is on PATH: install one")
