"""What training and its report show: arms, trained models, plans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Column, Table

from gazetools.cli.tables import Cell, status_text, text_table

_TRAINING_STATUS = {
    "done": ("done", "done"),
    "interrupted": ("part", "interrupted"),
    "not begun": ("part", "not begun"),
}


def arms(document: Mapping[str, Any]) -> Table:
    """One row per arm and task of `report`: its figure with the interval, and the difference to the baseline."""
    from gazetools.trainer.report.tables import value_text

    figure = f"recall@{document['k']}"
    on_split = [row for row in document["contrasts"] if row["split"] == document["split"]]
    contrasts = {(row["arm"], row["task"]): row for row in on_split if row["baseline"] == document["baseline"]}
    rows = []
    for row in document["arms"]:
        contrast = contrasts.get((row["arm"], row["task"]))
        value = value_text(row, figure)
        compared = (f"{contrast['difference']:+.2f}", _p_value(contrast)) if contrast else ("", "")
        rows.append((row["arm"], row["seed"], row["task"], value, *compared))
    title = f"{figure} on {document['split']} (95 % intervals over trainings and {document['statistics']['cluster']}s)"
    caption = document["primary"]["text"] if document["primary"] else None
    columns = ("arm", "seed", "task", figure, "difference", "p (Holm)")
    return text_table(columns, rows, title=title, caption=caption and escape(caption))


def _p_value(contrast: Mapping[str, Any]) -> str:
    p = contrast["p"] if contrast["p_holm"] is None else contrast["p_holm"]
    return "" if p is None else f"{p:.3f}"


def trained_models(result: Mapping[str, Any]) -> Table:
    """Figures of the last epoch; with several models one row per model with the weights that were chosen."""
    if result["trainings"]:
        title = f"{result['folder']}: trainings of every arm"
        found = [
            (str(o["seed"]), status_text(*_TRAINING_STATUS[o["status"]]), o["folder"]) for o in result["trainings"]
        ]
        return text_table(("seed", "status", "folder"), found, title=title)
    title = f"{result['folder']}: {result['epochs_done']} epochs, {result['steps_done']} steps"
    if result["final"] and all(set(found) == {"test"} for found in result["final"].values()):
        return _predicted(result)
    if len(result["best_by_learner"]) > 1:
        return _several_models(result, title)
    rows = [
        (name, f"{value:.4f}" if isinstance(value, float) else str(value))
        for name, value in result["metrics"].items()
        if name.startswith(("train_", "val_", "held_out_"))
    ]
    caption = "RANDOM WEIGHTS: encoder and predictor are untrained" if result["random_weights"] else None
    return text_table(("metric", Column("last epoch", justify="right")), rows, title=title, caption=caption)


def new_config(result: Mapping[str, Any]) -> Table:
    """What `train --init` wrote, saw and proposes."""
    annotations, videos, maps, clips = (result[key] for key in ("annotations", "videos", "heatmaps", "clips"))
    classes = ", ".join(f"{count} {task}s" for task, count in clips["classes"].items())
    counted = f"{annotations['actions']} actions, {annotations['participants']} participants or videos"
    rates = ", ".join(f"{rate} fps" for rate in videos["frames_per_second"])
    rows: list[Sequence[Cell]] = [
        ("written", ", ".join(result["written"])),
        (
            "annotations",
            f"{annotations['kind']}: {counted}",
        ),
        ("validation", annotations["validation_from"]),
        ("videos", f"{videos['shown']} ({rates}; {', '.join(videos['sizes'])}), {len(videos['missing'])} missing"),
        ("heatmaps", f"{maps['kind']}, for {maps['present']} of {maps['wanted']} videos"),
        ("encoder", result["encoder"]["what"]),
        ("clips", f"{clips['train']['clips']} train, {clips['validation']['clips']} validation; {classes}"),
        ("held out", f"{clips['held_out_videos']} of the training videos"),
    ]
    rows += [("warning", text) for text in result["warnings"]]
    rows += [("next", command) for command in result["next"]]
    return text_table(("what", "found"), [(name, escape(str(text))) for name, text in rows], title="New config")


def filled_cache(result: Mapping[str, Any]) -> Table:
    """What `train --cache-only` did, and clips that could not be read."""
    rows: list[Sequence[Cell]] = [
        ("clips", str(result["clips"])),
        ("kept before", str(result["present"])),
        ("encoded", str(result["encoded"])),
        ("size of what was missing", f"{result['needed_bytes'] / 1e9:.2f} GB"),
    ]
    rows += [("unreadable", escape(text)) for text in result["unreadable"][:20]]
    return text_table(("features", result["status"]), rows, title=escape(result["folder"]))


def _predicted(result: Mapping[str, Any]) -> Table:
    """One row per model that predicted a test split, with its file for the challenge."""
    files = {one["model"]: one["file"] for one in result["submissions"]}
    rows = [(name, f"{found['test']['clips']:,}", files.get(name, "")) for name, found in result["final"].items()]
    columns = ("model", Column("actions predicted", justify="right"), "submission")
    return text_table(columns, rows, title=f"{result['folder']}: predictions")


def _several_models(result: Mapping[str, Any], title: str) -> Table:
    """One row per model: the epoch that was chosen, and action recall on every split with those weights."""
    splits = list(dict.fromkeys(split for found in result["final"].values() for split in found))
    rows: list[Sequence[Cell]] = []
    for name, best in result["best_by_learner"].items():
        if name in result["failed"]:
            rows.append((name, "dropped"))
            continue
        cells = []
        for split in splits:
            found = result["final"].get(name, {}).get(split, {})
            figure = next((key for key in found if key.startswith("action_recall")), None)
            cells.append(f"{found[figure]:.2f}" if figure else "-")
        rows.append((name, str(best["epoch"]) if best else "-", *cells))
    warning = "; RANDOM WEIGHTS" if result["random_weights"] else ""
    caption = f"action class-mean recall with the chosen weights{warning}"
    return text_table(("model", "epoch", *splits), rows, title=title, caption=caption)
