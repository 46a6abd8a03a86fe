"""The page of a training: figures of every epoch, learning curve, what was left out, best and worst held-out heads."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch

from gazetools._version import __version__
from gazetools.html.charts import Chart, Line, lines
from gazetools.html.frame import render
from gazetools.io.atomic import write_bytes_atomic
from gazetools.preview.overlay import PersonOverlay, draw_overlay
from gazetools.schemas.errors import GazetoolsError
from gazetools.trainer.finetune.batches import NO_AUGMENTATION, BatchMaker
from gazetools.trainer.finetune.epochs import Training
from gazetools.trainer.finetune.head_sample import Floats
from gazetools.trainer.finetune.held_out import HeadFigures
from gazetools.trainer.finetune.labelled import LabelledHead
from gazetools.trainer.finetune.outcome import FinetuneResult
from gazetools.trainer.finetune.pictures import Pictures

PAGE_NAME = "report.html"
_WIDTH = 480
_PICTURES = 6
_CHARTS = {
    "loss": ("train_loss", "val_loss"),
    "distance of held-out heads": ("val_l2",),
    "in/out AP": ("val_inout_ap",),
}


@dataclass(frozen=True, kw_only=True)
class _Shown:
    """A held-out head as a picture; None where it could not be drawn."""

    jpeg: str | None
    caption: str


def write_page(training: Training, result: FinetuneResult, held_out: Sequence[LabelledHead]) -> None:
    """Write report.html into the run folder in one commit."""
    history = training.progress.history
    figures = training.figures
    each = [] if figures is None else [one for one in figures.each if math.isfinite(one.l2)]
    ordered = sorted(each, key=lambda one: one.l2)
    page = render(
        "trainer/finetune/page.html.jinja",
        title=f"Training of {result.model['name']}",
        command="gazetools finetune",
        version=__version__,
        result=result,
        history=history,
        columns=list(dict.fromkeys(name for entry in history for name in entry)),
        charts=_charts(history),
        curve=_curve(result.curve),
        galleries=[
            ("Best held-out heads", _pictures(training, ordered[:_PICTURES], held_out)),
            ("Worst held-out heads", _pictures(training, ordered[::-1][:_PICTURES], held_out)),
        ],
    )
    write_bytes_atomic(training.folder.path / PAGE_NAME, page.encode())


def _charts(history: Sequence[dict[str, Any]]) -> list[tuple[str, Chart]]:
    charts = []
    for title, names in _CHARTS.items():
        series = {
            name: Line(points=[(entry["epoch"], entry[name]) for entry in history if name in entry])
            for name in names
            if any(name in entry for entry in history)
        }
        if series:
            charts.append((title, lines(series, x_label="epoch", y_label=title)))
    return charts


def _curve(points: Sequence[dict[str, Any]]) -> Chart | None:
    known = sorted((p["heads"], p["best"]["value"]) for p in points if p["best"] is not None)
    if len(known) < 2:
        return None
    metric = next(p["best"]["metric"] for p in points if p["best"] is not None)
    return lines({metric: Line(points=known)}, x_label="training heads", y_label=f"held-out {metric}, best epoch")


def _pictures(training: Training, chosen: Sequence[HeadFigures], heads: Sequence[LabelledHead]) -> list[_Shown]:
    maker = BatchMaker(heads, training.learner.network, NO_AUGMENTATION, seed=0)
    pictures = Pictures()
    shown = []
    for one in chosen:
        head = heads[one.place]
        caption = f"{head.row}: distance {one.l2:.3f}"
        caption += f", in/out {one.inout:.2f}" if math.isfinite(one.inout) else ""
        try:
            with torch.no_grad():
                maps = training.learner.network.eval()(
                    maker.make([one.place], 0).inputs.to(_device_of(training)), "probabilities"
                ).maps
            shown.append(_Shown(jpeg=_drawn(pictures, head, one, maps[0].float().cpu().numpy()), caption=caption))
        except GazetoolsError as error:
            shown.append(_Shown(jpeg=None, caption=f"{caption} (no picture: {error.message})"))
    pictures.close()
    return shown


def _device_of(training: Training) -> torch.device:
    return next(training.learner.network.parameters()).device


def _drawn(pictures: Pictures, head: LabelledHead, one: HeadFigures, heatmap: Floats) -> str:
    """JPEG, base64: heatmap, head box, and a green ring round the labelled gaze point."""
    rgb = pictures.read(head.place)
    height = max(1, round(rgb.shape[0] * (_WIDTH / rgb.shape[1])))
    small = cv2.resize(rgb, (_WIDTH, height), interpolation=cv2.INTER_AREA)
    score = one.inout if math.isfinite(one.inout) else None
    person = PersonOverlay(track_id=None, heatmap=heatmap, box_xyxy=np.array(head.box_shares), inout=score)
    drawn = draw_overlay(np.asarray(small, np.uint8), [person])
    x, y = head.gaze_shares[0]
    cv2.circle(drawn, (int(x * _WIDTH), int(y * height)), 9, (0, 255, 0), 2, cv2.LINE_AA)
    encoded = cv2.imencode(".jpg", drawn[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
    return base64.b64encode(bytes(encoded)).decode("ascii")
