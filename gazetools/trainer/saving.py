"""When the state of a run and the best weights of its models become checkpoints."""

from __future__ import annotations

from collections.abc import Sequence

from gazetools.trainer.folder.checkpoints import TRAINING_FORMAT, WEIGHTS_FORMAT, save_best, save_checkpoint
from gazetools.trainer.learn.loop import Loop
from gazetools.trainer.plan.settle import RunPlan


def save_state(loop: Loop, plan: RunPlan) -> str | None:
    """The whole state as the newest checkpoint: its path in the leading process; every process must call it."""
    state = loop.state()
    if state is None:
        return None
    state = {"format": TRAINING_FORMAT, **plan.identity(), **state}
    return str(save_checkpoint(plan.checkpoints, state, step=loop.position.global_step))


def save_best_weights(loop: Loop, plan: RunPlan, names: Sequence[str]) -> None:
    """The weights of the learners `names`, which are better than before."""
    if not loop.world.leads:
        return
    for trunk in loop.trunks:
        for learner in trunk.learners:
            if learner.name in names:
                state = {
                    "format": WEIGHTS_FORMAT,
                    **plan.identity(),
                    "learner": learner.name,
                    "best": learner.best,
                    "predictor": trunk.predictor_weights(),
                    "probe": learner.weights(),
                }
                save_best(plan.checkpoints, learner.name, state, step=loop.position.global_step)
