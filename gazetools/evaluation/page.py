"""The HTML page of an evaluation: tables, and the best and worst frames as pictures."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from gazetools._version import __version__
from gazetools.html.frame import render
from gazetools.io.atomic import write_bytes_atomic
from gazetools.io.source_file import find_source, folder_of_id, not_there
from gazetools.preview.overlay import draw_overlay
from gazetools.preview.rows import StoreOverlays
from gazetools.schemas.errors import GazetoolsError
from gazetools.schemas.evaluation import EvaluationReport, Scored
from gazetools.schemas.picture_times import PictureTimes
from gazetools.schemas.store import STORE_SUFFIX
from gazetools.schemas.video_id import place_of_id
from gazetools.store import open_store
from gazetools.video import VideoReader
from gazetools.video.frame_clock import times_or_recorded

METRICS = {
    "auc": "AUC",
    "avg_l2": "average L2",
    "min_l2": "minimum L2",
    "angle_deg": "angle (degrees)",
    "inout_ap": "in/out AP",
}
_WIDTH = 480  # width of the pictures in pixels


def write_html(path: Path, report: EvaluationReport, *, pictures_from: Path | None = None) -> None:
    """Write the page of what `evaluate` returned in one commit.

    `pictures_from` is the store folder of the truth, whose provenance says where the videos are; None: no pictures.
    """
    tables = {"Overall": {"all": report.overall}, **{f"By {kind}": found for kind, found in report.groups.items()}}
    galleries = {"Best frames": report.best, "Worst frames": report.worst}
    page = render(
        "evaluation/page.html.jinja",
        title="gazetools evaluation",
        command="evaluate",
        version=__version__,
        report=report,
        tables=[(title, [_row(*member) for member in members.items()]) for title, members in tables.items()],
        galleries=[(title, [_figure(report, one, pictures_from) for one in rows]) for title, rows in galleries.items()],
        metrics=METRICS.values(),
    )
    write_bytes_atomic(path, page.encode("utf-8"))


def _row(name: str, found: dict[str, Any]) -> tuple[str, list[tuple[str, str]], int]:
    cells = []
    for one in map(found.get, METRICS):
        interval = "" if one is None or one.low is None else f"{one.low:.3f} .. {one.high:.3f}"
        cells.append(("" if one is None else f"{one.value:.4f}", interval))
    return name, cells, max((one.count for one in found.values()), default=0)


def _figure(report: EvaluationReport, one: Scored, truth: Path | None) -> tuple[str | None, str]:
    person = "" if one.track_id is None else f", id {one.track_id}"
    caption = f"{one.video_id}, frame {one.frame}{person}: L2 {one.avg_l2:.3f}"
    caption += "" if one.auc is None else f", AUC {one.auc:.3f}"
    if truth is None:
        return None, caption
    try:
        return base64.b64encode(_picture(report, one, truth)).decode("ascii"), caption
    except (GazetoolsError, OSError) as error:
        return None, f"{caption} (no picture: {error})"


def _picture(report: EvaluationReport, one: Scored, truth: Path) -> bytes:
    """JPEG of the frame with heatmap and head box of the scored person; a green ring is round the true target."""
    with open_store(place_of_id(truth, one.video_id, STORE_SUFFIX)) as store:
        source = find_source(store.provenance.video, folder_of_id(store.path, store.video_id))
        if source is None or not source.is_same:
            raise OSError(not_there(store.provenance.video))
        times = times_or_recorded(source.path, PictureTimes(), store.provenance.video)
        targets = store.extra("target_xy")
        if targets is None:
            raise OSError("the ground truth has no targets")
        (row,) = np.flatnonzero((store.row_frame == one.frame) & (store.row_track_id == one.true_track_id))
        target = targets[row]
    with StoreOverlays(place_of_id(Path(report.predicted), one.video_id, STORE_SUFFIX)) as overlays:
        people = [person for person in overlays.people(one.frame) if person.track_id == one.track_id]
    with VideoReader(source.path, **times.for_reader()) as reader:
        rgb = reader.read([one.frame])[0]
    height = max(1, round(rgb.shape[0] * (_WIDTH / rgb.shape[1])))
    drawn = draw_overlay(cv2.resize(rgb, (_WIDTH, height), interpolation=cv2.INTER_AREA), people)
    place = (int(target[0] * _WIDTH), int(target[1] * height))
    cv2.circle(drawn, place, 9, (0, 255, 0), 2, cv2.LINE_AA)
    return bytes(cv2.imencode(".jpg", drawn[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])[1])
