"""`evaluate`: pair predictions with truth, score each row, estimate means, keep the best and worst frames."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gazetools._version import __version__
from gazetools.annotations.gaze_labels import Labels
from gazetools.evaluation.pictures import ShownHead, label_notes, read_truth, score_pictures
from gazetools.evaluation.predictions import check_sources
from gazetools.evaluation.protocols import PROTOCOLS
from gazetools.evaluation.published import published_scores
from gazetools.evaluation.reliability import reliability
from gazetools.evaluation.scores import (
    HeadScore,
    Tally,
    estimates,
    extremes,
    group_estimates,
    l2_percentiles,
    scored,
)
from gazetools.evaluation.stores import score_video
from gazetools.io.find_files import files_with
from gazetools.progress import NoProgress, Progress
from gazetools.schemas.base import given_or_parsed
from gazetools.schemas.errors import DataFileError, UsageError
from gazetools.schemas.evaluation import EvaluateOptions, EvaluationReport
from gazetools.schemas.gaze_labels import Protocol
from gazetools.schemas.store import STORE_SUFFIX
from gazetools.store.listing import list_store


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """The report of one model, and what the page and the comparison with other models need beyond it."""

    report: EvaluationReport
    rows: list[HeadScore]
    shown: dict[str, ShownHead]
    """`place` of the report's best and worst -> what is drawn; empty where both are stores."""


def evaluate(
    predicted: str | Path,
    truth: str | Path,
    *,
    options: EvaluateOptions | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> EvaluationReport:
    """Score heatmaps against where people really look.

    Args:
        predicted: a store; for pictures `model:NAME_OR_PATH` or an .npz (see `evaluation.predictions`).
        truth: a store of `groundtruth`; or annotations of GazeFollow, VideoAttentionTarget, ChildPlay, GOO-Real or own
            clicked points (see `annotations.label_files.read_labels`).
        options: how heatmaps are scored; or give its fields as keyword arguments.

    Returns metrics with 95 % intervals, overall and per group (camera, distance and kind of prompt; for pictures size
    of the head, distance, direction, inside or outside); the reliability of in/out; and what was not scored.
    Raises UsageError for inputs that can't be scored at all, EnvironmentLacksError without scikit-learn.

    >>> report = gazetools.evaluate("STORE", "TRUTH")          # doctest: +SKIP
    >>> report.overall["auc"].value                            # doctest: +SKIP
    0.934
    """
    options = given_or_parsed(options, EvaluateOptions, settings, what="evaluate options")
    return evaluate_models([str(predicted)], truth, options=options, progress=progress)[0].report


def evaluate_models(
    predicted: Sequence[str], truth: str | Path, *, options: EvaluateOptions, progress: Progress | None = None
) -> list[Scoring]:
    """Score several models against one truth, which is read once; see `evaluate`."""
    progress = progress or NoProgress()
    truth_path = Path(truth).expanduser()
    if not truth_path.exists():
        raise UsageError(f"The ground truth {truth} does not exist.", hint="Check --truth.")
    if len(predicted) > 1 and options.checkpoint is not None:
        raise UsageError(
            f"--checkpoint belongs to one model, and {len(predicted)} are given.", hint="Name files: model:PATH."
        )
    if twice := [name for name, count in Counter(predicted).items() if count > 1]:
        raise UsageError(f"{twice[0]} is given twice.", hint="Name each model once.")
    if truth_path.is_dir() and any(files_with(truth_path, STORE_SUFFIX)):
        return [_of_stores(one, truth_path, options, progress) for one in predicted]
    if len(predicted) > 1:
        check_sources(predicted)
    labels = read_truth(truth_path, options)
    return [_of_pictures(one, truth_path, labels, options, progress) for one in predicted]


def _of_stores(predicted: str, truth: Path, options: EvaluateOptions, progress: Progress) -> Scoring:
    options.refuse_for(f"The store {predicted}")
    if predicted.startswith("model:"):
        raise UsageError(
            f"{predicted} is computed for pictures (GazeFollow, VideoAttentionTarget); {truth} is a store.",
            hint="Extract the videos with this model, and give the store.",
        )
    tally = Tally()
    _score_stores(Path(predicted).expanduser(), truth, options, tally, progress)
    _refuse_nothing(predicted, truth, tally)
    best, worst = extremes(tally.rows, options.examples)
    notes = _notes("videoattentiontarget", tally.counts, "one second of one video")
    report = _report(predicted, truth, tally, options, protocol="videoattentiontarget", notes=notes)
    return Scoring(report=report.model_copy(update={"best": best, "worst": worst}), rows=tally.rows, shown={})


def _of_pictures(predicted: str, truth: Path, labels: Labels, options: EvaluateOptions, progress: Progress) -> Scoring:
    tally = Tally()
    best, worst = score_pictures(predicted, labels, options, tally, progress).ordered()
    _refuse_nothing(predicted, truth, tally)
    clips = any(picture.clip for picture in labels.pictures)
    notes = _notes(labels.protocol, tally.counts, "one clip" if clips else "one picture")
    percentiles = l2_percentiles(tally.rows)
    report = _report(predicted, truth, tally, options, protocol=labels.protocol, notes=notes).model_copy(
        update={
            "best": [scored(row) for row, _ in best],
            "worst": [scored(row) for row, _ in worst],
            "l2_percentiles": percentiles,
            "labels": label_notes(labels),
            "published": [] if labels.kind == "points" else published_scores(labels.protocol),
        }
    )
    shown = {row.place: head for row, head in (*best, *worst)}
    return Scoring(report=report, rows=tally.rows, shown=shown)


def _refuse_nothing(predicted: str, truth: Path, tally: Tally) -> None:
    if not tally.rows:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in list(tally.failed.items())[:3])
        if missed := tally.counts["people_not_evaluated"]:
            reasons = f"The model can take none of the {missed} head boxes."
        raise UsageError(
            f"Nothing of {predicted} could be scored against {truth}. {reasons}".strip(),
            hint="Check that both are of the same videos.",
        )


