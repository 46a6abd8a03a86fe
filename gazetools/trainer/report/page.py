"""The self-contained HTML page of a report: tables and curves as inline SVG, nothing loaded from elsewhere."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from typing import Any

from gazetools.trainer.report.tables import columns_of, shown

_COLOURS = (
    "#1b6ca8",
    "#d1495b",
    "#3a7d44",
    "#8e5ea2",
    "#c77d0a",
    "#4f5d75",
    "#00798c",
    "#a4508b",
    "#6b705c",
    "#222222",
)
_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:.5rem 0 1.5rem;font-variant-numeric:tabular-nums}
td,th{padding:.2rem .6rem;border-bottom:1px solid #ddd;text-align:right}td:first-child,th:first-child{text-align:left}
pre{background:#f6f6f6;padding:1rem;overflow:auto;max-height:30rem}.warn{background:#fff3cd;padding:.6rem 1rem}
tr.primary{font-weight:600}"""


def render_page(document: dict[str, Any]) -> str:
    """The page of what `gazetools.trainer.report.build.report` found."""
    random_weights = [name for name, run in document["runs"].items() if run["random_weights"]]
    parts = ["<h1>Gaze for action anticipation</h1>", f"<p>Split <b>{_e(document['split'])}</b>. "]
    parts.append(
        f"Intervals: 95 %, percentile bootstrap over videos, {document['resamples']} resamples. p-values: sign-flip "
        "test over videos, two-sided; Holm-corrected over the arms of a task.</p>"
    )
    if random_weights:
        parts.append(f"<p class=warn>RANDOM WEIGHTS in {_e(', '.join(random_weights))}: no claim about gaze.</p>")
    for name, run in document["runs"].items():
        if run["failed"]:
            parts.append(f"<p class=warn>Dropped models in {_e(name)}: {_e(json.dumps(run['failed']))}</p>")
    parts += [_section("Arms", document["arms"], "The mean over seeds with its interval, and each seed singly.")]
    if document["baseline"] is None:
        parts.append("<p class=warn>No run has the baseline arm, so there are no contrasts.</p>")
    figure = f"recall@{document['k']}"
    text = f"{figure} in percentage points on the same clips; the primary contrast is bold. Less than about half a "
    text += "point is noise without several seeds."
    parts.append(_section("Differences to the baseline", document["contrasts"], text))
    if document["horizons"]:
        parts.append("<h2>How early</h2>")
        for task in dict.fromkeys(row["task"] for row in document["horizons"]):
            parts.append(
                curves(
                    [row for row in document["horizons"] if row["task"] == task],
                    title=task,
                    figure=f"recall@{document['k']}",
                )
            )
        parts.append(_table(document["horizons"]))
    parts.append(_section("Groups of classes and participants", document["groups"], ""))
    gains = document["class_gains"]
    parts.append(
        _section("Classes that change most", gains[:30], f"The first 30 of {len(gains)}; all in class_gains.csv.")
    )
    parts.append(_section("What was missing", document["data"], ""))
    for name, run in document["runs"].items():
        notes = "".join(f"<li>{_e(note)}</li>" for note in run["notes"])
        config = _e(json.dumps(run["config"], indent=1, ensure_ascii=False))
        parts.append(f"<h2>Run {_e(name)}</h2><p>{_e(run['anchor_rule'])}</p><ul>{notes}</ul><pre>{config}</pre>")
    body = "\n".join(parts)
    head = f"<meta charset=utf-8><title>gazetools report</title><style>{_STYLE}</style>"
    return f"<!doctype html><html lang=en>{head}{body}</html>\n"


def _e(text: object) -> str:
    return html.escape(str(text))


def _section(title: str, rows: Sequence[dict[str, Any]], text: str) -> str:
    return f"<h2>{_e(title)}</h2><p>{_e(text)}</p>{_table(rows)}" if rows else ""


def _table(rows: Sequence[dict[str, Any]]) -> str:
    columns = columns_of(rows)
    head = "".join(f"<th>{_e(column)}</th>" for column in columns)
    lines = []
    for row in rows:
        kind = " class=primary" if row.get("primary") else ""
        lines.append(f"<tr{kind}>" + "".join(f"<td>{_e(shown(row.get(c)))}</td>" for c in columns) + "</tr>")
    return f"<table><tr>{head}</tr>{''.join(lines)}</table>"


def curves(rows: Sequence[dict[str, Any]], *, title: str, figure: str, width: int = 640, height: int = 300) -> str:
    """`figure` against seconds, one line with its interval per arm, as SVG."""
    seconds = [row["seconds"] for row in rows]
    values = [row[key] for row in rows for key in ("low", "high", figure)]
    left, right, top, bottom = 50, width - 150, 30, height - 40
    low, high = min(values), max(values) if max(values) > min(values) else min(values) + 1
    first, last = min(seconds), max(seconds) if max(seconds) > min(seconds) else min(seconds) + 1

    def x(value: float) -> float:
        return left + (value - first) / (last - first) * (right - left)

    def y(value: float) -> float:
        return bottom - (value - low) / (high - low) * (bottom - top)

    parts = [f'<text x="{left}" y="18">{_e(title)} {_e(figure)} (%) against seconds before the action</text>']
    for value in (low, (low + high) / 2, high):
        parts.append(f'<text x="4" y="{y(value):.1f}" font-size="12">{value:.1f}</text>')
        parts.append(f'<line x1="{left}" x2="{right}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#ddd"/>')
    parts += [
        f'<text x="{x(value):.1f}" y="{height - 16}" font-size="12" text-anchor="middle">{value:g}</text>'
        for value in sorted(set(seconds))
    ]
    for number, arm in enumerate(dict.fromkeys(row["arm"] for row in rows)):
        colour = _COLOURS[number % len(_COLOURS)]
        own = sorted((row for row in rows if row["arm"] == arm), key=lambda row: row["seconds"])
        shift = 2 * number  # intervals of several arms stay apart
        points = " ".join(f"{x(r['seconds']) + shift:.1f},{y(r[figure]):.1f}" for r in own)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for r in own:
            at = x(r["seconds"]) + shift
            parts.append(
                f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{y(r["low"]):.1f}" y2="{y(r["high"]):.1f}" stroke="{colour}"/>'
            )
        parts.append(f'<text x="{right + 24}" y="{top + 18 * number}" fill="{colour}" font-size="13">{_e(arm)}</text>')
    return f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img">{"".join(parts)}</svg>'
