"""`report`: figures, tables and curves of finished runs, as CSV, LaTeX and one self-contained page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gazetools.io.atomic import check_writable_folder, write_bytes_atomic
from gazetools.io.json_files import write_json_atomic
from gazetools.progress import NoProgress, Progress
from gazetools.schemas.base import given_or_parsed
from gazetools.schemas.errors import UsageError
from gazetools.schemas.report import ReportOptions
from gazetools.trainer.folder.records import csv_text
from gazetools.trainer.report.examples import examples_of
from gazetools.trainer.report.figures import Figures
from gazetools.trainer.report.load import Study, load_study
from gazetools.trainer.report.page import render_page
from gazetools.trainer.report.summary import primary_answer, summary_of
from gazetools.trainer.report.tables import latex_text


def report(
    runs: Sequence[str | Path],
    *,
    output: str | Path,
    options: ReportOptions | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Write `report.html`, `arms.csv`, `contrasts.csv`, `horizons.csv`, `.tex` of each and `report.json` to `output`.

    `runs` are folders on the same annotations; the fields of `options` may be given as keyword arguments, such as
    `k=1`. Returns the content of report.json. Raises UsageError for runs that are not finished or do not compare.
    """
    options = given_or_parsed(options, ReportOptions, settings, what="report options")
    progress = progress or NoProgress()
    folder = Path(output)
    check_writable_folder(folder, option="--output")
    study = load_study([Path(run) for run in runs])
    split = _leading_split(study, options.split)
    progress.say(f"{len(study.models)} models of {len(study.arms)} arms; figures of {split}.")
    figures = Figures(study=study, split=split, options=options)
    if saturated := figures.saturated():
        progress.say(
            f"{figures.figure} says nothing of {', '.join(saturated)}: no more than {options.k} classes; pass a "
            "smaller --k."
        )
    examples, notes = examples_of(study, split, options.baseline, each=options.examples)
    arms, contrasts = figures.arms(), figures.contrasts()
    document: dict[str, Any] = {
        "split": split,
        "baseline": options.baseline if options.baseline in study.arms else None,
        "resamples": options.resamples,
        "k": options.k,
        "saturated": saturated,
        "anticipation_time_sec": study.anticipation_seconds,
        "primary": primary_answer(study, split, contrasts, figures.figure),
        "summary": summary_of(arms, contrasts, figures.figure),
        "arms": arms,
        "contrasts": contrasts,
        "horizons": figures.horizons(),
        "horizon_contrasts": figures.horizon_contrasts(),
        "groups": figures.groups(),
        "class_gains": figures.class_gains(),
        "examples": [row for row, _ in examples],
        "example_notes": notes,
        "curves": figures.curves(),
        "data": figures.data(),
        "runs": study.runs,
    }
    for name in ("arms", "contrasts", "horizons", "horizon_contrasts", "groups", "class_gains", "data"):
        write_bytes_atomic(folder / f"{name}.csv", csv_text(document[name]).encode())
    for name in ("arms", "contrasts", "horizons"):
        text = latex_text(document[name], caption=f"{name} ({split})")
        write_bytes_atomic(folder / f"{name}.tex", text.encode())
    write_json_atomic(folder / "report.json", document)
    page = render_page(document, pictures=[picture for _, picture in examples])
    write_bytes_atomic(folder / "report.html", page.encode())
    return document


def _leading_split(study: Study, wanted: str | None) -> str:
    """The split `wanted`, else `val_start`, else the first validation split; UsageError where an arm lacks it."""
    validation = [split for split in study.splits if split.startswith("val_")]
    found = wanted or ("val_start" if "val_start" in validation else [*validation, *study.splits][0])
    there = ", ".join(study.splits)
    if found not in study.splits:
        raise UsageError(f"No run has the split {found!r}.", hint=f"There are: {there}.")
    if lacking := [arm for arm in study.arms if not study.of(arm, found)]:
        raise UsageError(
            f"The arm(s) {', '.join(lacking)} were not measured on {found}.",
            hint=f"Pass --split with one that all have ({there}), or report the runs apart.",
        )
    return found
