"""Predictions of a model for every clip: ranks of the true classes and the best scores, saved for reports."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gazetools.annotations.segment import Segment, participant_of
from gazetools.io.atomic import write_bytes_atomic
from gazetools.io.npz import Npz
from gazetools.metrics.ranks import ranks
from gazetools.trainer.data.survey import DataPlan, SplitPlan

_LARGE = ("top_", "score_")
_NAMES = "class_names_"


@dataclass(kw_only=True)
class PredictionLog:
    """Collects the predictions of one model on one split."""

    top: int  # number of best scores that are kept per task and clip
    whole: Sequence[str] = ()  # tasks of which all scores are kept, for the EPIC-KITCHENS challenge
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, clips: Sequence[int], logits: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> None:
        """Add a batch: indices of its clips, logits [B, classes] by task, labels [B] of the tasks that have some."""
        row: dict[str, Any] = {"clip": np.asarray(clips, dtype=np.int64)}
        for task, values in logits.items():
            scores = values.detach().float().cpu()
            kept = scores.shape[1] if task in self.whole else min(self.top, scores.shape[1])
            # topk takes NaN for the largest number; here it is no score, and comes last.
            best = scores.masked_fill(scores.isnan(), -torch.inf).topk(kept, dim=1).indices
            if task in labels:
                truth = labels[task].cpu()
                row[f"label_{task}"] = truth.numpy().astype(np.int32)
                row[f"rank_{task}"] = ranks(scores, truth).numpy().astype(np.int32)
            row[f"top_{task}"] = best.numpy().astype(np.int32)
            row[f"score_{task}"] = scores.gather(1, best).numpy()
        self.rows.append(row)

    @property
    def clips(self) -> int:
        """Number of clips so far."""
        return sum(len(row["clip"]) for row in self.rows)

    @property
    def finite(self) -> bool:
        """Whether all saved scores are numbers."""
        return all(np.isfinite(row[name]).all() for row in self.rows for name in row if name.startswith("score_"))


def write_predictions(path: Path, logs: Sequence[PredictionLog], split: SplitPlan, data: DataPlan) -> None:
    """Write one .npz with the rows of all processes, sorted by clip, and the classes and videos of training."""
    labels, train = data.labels, data.train
    rows = [row for log in logs for row in log.rows]
    arrays: dict[str, npt.NDArray[Any]] = {}
    if rows:
        order = np.argsort(np.concatenate([row["clip"] for row in rows]), kind="stable")
        arrays = {name: np.concatenate([row[name] for row in rows])[order] for name in rows[0]}
    by_index = {clip.index: clip for clip in split.clips}
    chosen = [by_index[int(index)] for index in arrays.get("clip", [])]
    names = sorted({clip.segment.video_id for clip in chosen})
    place = {name: number for number, name in enumerate(names)}
    arrays["video"] = np.array([place[clip.segment.video_id] for clip in chosen], dtype=np.int32)
    arrays["row"] = np.array([clip.segment.row for clip in chosen], dtype=np.int64)
    clip_names = [clip.segment.name or "" for clip in chosen]
    arrays["clip_names"] = _text(clip_names)
    if not split.labelled:
        seen = {clip.index for clip in chosen}
        rest = [*split.left_out, *(clip.segment for clip in split.clips if clip.index not in seen)]
        arrays["left_out_names"] = _text([segment.name for segment in rest if segment.name])
    arrays["has_heatmap"] = np.array([clip.has_heatmap for clip in chosen], dtype=bool)
    # Names as bytes: arrays of strings would need a wider reader.
    arrays["video_ids"] = _text(names)
    known = {clip.segment.video_id: clip.segment.participant_id or "" for clip in [*train.clips, *chosen]}
    trained = sorted({clip.segment.video_id for clip in train.clips})
    arrays["train_video_ids"] = _text(trained)
    arrays["participant_ids"] = _text([known[name] for name in names])
    arrays["train_participant_ids"] = _text([known[name] for name in trained])
    whole = {clip.segment.video_id: clip.segment.parent_id or "" for clip in [*train.clips, *chosen]}
    if any(whole.values()):  # Ego4D's clips: those of one video are no independent samples
        arrays["parent_ids"] = _text([whole[name] for name in names])
        arrays["train_parent_ids"] = _text([whole[name] for name in trained])
    encoded = [labels.encode(clip.segment) for clip in train.clips]
    arrays |= _official(data, [clip.segment for clip in chosen] if split.labelled else [])
    for task, ids in labels.to_plain().items():
        arrays[f"classes_{task}"] = np.asarray(ids, dtype=np.int64)
        arrays[f"train_count_{task}"] = np.bincount([row[task] for row in encoded], minlength=len(ids))
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    write_bytes_atomic(path, file.getvalue())


def _official(data: DataPlan, segments: Sequence[Segment]) -> dict[str, npt.NDArray[Any]]:
    """What the released lists say of the clips [N] and of the classes; empty without lists."""
    lists, found = data.lists, {}
    tails = [lists.tail_tasks(segment.classes) for segment in segments]
    for task in tails[0] if tails else ():
        found[f"tail_{task}"] = np.array([tail[task] for tail in tails], dtype=bool)
    if lists.unseen and segments:
        found["unseen_participant"] = np.array([_participant(one) in lists.unseen for one in segments], dtype=bool)
    if lists.names:
        found |= {f"{_NAMES}{t}": _text([lists.name_of(t, i) for i in ids]) for t, ids in data.labels.ids.items()}
    return found


def _participant(segment: Segment) -> str:
    return segment.participant_id or participant_of(segment.video_id)


def _text(lines: Sequence[str]) -> npt.NDArray[np.uint8]:
    return np.frombuffer("\n".join(lines).encode(), dtype=np.uint8)


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Predictions of one model on one split, as read from their file."""

    arrays: Mapping[str, npt.NDArray[Any]]
    video_ids: list[str]  # names of the numbers in `arrays["video"]`
    train_video_ids: list[str]
    clip_names: list[str] = field(default_factory=list)  # EPIC's narration_id of each clip; empty without one
    participant_ids: list[str] = field(default_factory=list)  # of each of `video_ids`, "" where unknown; or nothing
    train_participant_ids: list[str] = field(default_factory=list)  # likewise of `train_video_ids`
    parent_ids: list[str] = field(default_factory=list)  # video of which each of `video_ids` is a clip, "" if none
    train_parent_ids: list[str] = field(default_factory=list)  # likewise of `train_video_ids`
    left_out_names: list[str] = field(default_factory=list)  # names of the test split's actions without a prediction
    class_names: Mapping[str, list[str]] = field(default_factory=dict)  # task -> names of its classes, where released

    @property
    def whole_videos(self) -> list[str]:
        """The video that each of `video_ids` is, or is a clip of."""
        return _whole(self.video_ids, self.parent_ids)

    @property
    def train_whole_videos(self) -> list[str]:
        """The same of `train_video_ids`."""
        return _whole(self.train_video_ids, self.train_parent_ids)

    @property
    def tasks(self) -> list[str]:
        """verb, noun, action, or action alone; a test split has scores without ranks."""
        found = (name.partition("_") for name in self.arrays)
        return list(dict.fromkeys(task for kind, _, task in found if kind in ("rank", "top")))


