"""`validate`: list the videos, check one after the other in a few threads, add up the findings."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from gazetools.heatmaps.people import gate
from gazetools.io.atomic import check_writable_folder
from gazetools.progress import NoProgress, Progress
from gazetools.schemas.base import given_or_parsed
from gazetools.schemas.errors import EnvironmentLacksError, FaultError, UsageError
from gazetools.schemas.findings import Finding, Severity, ValidationReport
from gazetools.schemas.store import Prompt
from gazetools.schemas.validate import ValidateOptions
from gazetools.validation.checks import CHECKS
from gazetools.validation.checks.across import Traits, compare, traits_of
from gazetools.validation.checks.annotations import match_clips, read_clips
from gazetools.validation.collection import Collection, collect
from gazetools.validation.deep.check import open_deep
from gazetools.validation.load import load
from gazetools.validation.portrait import Gallery, Portrait, portray
from gazetools.validation.subject import Subject
from gazetools.validation.videos import VideoFinder, decode

_MAX_THREADS = 4
_SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
_SHARES = {
    "share_of_frames_without_people": ("frames_without_people", "frames"),
    "share_of_rows_without_prompt": ("rows_without_prompt", "rows_of_people"),
    "share_of_rows_inside_frame": ("rows_inside_frame", "rows_with_inout"),
    "share_of_clips_covered": ("clips_covered", "clips"),
}
"""Shares in the summary: (part, whole)."""


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
        options: what the heatmaps are compared with; or give its fields as `settings`, such as `videos="VIDEOS"`.
        further: called once the files are checked; its findings (see `readiness_findings`) become part of the report.
        progress: receives videos done.

    Returns findings, errors first, and a summary. Raises UsageError where `path`, `videos` or `annotations` can't be
    used or options contradict, CheckpointError and EnvironmentLacksError where the model can't be loaded.

    >>> report = gazetools.validate("STORE", videos="VIDEOS")     # doctest: +SKIP
    >>> [finding.code for finding in report.findings]             # doctest: +SKIP
    ['frame-count-mismatch']
    """
    options = given_or_parsed(options, ValidateOptions, settings, what="validate options")
    progress = progress or NoProgress()
    if options.html is not None:
        if options.html.is_dir():
            raise UsageError(
                f"--html {options.html} is a folder.", hint=f"Name a file: {options.html / 'report.html'}."
            )
        check_writable_folder(options.html.parent, option="--html")
    collection = collect(Path(path), options.chosen)
    finder = VideoFinder(options.videos)
    annotated = {} if options.annotations is None else read_clips(options.annotations)
    deep = open_deep(options)
    clips, without_maps = match_clips(annotated, [subject.video_id for subject in collection.subjects])
    for subject in collection.subjects:
        subject.deep, subject.clips = deep, clips.get(subject.video_id, [])
        subject.times = options.of_pictures()
    gallery = None if options.html is None else Gallery(collection.root)

    traits: list[Traits] = []
    portraits: list[Portrait] = []
    progress.start("validate", len(collection.subjects), unit="videos")
    # reading, hashing and decoding release Python's lock; memory is bounded per thread
    with ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1)) as pool:
        for own_traits, portrait in pool.map(lambda subject: _check(subject, finder, gallery), collection.subjects):
            traits.append(own_traits)
            portraits += [] if portrait is None else [portrait]
            progress.advance("validate")
    progress.finish("validate")

    findings = [*collection.findings, *finder.findings, *(f for one in collection.subjects for f in one.findings)]
    findings += compare(traits) + without_maps + finder.not_compared(len(collection.subjects))
    lacking = 0
    if not collection.is_one_file:
        lacking, found = finder.without_heatmaps(subject.video_id for subject in collection.subjects)
        findings += found
    findings += [] if further is None else further()
    findings.sort(key=lambda f: (_SEVERITIES.index(f.severity), f.video_id or "", f.code))
    summary = _summary(Path(path), collection, findings)
    if finder.root is not None:
        summary["videos_without_heatmaps"] = lacking
    report = ValidationReport(findings=findings, summary=summary)
    if options.html is not None:
        from gazetools.validation.page import write_html

        write_html(options.html, report, portraits)
    return report


def _check(subject: Subject, finder: VideoFinder, gallery: Gallery | None) -> tuple[Traits, Portrait | None]:
    """Load a video's heatmaps, decode its video, run all checks, and drop everything but their results."""
    try:
        load(subject)
        if (video := finder.find(subject)) is not None:
            decode(subject, video)
        for check in CHECKS:
            for found in check(subject):
                subject.findings.append(found)
    except (EnvironmentLacksError, FaultError):
        raise
    except Exception as error:  # one odd file must not end the report on ten thousand others
        subject.report("check-failed", f"{subject.path}: {type(error).__name__}: {error}.")
    subject.counts.update(_counts(subject))
    result = traits_of(subject), None if gallery is None else portray(subject, gallery)
    subject.forget()
    return result


def _counts(subject: Subject) -> dict[str, int]:
    """One video's part of the numbers in the summary."""
    counts = {"maps": subject.row_count, "videos_decoded": int(subject.video is not None)}
    if (columns := subject.columns) is not None:
        counts["frames"] = len(columns.frame_index)
        counts["frames_without_people"] = int((~np.isin(columns.frame_index, columns.row_frame)).sum())
        counts["rows_of_people"] = len(columns.row_frame)
        counts["rows_without_prompt"] = int((columns.row_prompt == Prompt.NONE).sum())
    elif subject.stats is not None:
        counts["frames"] = subject.row_count
        if subject.valid is not None:
            counts["rows_without_map"] = int((~subject.valid).sum())
    if subject.inout is not None:
        counts["rows_with_inout"] = int((~np.isnan(subject.inout)).sum())
        counts["rows_inside_frame"] = int(gate(subject.inout).sum())
    return counts


def _summary(path: Path, collection: Collection, findings: list[Finding]) -> dict[str, Any]:
    """Counts over all videos, and shares of them; a share whose whole is 0 or unknown is left out."""
    severities = Counter(f.severity for f in findings)
    counts: Counter[str] = Counter()
    for subject in collection.subjects:
        counts.update(subject.counts)
    shares = {
        name: round(counts[part] / counts[whole], 4)
        for name, (part, whole) in _SHARES.items()
        if part in counts and counts[whole]
    }
    return {
        "path": str(path),
        "kind": collection.kind,
        "videos": len(collection.subjects),
        "maps": counts.pop("maps", 0),
        **{f"{severity}s": severities[severity] for severity in _SEVERITIES},
        **dict(sorted(counts.items())),
        **shares,
    }
