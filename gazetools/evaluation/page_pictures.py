"""Pictures of the page of an evaluation: a frame with the predicted heatmap, the head box and the true target."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from gazetools.evaluation.pictures import ShownHead
from gazetools.evaluation.predictions import read_picture
from gazetools.evaluation.run import Scoring
from gazetools.io.source_file import find_source, folder_of_id, not_there
from gazetools.preview.overlay import PersonOverlay, draw_overlay
from gazetools.preview.rows import StoreOverlays
from gazetools.schemas.errors import GazetoolsError
from gazetools.schemas.evaluation import EvaluationReport, Scored
from gazetools.schemas.picture_times import PictureTimes
from gazetools.schemas.store import STORE_SUFFIX
from gazetools.schemas.video_id import place_of_id
from gazetools.store import open_store
from gazetools.video import VideoReader
from gazetools.video.frame_clock import times_or_recorded

_WIDTH = 480  # width of the pictures in pixels


@dataclass(frozen=True, kw_only=True)
class PictureSources:
    """Where the pixels are."""

    truth: Path | None
    """Store folder of the truth, whose provenance says where the videos are; None: the truth is a file."""
    images: Path | None
    """Root of a benchmark's pictures."""


def figure(scoring: Scoring, one: Scored, sources: PictureSources) -> tuple[str | None, str]:
    """(JPEG in base64 or None, caption) of a scored row; the caption says why there is no picture."""
    person = f", person {one.person}" if one.person else "" if one.track_id is None else f", id {one.track_id}"
    caption = f"{one.video_id}, frame {one.frame}{person}: L2 {one.avg_l2:.3f}"
    caption += "" if one.auc is None else f", AUC {one.auc:.3f}"
    shown = scoring.shown.get(one.place)
    if shown is None and sources.truth is None:
        return None, caption
    if shown is not None and sources.images is None:
        return None, f"{caption} (pass --images for the picture)"
    try:
        if shown is not None and sources.images is not None:
            picture = _benchmark_picture(shown, sources.images)
        else:
            picture = _store_picture(scoring.report, one, sources.truth or Path())
        return base64.b64encode(picture).decode("ascii"), caption
    except (GazetoolsError, OSError) as error:
        return None, f"{caption} (no picture: {error})"


def _benchmark_picture(shown: ShownHead, images: Path) -> bytes:
    overlay = PersonOverlay(
        track_id=None,
        heatmap=shown.heatmap.astype(np.float32),
        box_xyxy=np.array(shown.box_xyxy).clip(0, 1),
        inout=shown.inout,
    )
    return _jpeg(read_picture(images, shown.picture), [overlay], shown.gaze_xy)


def _store_picture(report: EvaluationReport, one: Scored, truth: Path) -> bytes:
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
    return _jpeg(rgb, people, [(float(target[0]), float(target[1]))])


def _jpeg(rgb: npt.NDArray[np.uint8], people: list[PersonOverlay], targets: Sequence[tuple[Any, Any]]) -> bytes:
    """The frame with heatmaps and head boxes; the true targets, one per annotator, are green rings."""
    height = max(1, round(rgb.shape[0] * (_WIDTH / rgb.shape[1])))
    drawn = draw_overlay(cv2.resize(rgb, (_WIDTH, height), interpolation=cv2.INTER_AREA), people)
    for x, y in targets:
        if 0 <= x <= 1 and 0 <= y <= 1:
            cv2.circle(drawn, (int(x * _WIDTH), int(y * height)), 9, (0, 255, 0), 2, cv2.LINE_AA)
    return bytes(cv2.imencode(".jpg", drawn[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])[1])