def _report(
    predicted: str, truth: Path, tally: Tally, options: EvaluateOptions, *, protocol: Protocol, notes: list[str]
) -> EvaluationReport:
    return EvaluationReport(
        tool_version=__version__,
        predicted=predicted,
        truth=str(truth),
        protocol=protocol,
        overall=estimates(tally.rows, resamples=options.resamples),
        groups=group_estimates(tally.rows, resamples=options.resamples),
        reliability=reliability(tally.rows, resamples=options.resamples),
        counts=dict(sorted(tally.counts.items())),
        failed=tally.failed,
        best=[],
        worst=[],
        notes=notes,
    )


def _score_stores(predicted: Path, truth: Path, options: EvaluateOptions, tally: Tally, progress: Progress) -> None:
    guesses = {entry.video_id: entry for entry in list_store(predicted)}
    truths = list(list_store(truth))
    progress.start("evaluate", len(truths), unit="videos")
    for entry in truths:
        guess = guesses.get(entry.video_id)
        try:
            if entry.problem is not None:
                raise DataFileError(f"The ground truth is incomplete: {entry.problem}.")
            if guess is None:
                raise DataFileError("The predictions have no such video.")
            if guess.problem is not None:
                raise DataFileError(f"The predictions are incomplete: {guess.problem}.")
            score_video(entry.video_id, guess.payload, entry.payload, tally, depth=options.depth)
        except UsageError as error:
            tally.failed[entry.video_id] = str(error)
        progress.advance("evaluate")
    progress.finish("evaluate")
    tally.counts["videos_without_truth"] = len(set(guesses) - {entry.video_id for entry in truths})


def _notes(protocol: Protocol, counts: Counter[str], block: str) -> list[str]:
    notes = [*PROTOCOLS[protocol].notes, f"Intervals: 95 % bootstrap over blocks of {block}."]
    if counts["depth_unknown"] or counts["depth_assumed"]:
        notes.append("Rows without a measured depth are left out of AUC, L2 and the angle.")
    if missed := counts["people_not_evaluated"]:
        notes.append(f"Heads not evaluated: {missed}. The model sees a crop of each, and their box has no pixel.")
    return notes
