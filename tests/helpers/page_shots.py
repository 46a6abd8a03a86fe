"""Pages in Chromium: as a picture in light and dark, on paper, and how far they reach over the window's width."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from tests.helpers.browser import find_browser


def shot(page: Path, folder: Path, *, dark: bool = False, width: int = 1200, height: int = 1600) -> npt.NDArray[Any]:
    """RGB of the page's upper end; it may not complain about anything that its policy refuses."""
    picture = folder / "shot.png"
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    done = _run(folder, scheme, f"--screenshot={picture}", f"--window-size={width},{height}", page.as_uri())
    assert b"Content Security Policy" not in done.stderr, done.stderr
    pixels = cv2.imread(str(picture))
    assert pixels is not None
    return np.asarray(pixels[:, :, ::-1])


def overhang(page: Path, folder: Path, *, width: int) -> int:
    """Pixels by which the page is wider than a window of `width`; 0 or less: only its tables scroll."""
    probe = folder / "probe.html"
    # the page itself lets no script run
    inner = page.read_text(encoding="utf-8").replace("default-src 'none'", "script-src 'unsafe-inline'")
    script = "<script>document.title = 'over ' + (document.documentElement.scrollWidth - innerWidth)</script>"
    probe.write_text(inner.replace("</body>", f"{script}</body>"), encoding="utf-8")
    done = _run(folder, f"--window-size={width},1600", "--dump-dom", probe.as_uri())
    found = re.search(rb"<title>over (-?\d+)</title>", done.stdout)
    assert found is not None, done.stderr
    return int(found[1])


def paper(page: Path, folder: Path) -> bytes:
    """The PDF that Chromium prints."""
    printed = folder / "printed.pdf"
    _run(folder, f"--print-to-pdf={printed}", "--no-pdf-header-footer", page.as_uri())
    return printed.read_bytes()


def _run(folder: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    common = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--hide-scrollbars"]
    profile = f"--user-data-dir={folder / 'profile'}"
    return subprocess.run([find_browser(), *common, profile, *words], check=True, capture_output=True, timeout=120)
