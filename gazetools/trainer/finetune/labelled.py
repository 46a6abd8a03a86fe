"""Labelled heads of all sources in one form: which picture, where the head, where the gaze."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gazetools.trainer.finetune.head_sample import Box, Point


@dataclass(frozen=True, kw_only=True)
class PicturePlace:
    """Where the pixels of a picture are: a file, or a frame of a video."""

    path: Path
    frame: int | None = None
    """Index among the video's decoded frames; None: `path` is a picture."""


@dataclass(frozen=True, kw_only=True)
class LabelledHead:
    """One head to learn from. Coordinates are shares of the picture."""

    place: PicturePlace
    box_shares: Box
    gaze_shares: tuple[Point, ...]
    """Points of all annotators; any values where `inside` is False."""
    inside: bool
    video: str
    """What a split never divides where it goes by video; the picture itself for single pictures."""
    person: str
    """Person over all videos; the head itself where nobody knows."""
    row: str
    """Source and row, for messages."""
    teacher_row: tuple[Path, int] | None = None
    """Store file and row of the teacher's heatmap; None: the labels are a person's."""


@dataclass(kw_only=True)
class HeadSet:
    """Heads in the order of their sources, and what was left out."""

    heads: list[LabelledHead] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    """Reason -> heads."""
    examples: dict[str, str] = field(default_factory=dict)
    """Reason -> file and row of the first one."""

    def leave_out(self, reason: str, row: str, count: int = 1) -> None:
        """Count heads that are not used."""
        self.left_out[reason] += count
        self.examples.setdefault(reason, row)

    def add(self, other: HeadSet) -> None:
        """Append the heads of another set."""
        self.heads += other.heads
        self.left_out.update(other.left_out)
        for reason, row in other.examples.items():
            self.examples.setdefault(reason, row)

    def chosen(self, heads: Iterable[LabelledHead]) -> HeadSet:
        """A set of these heads, with the same record of what was left out."""
        return HeadSet(heads=list(heads), left_out=Counter(self.left_out), examples=dict(self.examples))

    def in_words(self) -> list[str]:
        """One line per reason for which heads were left out."""
        return [f"{count} {reason} (first: {self.examples[reason]})" for reason, count in sorted(self.left_out.items())]


@dataclass(frozen=True, kw_only=True)
class RunHeads:
    """Training and held-out heads of a run."""

    train: HeadSet
    held_out: HeadSet


def digest_of(heads: Sequence[LabelledHead]) -> str:
    """A digest of labels, by which a training that goes on knows that they are the same; files may have moved."""
    digest = hashlib.sha256()
    for head in heads:
        facts = (head.place.path.name, head.place.frame, head.box_shares, head.gaze_shares, head.inside, head.video)
        digest.update(repr(facts).encode("utf-8", "backslashreplace"))
    return digest.hexdigest()


def groups_of(heads: Sequence[LabelledHead], group: str) -> list[str]:
    """The group of each head, `video` or `person`."""
    return [head.video if group == "video" else head.person for head in heads]
