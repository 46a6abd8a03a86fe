"""The report of `validate` as one HTML file that needs nothing else: no script, no font, no address."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from gazetools._version import __version__
from gazetools.html.charts import area_path, bars_path
from gazetools.html.frame import render
from gazetools.io.atomic import write_bytes_atomic
from gazetools.schemas.findings import Finding, ValidationReport, frame_runs
from gazetools.validation.portrait import Picture, Portrait

_MAX_FINDINGS = 2000
_MAX_PORTRAITS = 200


def write_html(path: Path, report: ValidationReport, portraits: list[Portrait]) -> None:
    """Commit the report at `path`. Videos with findings come first; at most 200 are drawn, all findings counted."""
    worst = {f.video_id for f in report.findings if f.severity != "note"}
    noted = {f.video_id for f in report.findings}
    ordered = sorted(portraits, key=lambda p: (p.video_id not in worst, p.video_id not in noted, p.video_id))
    pictures: dict[tuple[str, str], list[Picture]] = {}
    for portrait in portraits:
        for picture in portrait.pictures:
            if picture.code:
                pictures.setdefault((portrait.video_id, picture.code), []).append(picture)
    shown = report.findings[:_MAX_FINDINGS]
    page = render(
        "validation/page.html.jinja",
        title=f"gazetools validate: {report.summary['path']}",
        runs=_runs,
        area_path=area_path,
        bars_path=bars_path,
        version=__version__,
        summary=report.summary,
        tiles=_tiles(report.summary),
        verdict=_verdict(report),
        loud=[f for f in shown if f.severity != "note"],
        notes=[f for f in shown if f.severity == "note"],
        overview=_overview(report.findings),
        left_out=max(0, len(report.findings) - _MAX_FINDINGS),
        pictures_of=lambda f: pictures.get((f.video_id, f.code), []),
        portraits=ordered[:_MAX_PORTRAITS],
        undrawn=max(0, len(ordered) - _MAX_PORTRAITS),
        codes_of=lambda video_id: _codes(report.findings, video_id),
    )
    write_bytes_atomic(path, page.encode("utf-8"))


def _overview(findings: list[Finding]) -> list[tuple[str, str, int]]:
    """(severity, code, how many) in the order of the findings."""
    counts = Counter((f.severity, f.code) for f in findings)
    return [(severity, code, count) for (severity, code), count in counts.items()]


def _runs(frames: list[int]) -> str:
    """`3-5, 9` with hyphens at which no line breaks."""
    return frame_runs(frames).replace("-", "\u2011")


def _verdict(report: ValidationReport) -> dict[str, str]:
    summary = report.summary
    if summary["errors"]:
        return {"kind": "error", "text": "Not fit for use: there are errors."}
    if summary["warnings"]:
        return {"kind": "warning", "text": "Usable once the warnings are understood."}
    compared = summary.get("videos_decoded", 0)
    against = (
        f"{compared} of {summary['videos']} videos were decoded and compared" if compared else "no video was available"
    )
    return {"kind": "good", "text": f"No error and no warning; every file was read to its end, {against}."}


def _tiles(summary: dict[str, Any]) -> list[tuple[str, str]]:
    names = {
        "videos": "videos",
        "maps": "maps",
        "videos_decoded": "compared with their video",
        "share_of_frames_without_people": "frames without people",
        "share_of_rows_without_prompt": "rows without head prompt",
        "share_of_rows_inside_frame": "gaze inside the frame",
        "share_of_clips_covered": "annotated clips covered",
    }
    return [
        (label, _percent(summary[key]) if key.startswith("share") else f"{summary[key]:,}")
        for key, label in names.items()
        if key in summary
    ]


def _codes(findings: list[Finding], video_id: str) -> list[tuple[str, str]]:
    return list(dict.fromkeys((f.severity, f.code) for f in findings if f.video_id == video_id))


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
