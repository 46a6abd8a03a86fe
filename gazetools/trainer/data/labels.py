"""The label space of a training set: which classes there are, and their indices."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from gazetools.annotations.segment import Segment


@dataclass(frozen=True, kw_only=True)
class LabelSpace:
    """The classes of a training set: task -> sorted original ids; a class's index is its place there.

    Sorted, because the order of Python's sets may differ between runs; saved in every checkpoint.
    """

    ids: dict[str, list[Any]]
    unseen: dict[str, list[Any]] = field(default_factory=dict, compare=False)
    """Task -> sorted ids that only validation has; their indices follow those of `ids` and have no logit."""

    @staticmethod
    def of(segments: Iterable[Segment]) -> LabelSpace:
        """The classes that occur in `segments`."""
        found: dict[str, set[Any]] = {}
        for segment in segments:
            for task, value in segment.classes.items():
                found.setdefault(task, set()).add(value)
        return LabelSpace(ids={task: sorted(values) for task, values in found.items()})

    def with_unseen(self, segments: Iterable[Segment]) -> LabelSpace:
        """The same classes, followed by those that only `segments` have."""
        other = LabelSpace.of(segments).ids
        unseen = {task: sorted(set(values) - set(self.ids[task])) for task, values in other.items() if task in self.ids}
        return LabelSpace(ids=self.ids, unseen=unseen)

    @property
    def counts(self) -> dict[str, int]:
        """Task -> number of classes."""
        return {task: len(values) for task, values in self.ids.items()}

    def covers(self, segment: Segment) -> bool:
        """Whether every class of `segment` is known; V-JEPA 2 drops validation actions that training lacks."""
        if set(segment.classes) != set(self.ids):
            return False
        counts = self.counts
        return all(self._indices[task].get(v, counts[task]) < counts[task] for task, v in segment.classes.items())

    def encode(self, segment: Segment) -> dict[str, int]:
        """Task -> class index; the index of a class in `unseen` is not below the task's count."""
        return {task: self._indices[task][value] for task, value in segment.classes.items()}

    @cached_property
    def _indices(self) -> dict[str, dict[Any, int]]:
        known = {task: [*ids, *self.unseen.get(task, [])] for task, ids in self.ids.items()}
        return {task: {value: place for place, value in enumerate(values)} for task, values in known.items()}

    def to_plain(self) -> dict[str, list[Any]]:
        """As plain lists for checkpoints and JSON; an action of verb and noun is [verb, noun]."""
        return {task: [list(v) if isinstance(v, tuple) else v for v in ids] for task, ids in self.ids.items()}
