"""`report`: figures, tables and curves of finished runs, as CSV, LaTeX and one self-contained page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gazetools.io.atomic import check_writable_folder, write_bytes_atomic
from gazetools.io.json_files import write_json_atomic
from gazetools.progress import NoProgress, Progress
from gazetools.schemas.base import given_or_parsed
from gazetools.schemas.errors import UsageError
from gazetools.schemas.report import ReportOptions
from gazetools.trainer.report.examples import examples_of
from gazetools.trainer.report.load import ModelOfRun, Study, hits_of, known_clips, load_study
from gazetools.trainer.report.page import render_page
from gazetools.trainer.report.stats import accuracy_interval, class_mean_recall, holm, paired_contrast, recall_interval
from gazetools.trainer.report.summary import PRIMARY_ARM, PRIMARY_TASK, counts_of, primary_answer, summary_of
from gazetools.trainer.report.tables import csv_text, latex_text


def report(
    runs: Sequence[str | Path],
    *,
    output: str | Path,
    options: ReportOptions | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Write `report.html`, `arms.csv`, `contrasts.csv`, `horizons.csv`, `.tex` of each and `report.json` to `output`.

    Args:
        runs: folders of finished runs on the same annotations.
        output: folder; made if needed.
        options: what is compared, and by which figures; or give its fields as keyword arguments.
        progress: receives lines of talk.
        settings: fields of `ReportOptions`, such as `k=1`.

    Returns the content of report.json. Raises UsageError for runs that are not finished or do not compare.
    """
    options = given_or_parsed(options, ReportOptions, settings, what="report options")
    baseline, k, resamples = options.baseline, options.k, options.resamples
    progress = progress or NoProgress()
    folder = Path(output)
    check_writable_folder(folder, option="--output")
    study = load_study([Path(run) for run in runs])
    chosen = options.split or next((s for s in study.splits if s == "val_start"), None)
    chosen = chosen or next((s for s in study.splits if s.startswith("val_")), study.splits[0])
    if chosen not in study.splits:
        raise UsageError(f"No run has the split {chosen!r}.", hint=f"There are: {', '.join(study.splits)}.")
    if lacking := [arm for arm in study.arms if not study.of(arm, chosen)]:
        raise UsageError(
            f"The arm(s) {', '.join(lacking)} were not measured on {chosen}.",
            hint=f"Pass --split with one that all have ({', '.join(study.splits)}), or report the runs apart.",
        )
    progress.say(f"{len(study.models)} models of {len(study.arms)} arms; figures of {chosen}.")
    saturated = _saturated_tasks(study, chosen, k)
    if saturated:
        progress.say(
            f"recall@{k} says nothing of {', '.join(saturated)}: no more than {k} classes; pass a smaller --k."
        )
    shown, example_notes = examples_of(study, chosen, baseline, each=options.examples) if options.examples else ([], [])
    arms, contrasts = _arm_rows(study, chosen, resamples, k), _contrast_rows(study, chosen, baseline, resamples, k)
    document: dict[str, Any] = {
        "split": chosen,
        "baseline": baseline if baseline in study.arms else None,
        "resamples": resamples,
        "k": k,
        "saturated": saturated,
        "anticipation_time_sec": _anticipation_times(study),
        "primary": primary_answer(study, chosen, arms, contrasts, k),
        "summary": summary_of(study, chosen, arms, contrasts, k),
        "arms": arms,
        "contrasts": contrasts,
        "horizons": _horizon_rows(study, resamples, k),
        "horizon_contrasts": _horizon_contrasts(study, baseline, resamples, k),
        "groups": _group_rows(study, chosen, options.few_shot, options.many_shot, k),
        "class_gains": _class_gains(study, chosen, baseline, k),
        "examples": [example.row for example in shown],
        "example_notes": example_notes,
        "curves": _epoch_rows(study),
        "data": _data_rows(study),
        "runs": study.runs,
    }
    for name in ("arms", "contrasts", "horizons", "horizon_contrasts", "groups", "class_gains", "data"):
        write_bytes_atomic(folder / f"{name}.csv", csv_text(document[name]).encode())
        if name in ("arms", "contrasts", "horizons"):
            write_bytes_atomic(
                folder / f"{name}.tex", latex_text(document[name], caption=f"{name} ({chosen})").encode()
            )
    write_json_atomic(folder / "report.json", document)
    page = render_page(document, pictures=[example.picture for example in shown])
    write_bytes_atomic(folder / "report.html", page.encode())
    return document


