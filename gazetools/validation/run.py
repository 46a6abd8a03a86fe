"""`validate`: list the videos, check one after the other in a few threads, add up what was found."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gazetools.annotations.segment import Segment
from gazetools.heatmaps.people import gate
from gazetools.io.atomic import check_writable_folder
from gazetools.progress import NoProgress, Progress
from gazetools.schemas.base import given_or_parsed
from gazetools.schemas.errors import EnvironmentLacksError, FaultError
from gazetools.schemas.findings import Finding, Severity, ValidationReport
from gazetools.schemas.store import Prompt
from gazetools.schemas.validate import ValidateOptions
from gazetools.validation.checks import across as checks_across
from gazetools.validation.checks import annotations as checks_annotations
from gazetools.validation.checks import frozen as checks_frozen
from gazetools.validation.checks import origin as checks_origin
from gazetools.validation.checks import time as checks_time
from gazetools.validation.checks import values as checks_values
from gazetools.validation.checks import video as checks_video
from gazetools.validation.checks.sync import check_sync
from gazetools.validation.collection import Collection, collect
from gazetools.validation.deep.check import check_deep, open_deep
from gazetools.validation.load import load
from gazetools.validation.portrait import Gallery, Portrait, portray
from gazetools.validation.subject import DeepCheck, Subject
from gazetools.validation.videos import VideoFinder, decode

# The provenance comes first, the video before what compares with it; a new check is one function in this table.
CHECKS: tuple[Callable[[Subject], None], ...] = (
    checks_values.check_finite,
    checks_values.check_range,
    checks_values.check_orientation,
    checks_values.check_content,
    checks_values.check_normalisation,
    checks_values.check_inout,
    checks_values.check_boxes,
    checks_time.check_order,
    checks_time.check_times,
    checks_time.check_against_video,
    checks_video.check_video,
    checks_frozen.check_frozen,
    checks_origin.check_people,
    check_sync,
)
_MAX_THREADS = 4
_SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True, kw_only=True)
class _Outcome:
    """What is kept of a subject once it is checked."""

    findings: list[Finding]
    rows: int
    traits: checks_across.Traits
    counts: Counter[str]
    portrait: Portrait | None


def validate(
    path: str | Path,
    *,
    options: ValidateOptions | None = None,
    further: Callable[[], Sequence[Finding]] | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> ValidationReport:
    """Check a store, a dataset or a folder of other tools' heatmaps; see docs/validation.md for the codes.

    Every file is opened and read to its end. Where the video is at hand (below `videos`, else where the provenance
    says), it is decoded, and counts, times and identity are compared. Files that are broken are findings.

    Args:
        path: a store, a dataset, a folder of .npz or .npy heatmaps, or one such file.
        options: what the heatmaps are compared with; or give its fields as keyword arguments.
        further: called once the files are checked; its findings, such as those of `readiness_findings`, become part of
            the report.
        progress: receives videos done.
        settings: fields of `ValidateOptions`, such as `videos="VIDEOS"`.

    Returns:
        Findings, errors first, and a summary; `exit_code` is 1 with any error or warning.

    Raises:
        UsageError: `path`, `videos` or `annotations` can't be opened, `path` holds no heatmaps, or options contradict.
        CheckpointError, EnvironmentLacksError: the model can't be loaded.

    >>> report = gazetools.validate("STORE", videos="VIDEOS")     # doctest: +SKIP
    >>> [finding.code for finding in report.findings]             # doctest: +SKIP
    ['frame-count-mismatch']
    """
    options = given_or_parsed(options, ValidateOptions, settings, what="validate options")
    progress = progress or NoProgress()
    path, html = Path(path), options.html
    if html is not None:
        check_writable_folder(html.parent, option="--html")
    collection = collect(path)
    finder = VideoFinder(options.videos)
    clips = {} if options.annotations is None else checks_annotations.read_clips(options.annotations)
    ids = [subject.video_id for subject in collection.subjects]
    deep_check = open_deep(
        options.deep,
        model=options.model,
        checkpoint=options.checkpoint,
        backbone=options.backbone,
        heads=options.heads,
    )
    by_id, without_maps = checks_annotations.match_clips(clips, ids)

    gallery = None if html is None else Gallery(collection.root)

    outcomes: list[_Outcome] = []
    progress.start("validate", len(collection.subjects), unit="videos")
    # libraries under the checks leave Python while they read, hash and decode; memory is bounded per thread
    with ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1)) as pool:
        for outcome in pool.map(
            lambda s: _check(s, finder, deep_check, by_id.get(s.video_id), gallery),
            collection.subjects,
        ):
            outcomes.append(outcome)
            progress.advance("validate")
    progress.finish("validate")

    findings = [*collection.findings, *finder.findings, *(f for outcome in outcomes for f in outcome.findings)]
    findings += checks_across.compare([outcome.traits for outcome in outcomes]) + without_maps
    findings += [] if further is None else further()
    findings.sort(key=lambda f: (_SEVERITIES.index(f.severity), f.video_id or "", f.code))
    report = ValidationReport(findings=findings, summary=_summary(path, collection, outcomes, findings))
    if html is not None:
        from gazetools.validation.page import write_html

        write_html(html, report, [outcome.portrait for outcome in outcomes if outcome.portrait is not None])
    return report


def _check(
    subject: Subject,
    finder: VideoFinder,
    deep: DeepCheck | None,
    clips: list[Segment] | None,
    gallery: Gallery | None,
) -> _Outcome:
    counts: Counter[str] = Counter()
    try:
        load(subject)
        checks_origin.check_provenance(subject)
        if (video := finder.find(subject)) is not None:
            decode(subject, video)
        for check in CHECKS:
            check(subject)
        check_deep(subject, deep)
        if clips:
            coverage = checks_annotations.check_coverage(subject, clips)
            counts["clips"] = coverage.clips
            counts["clips_covered"] = coverage.covered or 0
    except (EnvironmentLacksError, FaultError):
        raise
    except Exception as error:  # one odd file must not end the report on ten thousand others
        subject.report("check-failed", f"{subject.path}: {type(error).__name__}: {error}.")
    counts.update(_counts(subject))
    outcome = _Outcome(
        findings=subject.findings,
        rows=len(subject.stats) if subject.stats is not None else 0,
        traits=checks_across.traits_of(subject),
        counts=counts,
        portrait=None if gallery is None else portray(subject, gallery),
    )
    subject.forget()
    return outcome


def _counts(subject: Subject) -> dict[str, int]:
    counts = {"videos_decoded": int(subject.video is not None)}
    if subject.columns is not None:
        columns = subject.columns
        counts["frames"] = len(columns.frame_index)
        counts["frames_without_people"] = int((~np.isin(columns.frame_index, columns.row_frame)).sum())
        counts["rows_of_people"] = len(columns.row_frame)
        counts["rows_without_prompt"] = int((columns.row_prompt == Prompt.NONE).sum())
    elif subject.stats is not None:
        counts["frames"] = len(subject.stats)
        if subject.valid is not None:
            counts["rows_without_map"] = int((~subject.valid).sum())
    if subject.inout is not None:
        counts["rows_with_inout"] = int((~np.isnan(subject.inout)).sum())
        counts["rows_inside_frame"] = int(gate(subject.inout).sum())
    return counts


def _summary(path: Path, collection: Collection, outcomes: list[_Outcome], findings: list[Finding]) -> dict[str, Any]:
    severities = Counter(f.severity for f in findings)
    counts: Counter[str] = Counter()
    for outcome in outcomes:
        counts.update(outcome.counts)
    return {
        "path": str(path),
        "kind": collection.kind,
        "videos": len(collection.subjects),
        "maps": sum(outcome.rows for outcome in outcomes),
        **{f"{severity}s": severities[severity] for severity in _SEVERITIES},
        **{name: counts[name] for name in sorted(counts)},
        **_rates(counts),
    }


def _rates(counts: Counter[str]) -> dict[str, float]:
    """Shares of what was counted; left out where there is nothing to divide by."""
    parts = {
        "share_of_frames_without_people": ("frames_without_people", "frames"),
        "share_of_rows_without_prompt": ("rows_without_prompt", "rows_of_people"),
        "share_of_rows_inside_frame": ("rows_inside_frame", "rows_with_inout"),
        "share_of_clips_covered": ("clips_covered", "clips"),
    }
    return {
        name: round(counts[part] / counts[whole], 4)
        for name, (part, whole) in parts.items()
        if part in counts and counts[whole]
    }
