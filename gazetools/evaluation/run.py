"""`evaluate`: pair predictions with truth, score each row, estimate means, keep the best and worst frames."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

from gazetools._version import __version__
from gazetools.annotations.gaze_labels import BenchmarkPicture, Head
from gazetools.annotations.label_files import read_labels
from gazetools.evaluation.predictions import predictions
from gazetools.evaluation.scores import HeadScore, Tally, estimates, extremes, group_estimates
from gazetools.evaluation.stores import score_video
from gazetools.io.find_files import files_with
from gazetools.metrics.gaze import gazefollow_auc, gazefollow_l2, vat_auc, vat_l2
from gazetools.progress import NoProgress, Progress
from gazetools.schemas.base import given_or_parsed
from gazetools.schemas.errors import DataFileError, UsageError
from gazetools.schemas.evaluation import EvaluateOptions, EvaluationReport
from gazetools.schemas.gaze_labels import Protocol
from gazetools.schemas.store import STORE_SUFFIX
from gazetools.store.listing import list_store


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
        truth: a store of `groundtruth`; or annotations of GazeFollow or VideoAttentionTarget.
        options: how heatmaps are scored; or give its fields as keyword arguments.

    Returns metrics with 95 % intervals, overall and per camera, distance and kind of prompt; and what was not scored.
    Raises UsageError for inputs that can't be scored at all, EnvironmentLacksError without scikit-learn.

    >>> report = gazetools.evaluate("STORE", "TRUTH")          # doctest: +SKIP
    >>> report.overall["auc"].value                            # doctest: +SKIP
    0.934
    """
    options = given_or_parsed(options, EvaluateOptions, settings, what="evaluate options")
    progress = progress or NoProgress()
    truth_path = Path(truth).expanduser()
    if not truth_path.exists():
        raise UsageError(f"The ground truth {truth} does not exist.", hint="Check --truth.")
    tally = Tally()
    protocol: Protocol = "videoattentiontarget"
    if truth_path.is_dir() and any(files_with(truth_path, STORE_SUFFIX)):
        options.refuse_for(f"The store {predicted}")
        if str(predicted).startswith("model:"):
            raise UsageError(
                f"{predicted} is computed for pictures (GazeFollow, VideoAttentionTarget); {truth} is a store.",
                hint="Extract the videos with this model, and give the store.",
            )
        _score_stores(Path(predicted).expanduser(), truth_path, options, tally, progress)
    else:
        protocol = _score_pictures(str(predicted), truth_path, options, tally, progress)
    if not tally.rows:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in list(tally.failed.items())[:3])
        if missed := tally.counts["people_not_evaluated"]:
            reasons = f"The model can take none of the {missed} head boxes."
        raise UsageError(
            f"Nothing of {predicted} could be scored against {truth}. {reasons}".strip(),
            hint="Check that both are of the same videos.",
        )
    best, worst = extremes(tally.rows, options.examples)
    return EvaluationReport(
        tool_version=__version__,
        predicted=str(predicted),
        truth=str(truth),
        protocol=protocol,
        overall=estimates(tally.rows, resamples=options.resamples),
        groups=group_estimates(tally.rows, resamples=options.resamples),
        counts=dict(sorted(tally.counts.items())),
        failed=tally.failed,
        best=best,
        worst=worst,
        notes=_notes(protocol, tally.counts),
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


def _score_pictures(
    predicted: str, truth: Path, options: EvaluateOptions, tally: Tally, progress: Progress
) -> Protocol:
    if predicted.startswith("model:"):
        options.refuse_for(f"The heatmap of {predicted[:100]}")
    labels = read_labels(truth, images=None if options.images is None else Path(options.images))
    protocol, pictures = labels.protocol, labels.pictures
    pictures = pictures[: options.limit]
    progress.start("evaluate", len(pictures), unit="pictures")
    for number, (picture, results) in enumerate(zip(pictures, predictions(predicted, pictures, options), strict=True)):
        for head, result in zip(picture.heads, results, strict=True):
            if result is None:
                tally.counts["people_not_evaluated"] += 1
                continue
            heatmap, inout_score = result
            row = HeadScore(
                video_id=picture.path,
                frame=number,
                block=picture.path,
                groups={},
                inout_true=math.nan if head.inout is None else float(head.inout),
                inout_score=inout_score,
                **_metrics(protocol, picture, head, heatmap),
            )
            tally.counts["target_outside" if math.isnan(row.avg_l2) else "scored"] += 1
            tally.rows.append(row)
        progress.advance("evaluate")
    progress.finish("evaluate")
    return protocol


def _metrics(protocol: Protocol, picture: BenchmarkPicture, head: Head, heatmap: Any) -> dict[str, Any]:
    """AUC and L2 by the benchmark's definitions; empty for a target outside a frame of VideoAttentionTarget."""
    if protocol == "gazefollow":
        average, minimum = gazefollow_l2(heatmap, head.gaze_x, head.gaze_y)
        auc = gazefollow_auc(heatmap, head.gaze_x, head.gaze_y, height=picture.height, width=picture.width)
        return {"auc": auc, "avg_l2": average, "min_l2": minimum}
    if head.inout != 1:
        return {}
    distance = vat_l2(heatmap, head.gaze_x[0], head.gaze_y[0])
    return {"auc": vat_auc(heatmap, head.gaze_x[0], head.gaze_y[0]), "avg_l2": distance, "min_l2": distance}


def _notes(protocol: Protocol, counts: Counter[str]) -> list[str]:
    name = {"gazefollow": "GazeFollow", "videoattentiontarget": "VideoAttentionTarget"}[protocol]
    notes = [
        f"AUC and L2 by the definitions of {name} as in Gaze-LLE's evaluation; L2 in fractions of the frame.",
        "Intervals: 95 % bootstrap over blocks of one second of one video, or one picture.",
    ]
    if counts["depth_unknown"] or counts["depth_assumed"]:
        notes.append("Rows without a measured depth are left out of AUC, L2 and the angle.")
    if missed := counts["people_not_evaluated"]:
        notes.append(f"Heads not evaluated: {missed}. The model sees a crop of each, and their box has no pixel.")
    return notes
