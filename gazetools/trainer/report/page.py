"""The self-contained HTML page of a report: the answer first, then charts, tables, pictures, settings."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from gazetools._version import __version__
from gazetools.html.charts import Chart, IntervalMark, Line, forest, interval_lines, lines
from gazetools.html.drawing import COLOURS, MUTED
from gazetools.html.frame import render
from gazetools.trainer.folder.records import columns_of
from gazetools.trainer.report.official import FIGURE
from gazetools.trainer.report.sentences import p_text
from gazetools.trainer.report.tables import shown, value_text

MAX_CLASSES = 30

Rows = Sequence[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Plots:
    """The charts of a report by section; each has the name of its files."""

    differences: dict[str, Chart]
    bands: dict[str, Chart]
    horizons: dict[str, Chart]
    training: dict[str, Chart]

    @property
    def early(self) -> dict[str, Chart]:
        """The charts against the seconds before the action."""
        return self.bands | self.horizons

    @property
    def by_name(self) -> dict[str, Chart]:
        """All charts in the order of the page."""
        return self.differences | self.early | self.training


def plots_of(document: dict[str, Any]) -> Plots:
    """The charts of what `report` returns."""
    figure = _figure(document)
    return Plots(
        differences=_forests(document, figure),
        bands=_band_charts(document, figure),
        horizons=_horizon_charts(document["horizons"], figure),
        training=_training_charts(document["curves"]),
    )


def render_page(
    document: dict[str, Any], plots: Plots, *, pictures: Sequence[str | None] = (), plot_suffix: str | None = ".svg"
) -> str:
    """The page of what `report` returns.

    Args:
        document: what `report` returns.
        plots: its charts.
        pictures: base64 of a JPEG, or None, for each of its examples.
        plot_suffix: suffix of the files of the charts, which the page's Markdown links; None: there are none.
    """
    low, high = document["anticipation_time_sec"]
    seconds = f"{low:g} s" if low == high else f"{low:g} to {high:g} s"
    figure = _figure(document)
    return render(
        "trainer/report/page.html.jinja",
        title="gazetools report",
        command="report",
        version=__version__,
        **document,
        figure=figure,
        where=f"anticipating {seconds} ahead on {document['split']}",
        unit=document["statistics"]["cluster"],
        warnings=_warnings(document),
        plots=plots,
        plot_file=lambda name: "" if plot_suffix is None else plot_file(name, plot_suffix),
        arm_tables=_arm_tables(document["arms"], figure),
        shown_examples=list(zip(document["examples"], pictures, strict=True)),
        group_tables=_group_tables(document["groups"], figure),
        official_tables=_group_tables(document["official"]["rows"], FIGURE) if document["official"] else [],
        max_classes=MAX_CLASSES,
        columns_of=columns_of,
        breakable=lambda name: Markup("_<wbr>").join(name.split("_")),
        shown=shown,
        json=lambda value: json.dumps(value, indent=1, ensure_ascii=False),
    )


def plot_file(name: str, suffix: str) -> str:
    """File of a chart, seen from the report's folder: `plots/<name><suffix>`."""
    return f"plots/{name}{suffix}"


def _figure(document: dict[str, Any]) -> str:
    return f"recall@{document['k']}"


def _named(kind: str, name: str) -> str:
    """`differences_action`: a name that every file system takes."""
    return f"{kind}_{re.sub(r'[^a-zA-Z0-9]+', '_', name).strip('_') or 'all'}".lower()


def _warnings(document: dict[str, Any]) -> list[str]:
    runs = document["runs"]
    texts = []
    if names := ", ".join(name for name, run in runs.items() if run["random_weights"]):
        texts.append(f"RANDOM WEIGHTS in {names}: the encoder is untrained; no claim about gaze.")
    texts += [f"Dropped models in {name}: {json.dumps(run['failed'])}" for name, run in runs.items() if run["failed"]]
    texts += saturation_warnings(document)
    if document["baseline"] is None:
        texts.append("No run has the baseline arm, so there are no contrasts.")
    return texts


def saturation_warnings(document: dict[str, Any]) -> list[str]:
    """A sentence about the tasks where recall@k is 100 % whatever a model does, and about those close to it."""
    figure, texts = f"recall@{document['k']}", []
    if saturated := ", ".join(document["saturated"]):
        few = f"there are no more than {document['k']} classes; pass a smaller --k"
        texts.append(f"{figure} says nothing of {saturated}: {few}.")
    for task, found in document["saturation"].items():
        if found["saturation"] == "near":
            texts.append(
                f"{figure} says little of {task}: a random ranking of its {found['classes']} classes gets "
                f"{found['random']:.0f} %. Pass --k {found['largest_k']} or less."
            )
    return texts


