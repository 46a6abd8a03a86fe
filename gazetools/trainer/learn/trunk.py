"""The predictors of a run, each with the learners that read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from gazetools.trainer.learn.controls import maps_for
from gazetools.trainer.learn.frozen import FrozenWeights
from gazetools.trainer.learn.learner import Learner
from gazetools.trainer.learn.losses import FutureTokens, jepa_loss
from gazetools.trainer.learn.schedules import steps_per_epoch
from gazetools.trainer.models.build import Pretrained, build_probe, build_wrapper, choose_trained, trained_part
from gazetools.trainer.models.wrapper import Anticipation, AnticipativeWrapperHeatmap
from gazetools.trainer.plan.arms import LearnerSpec
from gazetools.trainer.processes.owners import Owners
from gazetools.trainer.processes.world import World


class Trunk:
    """A predictor behind the shared encoder, and the learners that read it."""

    def __init__(
        self,
        wrapper: AnticipativeWrapperHeatmap,
        learners: Sequence[Learner],
        *,
        frozen: FrozenWeights,
        rank: int = 0,
    ) -> None:
        self.wrapper = wrapper.eval()
        self._frozen = frozen  # of the predictors of all trunks
        self.learners = list(learners)
        self.spec = learners[0].spec
        self.name = self.spec.trunk
        self.trains = any(p.requires_grad for p in wrapper.parameters())
        self.context_weight = self.spec.config.experiment.optimization.losses.jepa_context
        self.dropout = self.spec.config.model_kwargs.pretrain_kwargs.predictor.heatmap_dropout
        # What other arms and processes draw must not change what this one draws.
        self.generator = torch.Generator().manual_seed((self.spec.seed << 16) + rank)

    @property
    def alive(self) -> list[Learner]:
        """The learners that were not dropped."""
        return [learner for learner in self.learners if learner.failed is None]

    @property
    def learning(self) -> list[Learner]:
        """The learners that still train."""
        return [learner for learner in self.learners if learner.learns]

    def context(
        self, tokens: Tensor, anticipation_seconds: Tensor, sources: Mapping[str, Tensor], *, training: bool
    ) -> Tensor:
        """Input of the probes [B, N, D] from the encoder's tokens, with control and heatmap dropout applied."""
        return self.anticipate(tokens, anticipation_seconds, sources, training=training).tokens

    def anticipate(
        self, tokens: Tensor, anticipation_seconds: Tensor, sources: Mapping[str, Tensor], *, training: bool
    ) -> Anticipation:
        """Input of the probes as of `context`, and what the JEPA loss compares."""
        heatmap = maps_for(sources, source=self.spec.source, control=self.spec.control)
        if training and heatmap is not None and self.dropout > 0:
            kept = torch.rand(len(heatmap), generator=self.generator) >= self.dropout
            heatmap = heatmap * kept.to(heatmap.device, non_blocking=True).view(-1, 1, 1, 1)
        trains = training and self.trains
        with torch.set_grad_enabled(trains):
            return self.wrapper.anticipate(
                tokens, anticipation_seconds, heatmap, with_context=trains and self.context_weight > 0
            )

    def jepa(self, made: Anticipation, observed: Tensor, future: FutureTokens | None) -> Tensor | None:
        """JEPA loss of every clip with a known future; None where it would train nothing here.

        `observed` are the encoder's tokens of the observation, the targets of the context's own outputs.
        """
        if future is None or not self.trains or made.predicted is None:
            return None
        levels = observed.shape[-1] // self.wrapper.embed_dim
        each = jepa_loss(made.predicted, future.tokens, levels=levels)
        if made.context is not None:
            each = each + self.context_weight * jepa_loss(made.context, observed, levels=levels)
        return each.index_select(0, future.known)

    def predictor_weights(self) -> dict[str, Tensor]:
        """Weights of the predictor; empty without one."""
        predictor = self.wrapper.predictor
        return predictor.state_dict() if predictor is not None else {}

    def load_predictor(self, weights: Mapping[str, Tensor]) -> None:
        """Load what `predictor_weights` returned; other trunks keep their weights, also those that were shared."""
        if self.wrapper.predictor is not None:
            self._frozen.load(self.wrapper.predictor, weights)


def build_trunks(
    specs: Sequence[LearnerSpec],
    shared: Pretrained,
    num_classes: Mapping[str, int],
    train_clips: int,
    *,
    world: World,
    sharded: bool = False,
    class_counts: Mapping[str, Sequence[int]] | None = None,
) -> list[Trunk]:
    """One trunk per predictor; where the predictor does not train, all probes of an arm and seed read the same one.

    Weights of predictors that do not train are held once where they are equal.
    With `sharded` every process holds the optimizer's state of a part of the parameters. `class_counts` (task ->
    training clips of each class) are needed for `class_weights`.
    """
    owners = Owners(world.size) if sharded and world.size > 1 else None
    steps = steps_per_epoch(specs[0].config, train_clips, world.size)
    frozen = FrozenWeights()
    by_trunk: dict[str, list[LearnerSpec]] = {}
    for spec in specs:
        by_trunk.setdefault(spec.trunk, []).append(spec)
    trunks = []
    for members in by_trunk.values():
        own = members[0].config
        wrapper = build_wrapper(own, shared, seed=members[0].seed)
        trained = choose_trained(wrapper.predictor, trained_part(own))
        if wrapper.predictor is not None:
            frozen.share(wrapper.predictor)
        learners = [
            Learner(
                spec,
                build_probe(own, dict(num_classes), wrapper.embed_dim, seed=spec.seed),
                trained,
                num_classes=num_classes,
                steps_per_epoch=steps,
                owners=owners,
                rank=world.rank,
                class_counts=class_counts,
            )
            for spec in members
        ]
        trunks.append(Trunk(wrapper, learners, frozen=frozen, rank=world.rank))
    return trunks
