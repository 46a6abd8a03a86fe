"""The demo's report as one HTML page: the answer, the overlay video, charts, findings and every command."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gazetools._version import __version__
from gazetools.demo.answer import controls_sentence, headline, sentence
from gazetools.demo.commands import StepResult
from gazetools.demo.plan import PRIMARY_ARM
from gazetools.html.charts import IntervalMark, Line, forest, interval_lines, lines
from gazetools.html.drawing import COLOURS
from gazetools.html.frame import render
from gazetools.io.atomic import write_bytes_atomic
from gazetools.schemas.errors import DataFileError

_ARM_TEXTS = {
    "none": "V-JEPA 2's predictor, no heatmap",
    "zeros": "the heatmap part, fed with empty maps",
    "shuffled": "maps of another video's clip",
    "estimated": "maps that the gaze model made of the video",
    "ground_truth": "maps of the true gaze targets",
}


def write_page(path: Path, folder: Path, document: Mapping[str, Any], steps: Sequence[StepResult]) -> None:
    """Write the page at `path`; `folder` has overlay.mp4 and the trainings' metrics; `document` is result.json."""
    arms = document["arms"]
    chance = ("chance", document["chance"])
    against_none = {name: arm["minus_none"] for name, arm in arms.items() if "minus_none" in arm}
    metrics = [folder / "run" / f"seed_{seed}" / "metrics.jsonl" for seed in document["seeds"]]
    losses, recalls = _curves(metrics, list(arms))
    floor = document["noise_floor"]
    page = render(
        "demo/page.html.jinja",
        title="gazetools demo: does gaze tell the next action?",
        command="demo",
        version=__version__,
        with_video=True,
        answer=document,
        headline=headline(document),
        sentence=sentence(document),
        controls=controls_sentence(document),
        video=base64.b64encode((folder / "overlay.mp4").read_bytes()).decode(),
        forest=forest(
            {name: _mark(contrast) for name, contrast in against_none.items()},
            unit="points of recall against none, 95 % interval",
            strong=PRIMARY_ARM,
            colours=dict(zip(arms, COLOURS, strict=False)),
            strip=floor["max_abs"] if floor is not None else None,
        ),
        horizons=lines(
            interval_lines(document["horizons"], x="seconds", y="recall@1"),
            x_label="seconds before the action",
            y_label="recall of the object (%)",
            level=chance,
        ),
        losses=lines(losses, x_label="epoch", y_label="training loss"),
        recalls=lines(recalls, x_label="epoch", y_label="recall on unseen kitchens (%)", level=chance),
        primary_arm=PRIMARY_ARM,
        arms=[(name, _ARM_TEXTS[name], arm) for name, arm in arms.items()],
        checks=[
            (step.title, step.document["summary"], [f for f in step.document["findings"] if f["severity"] != "note"])
            for step in steps
            if "findings" in step.document
        ],
        commands=list(zip(document["commands"], document["seconds"].values(), strict=True)),
        total=document["total_seconds"],
    )
    write_bytes_atomic(path, page.encode())


def _mark(contrast: Mapping[str, Any]) -> IntervalMark:
    value = contrast["difference"]
    low, high = (value if contrast[end] is None else contrast[end] for end in ("low", "high"))
    return IntervalMark(value=value, low=low, high=high)


def _curves(paths: Sequence[Path], arms: Sequence[str]) -> tuple[dict[str, Line], dict[str, Line]]:
    """(training loss, validation recall) of each arm by epoch, as means over its trainings."""
    trainings = []
    for path in paths:
        try:
            trainings.append([json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()])
        except (OSError, ValueError) as error:
            raise DataFileError(f"Cannot read the training's metrics {path}: {error}.") from error
    found: tuple[dict[str, Line], dict[str, Line]] = ({}, {})
    for series, ending in zip(found, ("train_loss", "val_start_action_top1"), strict=True):
        for arm in arms:
            values = [[entry.get(f"{arm}/{ending}") for entry in entries] for entries in trainings]
            means = [sum(column) / len(column) for column in zip(*values, strict=False) if None not in column]
            if means:
                series[arm] = Line(points=list(enumerate(means, start=1)))
    return found
