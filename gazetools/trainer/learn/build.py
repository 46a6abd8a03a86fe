"""The trunks and learners of a run from its config and the shared pretrained weights."""

from __future__ import annotations

import math
from collections.abc import Mapping

from gazetools.schemas.training import TrainingConfig
from gazetools.trainer.learn.learner import Learner, Trunk
from gazetools.trainer.models.build import Pretrained, build_probe, build_wrapper, choose_trained, trained_part
from gazetools.trainer.plan.arms import LearnerSpec, plan_learners
from gazetools.trainer.processes.world import World


def build_trunks(
    config: TrainingConfig, shared: Pretrained, num_classes: Mapping[str, int], train_clips: int, *, world: World
) -> list[Trunk]:
    """One trunk per predictor; where the predictor does not train, all probes of an arm and seed read the same one."""
    settings = config.experiment.optimization
    steps = math.ceil(train_clips / (settings.batch_size * settings.accumulation_steps * world.size))
    by_trunk: dict[str, list[LearnerSpec]] = {}
    for spec in plan_learners(config):
        by_trunk.setdefault(spec.trunk, []).append(spec)
    trunks = []
    for specs in by_trunk.values():
        own = specs[0].config
        wrapper = build_wrapper(own, shared, seed=specs[0].seed)
        trained = choose_trained(wrapper, trained_part(own))
        learners = [
            Learner(
                spec,
                build_probe(own, dict(num_classes), wrapper.embed_dim, seed=spec.seed),
                trained,
                num_classes=num_classes,
                steps_per_epoch=steps,
            )
            for spec in specs
        ]
        trunks.append(Trunk(wrapper, learners, rank=world.rank))
    return trunks
