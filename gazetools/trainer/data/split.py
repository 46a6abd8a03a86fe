"""The clips of a split, and a count of the rows that are no clips, by reason."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from gazetools.annotations.segment import Segment
from gazetools.schemas.errors import UsageError
from gazetools.schemas.training import DataSettings, Range
from gazetools.trainer.data.anchors import NamedAnchor
from gazetools.trainer.data.labels import LabelSpace
from gazetools.trainer.data.maps.base import HeatmapSurvey, MapSource
from gazetools.trainer.data.maps.build import source_settings
from gazetools.trainer.data.past_end import ClipTimes, VideoEnds

SplitName = Literal["train", "validation", "test"]
"""Kinds of splits that annotation files give; the test split has no labels."""
REASONS = (
    "empty_segment",
    "unknown_class",
    "video_missing",
    "past_end",
    "no_observation",
    "heatmap_missing_skipped",
    "limit",
)
"""Why a row of the annotations is no clip."""


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One action to anticipate."""

    index: int
    """Row of its annotation file, from 0; random draws are keyed by it."""
    segment: Segment
    video_path: Path
    has_heatmap: bool
    """Whether the first source has maps for the clip."""
    heatmap_ids: Mapping[str, str] = field(default_factory=dict)
    """Source name -> id of the video whose maps it has for this clip; sources without maps are left out."""


@dataclass(frozen=True, kw_only=True)
class SplitPlan:
    """The clips of training, validation or test under one anchor, with counts of the rows left out."""

    name: str
    anchor: NamedAnchor
    anticipation_seconds: Range
    clips: list[Clip]
    counts: dict[str, int]
    """`rows`; rows left out by reason (`REASONS`); of the clips that are kept, `unseen_class_clips`, of which training
    lacks a class, and `begin_before_video`, whose observation begins before the first frame, which is shown instead."""
    sources: tuple[str, ...] = ()
    """Names of the heatmap sources."""
    left_out: tuple[Segment, ...] = ()
    """The rows that are no clips."""

    @property
    def labelled(self) -> bool:
        """Whether the clips have labels that count."""
        return self.name != "test"

    @property
    def coverage(self) -> float:
        """Share of the clips that have heatmaps of the first source."""
        return next(iter(self.coverages.values()), 0.0)

    @property
    def coverages(self) -> dict[str, float]:
        """Source name -> share of the clips that have its heatmaps."""
        return {name: sum(name in c.heatmap_ids for c in self.clips) / len(self.clips) for name in self.sources}

    def fingerprint(self) -> str:
        """sha256 over what defines the clips (not where files lie); a resumed run must see the same."""
        parts = ((clip.index, clip.segment, dict(clip.heatmap_ids)) for clip in self.clips)
        rows = [(index, s.video_id, s.start_seconds, s.stop_seconds, ids) for index, s, ids in parts]
        return hashlib.sha256(json.dumps([self.anchor.point, rows], sort_keys=True).encode()).hexdigest()

    def summary(self) -> dict[str, Any]:
        """For logs, result.json and --dry-run."""
        return {
            "anchor": self.anchor.name,
            "anticipation_time_sec": list(self.anticipation_seconds),
            "clips": len(self.clips),
            "videos": len({clip.segment.video_id for clip in self.clips}),
            "heatmap_coverage": self.coverage,
            **({"heatmap_coverage_by_source": self.coverages} if len(self.sources) > 1 else {}),
            **self.counts,
        }


@dataclass(frozen=True, kw_only=True)
class SourceOfRun:
    """One heatmap source with what it has for the videos of a run."""

    source: MapSource
    survey: HeatmapSurvey
    ids: dict[str, str | None]
    """Video of a clip -> video whose maps are read; None: there is none."""

    def only_for(self, rows: Sequence[Segment], others: Sequence[Segment]) -> frozenset[str]:
        """The videos whose maps `rows` read and `others` do not."""
        mine, theirs = ({self.ids.get(row.video_id) for row in part} for part in (rows, others))
        return frozenset(name for name in mine - theirs if name is not None)


