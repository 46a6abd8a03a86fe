"""The annotated actions of a run: files read, their videos named (cameras of takes, Ego4D's clips), lists applied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gazetools.annotations.official import OfficialLists, read_official_lists
from gazetools.annotations.segment import Segment
from gazetools.annotations.segments import read_segments
from gazetools.schemas.errors import DataFileError, UsageError
from gazetools.schemas.training import Compat, DataSettings
from gazetools.trainer.data.videos import EGO4D_FOLDERS, Takes, find_videos, name_cameras, refuse_split_takes


@dataclass(frozen=True, kw_only=True)
class AnnotatedActions:
    """The actions of every annotation file of a run."""

    train: list[Segment]
    validation: list[Segment]
    test: list[Segment]
    """Without labels; empty where the config names none."""
    lists: OfficialLists
    notes: tuple[str, ...]
    """Sentences about which videos the ids name."""

    @property
    def folders(self) -> tuple[str, ...]:
        """Folders below `base_path` in which the release keeps its videos."""
        return EGO4D_FOLDERS if any(row.clip_uid for row in self.every) else ()

    @property
    def every(self) -> list[Segment]:
        """All actions, those of training first."""
        return [*self.train, *self.validation, *self.test]


def read_annotated(data: DataSettings, takes: Takes, *, compat: Compat = "none") -> AnnotatedActions:
    """Read the annotations that `data` names, and refuse what cannot train together.

    Raises UsageError or DataFileError: files that do not parse, other tasks in validation than in training, classes
    that the released lists lack, takes whose cameras are in both splits, frame numbers that `compat` needs and lacks.
    """
    train, validation = (_rows(data, name, takes) for name in (data.dataset_train, data.dataset_val))
    test = _rows(data, data.dataset_test, takes, labelled=False) if data.dataset_test else []
    if set(validation[0].classes) != set(train[0].classes):
        raise DataFileError(f"{data.dataset_train} and {data.dataset_val} have different class columns.")
    refuse_split_takes(train, validation)
    lists = read_official_lists(Path(data.dataset_val), Path(data.official_lists) if data.official_lists else None)
    for name, rows in ((data.dataset_train, train), (data.dataset_val, validation)):
        lists.check(Path(name), rows)
    lacking = [row for row in (*train, *validation, *test) if row.frame_range is None]
    if compat != "none" and lacking:
        such = f"{len(lacking)} row(s) such as {lacking[0].video_id!r}, row {lacking[0].row},"
        raise UsageError(
            f"compat: {compat} anchors on frame numbers, and {such} have no start_frame and stop_frame.",
            hint="Use EPIC-KITCHENS' CSV files, or set compat=none.",
        )
    if not any(row.clip_uid for row in (*train, *validation, *test)):
        return AnnotatedActions(train=train, validation=validation, test=test, lists=lists, notes=())
    shown = _ego4d_files(data, [*train, *validation, *test])
    if shown == "clips":
        train, validation, test = ([row.in_clip() for row in rows] for rows in (train, validation, test))
    what = "whole videos (video_uid)" if shown == "full" else "clips (clip_uid), with times from the clip's start"
    note = f"Ego4D's actions are read from {what}; experiment.data.ego4d_videos chooses."
    return AnnotatedActions(train=train, validation=validation, test=test, lists=lists, notes=(note,))


def _rows(data: DataSettings, name: str, takes: Takes, *, labelled: bool = True) -> list[Segment]:
    """The segments of an annotation file, those of takes with their cameras."""
    path = Path(name)
    rows = read_segments(path, labelled=labelled)
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


def _ego4d_files(data: DataSettings, rows: Sequence[Segment]) -> Literal["full", "clips"]:
    """The files that show Ego4D's actions: what the config says, else whole videos unless more actions have a clip."""
    if data.ego4d_videos != "auto":
        return data.ego4d_videos
    base = Path(data.base_path)
    videos = find_videos(base, (row.video_id for row in rows), data.file_format, folders=EGO4D_FOLDERS)
    clips = find_videos(base, (row.clip_uid for row in rows if row.clip_uid), data.file_format, folders=EGO4D_FOLDERS)
    return "clips" if _count(rows, clips, "clip_uid") > _count(rows, videos, "video_id") else "full"


def _count(rows: Sequence[Segment], files: dict[str, Path], name: Literal["clip_uid", "video_id"]) -> int:
    return sum(getattr(row, name) in files for row in rows)
