"""What a run will see: segments, classes, videos and heatmap coverage, all checked before any heavy work."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gazetools.schemas.errors import DataFileError, UsageError
from gazetools.schemas.training import DataSettings, Range
from gazetools.trainer.config import AnchorPlan, NamedAnchor
from gazetools.trainer.data.annotations import ActionSegment, LabelSpace, read_annotations
from gazetools.trainer.data.heatmap_source import HeatmapSurvey, survey_heatmaps
from gazetools.trainer.data.sampling import anchor_seconds
from gazetools.trainer.data.videos import find_videos


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One action to anticipate."""

    index: int
    """Place in its split; random draws are keyed by it."""
    segment: ActionSegment
    video_path: Path
    has_heatmap: bool


@dataclass(frozen=True, kw_only=True)
class SplitPlan:
    """The clips of training or of validation under one anchor, with a count for everything left out."""

    name: str
    anchor: NamedAnchor
    anticipation_seconds: Range
    clips: list[Clip]
    counts: dict[str, int]
    """rows, and what was dropped: unknown_class, video_missing, no_observation, heatmap_missing_skipped, limit."""

    @property
    def coverage(self) -> float:
        """Share of the clips whose video has heatmaps."""
        return sum(clip.has_heatmap for clip in self.clips) / len(self.clips) if self.clips else 0.0

    def fingerprint(self) -> str:
        """sha256 over what defines the clips (not where files lie); a resumed run must see the same."""
        rows = [
            (c.index, c.segment.video_id, c.segment.start_seconds, c.segment.stop_seconds, c.has_heatmap)
            for c in self.clips
        ]
        return hashlib.sha256(json.dumps([self.anchor.point, rows]).encode()).hexdigest()

    def summary(self) -> dict[str, Any]:
        """For logs, result.json and --dry-run."""
        return {
            "anchor": self.anchor.name,
            "anticipation_time_sec": list(self.anticipation_seconds),
            "clips": len(self.clips),
            "videos": len({clip.segment.video_id for clip in self.clips}),
            "heatmap_coverage": self.coverage,
            **self.counts,
        }


@dataclass(frozen=True, kw_only=True)
class DataPlan:
    """Everything a run reads."""

    train: SplitPlan
    validation: tuple[SplitPlan, ...]
    """One per validation anchor."""
    labels: LabelSpace
    survey: HeatmapSurvey | None

    def summary(self) -> dict[str, Any]:
        """For logs, result.json and --dry-run."""
        return {
            "train": self.train.summary(),
            "validation": {split.anchor.name: split.summary() for split in self.validation},
            "classes": self.labels.counts,
            "videos_without_heatmap": list(self.survey.missing[:20]) if self.survey else [],
        }


def plan_data(data: DataSettings, anchors: AnchorPlan) -> DataPlan:
    """Read annotations, find videos and heatmaps, and settle which clips there are.

    Raises UsageError or DataFileError (exit 2) for: annotations that do not parse, videos not found, broken or
    future-filled heatmaps, 0 % heatmap coverage, missing heatmaps under `missing: error`, and no clips left.
    """
    train_rows = read_annotations(Path(data.dataset_train))
    val_rows = read_annotations(Path(data.dataset_val))
    labels = LabelSpace.of(train_rows)
    if len(set(map(frozenset, (s.classes for s in train_rows)))) != 1:
        raise DataFileError(f"{data.dataset_train} mixes rows with and without verbs.")
    if set(val_rows[0].classes) != set(labels.ids):
        raise DataFileError(f"{data.dataset_train} and {data.dataset_val} have different class columns.")
    ids = [segment.video_id for segment in (*train_rows, *val_rows)]
    videos = find_videos(Path(data.base_path), ids, data.file_format)
    _check_videos(data, sorted(set(ids) - set(videos)), videos)
    survey = None
    if data.use_heatmap and data.heatmap_base_path is not None:
        survey = survey_heatmaps(Path(data.heatmap_base_path), videos)
        _check_survey(data, survey)
    train_seconds = data.train_anticipation_time_sec or data.anticipation_time_sec
    train = _split(
        "train", data, train_rows, videos, survey, labels, anchors.train, train_seconds, data.max_train_clips
    )
    validation = tuple(
        _split("validation", data, val_rows, videos, survey, labels, a, data.anticipation_time_sec, data.max_val_clips)
        for a in anchors.validation
    )
    return DataPlan(train=train, validation=validation, labels=labels, survey=survey)