def _forests(document: dict[str, Any], figure: str) -> dict[str, Chart]:
    """A chart per task: the differences of all arms to the baseline, before the noise of its trainings."""
    drawn, baseline = {}, document["baseline"]
    floors = {row["task"]: row["max_abs"] for row in document["noise_floors"] if row["arm"] == baseline}
    on_split = [row for row in document["contrasts"] if row["split"] == document["split"]]
    for task, rows in _by_task([row for row in on_split if row["baseline"] == baseline]):
        marks = {}
        for row in rows:
            value, said = row["difference"], row["p_holm"] if row["p_holm"] is not None else row["p"]
            note = f"{value:+.2f}" + (f", {p_text(said)}" if said is not None else "")
            low, high = (value if row[end] is None else row[end] for end in ("low", "high"))
            marks[row["arm"]] = IntervalMark(value=value, low=low, high=high, note=note)
        strong = next((row["arm"] for row in rows if row["primary"]), None)
        colours = {arm: COLOURS[0] if arm == strong else MUTED for arm in marks}
        unit = f"{task}: {figure} minus that of {baseline}, points"
        chart = forest(marks, unit=unit, strong=strong, colours=colours, strip=floors.get(task))
        drawn[_named("differences", task)] = chart
    return drawn


def _band_charts(document: dict[str, Any], figure: str) -> dict[str, Chart]:
    """The primary contrast against the seconds before the action, with its simultaneous band; none without one."""
    primary = document["primary"]
    rows = [
        {**row, "low": row["band_low"], "high": row["band_high"]}
        for row in document["horizon_contrasts"]
        if primary and (row["contrast"], row["task"]) == (primary["contrast"], primary["task"])
    ]
    if len(rows) < 2 or any(row["low"] is None for row in rows):
        return {}
    label = f"{primary['contrast']}, {primary['task']} {figure} (points)"
    drawn = interval_lines(rows, x="seconds", y="difference")
    chart = lines(drawn, x_label="seconds before the action", y_label=label, level=("no difference", 0.0))
    return {_named("band", primary["task"]): chart}


def _arm_tables(rows: Rows, figure: str) -> list[tuple[str, Rows]]:
    """Per task one row per arm and seed: figures with their intervals."""

    def cells(row: dict[str, Any]) -> dict[str, Any]:
        figures = {name: value_text(row, name) for name in (figure, "top-1", "top-5")}
        return {"arm": row["arm"], "seed": row["seed"], **figures, "clips": row["clips"], "videos": row["videos"]}

    return [(task, [cells(row) for row in own]) for task, own in _by_task(rows)]


def _horizon_charts(rows: Rows, figure: str) -> dict[str, Chart]:
    """A chart per task: the figure of every arm against the seconds before the action."""
    label, drawn = "seconds before the action", {}
    for task, own in _by_task(rows):
        points = [{**row, "low": row["low"] or row[figure], "high": row["high"] or row[figure]} for row in own]
        chart = interval_lines(points, x="seconds", y=figure)
        drawn[_named("horizons", task)] = lines(chart, x_label=label, y_label=f"{task} {figure} (%)")
    return drawn


def _training_charts(rows: Rows) -> dict[str, Chart]:
    """A chart per measure against the epoch; none for fewer than two epochs."""
    if len({row["epoch"] for row in rows}) < 2:
        return {}
    keys = dict.fromkeys(key for row in rows for key in row if key not in ("arm", "seed", "epoch"))
    chosen = [key for key in keys if key == "train_loss" or (key.startswith("train_") and "recall" in key)]
    selecting = next((k.rsplit("_loss", 1)[0] for k in keys if k.startswith(("held_out", "val_")) and "_loss" in k), "")
    chosen += [key for key in keys if selecting and key.startswith(selecting)]
    seeds = Counter(arm for arm, _ in {(row["arm"], row["seed"]) for row in rows})
    drawn = {}
    for key in chosen:
        by_model: dict[str, list[tuple[float, float]]] = {}
        for row in rows:
            name = f"{row['arm']} seed {row['seed']}" if seeds[row["arm"]] > 1 else row["arm"]
            if key in row:
                by_model.setdefault(name, []).append((row["epoch"], row[key]))
        series = {name: Line(points=points) for name, points in by_model.items()}
        chart = lines(series, x_label="epoch", y_label=key.replace("_", " "), height=220)
        drawn[_named("training", key)] = chart
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