def _whole(names: list[str], parents: list[str]) -> list[str]:
    return [parent or name for name, parent in zip(names, parents or [""] * len(names), strict=True)]


def class_text(predictions: Predictions, task: str, index: int) -> str:
    """The id of a class of training and, where it was released, its name, such as `[3, 7] cut onion`."""
    names = predictions.class_names.get(task)
    text = str(predictions.arrays[f"classes_{task}"][index].tolist())
    return f"{text} {names[index]}".rstrip() if names else text


def read_predictions(path: Path) -> Predictions:
    """Read what write_predictions wrote; the best scores are read on use. Raises DataFileError for a damaged file."""
    with Npz(path) as file:
        lazy = [name for name in file.names if name.startswith(_LARGE)]
        arrays = {name: file.load(name) for name in file.names if name not in lazy}
    texts = [one.name for one in fields(Predictions) if one.name not in ("arrays", "class_names")]
    named = [key for key in arrays if key.startswith(_NAMES)]
    names = {key: bytes(arrays.pop(key)).decode().split("\n") for key in (*texts, *named) if key in arrays}
    classes = {key.removeprefix(_NAMES): names.pop(key) for key in named}
    names["left_out_names"] = [name for name in names.get("left_out_names", []) if name]
    return Predictions(arrays=_Arrays(path, arrays, lazy), class_names=classes, **names)


class _Arrays(Mapping[str, npt.NDArray[Any]]):
    """Arrays by name, of which the large ones stay in their file until they are asked for.

    A report of many trainings would need gigabytes for scores that it shows of a few clips.
    """

    def __init__(self, path: Path, loaded: dict[str, npt.NDArray[Any]], lazy: Sequence[str]) -> None:
        self._path, self._loaded, self._lazy = path, loaded, lazy

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        if name not in self._lazy:
            return self._loaded[name]
        with Npz(self._path) as file:
            return file.load(name)

    def __iter__(self) -> Iterator[str]:
        return iter([*self._loaded, *self._lazy])

    def __len__(self) -> int:
        return len(self._loaded) + len(self._lazy)
