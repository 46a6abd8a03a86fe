"""`report`: figures, tables and curves of finished runs, as CSV, LaTeX and one self-contained page."""

from __future__ import annotations

import base64
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
from gazetools.trainer.plan.named_options import named_options
from gazetools.trainer.report.contrasts import Contrasts
from gazetools.trainer.report.examples import Example, examples_of
from gazetools.trainer.report.figures import Figures
from gazetools.trainer.report.files import plot_suffix, require_formats, write_pages, write_plots
from gazetools.trainer.report.load import Study, load_study
from gazetools.trainer.report.official import official_of
from gazetools.trainer.report.page import plots_of, render_page, saturation_warnings
from gazetools.trainer.report.primary import answer_of, primary_of
from gazetools.trainer.report.summary import summary_of
from gazetools.trainer.report.tables import latex_text


def report(
    runs: Sequence[str | Path],
    *,
    output: str | Path,
    options: ReportOptions | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Write `report.html`, `arms.csv`, `contrasts.csv`, `horizons.csv`, `.tex` of each and `report.json` to `output`,
    pictures of the examples to its folder `examples`, and every plot to its folder `plots`.

    Where the annotations had released lists, `official.csv` has the challenge's figures. `runs` are folders on the same
    annotations; the fields of `options` may be given as keyword arguments, such as `k=1`. Returns the content of
    report.json. Raises UsageError for runs that are not finished or do not compare, EnvironmentLacksError where a
    package for PNG or PDF is missing.
    """
    options = given_or_parsed(options, ReportOptions, settings, what="report options")
    progress = progress or NoProgress()
    folder = Path(output)
    check_writable_folder(folder, option="--output")
    require_formats(options)
    study = load_study([Path(run) for run in runs])
    split = _leading_split(study, options.split)
    figures = Figures(study=study, split=split, options=options)
    contrasts = Contrasts(
        study=study, comparison=figures.comparison, primary=primary_of(study, options, split),
        baseline=options.baseline, split=split,
    )  # fmt: skip
    progress.say(
        f"{len(study.models)} models of {len(study.arms)} arms; figures of {split}, intervals over "
        f"{figures.comparison.level}s."
    )
    document = document_of(figures, contrasts)
    for text in saturation_warnings(document):
        progress.say(text)
    examples, notes = examples_of(study, split, options.baseline, each=options.examples)
    document |= {"examples": _with_pictures(folder, examples), "example_notes": notes}
    for name in ("arms", "contrasts", "horizons", "horizon_contrasts", "groups", "class_gains", "data"):
        write_bytes_atomic(folder / f"{name}.csv", csv_text(document[name]).encode())
    if document["official"] is not None:
        write_bytes_atomic(folder / "official.csv", csv_text(document["official"]["rows"]).encode())
    for name in ("arms", "contrasts", "horizons"):
        text = latex_text(document[name], caption=f"{name} ({split})")
        write_bytes_atomic(folder / f"{name}.tex", text.encode())
    write_json_atomic(folder / "report.json", document)
    plots = plots_of(document)
    write_plots(folder, plots, options)
    shown = [picture for _, picture in examples]
    page = render_page(document, plots, pictures=shown, plot_suffix=plot_suffix(options))
    write_pages(folder, page, options)
    return document


def _with_pictures(folder: Path, examples: list[Example]) -> list[dict[str, Any]]:
    """Write each example's picture to `folder`; the examples' rows with its name there, None without one."""
    rows = []
    for number, (row, picture) in enumerate(examples, start=1):
        name = None if picture is None else f"examples/{number:02d}_{row['arm']}_{row['kind']}.jpg"
        if picture is not None:
            write_bytes_atomic(folder / str(name), base64.b64decode(picture))
        rows.append({**row, "picture": name})
    return rows


def document_of(figures: Figures, contrasts: Contrasts) -> dict[str, Any]:
    """The content of report.json, less the examples."""
    study, options, primary, rows = figures.study, figures.options, contrasts.primary, contrasts.rows()
    arms, saturation = figures.arms(), figures.saturation()
    answer = answer_of(contrasts, rows, saturation[primary.key[3]]) if primary.key[3] in saturation else None
    varies = sorted({row["varies"] for row in rows})
    return {
        "split": figures.split,
        "baseline": options.baseline if options.baseline in study.arms else None,
        "k": options.k,
        "saturated": [task for task, found in saturation.items() if found["saturation"] == "full"],
        "saturation": saturation,
        "anticipation_time_sec": study.anticipation_seconds,
        "statistics": {
            "level": 0.95,
            "cluster": figures.comparison.level,
            "margin": primary.margin,
            "declared": primary.declared,
            "varies": answer["varies"] if answer is not None else (varies[0] if len(varies) == 1 else None),
        },
        "primary": answer,
        "summary": summary_of(arms, rows, figures.figure, options.baseline),
        "arms": arms,
        "contrasts": rows,
        "noise_floors": contrasts.noise_floors(),
        "horizons": figures.horizons(),
        "horizon_contrasts": contrasts.horizon_rows(),
        "groups": figures.groups(),
        "official": official_of(study, figures.split),
        "class_gains": figures.class_gains(*primary.key[:2]),
        "curves": figures.curves(),
        "training_options": _training_options(study),
        "data": figures.data(),
        "runs": study.runs,
    }


def _training_options(study: Study) -> list[str]:
    """Sentences about the options that runs trained with, each once, and the models that ended early."""
    found: list[str] = []
    for name, run in study.runs.items():
        found += [text for text in named_options(run["config"]) if text not in found]
        if ended := run.get("ended"):
            models = ", ".join(f"{model} after epoch {epoch}" for model, epoch in ended.items())
            found.append(f"Ended early in {name}: {models}.")
    return found


def _leading_split(study: Study, wanted: str | None) -> str:
    """The split `wanted`, else `val_start`, else the first validation split; UsageError where an arm lacks it."""
    validation = [split for split in study.splits if split.startswith("val_")]
    found = wanted or ("val_start" if "val_start" in validation else [*validation, *study.splits][0])
    there = ", ".join(split for split in study.splits if split != "test")
    if found == "test":
        raise UsageError(
            "The split test has no labels: there is nothing to report.",
            hint=f"Pass --split with one of {there}." if there else "Report the run that was trained.",
        )
    if found not in study.splits:
        raise UsageError(f"No run has the split {found!r}.", hint=f"There are: {there}.")
    if lacking := [arm for arm in study.arms if not study.of(arm, found)]:
        raise UsageError(
            f"The arm(s) {', '.join(lacking)} were not measured on {found}.",
            hint=f"Pass --split with one that all have ({there}), or report the runs apart.",
        )
    return found