def _tasks(study: Study, split: str) -> list[str]:
    return next(model.splits[split].tasks for model in study.models if split in model.splits)


def _saturated_tasks(study: Study, split: str, k: int) -> list[str]:
    """Tasks of which recall@k is 100 % whatever a model does."""
    predictions = next(model.splits[split] for model in study.models if split in model.splits)
    return [task for task in predictions.tasks if len(predictions.arrays[f"classes_{task}"]) <= k]


def _arm_rows(study: Study, split: str, resamples: int, k: int) -> list[dict[str, Any]]:
    """Per arm the mean over seeds with its interval, then each seed singly."""
    rows = []
    for arm in study.arms:
        models = study.of(arm, split)
        groups: list[tuple[str, list[ModelOfRun]]] = [("all" if len(models) > 1 else str(models[0].seed), models)]
        if len(models) > 1:
            groups += [(str(model.seed), [model]) for model in models]
        for seed, group in groups:
            for task in _tasks(study, split):
                row: dict[str, Any] = {"arm": arm, "seed": seed, "task": task, **counts_of(group[0], split)}
                for title, kind, best in (
                    (f"recall@{k}", "recall", k),
                    ("top-1", "accuracy", 1),
                    ("top-5", "accuracy", 5),
                ):
                    hits = hits_of(group, split, task, best)
                    measure = recall_interval if kind == "recall" else accuracy_interval
                    found = measure(hits, resamples=resamples)
                    row |= {title: found.value, f"{title} low": found.low, f"{title} high": found.high}
                row["chosen on"] = "; ".join(str(model.chosen_by.get("metric", "-")) for model in group[:1])
                row["value there"] = float(np.mean([model.chosen_by.get("value", float("nan")) for model in group]))
                if not np.isfinite(row["value there"]):
                    row["value there"] = None
                rows.append(row)
    return rows


def _contrast_rows(study: Study, split: str, baseline: str, resamples: int, k: int) -> list[dict[str, Any]]:
    """Recall@k of every arm minus the baseline's, Holm-corrected over arms for each task."""
    others = study.of(baseline, split)
    if not others:
        return []
    rows = []
    for task in _tasks(study, split):
        arms = [arm for arm in study.arms if arm != baseline and study.of(arm, split)]
        reference = hits_of(others, split, task, k)
        found = [
            paired_contrast(hits_of(study.of(a, split), split, task, k), reference, resamples=resamples) for a in arms
        ]
        corrected = holm([contrast.p_value for contrast in found])
        for arm, contrast, holm_p in zip(arms, found, corrected, strict=True):
            difference = contrast.difference
            rows.append(
                {
                    "contrast": f"{arm} - {baseline}",
                    "arm": arm,
                    "baseline": baseline,
                    "primary": arm == PRIMARY_ARM and task == PRIMARY_TASK,
                    "task": task,
                    "difference": difference.value,
                    "low": difference.low,
                    "high": difference.high,
                    "p": contrast.p_value,
                    "p (Holm)": holm_p,
                }
            )
    return rows


def _horizon_contrasts(study: Study, baseline: str, resamples: int, k: int) -> list[dict[str, Any]]:
    """The contrasts at every horizon; Holm's correction is over the arms of one horizon and task."""
    return [
        {"seconds": float(split.removeprefix("horizon_")), **row}
        for split in _horizons(study)
        for row in _contrast_rows(study, split, baseline, resamples, k)
    ]


def _horizons(study: Study) -> list[str]:
    found = [split for split in study.splits if split.startswith("horizon_")]
    return sorted(found, key=lambda name: float(name.removeprefix("horizon_")))


