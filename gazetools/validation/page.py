"""The report of `validate` as one HTML file that needs nothing else: no script, no font, no address."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from gazetools._version import __version__
from gazetools.html.charts import area_path, bars_path
from gazetools.html.frame import filled, html_page
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
    body = filled(
        _BODY,
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
    page = html_page(title=f"gazetools validate: {report.summary['path']}", style=_STYLE, body=body)
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
    against = f"{compared} of {summary['videos']} videos were decoded and compared" if compared else "no video at hand"
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


_STYLE = """\
:root { --ink:#1c2430; --soft:#5b6675; --line:#dfe4ea; --back:#f5f7f9; --card:#fff; --error:#b3261e; --warning:#9a5b00;
  --note:#22577a; --good:#1b6e45; --map:#3b6ea5; --look:#c77d1e; }
* { box-sizing:border-box }
body { margin:0; background:var(--back); color:var(--ink); font:15px/1.45 system-ui,"Segoe UI",Roboto,sans-serif }
main { max-width:1120px; margin:0 auto; padding:28px 20px 60px }
h1 { font-size:22px; margin:0 0 2px } p { overflow-wrap:anywhere } h2 { font-size:17px; margin:34px 0 10px }
.soft { color:var(--soft) } code { font:13px/1.4 ui-monospace,Consolas,monospace; overflow-wrap:anywhere }
.verdict { margin:16px 0; padding:10px 14px; border-left:5px solid; background:var(--card); font-weight:600 }
.tiles { display:grid; grid-template-columns:repeat(auto-fill,minmax(150px,1fr)); gap:10px }
.tile { background:var(--card); border:1px solid var(--line); border-radius:8px; padding:9px 12px }
.tile b { display:block; font-size:20px; font-variant-numeric:tabular-nums }
.card { background:var(--card); border:1px solid var(--line); border-radius:8px; padding:12px 14px; margin:0 0 10px }
.finding { border-left:5px solid } .finding p { margin:5px 0 0 }
.error { border-left-color:var(--error) } .warning { border-left-color:var(--warning) }
.note { border-left-color:var(--note) } .good { border-left-color:var(--good) }
.badge { display:inline-block; border-radius:4px; padding:0 7px; font-size:12px; font-weight:700; color:#fff }
.badge.error { background:var(--error) } .badge.warning { background:var(--warning) }
.badge.note { background:var(--note) }
.where { color:var(--soft); margin-left:8px; overflow-wrap:anywhere }
.overview { margin:14px 0 0 } .overview .badge { margin:0 6px 6px 0 }
details { margin:0 0 10px } summary { cursor:pointer; padding:6px 2px; font-weight:600 }
.pictures { display:flex; flex-wrap:wrap; gap:10px; margin-top:10px }
figure { margin:0; width:240px } figure img { display:block; width:100%; border-radius:4px; background:#111 }
figcaption { font-size:12px; color:var(--soft) }
.charts { display:grid; grid-template-columns:3fr 1fr; gap:6px 22px; margin-top:8px; align-items:end }
.charts svg { display:block; width:100%; height:34px; background:#eef1f4; border-radius:3px }
.charts label { font-size:12px; color:var(--soft) } .m { fill:var(--map) } .l { fill:var(--look) }
.charts svg.faults { height:7px; margin-top:2px; background:none } .f { fill:var(--error) }
.axis { display:flex; justify-content:space-between; font-size:11px; color:var(--soft) }
@media (max-width:700px) { .charts { grid-template-columns:1fr } main { padding:18px 12px 40px }
  .tiles { grid-template-columns:repeat(3,1fr); gap:7px } .tile { padding:7px 8px; font-size:13px }
  .tile b { font-size:17px } figure { width:calc(50% - 5px) } }"""
_BODY = """<main>
<h1>Validation of <code>{{ summary.path }}</code></h1>
<div class="soft">{{ summary.kind }}, gazetools {{ version }}</div>
<div class="verdict {{ verdict.kind }}">{{ verdict.text }}</div>
<div class="tiles">
<div class="tile"><b>{{ summary.errors }}</b>errors</div>
<div class="tile"><b>{{ summary.warnings }}</b>warnings</div>
<div class="tile"><b>{{ summary.notes }}</b>notes</div>
{% for label, value in tiles %}
<div class="tile"><b>{{ value }}</b>{{ label }}</div>
{% endfor %}
</div>
{% if overview %}
<div class="overview">
{% for severity, code, count in overview %}
<span class="badge {{ severity }}">{{ code }}{% if count > 1 %} &times; {{ count }}{% endif %}</span>
{% endfor %}
</div>
{% endif %}

<h2>Findings</h2>
{% macro card(f) %}
<section class="card finding {{ f.severity }}">
<span class="badge {{ f.severity }}">{{ f.severity }}</span> <code>{{ f.code }}</code>
<span class="where">{{ f.video_id or "" }}{% if f.frames %} &middot; frames {{ runs(f.frames) }}{% endif %}</span>
<p>{{ f.message }}</p>
<p class="soft">{{ f.remedy }}</p>
{% if pictures_of(f) %}
<div class="pictures">
{% for p in pictures_of(f) %}
<figure><img src="{{ p.data_url }}" alt="{{ p.caption }} of {{ f.video_id }} with its maps">
<figcaption>{{ p.caption }}</figcaption></figure>
{% endfor %}
</div>
{% endif %}
</section>
{% endmacro %}
{% for f in loud %}
{{ card(f) }}
{% endfor %}
{% if notes %}
<details{% if not loud %} open{% endif %}><summary>{{ notes|length }} note{{ "s" if notes|length > 1 }}</summary>
{% for f in notes %}
{{ card(f) }}
{% endfor %}
</details>
{% endif %}
{% if not loud and not notes %}<p class="soft">None.</p>{% endif %}
{% if left_out %}<p class="soft">{{ left_out }} more are left out here; <code>--json</code> has all.</p>{% endif %}

<h2>Videos</h2>
<p class="soft">Blue: share of frames with a map over the length of the video; red below it: where errors and warnings
name frames. Orange: mean probability that the gaze target is in the frame.
Right: maps by their largest value, rows by that probability, both from 0 to 1.</p>
{% for v in portraits %}
<section class="card">
<b>{{ v.video_id }}</b> <span class="soft">{{ v.rows }} maps, {{ v.span }}</span>
{% for severity, code in codes_of(v.video_id) %}<span class="badge {{ severity }}">{{ code }}</span> {% endfor %}
<div class="charts">
<div><label>with a map</label>
<svg viewBox="0 0 {{ v.coverage|length }} 1" preserveAspectRatio="none" role="img" aria-label="frames with a map">
<path class="m" d="{{ area_path(v.coverage) }}"/></svg>
{% if v.faults %}
<svg class="faults" viewBox="0 0 {{ v.faults|length }} 1" preserveAspectRatio="none" role="img" aria-label="findings">
<path class="f" d="{{ area_path(v.faults) }}"/></svg>
{% endif %}
</div>
<div><label>largest value</label>
<svg viewBox="0 0 {{ v.peaks|length }} 1" preserveAspectRatio="none" role="img" aria-label="maps by largest value">
<path class="m" d="{{ bars_path(v.peaks) }}"/></svg></div>
<div><label>in the frame</label>
<svg viewBox="0 0 {{ v.inout|length }} 1" preserveAspectRatio="none" role="img" aria-label="mean of in/out">
<path class="l" d="{{ area_path(v.inout) }}"/></svg>
<div class="axis"><span>0</span><span>{{ v.span }}</span></div></div>
<div><label>in/out</label>
<svg viewBox="0 0 {{ v.inout_counts|length }} 1" preserveAspectRatio="none" role="img" aria-label="rows by in/out">
<path class="l" d="{{ bars_path(v.inout_counts) }}"/></svg><div class="axis"><span>0</span><span>1</span></div></div>
</div>
{% for p in v.pictures if not p.code %}
<div class="pictures"><figure>{% if p.data_url %}<img src="{{ p.data_url }}" alt="{{ p.caption }}">{% endif %}
<figcaption>{{ p.caption }}</figcaption></figure></div>
{% endfor %}
</section>
{% endfor %}
{% if undrawn %}<p class="soft">{{ undrawn }} more videos are not drawn.</p>{% endif %}
</main>"""