@dataclass(frozen=True, kw_only=True)
class SplitBuilder:
    """Makes splits out of the videos, heatmaps and classes of a run."""

    data: DataSettings
    videos: dict[str, Path]
    heatmaps: dict[str, SourceOfRun]
    labels: LabelSpace
    ends: VideoEnds

    def split(self, rows: Sequence[Segment], times: ClipTimes, name: SplitName) -> SplitPlan:
        """The clips of `rows` under one anchor; a row that is no clip is counted by its reason.

        Of a test split every row that can be observed is a clip. Raises UsageError where no clip is left, or no clip
        has a heatmap of one of the sources.
        """
        data, is_test = self.data, name == "test"
        limit = {"train": data.max_train_clips, "validation": data.max_val_clips, "test": None}[name]
        keeps_unseen = data.keep_unseen_classes and name == "validation"
        counts = dict.fromkeys((*REASONS, "unseen_class_clips", "begin_before_video"), 0)
        clips: list[Clip] = []
        for place, segment in enumerate(rows):
            ids = self._heatmap_ids(segment)
            observed_until = times.earliest_end(segment)
            known = is_test or self.labels.covers(segment)
            if segment.is_empty and not is_test:  # what is anticipated in a test needs no frames of its own
                counts["empty_segment"] += 1
            elif segment.video_id not in self.videos:
                counts["video_missing"] += 1
            elif not known and not keeps_unseen:
                counts["unknown_class"] += 1
            elif data.past_end == "drop" and self.ends.is_past(segment, times):
                counts["past_end"] += 1
            elif observed_until <= 0 and not times.by_frame_numbers:  # nothing is seen before the first frame at 0 s
                counts["no_observation"] += 1
            elif any(one.source.missing == "skip" and source not in ids for source, one in self.heatmaps.items()):
                counts["heatmap_missing_skipped"] += 1
            elif limit is not None and len(clips) >= limit:
                counts["limit"] += 1
            else:
                counts["unseen_class_clips"] += not known
                counts["begin_before_video"] += observed_until < self._context_seconds(training=name == "train")
                path, first = self.videos[segment.video_id], next(iter(self.heatmaps), None) in ids
                clips.append(Clip(index=place, segment=segment, video_path=path, has_heatmap=first, heatmap_ids=ids))
        counts = {reason: count for reason, count in counts.items() if reason in REASONS or count}
        if not clips:
            left_out = ", ".join(f"{count} {reason}" for reason, count in counts.items() if count)
            raise UsageError(
                f"No {name} clips are left of {len(rows)} rows (anchor {times.anchor.name}): {left_out}.",
                hint="Check base_path, the annotations, and the anticipation times under experiment.data.",
            )
        plan = SplitPlan(
            name=name,
            anchor=times.anchor,
            anticipation_seconds=times.anticipation_seconds,
            clips=clips,
            counts={"rows": len(rows), **counts},
            sources=tuple(self.heatmaps),
            left_out=tuple(rows[place] for place in sorted(set(range(len(rows))) - {clip.index for clip in clips})),
        )
        if empty := [source for source, coverage in plan.coverages.items() if coverage == 0]:
            none = f"None of the {len(clips)} {name} clips has a heatmap"
            raise UsageError(
                f"{none} in {(wanted := source_settings(data)[empty[0]]).path}: the run would train on zeros.",
                hint=f"Correct {wanted.key}, or set use_heatmap=false.",
            )
        return plan

    def _context_seconds(self, *, training: bool) -> float:
        """The longest time before the end of an observation that a clip shows."""
        data = self.data
        context = (data.train_context_sec if training else None) or data.context_sec
        length = data.frames_per_clip / data.frames_per_second
        return length if context is None else min(length, context[1])

    def _heatmap_ids(self, segment: Segment) -> dict[str, str]:
        """Source name -> id of the video whose maps it has for `segment`; sources without maps are left out."""
        found = {name: one.ids.get(segment.video_id) for name, one in self.heatmaps.items()}
        return {name: v for name, v in found.items() if v is not None and v in self.heatmaps[name].survey.present}