def _epoch_rows(study: Study) -> list[dict[str, Any]]:
    """Training and selection curves: loss and action recall of every reported model by epoch."""
    return [
        {"arm": model.arm, "seed": model.seed, **entry} for model in study.models for entry in study.history_of(model)
    ]


def _anticipation_times(study: Study) -> list[float]:
    """Range in seconds from which validation draws; of the first run."""
    config = next(iter(study.runs.values()))["config"]
    return list(config["experiment"]["data"]["anticipation_time_sec"])


def _horizon_rows(study: Study, resamples: int, k: int) -> list[dict[str, Any]]:
    rows = []
    for split in _horizons(study):
        for arm in study.arms:
            models = study.of(arm, split)
            for task in _tasks(study, split) if models else ():
                found = recall_interval(hits_of(models, split, task, k), resamples=resamples)
                seconds = float(split.removeprefix("horizon_"))
                row = {"seconds": seconds, "arm": arm, "task": task, f"recall@{k}": found.value}
                rows.append({**row, "low": found.low, "high": found.high})
    return rows


def _group_rows(study: Study, split: str, few_shot: int, many_shot: int, k: int) -> list[dict[str, Any]]:
    """Recall@k over classes by their training clips, and over participants that training lacks."""
    rows = []
    for arm in study.arms:
        models = study.of(arm, split)
        first = models[0].splits[split]
        trained = {participant(name) for name in first.train_video_ids}
        unseen = np.array([participant(name) not in trained for name in first.video_ids])[first.arrays["video"]]
        for task in first.tasks:
            counts = first.arrays[f"train_count_{task}"]
            labels = first.arrays[f"label_{task}"]
            shots = np.where(labels < len(counts), counts[np.minimum(labels, len(counts) - 1)], 0)
            groups = {
                f"many-shot (> {many_shot})": shots > many_shot,
                "medium-shot": (shots >= few_shot) & (shots <= many_shot),
                f"few-shot (< {few_shot})": shots < few_shot,
                "unseen participants": unseen,
            }
            for name, members in groups.items():
                keep = members & known_clips(first)
                value = class_mean_recall(hits_of(models, split, task, k, keep=keep)) if keep.any() else None
                rows.append({"arm": arm, "task": task, "group": name, "clips": int(keep.sum()), f"recall@{k}": value})
    return rows


def participant(video_id: str) -> str:
    """EPIC-KITCHENS' PXX of PXX_YY; the take of take/camera."""
    return video_id.split("/", maxsplit=1)[0] if "/" in video_id else video_id.split("_", maxsplit=1)[0]


def _class_gains(study: Study, split: str, baseline: str, k: int) -> list[dict[str, Any]]:
    """Recall@k of the primary arm minus the baseline's, class by class, for every task."""
    arm = PRIMARY_ARM if PRIMARY_ARM in study.arms else next((a for a in study.arms if a != baseline), None)
    others = study.of(baseline, split)
    if arm is None or not others or not study.of(arm, split):
        return []
    rows = []
    for task in _tasks(study, split):
        mine, theirs = (hits_of(models, split, task, k) for models in (study.of(arm, split), others))
        arrays = others[0].splits[split].arrays
        known = arrays[f"classes_{task}"]
        for label in np.unique(mine.label):
            chosen = mine.label == label
            shown = known[label].tolist() if label < len(known) else "unknown in training"
            gain = 100 * float(mine.hit[chosen].mean() - theirs.hit[chosen].mean())
            rows.append({"arm": arm, "task": task, "class": str(shown), "clips": int(chosen.sum()), "gain": gain})
    return sorted(rows, key=lambda row: -abs(row["gain"]))


def _data_rows(study: Study) -> list[dict[str, Any]]:
    """What was missing: counted, never silent."""
    rows = []
    for model in study.models:
        for split, values in model.final.items():
            counts = {
                key: values.get(key, 0)
                for key in ("clips", "unreadable", "heatmap_missing", "heatmap_invalid_frames", "without_partner")
            }
            rows.append({"arm": model.arm, "seed": model.seed, "split": split, **counts})
    return rows