def _check_videos(data: DataSettings, absent: list[str], videos: dict[str, Path]) -> None:
    if absent and (data.missing_videos == "error" or not videos):
        raise UsageError(
            f"{len(absent)} of {len(absent) + len(videos)} annotated videos are not below {data.base_path}: "
            f"{', '.join(absent[:5])}{' ...' if len(absent) > 5 else ''}.",
            hint="Set experiment.data.base_path and file_format"
            + (", or experiment.data.missing_videos=skip to train on the others." if videos else "."),
            videos=absent[:1000],
        )


def _check_survey(data: DataSettings, survey: HeatmapSurvey) -> None:
    if survey.broken:
        first = next(iter(survey.broken.items()))
        raise DataFileError(
            f"The heatmaps of {len(survey.broken)} video(s) are broken; the first, {first[0]!r}: {first[1]}",
            hint="Run gazetools validate on the dataset and pack these videos again.",
            videos=survey.broken,
        )
    if survey.uses_future and not data.allow_future:
        raise UsageError(
            f"The heatmaps of {len(survey.uses_future)} video(s), such as {survey.uses_future[0]!r}, were filled from "
            "later frames: they would show the future.",
            hint="Pack with --missing zero or hold, or set experiment.data.allow_future=true.",
        )
    if not survey.present:
        raise UsageError(
            f"{data.heatmap_base_path} has heatmaps for none of the {len(survey.missing)} videos "
            f"({', '.join(survey.missing[:5])}): the run would train on zeros.",
            hint="Correct experiment.data.heatmap_base_path, or set use_heatmap=false.",
        )
    if survey.missing and data.missing == "error":
        raise UsageError(
            f"{len(survey.missing)} video(s) have no heatmaps: {', '.join(survey.missing[:5])} "
            "(experiment.data.missing = error).",
            hint="Make them, or set experiment.data.missing=zero or skip.",
            videos=list(survey.missing[:1000]),
        )


def _split(
    name: str,
    data: DataSettings,
    rows: Sequence[ActionSegment],
    videos: dict[str, Path],
    survey: HeatmapSurvey | None,
    labels: LabelSpace,
    anchor: NamedAnchor,
    seconds: Range,
    limit: int | None,
) -> SplitPlan:
    counts = dict.fromkeys(("unknown_class", "video_missing", "no_observation", "heatmap_missing_skipped", "limit"), 0)
    clips: list[Clip] = []
    for place, segment in enumerate(rows):
        has_heatmap = survey is not None and segment.video_id in survey.present
        # The earliest end of observation that may be drawn; nothing is seen before the first frame at 0 s.
        earliest = anchor_seconds(segment.start_seconds, segment.stop_seconds, max(anchor.point)) - seconds[1]
        if segment.video_id not in videos:
            counts["video_missing"] += 1
        elif not labels.covers(segment):
            counts["unknown_class"] += 1
        elif earliest <= 0:
            counts["no_observation"] += 1
        elif survey is not None and not has_heatmap and data.missing == "skip":
            counts["heatmap_missing_skipped"] += 1
        elif limit is not None and len(clips) >= limit:
            counts["limit"] += 1
        else:
            path = videos[segment.video_id]
            clips.append(Clip(index=place, segment=segment, video_path=path, has_heatmap=has_heatmap))
    if not clips:
        left_out = ", ".join(f"{count} {reason}" for reason, count in counts.items() if count)
        raise UsageError(
            f"No {name} clips are left of {len(rows)} rows (anchor {anchor.name}): {left_out}.",
            hint="Check base_path, the annotations, and the anticipation times under experiment.data.",
        )
    plan = SplitPlan(
        name=name, anchor=anchor, anticipation_seconds=seconds, clips=clips, counts={"rows": len(rows), **counts}
    )
    if survey is not None and plan.coverage == 0:
        raise UsageError(
            f"None of the {len(clips)} {name} clips has a heatmap in {data.heatmap_base_path}: the run would train on "
            "zeros.",
            hint="Correct experiment.data.heatmap_base_path, or set use_heatmap=false.",
        )
    return plan
