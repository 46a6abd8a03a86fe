"""The report of `validate` as one HTML file that needs nothing else: no script, no font, no address."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from gazetools._version import __version__
from gazetools.html.charts import area_path, bars_path
from gazetools.html.frame import render
from gazetools.io.atomic import write_bytes_atomic
from gazetools.schemas.findings import ValidationReport, frame_runs
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
        command="validate",
        version=__version__,
        runs=lambda frames: frame_runs(frames).replace("-", "\u2011"),  # no line breaks at these hyphens
        area_path=area_path,
        bars_path=bars_path,
        summary=report.summary,
        tiles=_tiles(report.summary),
        verdict=_verdict(report),
        loud=[f for f in shown if f.severity != "note"],
        notes=[f for f in shown if f.severity == "note"],
        overview=[(*kind, count) for kind, count in Counter((f.severity, f.code) for f in report.findings).items()],
        left_out=max(0, len(report.findings) - _MAX_FINDINGS),
        pictures_of=lambda f: pictures.get((f.video_id, f.code), []),
        portraits=ordered[:_MAX_PORTRAITS],
        undrawn=max(0, len(ordered) - _MAX_PORTRAITS),
        codes_of=lambda name: dict.fromkeys((f.severity, f.code) for f in report.findings if f.video_id == name),
    )
    write_bytes_atomic(path, page.encode("utf-8"))


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
        (label, f"{100 * summary[key]:.1f} %" if key.startswith("share") else f"{summary[key]:,}")
        for key, label in names.items()
        if key in summary
    ]
