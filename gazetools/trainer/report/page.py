"""The self-contained HTML page of a report: the answer first, then charts, tables, pictures, settings."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from typing import Any

from gazetools.html.charts import CHART_STYLE, COLOURS, MUTED, IntervalMark, Line, forest, lines
from gazetools.html.frame import html_page
from gazetools.trainer.report.tables import columns_of, shown

MAX_CLASSES = 30
FEW_CLUSTERS = 20
"""Below that many resampled videos percentile intervals are too narrow (Cameron, Gelbach & Miller 2008: about 20)."""
_STYLE = """:root{color-scheme:light}*{box-sizing:border-box}
body{font:16px/1.55 system-ui,sans-serif;max-width:66rem;margin:0 auto;padding:1.5rem 1rem 4rem;color:#1d2430}
h1{font-size:1.6rem;line-height:1.25;margin:.5rem 0}h2{font-size:1.2rem;margin:2.2rem 0 .4rem}h4{margin:.6rem 0 .2rem}
p{margin:.3rem 0 .7rem}small,.quiet{color:#5b6573}
.answer{border-left:5px solid #0072b2;background:#eef5fa;padding:.9rem 1.1rem;margin:1rem 0;font-size:1.08rem}
.warn{background:#fff3cd;border-left:5px solid #e69f00;padding:.6rem 1rem;overflow-wrap:anywhere}
.scroll{overflow-x:auto;margin:.4rem 0 1rem}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:14px}
td,th{padding:.25rem .7rem;border-bottom:1px solid #dfe3e8;text-align:right;white-space:nowrap}
th{font-weight:600;border-bottom-width:2px}td:first-child,th:first-child{text-align:left}tr.primary{font-weight:600}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr));gap:1rem 2rem}
.gallery{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,15rem),1fr));gap:1.2rem}
figure{margin:0}figure img,.noimage{width:100%;aspect-ratio:1;display:block;border-radius:6px;background:#eef0f3}
.noimage{display:grid;place-items:center;padding:1rem;text-align:center;color:#5b6573}
figcaption{font-size:14px;line-height:1.4;margin-top:.35rem;overflow-wrap:anywhere}
.up{color:#00624a;font-weight:600}.down{color:#a33c00;font-weight:600}
details{margin:.6rem 0}summary{cursor:pointer;font-weight:600}
pre{background:#f5f6f8;padding:1rem;overflow:auto;max-height:32rem;font-size:13px}"""


def render_page(document: dict[str, Any], *, pictures: Sequence[str | None] = ()) -> str:
    """The page of what `gazetools.trainer.report.build.report` found.

    Args:
        pictures: base64 JPEGs, one per entry of `document["examples"]`.
    """
    parts = ["<h1>Does gaze help to anticipate actions?</h1>", _answer(document), *_warnings(document)]
    parts += [_differences(document), _arms(document), _how_early(document), _training(document)]
    parts.append(_examples(document, pictures))
    parts.append(_groups(document))
    gains = document["class_gains"]
    text = f"Per class the difference of {_figure(document)}."
    if len(gains) > MAX_CLASSES:
        text += f" The first {MAX_CLASSES} of {len(gains)}; all are in class_gains.csv."
    parts.append(_section("Classes that change most", gains[:MAX_CLASSES], text))
    parts.append(_missing(document))
    parts += [_run(name, run) for name, run in document["runs"].items()]
    body = "\n".join(part for part in parts if part)
    return html_page(title="gazetools report", style=f"{_STYLE}\n{CHART_STYLE}", body=body)


def _figure(document: dict[str, Any]) -> str:
    return f"recall@{document['k']}"


def _seconds(document: dict[str, Any]) -> str:
    low, high = document["anticipation_time_sec"]
    return f"{low:g} s" if low == high else f"{low:g} to {high:g} s"


def _answer(document: dict[str, Any]) -> str:
    found = document["primary"]
    where = f"anticipating {_seconds(document)} ahead on {_e(document['split'])}"
    if found is None:
        return f"<p class=answer>Figures for {where}. There is no contrast of `estimated` and `none` in these runs.</p>"
    low, high = found["low"], found["high"]
    verdict = "The interval contains zero: no evidence that gaze helps or harms."
    if low > 0:
        verdict = "The interval is above zero: with the heatmaps anticipation is better."
    elif high < 0:
        verdict = "The interval is below zero: with the heatmaps anticipation is worse."
    if found["clusters"] < FEW_CLUSTERS:
        verdict += f" Only {found['clusters']} videos or takes: such intervals are too narrow, read them with care."
    return (
        f"<p class=answer><b>{_e(found['contrast'])}: {found['difference']:+.2f} points</b> of {found['task']} "
        f"{_e(found['metric'])} (95 % interval {low:+.2f} to {high:+.2f}, p = {found['p']:.3g}, {where}). {verdict} "
        f"<small>{found['clips']:,} clips of {found['videos']} videos, {len(found['seeds'])} seed(s) against "
        f"{len(found['baseline_seeds'])}.</small></p>"
    )


def _warnings(document: dict[str, Any]) -> list[str]:
    parts = []
    random_weights = [name for name, run in document["runs"].items() if run["random_weights"]]
    if random_weights:
        names = _e(", ".join(random_weights))
        parts.append(f"<p class=warn>RANDOM WEIGHTS in {names}: the encoder is untrained; no claim about gaze.</p>")
    for name, run in document["runs"].items():
        if run["failed"]:
            parts.append(f"<p class=warn>Dropped models in {_e(name)}: {_e(json.dumps(run['failed']))}</p>")
    if document["saturated"]:
        tasks, k = _e(", ".join(document["saturated"])), document["k"]
        parts.append(
            f"<p class=warn>{_figure(document)} says nothing of {tasks}: there are no more than {k} classes.</p>"
        )
    if document["baseline"] is None:
        parts.append("<p class=warn>No run has the baseline arm, so there are no contrasts.</p>")
    return parts


def _differences(document: dict[str, Any]) -> str:
    if not document["contrasts"]:
        return ""
    drawn = []
    for task in _tasks(document["contrasts"]):
        rows = [row for row in document["contrasts"] if row["task"] == task]
        estimates = {
            row["arm"]: IntervalMark(
                value=row["difference"], low=row["low"], high=row["high"],
                note=f"{row['difference']:+.2f}, p {row['p (Holm)']:.2g}",
            )
            for row in rows
        }  # fmt: skip
        unit = f"{task}: {_figure(document)} minus that of {document['baseline']}, points"
        strong = next((row["arm"] for row in rows if row["primary"]), None)
        colours = {arm: COLOURS[0] if arm == strong else MUTED for arm in estimates}
        drawn.append(f"<div>{forest(estimates, unit=unit, strong=strong, colours=colours)}</div>")
    text = (
        "On the same clips, with 95 % intervals (percentile bootstrap over videos or takes, "
        f"{document['resamples']} resamples); p-values of a sign-flip test over videos, two-sided, Holm-corrected over "
        "the arms of a task. Less than about half a point is noise without several seeds."
    )
    table = _more("Numbers", _table(document["contrasts"]))
    title = f"<h2>Differences to {_e(document['baseline'])}</h2>"
    return f"{title}<p>{text}</p><div class=charts>{''.join(drawn)}</div>{table}"


def _arms(document: dict[str, Any]) -> str:
    rows = document["arms"]
    lead = _tasks(rows)[0]
    text = "The mean over an arm's seeds with its interval, then each seed singly."
    figures = [_figure(document), "top-1", "top-5"]
    short = {
        task: _table(
            [
                {
                    **{key: row[key] for key in ("arm", "seed")},
                    **{f: f"{row[f]:.2f} [{row[f'{f} low']:.2f}, {row[f'{f} high']:.2f}]" for f in figures},
                    **{key: row[key] for key in ("clips", "videos")},
                }
                for row in rows
                if row["task"] == task
            ]
        )
        for task in _tasks(rows)
    }
    rest = "".join(f"<h4>{_e(task)}</h4>{table}" for task, table in short.items() if task != lead)
    return f"<h2>Arms</h2><p>{text}</p>{short[lead]}" + (_more("Other tasks", rest) if rest else "")


def _how_early(document: dict[str, Any]) -> str:
    rows, figure = document["horizons"], _figure(document)
    if not rows:
        return ""
    drawn = []
    for task in _tasks(rows):
        series = {}
        for arm in dict.fromkeys(row["arm"] for row in rows):
            own = sorted((r for r in rows if r["arm"] == arm and r["task"] == task), key=lambda r: float(r["seconds"]))
            points = [(r["seconds"], r[figure]) for r in own]
            series[arm] = Line(points=points, bars=[(r["low"], r["high"]) for r in own])
        chart = lines(series, x_label="seconds before the action", y_label=f"{task} {figure} (%)")
        drawn.append(f"<div>{chart}</div>")
    text = "Every horizon on the same clips: those that can be observed at all of them."
    more = _more("Numbers", _table(rows)) + _more("Differences by horizon", _table(document["horizon_contrasts"]))
    return f"<h2>How early</h2><p>{text}</p><div class=charts>{''.join(drawn)}</div>{more}"


def _training(document: dict[str, Any]) -> str:
    rows = document["curves"]
    if len({row["epoch"] for row in rows}) < 2:
        return ""
    keys = dict.fromkeys(key for row in rows for key in row if key not in ("arm", "seed", "epoch"))
    chosen = [key for key in keys if key == "train_loss" or (key.startswith("train_") and "recall" in key)]
    selecting = next((k.rsplit("_loss", 1)[0] for k in keys if k.startswith(("held_out", "val_")) and "_loss" in k), "")
    chosen += [key for key in keys if selecting and key.startswith(selecting)]
    several = {row["arm"] for row in rows if len({r["seed"] for r in rows if r["arm"] == row["arm"]}) > 1}
    drawn = []
    for key in chosen:
        by_model: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            name = f"{row['arm']} seed {row['seed']}" if row["arm"] in several else row["arm"]
            if key in row:
                by_model.setdefault(name, []).append(row)
        series = {name: Line(points=[(row["epoch"], row[key]) for row in own]) for name, own in by_model.items()}
        drawn.append(f"<div>{lines(series, x_label='epoch', y_label=key.replace('_', ' '), height=220)}</div>")
    text = "The epoch of each model is the one that was best where the choice was made."
    return _more("Training curves", f"<p>{text}</p><div class=charts>{''.join(drawn)}</div>")


def _examples(document: dict[str, Any], pictures: Sequence[str | None]) -> str:
    rows = document["examples"]
    notes = "".join(f"<p class=warn>{_e(note)}</p>" for note in document["example_notes"])
    if not rows:
        return notes
    figures = []
    for row, picture in zip(rows, pictures, strict=True):
        image = f"<div class=noimage>{_e(row['map'] or 'no picture')}</div>"
        if picture is not None:
            image = f'<img alt="last frame of the clip with the heatmap" src="data:image/jpeg;base64,{picture}">'
        kind = "up" if row["gain"] > 0 else "down"
        name = row["clip"] or f"row {row['annotation_row']}"
        caption = (
            f"<span class={kind}>{_e(row['arm'])}: rank {_ranks(row['rank'])}</span>, "
            f"{_e(document['baseline'])}: rank {_ranks(row['baseline_rank'])}<br>"
            f"true {_e(row['true'])}; {_e(row['arm'])} says {_e(' · '.join(row['predicted']))}; "
            f"{_e(document['baseline'])} says {_e(' · '.join(row['baseline_predicted']))}<br>"
            f"<small>{_e(name)} of {_e(row['video'])}; map: {_e(row['map'] or '-')}</small>"
        )
        figures.append(f"<figure>{image}<figcaption>{caption}</figcaption></figure>")
    text = (
        "Per arm the clips with the largest gain and the largest loss in the rank of the true action. The picture is "
        "the last observed frame as the model sees it, with the arm's own map."
    )
    return f"<h2>Examples</h2><p>{text}</p>{notes}<div class=gallery>{''.join(figures)}</div>"


def _ranks(ranks: Sequence[int]) -> str:
    return ", ".join(str(rank) for rank in ranks)


def _run(name: str, run: dict[str, Any]) -> str:
    notes = "".join(f"<li>{_e(note)}</li>" for note in run["notes"])
    config = _e(json.dumps(run["config"], indent=1, ensure_ascii=False))
    text = f"<p>Anchor rule: {_e(run['anchor_rule'])}.</p><ul>{notes}</ul>"
    return f"<h2>Run {_e(name)}</h2>{text}{_more('The full config', f'<pre>{config}</pre>')}"


def _groups(document: dict[str, Any]) -> str:
    """A row per group and a column per arm, of the leading task; the others folded."""
    rows, figure = document["groups"], _figure(document)
    tables = []
    for task in _tasks(rows):
        own = [row for row in rows if row["task"] == task]
        wide: dict[str, dict[str, Any]] = {}
        for row in own:
            wide.setdefault(row["group"], {"group": row["group"], "clips": row["clips"]})[row["arm"]] = row[figure]
        tables.append(f"<h4>{_e(task)}</h4>{_table(list(wide.values()))}")
    text = f"{figure} of classes with few and many training clips, and of participants that training lacks."
    more = _more("Other tasks", "".join(tables[1:])) if tables[1:] else ""
    return f"<h2>Groups of classes and participants</h2><p>{text}</p>{tables[0]}{more}"


def _missing(document: dict[str, Any]) -> str:
    text = "Clips that were measured, and what they lacked; missing heatmaps are zeros, never left out silently."
    rows = document["data"]
    first = _table([row for row in rows if row["split"] == document["split"]])
    return f"<h2>What was missing</h2><p>{text}</p>{first}{_more('All splits', _table(rows))}"


def _tasks(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The action, which is what it is about, first."""
    return sorted(dict.fromkeys(row["task"] for row in rows), key=lambda task: task != "action")


def _more(title: str, content: str) -> str:
    return f"<details><summary>{_e(title)}</summary>{content}</details>"


def _section(title: str, rows: Sequence[dict[str, Any]], text: str = "") -> str:
    return f"<h2>{_e(title)}</h2><p>{_e(text)}</p>{_table(rows)}" if rows else ""


def _table(rows: Sequence[dict[str, Any]]) -> str:
    columns = columns_of(rows)
    head = "".join(f"<th>{_e(column)}</th>" for column in columns)
    lines = []
    for row in rows:
        kind = " class=primary" if row.get("primary") else ""
        lines.append(f"<tr{kind}>" + "".join(f"<td>{_e(shown(row.get(c)))}</td>" for c in columns) + "</tr>")
    return f"<div class=scroll><table><tr>{head}</tr>{''.join(lines)}</table></div>"


def _e(text: object) -> str:
    return html.escape(str(text))
