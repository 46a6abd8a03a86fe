"""What a run reads: segments, classes, videos and heatmaps, all checked before any heavy work."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gazetools.annotations.segment import Segment
from gazetools.annotations.segments import read_segments
from gazetools.progress import NoProgress, Progress
from gazetools.schemas.errors import DataFileError, UsageError
from gazetools.schemas.training import Compat, DataSettings
from gazetools.trainer.data.anchors import AnchorPlan
from gazetools.trainer.data.kept_videos import KeptVideos, videos_or_kept
from gazetools.trainer.data.labels import LabelSpace
from gazetools.trainer.data.maps.base import HeatmapSurvey, MapSource
from gazetools.trainer.data.maps.build import build_sources, source_settings
from gazetools.trainer.data.past_end import ClipTimes, end_notes, find_ends, refuse_past_end
from gazetools.trainer.data.split import SourceOfRun, SplitBuilder, SplitPlan
from gazetools.trainer.data.videos import (
    Takes,
    broken_links,
    heatmap_video_id,
    name_cameras,
    refuse_split_takes,
)
from gazetools.video.picture_folders import about_pictures

__all__ = ["DataPlan", "SplitPlan", "plan_data"]


@dataclass(frozen=True, kw_only=True)
class DataPlan:
    """Everything a run reads."""

    train: SplitPlan
    validation: tuple[SplitPlan, ...]
    """One per validation anchor."""
    labels: LabelSpace
    surveys: dict[str, HeatmapSurvey] = field(default_factory=dict)
    """Survey of each source by name."""
    shared_videos: int = 0
    """Videos that are in training and in validation."""
    notes: tuple[str, ...] = ()
    """Sentences about how the data were found."""
    gone_videos: int = 0
    """Videos whose file is not there: their clips come from the feature cache."""

    @property
    def survey(self) -> HeatmapSurvey | None:
        """Survey of the first heatmap source; None where the run uses no heatmaps."""
        return next(iter(self.surveys.values()), None)

    def class_counts(self) -> dict[str, list[int]]:
        """Task -> number of training clips of each class."""
        counts = {task: [0] * classes for task, classes in self.labels.counts.items()}
        for clip in self.train.clips:
            for task, place in self.labels.encode(clip.segment).items():
                counts[task][place] += 1
        return counts

    def heatmap_contents(self) -> dict[str, str]:
        """Source -> sha256 over the contents of its videos; a resumed run must see the same maps."""
        return {
            name: hashlib.sha256(json.dumps(survey.contents, sort_keys=True).encode()).hexdigest()
            for name, survey in self.surveys.items()
        }

    def summary(self) -> dict[str, Any]:
        """For logs, result.json and --dry-run."""
        return {
            "train": self.train.summary(),
            "validation": {split.anchor.name: split.summary() for split in self.validation},
            "classes": self.labels.counts,
            "videos_in_both_splits": self.shared_videos,
            "videos_without_heatmap": list(self.survey.missing[:20]) if self.survey else [],
        }


def plan_data(
    data: DataSettings,
    anchors: AnchorPlan,
    *,
    compat: Compat = "none",
    index_cache: Path | None = None,
    progress: Progress | None = None,
) -> DataPlan:
    """Read annotations, find videos and heatmaps, and choose the clips.

    Raises UsageError or DataFileError (exit 2) for: annotations that do not parse, takes whose cameras are in both
    splits, videos not found, actions past the end of their video (`past_end: error`), broken or future-filled heatmaps,
    0 % heatmap coverage, missing heatmaps under `missing: error`, and no clips left. With `compat: vjepa2` clips with
    nothing to observe are kept: the first frame stands for all times before the video, as in V-JEPA 2.
    `index_cache` is a folder in which frame indexes of an earlier run may lie; `progress` receives videos looked at.
    """
    kept = KeptVideos.of(data)
    takes = Takes(Path(data.base_path), Path(data.takes_file) if data.takes_file else None, kept=kept)
    train_rows = _rows(data, data.dataset_train, takes)
    val_rows = _rows(data, data.dataset_val, takes)
    labels = LabelSpace.of(train_rows)
    if set(val_rows[0].classes) != set(labels.ids):
        raise DataFileError(f"{data.dataset_train} and {data.dataset_val} have different class columns.")
    refuse_split_takes(train_rows, val_rows)
    if data.keep_unseen_classes:
        labels = labels.with_unseen(val_rows)
    rows = (*train_rows, *val_rows)
    ids = [row.video_id for row in rows]
    notes: list[str] = []
    videos, gone = videos_or_kept(data, ids, notes)
    _check_videos(data, sorted(set(ids) - set(videos)), videos)
    if gone and not data.training_clips_repeat:
        raise UsageError(
            f"{len(gone)} video(s) are not below {data.base_path}, and training clips differ between epochs: only "
            "fixed views come from a feature cache.",
            hint="Set experiment.data.train_views as it was when the cache was filled, or bring the videos back.",
        )
    if compat == "vjepa2" and (lacking := [row for row in rows if row.frame_range is None]):
        such = f"{len(lacking)} row(s) such as {lacking[0].video_id!r}, row {lacking[0].row},"
        raise UsageError(
            f"compat: vjepa2 anchors on frame numbers, and {such} have no start_frame and stop_frame.",
            hint="Use EPIC-KITCHENS' CSV files, or set compat=none.",
        )
    cache = Path(data.index_cache) if data.index_cache else index_cache
    ends = find_ends(rows, videos, cache=cache, progress=progress or NoProgress(), gone=gone)
    trained = ClipTimes.of(data, anchors.train, compat, training=True)
    measured = [ClipTimes.of(data, anchor, compat, training=False) for anchor in anchors.validation]
    files = [(data.dataset_train, train_rows, [trained]), (data.dataset_val, val_rows, measured)]
    refuse_past_end(data, files, ends)
    heatmaps = _survey(data, [row for row in rows if row.video_id in videos], takes)
    build = SplitBuilder(data=data, videos=videos, heatmaps=heatmaps, labels=labels, ends=ends)
    return DataPlan(
        train=build.split(train_rows, trained, training=True),
        validation=tuple(build.split(val_rows, one, training=False) for one in measured),
        labels=labels,
        surveys={name: one.survey for name, one in heatmaps.items()},
        shared_videos=len({s.video_id for s in train_rows} & {s.video_id for s in val_rows}),
        notes=(*notes, *end_notes(rows, ends)),
        gone_videos=len(gone),
    )


def _rows(data: DataSettings, name: str, takes: Takes) -> list[Segment]:
    """The segments of an annotation file, those of takes with their cameras."""
    path = Path(name)
    rows = read_segments(path)
    if not rows[0].whole_take:
        if data.video_view is not None:
            raise UsageError(
                f"video_view = {data.video_view} is for annotations of takes; the ids of {path} name videos already.",
                hint="Remove experiment.data.video_view.",
            )
        return rows
    if data.video_view is None:
        raise UsageError(
            f"{path} annotates takes, which have several cameras, and experiment.data.video_view names none.",
            hint="Set it, for example to ego, exo, best_exo or cam01.",
        )
    named, without = name_cameras(rows, takes, data.video_view)
    if without and (data.missing_videos == "error" or not named):
        raise UsageError(
            f"{len(without)} take(s) of {path} have no camera {' or '.join(data.video_view)} below {data.base_path}: "
            f"{', '.join(without[:5])}{' ...' if len(without) > 5 else ''}.",
            hint="Correct base_path or video_view"
            + (", or set experiment.data.missing_videos=skip to train on the others." if named else "."),
            takes=without[:1000],
        )
    return named


def _survey(data: DataSettings, rows: Sequence[Segment], takes: Takes) -> dict[str, SourceOfRun]:
    found: dict[str, SourceOfRun] = {}
    settings = source_settings(data)
    for name, source in build_sources(data).items():
        ids = {row.video_id: heatmap_video_id(row, settings[name].view, takes) for row in rows}
        survey = source.survey({heatmap_id for heatmap_id in ids.values() if heatmap_id is not None})
        _check_survey(settings[name].path, source, survey, allow_future=data.allow_future)
        found[name] = SourceOfRun(source=source, survey=survey, ids=ids)
    return found


def _check_videos(data: DataSettings, absent: list[str], videos: dict[str, Path]) -> None:
    if absent and (data.missing_videos == "error" or not videos):
        pictures = next(filter(None, (about_pictures(Path(data.base_path) / name) for name in absent[:5])), None)
        raise UsageError(
            f"{len(absent)} of {len(absent) + len(videos)} annotated videos are not below {data.base_path}: "
            f"{', '.join(absent[:5])}{' ...' if len(absent) > 5 else ''}"
            f"{broken_links(Path(data.base_path), absent[:100], data.file_format)}.",
            hint=(f"{pictures} Or set" if pictures else "Set")
            + " experiment.data.base_path and file_format"
            + (", or experiment.data.missing_videos=skip to train on the others." if videos else "."),
            videos=absent[:1000],
        )


def _check_survey(path: Path, source: MapSource, survey: HeatmapSurvey, *, allow_future: bool) -> None:
    if survey.broken:
        first, reason = next(iter(survey.broken.items()))
        raise DataFileError(
            f"The heatmaps of {len(survey.broken)} video(s) are broken; the first, {first!r}: {reason}",
            hint="Run gazetools validate on the dataset and pack these videos again.",
            videos=survey.broken,
        )
    if survey.uses_future and not allow_future:
        raise UsageError(
            f"The heatmaps of {len(survey.uses_future)} video(s), such as {survey.uses_future[0]!r}, were filled from "
            "later frames: they would show the future.",
            hint="Pack with --missing zero or hold, or set experiment.data.allow_future=true.",
        )
    such = ", ".join(survey.missing[:5])
    if not survey.present:
        raise UsageError(
            f"{path} has heatmaps for none of the {len(survey.missing)} videos ({such}): the run would train on zeros.",
            hint="Correct experiment.data.heatmap_base_path, or set use_heatmap=false.",
        )
    if survey.missing and source.missing == "error":
        raise UsageError(
            f"{len(survey.missing)} video(s) have no heatmaps: {such} (experiment.data.missing = error).",
            hint="Make them, or set experiment.data.missing=zero or skip.",
            videos=list(survey.missing[:1000]),
        )
