"""The gallery shows the pages as they are: pictures are made by a script, and are as new as what they show."""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from tests.helpers.browser import find_browser

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "docs" / "make_gallery.py"
PICTURES = ROOT / "docs" / "pictures" / "gallery"
RECORD = json.loads((PICTURES / "made_of.json").read_text(encoding="utf-8"))
PAGE = (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")
MOST_BYTES = 1_500_000


def _sizes(folder: Path) -> dict[str, str]:
    """Name -> width x height in pixels of every picture."""
    found = {}
    for path in folder.glob("*.webp"):
        picture = cv2.imread(str(path))
        assert picture is not None, path
        found[path.name] = f"{picture.shape[1]}x{picture.shape[0]}"
    return found


def test_no_page_has_changed_since_its_picture_was_made() -> None:
    known, now = RECORD["made_of"], runpy.run_path(str(SCRIPT))["digests"]()
    changed = sorted(name for name in known.keys() | now.keys() if known.get(name) != now.get(name))
    assert changed == [], (
        f"Pictures of the gallery may show what is no more: {', '.join(changed)} changed.\n"
        "Make them again, look at them, and commit them (some minutes; needs the extra [browser] and Chromium):\n"
        "    PYTHONPATH=. python docs/make_gallery.py\n"
        "For a change that no picture shows, such as a comment, add --only-record, which takes no time."
    )


def test_the_gallery_has_every_picture_and_the_commands_that_were_run() -> None:
    assert _sizes(PICTURES) == RECORD["pictures"]
    assert {path.name for path in PICTURES.iterdir()} == {*RECORD["pictures"], "made_of.json"}
    assert sorted(re.findall(r"pictures/gallery/([^)\"]+)", PAGE)) == sorted(RECORD["pictures"])
    assert sum(path.stat().st_size for path in PICTURES.iterdir()) <= MOST_BYTES
    shown = re.findall(r"```bash\n(.*)\n```", PAGE)
    assert sorted(shown) == sorted(runpy.run_path(str(SCRIPT))["SHOWN"])


@pytest.mark.slow
def test_the_script_makes_the_same_pictures(tmp_path: Path) -> None:
    """Names and sizes; pixels differ by times and speeds on the pages, and by fonts."""
    find_browser()
    pytest.importorskip(
        "playwright.sync_api", reason="the extra [browser] is not installed: pip install -e '.[browser]'"
    )
    command = [sys.executable, str(SCRIPT), "-o", str(tmp_path / "made")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert _sizes(tmp_path / "made") == RECORD["pictures"]
    assert json.loads((tmp_path / "made" / "made_of.json").read_text(encoding="utf-8"))["made_of"] == RECORD["made_of"]
    assert min(path.stat().st_size for path in (tmp_path / "made").glob("*.webp")) > 15_000, "no page is empty"
