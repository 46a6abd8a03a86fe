"""The HTML report: complete in one file, hostile names harmless, and drawn by a real browser."""

from __future__ import annotations

import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from gazetools import VideoReader
from gazetools.packing import pack
from gazetools.schemas.errors import UsageError
from gazetools.schemas.findings import Finding, ValidationReport, check_fail_on
from gazetools.validation import validate
from gazetools.validation.page import write_html
from gazetools.validation.portrait import HISTOGRAM_BINS, TIMELINE_BINS, Gallery, Portrait
from tests.helpers.browser import find_browser
from tests.helpers.stores import make_video
from tests.validation.faults import edit_store, put

HOSTILE = 'x"><script>alert(1)</script>'


class _Page(HTMLParser):
    """Tags with their attributes, and the text between them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture
def report(tmp_path: Path, clip: Path) -> Path:
    """A store with maps missing in frames 10 to 19 and NaN in frame 30, compared with its video."""
    people = {frame: [1] for frame in range(40) if not 10 <= frame < 20}
    with VideoReader(clip) as reader:
        pts = reader.pts_seconds
    make_video(
        tmp_path / "store",
        frame_count=40,
        people=people,
        pts_seconds=pts,
        make_inout=lambda f, t: 0.9 if f < 10 else 0.3,
    )
    edit_store(tmp_path / "store", put("rows/heatmap", (20, 0, 0), 1.5))
    (tmp_path / "store" / "notes.txt").write_text("")
    validate(tmp_path / "store", videos=clip, html=tmp_path / "report.html")
    return tmp_path / "report.html"


def test_the_report_is_complete_in_itself(report: Path) -> None:
    page = _Page(report.read_text(encoding="utf-8"))
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "iframe", "object", "embed", "form", "a"}
    sources = [value for _, attributes in page.tags for key, value in attributes.items() if key in ("src", "href")]
    assert sources
    assert all(source and source.startswith("data:image/jpeg;base64,") for source in sources)
    (policy,) = [a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    text = " ".join(page.words)
    for part in ("above-one", "stray-file", "frames 30", "Not fit for use", "frame 30"):
        assert part in text


def test_timelines_and_histograms_show_the_numbers(tmp_path: Path, report: Path) -> None:
    """Of 40 frames 10..19 have no map: the second quarter of the 160 bins is empty."""
    paths = re.findall(r'<path class="(.)" d="([^"]*)"', report.read_text(encoding="utf-8"))
    coverage, faults, _, inout, _ = (d for _, d in paths)
    drawn = {int(x) for x in re.findall(r"M(\d+) 1V0\.0000", coverage)}
    assert drawn == set(range(TIMELINE_BINS)) - set(range(40, 80))
    # the value above 1 is in frame 30 of 40: 4 bins
    assert re.findall(r"M(\d+) 1V0\.0000", faults) == ["120", "121", "122", "123"]
    heights = {int(x): float(y) for x, y in re.findall(r"M(\d+) 1V([\d.]+)", inout)}
    assert heights[0] == pytest.approx(0.1)
    assert heights[100] == pytest.approx(0.7)


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    found = Finding(
        code="stray-file", severity="warning", video_id=HOSTILE, frames=[1, 2, 3], message=HOSTILE, remedy=HOSTILE
    )
    summary = {"path": HOSTILE, "kind": "store", "videos": 1, "maps": 0, "errors": 0, "warnings": 1, "notes": 0}
    portrait = Portrait(
        video_id=HOSTILE,
        rows=0,
        span="",
        coverage=[0.0] * TIMELINE_BINS,
        faults=[],
        inout=[None] * TIMELINE_BINS,
        peaks=[0] * HISTOGRAM_BINS,
        inout_counts=[0] * HISTOGRAM_BINS,
    )
    write_html(tmp_path / "r.html", ValidationReport(findings=[found], summary=summary), [portrait])
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "<script" not in text
    assert HOSTILE in "".join(_Page(text).words)


@pytest.mark.parametrize("kind", ["npz", "npy", "native", "foreign", "broken"])
def test_every_kind_of_heatmap_is_portrayed(tmp_path: Path, clip: Path, kind: str) -> None:
    with VideoReader(clip) as reader:
        make_video(tmp_path / "store", frame_count=40, index=range(0, 40, 2), pts_seconds=reader.pts_seconds[::2])
    root = tmp_path / "data"
    if kind in ("foreign", "broken"):
        root.mkdir()
        np.savez(root / "clip.npz", x=np.random.default_rng(0).random((40, 6, 8), dtype=np.float32))
        if kind == "broken":
            (root / "clip.npz").write_bytes((root / "clip.npz").read_bytes()[:900])
    else:
        pack(tmp_path / "store", root, **({"align": "native"} if kind == "native" else {"layout": kind}))
    validate(root, videos=clip, html=tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert ("data:image/jpeg" in text) == (kind != "broken")
    assert "No picture" not in text


@pytest.mark.parametrize(
    ("fail_on", "severity", "code"),
    [
        ("error", "warning", 0),
        ("error", "error", 1),
        ("warning", "note", 0),
        ("warning", "warning", 1),
        ("note", "note", 1),
        ("never", "error", 0),
    ],
)
def test_fail_on_decides_the_exit_code(fail_on: str, severity: str, code: int) -> None:
    found = Finding.model_validate(
        {"code": "x", "severity": severity, "video_id": None, "frames": None, "message": "", "remedy": ""}
    )
    report = ValidationReport(findings=[found], summary={})
    assert report.exit_code_for(check_fail_on(fail_on)) == code
    assert ValidationReport(findings=[], summary={}).exit_code_for(fail_on) == 0


def test_an_unknown_severity_is_refused() -> None:
    with pytest.raises(UsageError, match="--fail-on fatal is unknown"):
        check_fail_on("fatal")


@pytest.mark.slow
def test_a_browser_draws_the_report_without_complaint(report: Path, tmp_path: Path) -> None:
    browser = find_browser()
    common = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    picture = tmp_path / "shot.png"
    subprocess.run(
        [*common, f"--screenshot={picture}", "--window-size=1200,1600", report.as_uri()],
        check=True,
        capture_output=True,
        timeout=120,
    )
    import cv2

    pixels = cv2.imread(str(picture))
    # the timelines' blue, the error's red and the background, as the browser paints them (BGR)
    for colour in ((165, 110, 59), (30, 38, 179), (249, 247, 245)):
        assert (np.abs(pixels.astype(int) - colour).max(axis=2) <= 2).sum() > 200, colour
    dom = subprocess.run([*common, "--dump-dom", report.as_uri()], check=True, capture_output=True, timeout=120)
    assert dom.stdout.count(b"<svg") == 5


def test_a_place_that_cannot_be_written_is_said_before_the_work(tmp_path: Path) -> None:
    make_video(tmp_path / "store")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="--html"):
        validate(tmp_path / "store", html=tmp_path / "file" / "report.html")


def test_pictures_are_rationed() -> None:
    gallery = Gallery(Path())
    given = [gallery.take(9) for _ in range(80)]
    assert sum(given) == 600
    assert given[:2] == [9, 9]
    assert given[-1] == 0
