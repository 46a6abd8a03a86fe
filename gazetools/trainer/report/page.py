"""The self-contained HTML page of a report: the answer first, then charts, tables, pictures, settings."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from gazetools.html.charts import COLOURS, MUTED, IntervalMark, Line, forest, interval_lines, lines
from gazetools.html.frame import render
from gazetools.trainer.folder.records import columns_of
from gazetools.trainer.report.tables import shown

MAX_CLASSES = 30
FEW_CLUSTERS = 20  # below, percentile intervals are too narrow (Cameron, Gelbach & Miller 2008: about 20)

Rows = Sequence[dict[str, Any]]


def render_page(document: dict[str, Any], *, pictures: Sequence[str | None] = ()) -> str:
    """The page of what `report` returns; `pictures`: base64 of a JPEG or None for each of its examples."""
    low, high = document["anticipation_time_sec"]
    seconds = f"{low:g} s" if low == high else f"{low:g} to {high:g} s"
    figure = f"recall@{document['k']}"
    return render(
        "trainer/report/page.html.jinja",
        title="gazetools report",
        **document,
        figure=figure,
        where=f"anticipating {seconds} ahead on {document['split']}",
        verdict=_verdict(document["primary"]),
        warnings=_warnings(document, figure),
        forests=_forests(document, figure),
        arm_tables=_arm_tables(document["arms"], figure),
        horizon_charts=_horizon_charts(document["horizons"], figure),
        training_charts=_training_charts(document["curves"]),
        shown_examples=list(zip(document["examples"], pictures, strict=True)),
        group_tables=_group_tables(document["groups"], figure),
        max_classes=MAX_CLASSES,
        columns_of=columns_of,
        shown=shown,
        json=lambda value: json.dumps(value, indent=1, ensure_ascii=False),
    )


def _verdict(found: dict[str, Any] | None) -> str:
    """Sentence about the interval of the primary contrast; empty without one."""
    if found is None:
        return ""
    verdict = "The interval contains zero: no evidence that gaze helps or harms."
    if found["low"] > 0:
        verdict = "The interval is above zero: with the heatmaps anticipation is better."
    elif found["high"] < 0:
        verdict = "The interval is below zero: with the heatmaps anticipation is worse."
    if found["clusters"] < FEW_CLUSTERS:
        verdict += f" Only {found['clusters']} videos or takes: such intervals are too narrow, read them with care."
    return verdict


def _warnings(document: dict[str, Any], figure: str) -> list[str]:
    runs = document["runs"]
    texts = []
    if names := ", ".join(name for name, run in runs.items() if run["random_weights"]):
        texts.append(f"RANDOM WEIGHTS in {names}: the encoder is untrained; no claim about gaze.")
    texts += [f"Dropped models in {name}: {json.dumps(run['failed'])}" for name, run in runs.items() if run["failed"]]
    if saturated := ", ".join(document["saturated"]):
        texts.append(f"{figure} says nothing of {saturated}: there are no more than {document['k']} classes.")
    if document["baseline"] is None:
        texts.append("No run has the baseline arm, so there are no contrasts.")
    return texts


def _forests(document: dict[str, Any], figure: str) -> list[str]:
    """A chart per task: the differences of all arms to the baseline."""
    drawn = []
    for task, rows in _by_task(document["contrasts"]):
        marks = {}
        for row in rows:
            value, note = row["difference"], f"{row['difference']:+.2f}, p {row['p (Holm)']:.2g}"
            marks[row["arm"]] = IntervalMark(value=value, low=row["low"], high=row["high"], note=note)
        strong = next((row["arm"] for row in rows if row["primary"]), None)
        colours = {arm: COLOURS[0] if arm == strong else MUTED for arm in marks}
        unit = f"{task}: {figure} minus that of {document['baseline']}, points"
        drawn.append(forest(marks, unit=unit, strong=strong, colours=colours))
    return drawn


def _arm_tables(rows: Rows, figure: str) -> list[tuple[str, Rows]]:
    """Per task one row per arm and seed: figures with their intervals."""

    def cells(row: dict[str, Any]) -> dict[str, Any]:
        names = (figure, "top-1", "top-5")
        figures = {n: f"{row[n]:.2f} [{row[f'{n} low']:.2f}, {row[f'{n} high']:.2f}]" for n in names}
        return {"arm": row["arm"], "seed": row["seed"], **figures, "clips": row["clips"], "videos": row["videos"]}

    return [(task, [cells(row) for row in own]) for task, own in _by_task(rows)]


def _horizon_charts(rows: Rows, figure: str) -> list[str]:
    """A chart per task: the figure of every arm against the seconds before the action."""
    label = "seconds before the action"
    return [
        lines(interval_lines(own, x="seconds", y=figure), x_label=label, y_label=f"{task} {figure} (%)")
        for task, own in _by_task(rows)
    ]


def _training_charts(rows: Rows) -> list[str]:
    """A chart per measure against the epoch; none for fewer than two epochs."""
    if len({row["epoch"] for row in rows}) < 2:
        return []
    keys = dict.fromkeys(key for row in rows for key in row if key not in ("arm", "seed", "epoch"))
    chosen = [key for key in keys if key == "train_loss" or (key.startswith("train_") and "recall" in key)]
    selecting = next((k.rsplit("_loss", 1)[0] for k in keys if k.startswith(("held_out", "val_")) and "_loss" in k), "")
    chosen += [key for key in keys if selecting and key.startswith(selecting)]
    seeds = Counter(arm for arm, _ in {(row["arm"], row["seed"]) for row in rows})
    drawn = []
    for key in chosen:
        by_model: dict[str, list[tuple[float, float]]] = {}
        for row in rows:
            name = f"{row['arm']} seed {row['seed']}" if seeds[row["arm"]] > 1 else row["arm"]
            if key in row:
                by_model.setdefault(name, []).append((row["epoch"], row[key]))
        series = {name: Line(points=points) for name, points in by_model.items()}
        drawn.append(lines(series, x_label="epoch", y_label=key.replace("_", " "), height=220))
    return drawn


def _group_tables(rows: Rows, figure: str) -> list[tuple[str, Rows]]:
    """Per task a row per group and a column per arm."""
    tables: list[tuple[str, Rows]] = []
    for task, own in _by_task(rows):
        wide: dict[str, dict[str, Any]] = {}
        for row in own:
            wide.setdefault(row["group"], {"group": row["group"], "clips": row["clips"]})[row["arm"]] = row[figure]
        tables.append((task, list(wide.values())))
    return tables


def _by_task(rows: Rows) -> list[tuple[str, Rows]]:
    """Rows of each task; the action, the main question, comes first."""
    tasks = sorted(dict.fromkeys(row["task"] for row in rows), key=lambda task: task != "action")
    return [(task, [row for row in rows if row["task"] == task]) for task in tasks]
