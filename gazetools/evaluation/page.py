"""The HTML page of an evaluation: tables, and the best and worst frames as pictures; one file without scripts."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np

from gazetools.html.frame import filled, html_page
from gazetools.io.atomic import write_bytes_atomic
from gazetools.schemas.errors import GazetoolsError
from gazetools.schemas.evaluation import EvaluationReport, Scored
from gazetools.schemas.store import STORE_SUFFIX
from gazetools.schemas.video_id import path_of_id
from gazetools.store import open_store

METRICS = {
    "auc": "AUC",
    "avg_l2": "average L2",
    "min_l2": "minimum L2",
    "angle_deg": "angle (degrees)",
    "inout_ap": "in/out AP",
}
_WIDTH = 480
_STYLE = """\
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; color: #222; padding: 0 1rem }
table { border-collapse: collapse; margin: 0 0 1.5rem } th, td { padding: .25rem .8rem; text-align: right }
th:first-child, td:first-child { text-align: left } thead th { border-bottom: 2px solid #888 }
tbody tr:nth-child(even) { background: #f3f3f3 } small { color: #666 }
figure { display: inline-block; margin: 0 1rem 1rem 0; vertical-align: top } figcaption { font-size: 13px }
img { max-width: 100% }"""
_BODY = """<h1>Gaze heatmaps against ground truth</h1>
<p>{{ report.predicted }} scored against {{ report.truth }} with gazetools {{ report.tool_version }}.
{% for note in report.notes %}{{ note }} {% endfor %}</p>
{% for title, rows in tables %}
<h2>{{ title }}</h2>
<table><thead><tr><th></th>{% for _, label in metrics %}<th>{{ label }}</th>{% endfor %}
<th>rows</th></tr></thead><tbody>
{% for name, cells, count in rows %}<tr><td>{{ name }}</td>
{% for cell in cells %}<td>{{ cell[0] }} <small>{{ cell[1] }}</small></td>{% endfor %}<td>{{ count }}</td></tr>
{% endfor %}</tbody></table>
{% endfor %}
<h2>Counts</h2><ul>{% for name, count in report.counts.items() %}<li>{{ name }}: {{ count }}</li>{% endfor %}</ul>
{% if report.failed %}<h2>Not scored</h2>
<ul>{% for name, reason in report.failed.items() %}<li>{{ name }}: {{ reason }}</li>{% endfor %}</ul>{% endif %}
{% for title, figures in galleries %}{% if figures %}<h2>{{ title }}</h2>
{% for picture, caption in figures %}<figure>
{% if picture %}<img src="data:image/jpeg;base64,{{ picture }}" alt="{{ caption }}">{% endif %}
<figcaption>{{ caption }}</figcaption></figure>{% endfor %}{% endif %}{% endfor %}"""


def write_html(path: Path, report: EvaluationReport, *, pictures_from: Path | None = None) -> None:
    """Write the page in one commit.

    Args:
        path: the .html file.
        report: what `evaluate` returned.
        pictures_from: the truth's store folder; frames are shown where the videos still lie where it says.
    """
    tables = [("Overall", [_row("all", report.overall)])]
    tables += [
        (f"By {kind}", [_row(name, found) for name, found in members.items()])
        for kind, members in report.groups.items()
    ]
    galleries = [
        ("Best frames", [_figure(report, one, pictures_from) for one in report.best]),
        ("Worst frames", [_figure(report, one, pictures_from) for one in report.worst]),
    ]
    body = filled(_BODY, report=report, tables=tables, galleries=galleries, metrics=list(METRICS.items()))
    write_bytes_atomic(path, html_page(title="gazetools evaluation", style=_STYLE, body=body).encode("utf-8"))


def _row(name: str, found: dict[str, Any]) -> tuple[str, list[tuple[str, str]], int]:
    cells = []
    for metric in METRICS:
        one = found.get(metric)
        interval = "" if one is None or one.low is None else f"{one.low:.3f} .. {one.high:.3f}"
        cells.append(("" if one is None else f"{one.value:.4f}", interval))
    return name, cells, max((one.count for one in found.values()), default=0)


def _figure(report: EvaluationReport, one: Scored, truth: Path | None) -> tuple[str | None, str]:
    caption = f"{one.video_id}, frame {one.frame}: L2 {one.avg_l2:.3f}"
    caption += "" if one.auc is None else f", AUC {one.auc:.3f}"
    if truth is None:
        return None, caption
    try:
        return base64.b64encode(_picture(report, one, truth)).decode("ascii"), caption
    except (GazetoolsError, OSError) as error:
        return None, f"{caption} (no picture: {error})"


def _picture(report: EvaluationReport, one: Scored, truth: Path) -> bytes:
    """JPEG of the frame: predicted heatmap and head box, and the true target as a green ring."""
    import cv2

    from gazetools.preview.overlay import draw_overlay
    from gazetools.preview.rows import StoreOverlays
    from gazetools.video import VideoReader

    with open_store(path_of_id(truth, one.video_id, STORE_SUFFIX)) as store:
        video = store.provenance.video.path
        row = int(np.flatnonzero(store.row_frame == one.frame)[0])
        targets = store.extra("target_xy")
        if targets is None:
            raise OSError("the ground truth has no targets")
        target = targets[row]
    overlays = StoreOverlays(path_of_id(Path(report.predicted), one.video_id, STORE_SUFFIX))
    try:
        people = overlays.people(one.frame)
    finally:
        overlays.close()
    with VideoReader(video) as reader:
        rgb = reader.read([one.frame])[0]
    scale = _WIDTH / rgb.shape[1]
    rgb = cv2.resize(rgb, (_WIDTH, max(1, round(rgb.shape[0] * scale))), interpolation=cv2.INTER_AREA)
    drawn = draw_overlay(rgb, people)
    place = (int(target[0] * rgb.shape[1]), int(target[1] * rgb.shape[0]))
    cv2.circle(drawn, place, 9, (0, 255, 0), 2, cv2.LINE_AA)
    done, encoded = cv2.imencode(".jpg", drawn[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    if not done:
        raise OSError("the picture could not be encoded")
    return bytes(encoded.tobytes())
