"""What a run reads: segments, classes, videos and heatmaps, all checked before any heavy work."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gazetools.annotations.official import NO_LISTS, OfficialLists
from gazetools.annotations.segment import Segment
from gazetools.progress import NoProgress, Progress
from gazetools.schemas.errors import DataFileError, UsageError
from gazetools.schemas.training import Compat, DataSettings
from gazetools.trainer.data.anchors import AnchorPlan
from gazetools.trainer.data.annotated import read_annotated
from gazetools.trainer.data.frame_folders import LAYOUTS, FrameFolders
from gazetools.trainer.data.kept_videos import KeptVideos, videos_or_kept
from gazetools.trainer.data.labels import LabelSpace
from gazetools.trainer.data.maps.base import HeatmapSurvey, MapSource, WantedSource
from gazetools.trainer.data.maps.build import build_sources, source_settings
from gazetools.trainer.data.past_end import ClipTimes, end_notes, find_ends, refuse_past_end
from gazetools.trainer.data.split import SourceOfRun, SplitBuilder, SplitPlan
from gazetools.trainer.data.videos import (
    Takes,
    broken_links,
    heatmap_video_id,
)
from gazetools.video.picture_folders import about_pictures

__all__ = ["DataPlan", "SplitPlan", "plan_data"]


@dataclass(frozen=True, kw_only=True)
class DataPlan:
    """Everything a run reads."""

    train: SplitPlan
    validation: tuple[SplitPlan, ...]
    """One per validation anchor."""
    test: SplitPlan | None = None
    """Annotations without labels under the first validation anchor; None: the config names none."""
    labels: LabelSpace
    surveys: dict[str, HeatmapSurvey] = field(default_factory=dict)
    """Survey of each source by name."""
    maps_of_test: dict[str, frozenset[str]] = field(default_factory=dict)
    """Videos of each source's maps that only the test split reads: what was trained does not depend on them."""
    shared_videos: int = 0
    """Videos that are in training and in validation."""
    lists: OfficialLists = NO_LISTS
    """What the lists released with the annotations say."""
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
        """Source -> sha256 over the contents of its videos; a resumed run must see the same maps to learn from."""
        found = {}
        for name, survey in self.surveys.items():
            apart = self.maps_of_test.get(name, frozenset())
            contents = {video: text for video, text in survey.contents.items() if video not in apart}
            found[name] = hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()
        return found

    def summary(self) -> dict[str, Any]:
        """For logs, result.json and --dry-run."""
        return {
            "train": self.train.summary(),
            "validation": {split.anchor.name: split.summary() for split in self.validation},
            **({"test": self.test.summary()} if self.test is not None else {}),
            "classes": self.labels.counts,
            "official_lists": list(self.lists.files),
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
    0 % heatmap coverage, missing heatmaps under `missing: error`, and no clips left. With a `compat` clips with nothing
    to observe are kept: the first frame stands for all times before the video, as in V-JEPA 2.
    `index_cache` is a folder in which frame indexes of an earlier run may lie; `progress` receives videos looked at.
    """
    kept = KeptVideos.of(data)
    takes = Takes(Path(data.base_path), Path(data.takes_file) if data.takes_file else None, kept=kept)
    actions = read_annotated(data, takes, compat=compat)
    train_rows, val_rows, test_rows, rows = actions.train, actions.validation, actions.test, actions.every
    labels = LabelSpace.of(train_rows)
    if data.keep_unseen_classes:
        labels = labels.with_unseen(val_rows)
    ids = [row.video_id for row in rows]
    notes = [*actions.notes]
    videos, gone = videos_or_kept(data, ids, notes, folders=actions.folders)
    _check_videos(data, sorted(set(ids) - set(videos)), videos)
    if gone and not data.training_clips_repeat:
        raise UsageError(
            f"{len(gone)} video(s) are not below {data.base_path}, and training clips differ between epochs: only "
            "fixed views come from a feature cache.",
            hint="Set experiment.data.train_views as it was when the cache was filled, or bring the videos back.",
        )
    cache = Path(data.index_cache) if data.index_cache else index_cache
    ends = find_ends(
        rows, videos, cache=cache, progress=progress or NoProgress(), gone=gone, pictures=FrameFolders.of(data)
    )
    trained = ClipTimes.of(data, anchors.train, compat, training=True)
    measured = [ClipTimes.of(data, anchor, compat, training=False) for anchor in anchors.validation]
    files = [(data.dataset_train, train_rows, [trained]), (data.dataset_val, val_rows, measured)]
    if data.dataset_test:
        files.append((data.dataset_test, test_rows, measured[:1]))
    refuse_past_end(data, files, ends)
    heatmaps = _survey(data, [row for row in rows if row.video_id in videos], takes)
    build = SplitBuilder(data=data, videos=videos, heatmaps=heatmaps, labels=labels, ends=ends)
    shared = {row.parent_id or row.video_id for row in train_rows} & {row.parent_id or row.video_id for row in val_rows}
    return DataPlan(
        train=build.split(train_rows, trained, "train"),
        validation=tuple(build.split(val_rows, one, "validation") for one in measured),
        test=build.split(test_rows, measured[0], "test") if test_rows else None,
        labels=labels,
        surveys={name: one.survey for name, one in heatmaps.items()},
        lists=actions.lists,
        maps_of_test={name: one.only_for(test_rows, (*train_rows, *val_rows)) for name, one in heatmaps.items()},
        shared_videos=len(shared),
        notes=(*notes, *end_notes(rows, ends)),
        gone_videos=len(gone),
    )


def _survey(data: DataSettings, rows: Sequence[Segment], takes: Takes) -> dict[str, SourceOfRun]:
    found: dict[str, SourceOfRun] = {}
    settings = source_settings(data)
    for name, source in build_sources(data).items():
        ids = {row.video_id: heatmap_video_id(row, settings[name].view, takes) for row in rows}
        survey = source.survey({heatmap_id for heatmap_id in ids.values() if heatmap_id is not None})
        _check_survey(settings[name], source, survey, allow_future=data.allow_future)
        found[name] = SourceOfRun(source=source, survey=survey, ids=ids)
    return found


def _check_videos(data: DataSettings, absent: list[str], videos: dict[str, Path]) -> None:
    if absent and (data.missing_videos == "error" or not videos):
        if data.input_format == "frames":
            tried = ", ".join(layout.format(video=absent[0], participant=absent[0].split("_")[0]) for layout in LAYOUTS)
            raise UsageError(
                f"{len(absent)} of {len(absent) + len(videos)} annotated videos have no folder of pictures below "
                f"{data.base_path}: {', '.join(absent[:5])}{' ...' if len(absent) > 5 else ''}. Tried: {tried}.",
                hint="Correct experiment.data.base_path, or set input_format=video, or missing_videos=skip.",
                videos=absent[:1000],
            )
        pictures = next(filter(None, (about_pictures(Path(data.base_path) / name) for name in absent[:5])), None)
        raise UsageError(
            f"{len(absent)} of {len(absent) + len(videos)} annotated videos are not below {data.base_path}: "
            f"{', '.join(absent[:5])}{' ...' if len(absent) > 5 else ''}"
            f"{broken_links(Path(data.base_path), absent[:100], data.file_format)}.",
            hint=(
                f"Set input_format=frames and video_info_path to read pictures. {pictures} Or set"
                if pictures
                else "Set"
            )
            + " experiment.data.base_path and file_format"
            + (", or experiment.data.missing_videos=skip to train on the others." if videos else "."),
            videos=absent[:1000],
        )


def _check_survey(wanted: WantedSource, source: MapSource, survey: HeatmapSurvey, *, allow_future: bool) -> None:
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
            f"{wanted.path} has heatmaps for none of the {len(survey.missing)} videos ({such}): the run would train on "
            "zeros.",
            hint=f"Correct {wanted.key}, or set use_heatmap=false.",
        )
    if survey.missing and source.missing == "error":
        raise UsageError(
            f"{len(survey.missing)} video(s) have no heatmaps: {such} (experiment.data.missing = error).",
            hint="Make them, or set experiment.data.missing=zero or skip.",
            videos=list(survey.missing[:1000]),
        )
