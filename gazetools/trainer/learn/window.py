"""Steps whose numbers were not read yet: where each began, so that a run can return there, and what is unread."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from gazetools.trainer.learn.learner import Learner
from gazetools.trainer.learn.trunk import Trunk
from gazetools.trainer.learn.unread import Unread, read_together


@dataclass(kw_only=True)
class StepStart:
    """The state of a run before a step, as far as a step changes it before the optimizers do."""

    global_step: int
    step_in_epoch: int
    counts: dict[str, int]
    dropout: dict[str, Tensor]  # trunk -> state of its generator
    clips: list[int] = field(default_factory=list)  # of this process in the step
    unread: list[tuple[Learner, Unread]] = field(default_factory=list)
    skipped: list[Learner] = field(default_factory=list)  # those that had no clip to learn from in any process

    def restore_dropout(self, trunks: Sequence[Trunk]) -> None:
        """Set the generators of all trunks back."""
        for trunk in trunks:
            if trunk.name in self.dropout:
                trunk.generator.set_state(self.dropout[trunk.name])


@dataclass(frozen=True)
class Trouble:
    """A step of a learner that was not applied."""

    start: StepStart
    learner: Learner
    text: str


class Window:
    """The steps since numbers were last read."""

    def __init__(self) -> None:
        self._steps: list[StepStart] = []

    def begin(self, position: Mapping[str, Any], counts: Mapping[str, int], trunks: Sequence[Trunk]) -> StepStart:
        """Add a step that begins at `position` (`global_step`, `step_in_epoch`) of a run."""
        start = StepStart(
            global_step=position["global_step"],
            step_in_epoch=position["step_in_epoch"],
            counts=dict(counts),
            dropout={trunk.name: trunk.generator.get_state() for trunk in trunks if trunk.dropout > 0},
        )
        self._steps.append(start)
        return start

    def leave(self) -> StepStart:
        """Take the last step out again: it is not carried out."""
        return self._steps.pop()

    def read(self) -> Iterator[Trouble]:
        """Read all numbers at once, count them in the learners, and yield each learner's first failed step in order."""
        steps, self._steps = self._steps, []
        values = read_together([unread for step in steps for _, unread in step.unread])
        failed: set[str] = set()
        found = []
        for step in steps:
            for learner in step.skipped:
                learner.skip_step()
            for learner, unread in step.unread:
                text = learner.take(unread, values)
                if text is not None and learner.name not in failed:
                    failed.add(learner.name)
                    found.append(Trouble(step, learner, text))
        yield from found
