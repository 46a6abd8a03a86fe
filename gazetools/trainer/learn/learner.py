"""The models of a run: probes with their optimizers, and the predictors that one or several of them read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gazetools.schemas.training import TrainingConfig
from gazetools.trainer.learn.averaging import WeightAverage
from gazetools.trainer.learn.class_weights import class_weights
from gazetools.trainer.learn.controls import maps_for
from gazetools.trainer.learn.losses import FutureTokens, build_loss, jepa_loss, task_loss
from gazetools.trainer.learn.metrics import MetricSet
from gazetools.trainer.learn.schedules import Schedule, steps_per_epoch
from gazetools.trainer.learn.stopping import EarlyStop
from gazetools.trainer.models.build import Pretrained, build_probe, build_wrapper, choose_trained, trained_part
from gazetools.trainer.models.probe import AttentiveClassifier
from gazetools.trainer.models.wrapper import AnticipativeWrapperHeatmap
from gazetools.trainer.plan.arms import LearnerSpec
from gazetools.trainer.processes.world import World


class Learner:
    """A probe and the trained part of the predictor in front of it, with loss, optimizer and metrics.

    Nothing here depends on the other learners of the run, so that each learns as it would alone.
    """

    def __init__(
        self,
        spec: LearnerSpec,
        probe: AttentiveClassifier,
        trained: Mapping[str, list[nn.Parameter]],
        *,
        num_classes: Mapping[str, int],
        steps_per_epoch: int,
        class_counts: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        self.spec = spec
        self.name = spec.name
        self.probe = probe
        self.num_classes = dict(num_classes)
        settings = spec.config.experiment.optimization
        self.loss = build_loss(settings)
        groups = {"probe": list(probe.parameters()), **trained}
        self.schedules = {name: _schedule(spec.config, spec.head, name, steps_per_epoch) for name in groups}
        self.optimizer = torch.optim.AdamW(
            [{"params": parameters, "name": name} for name, parameters in groups.items()],
            betas=settings.adam_betas,
            eps=settings.adam_eps,
            # One pass over memory per parameter: three times as fast as the plain loop on the CPU (measured).
            fused=True,
        )
        self.parameters = [p for parameters in groups.values() for p in parameters]
        self.metrics = MetricSet(self.num_classes)
        self.step_losses: list[float] = []  # mean loss per clip of each step of this epoch so far
        self.best: dict[str, Any] | None = None
        self.failed: str | None = None  # why it was dropped from the run
        self.stop = EarlyStop(settings=settings.early_stopping) if settings.early_stopping is not None else None
        self.ended: int | None = None  # the epoch (from 1) that was its last one; None: it still trains
        self.average = WeightAverage(settings.ema, self.parameters) if settings.ema is not None else None
        self.class_weights: dict[str, Tensor] | None = None
        if settings.class_weights is not None and class_counts is not None:
            self.class_weights = class_weights(settings.class_weights, class_counts)
        self._pending: list[tuple[Tensor, dict[str, Tensor], dict[str, Tensor], Tensor | None]] = []

    @property
    def learns(self) -> bool:
        """Whether it still trains: it was not dropped and has not ended early."""
        return self.failed is None and self.ended is None

    def start_step(self, step: int) -> None:
        """Set rates for optimizer step `step` (from 1) and clear gradients."""
        self.probe.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedules[group["name"]].lr(step)
            group["weight_decay"] = self.schedules[group["name"]].decay(step)
        self.optimizer.zero_grad(set_to_none=True)
        self._pending = []

    def learn(self, context: Tensor, labels: dict[str, Tensor], jepa: Tensor | None = None) -> None:
        """Add the gradient of the summed loss of a batch: context [B, N, D], labels [B] by task.

        `jepa` is the JEPA loss [K] of the clips whose future is known; None: the run has no such loss.
        """
        weights = self.spec.config.experiment.optimization.losses
        with torch.set_grad_enabled(weights.classification > 0):
            own = self._weights_on(context.device)
            logits, summed = self.judge(context, labels) if own is None else self.judge(context, labels, weights=own)
        total = summed if weights.classification == 1 else summed * weights.classification
        if jepa is not None:
            total = total + weights.jepa * jepa.sum()
        if total.requires_grad:
            total.backward()
        outputs = {task: values.detach() for task, values in logits.items()}
        # Numbers stay on the device until the step ends: reading one here would wait for every learner in turn.
        self._pending.append((total.detach(), outputs, labels, None if jepa is None else jepa.detach()))

    def judge(
        self, context: Tensor, labels: dict[str, Tensor], *, weights: Mapping[str, Tensor] | None = None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Logits and the loss summed over clips, without weights of classes where something is measured."""
        logits = self.predict(context)
        loss = task_loss(self.loss, logits, labels, weights)
        return logits, loss * len(context) if self.loss.is_mean else loss

    def _weights_on(self, device: torch.device) -> Mapping[str, Tensor] | None:
        """The weights of the classes on `device`, which they reach once."""
        if self.class_weights is not None and any(one.device != device for one in self.class_weights.values()):
            self.class_weights = {task: values.to(device) for task, values in self.class_weights.items()}
        return self.class_weights

    def predict(self, context: Tensor) -> dict[str, Tensor]:
        """Logits float32 [B, classes] by task."""
        logits: dict[str, Tensor] = self.probe(context)
        return logits

    def end_step(self, world: World, clips: int) -> str | None:
        """Apply the step of `clips` clips over all processes, or change nothing and say what is not finite."""
        settings = self.spec.config.experiment.optimization
        losses = [float(total) for total, *_ in self._pending]
        loss = world.sum([sum(losses)])[0]
        world.sum_gradients(self.parameters)
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        if self.loss.is_mean:
            for gradient in gradients:
                gradient.div_(clips)
        norm = torch.nn.utils.get_total_norm(gradients)
        if not (torch.isfinite(torch.tensor(loss)) and torch.isfinite(norm)):
            return f"loss {loss:g} and gradient norm {float(norm):g}"
        if settings.clip_grad_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, settings.clip_grad_norm, norm)
        self.optimizer.step()
        if self.average is not None:
            self.average.update()
        for summed, (_, logits, labels, jepa) in zip(losses, self._pending, strict=True):
            self.metrics.update(summed, logits, labels)
            if jepa is not None:
                self.metrics.part("jepa", float(jepa.sum()), len(jepa))
        self.step_losses.append(loss / clips)
        self._pending = []
        return None

    def start_epoch(self) -> None:
        """Clear the last epoch's numbers."""
        self.metrics, self.step_losses = MetricSet(self.num_classes), []

    def rates(self) -> dict[str, float]:
        """Current learning rates as `lr_<group>`."""
        return {f"lr_{group['name']}": group["lr"] for group in self.optimizer.param_groups}

    def state(self) -> dict[str, Any]:
        """Everything to save, as plain values and tensors; metrics are those of this process."""
        return {
            "probe": self.probe.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "metrics": self.metrics.state(),
            "step_losses": list(self.step_losses),
            "best": self.best,
            "failed": self.failed,
            **({} if self.average is None else {"average": self.average.state()}),
            **({} if self.stop is None else {"stop": self.stop.state(), "ended": self.ended}),
        }

    def restore(self, state: Mapping[str, Any], *, leads: bool) -> None:
        """Load what `state` returned. Only the leading process takes the metrics: all processes' are added later."""
        self.probe.load_state_dict(state["probe"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.metrics = MetricSet.total(self.num_classes, [state["metrics"]] if leads else [])
        self.step_losses, self.best, self.failed = list(state["step_losses"]), state["best"], state["failed"]
        if self.average is not None:
            self.average.restore(state["average"])
        if self.stop is not None:
            self.stop, self.ended = EarlyStop(settings=self.stop.settings, **state["stop"]), state["ended"]


class Trunk:
    """A predictor behind the shared encoder, and the learners that read it."""

    def __init__(self, wrapper: AnticipativeWrapperHeatmap, learners: Sequence[Learner], *, rank: int = 0) -> None:
        self.wrapper = wrapper.eval()
        self.learners = list(learners)
        self.spec = learners[0].spec
        self.name = self.spec.trunk
        self.trains = any(p.requires_grad for p in wrapper.parameters())
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
        heatmap = maps_for(sources, source=self.spec.source, control=self.spec.control)
        if training and heatmap is not None and self.dropout > 0:
            kept = torch.rand(len(heatmap), generator=self.generator) >= self.dropout
            heatmap = heatmap * kept.to(heatmap.device).view(-1, 1, 1, 1)
        with torch.set_grad_enabled(training and self.trains):
            return self.wrapper.anticipate(tokens, anticipation_seconds, heatmap)

    def jepa(self, context: Tensor, future: FutureTokens | None) -> Tensor | None:
        """JEPA loss of every clip with a known future; None where it would train nothing here."""
        if future is None or not self.trains or not self.wrapper.predicted_count:
            return None
        return jepa_loss(context[:, -self.wrapper.predicted_count :], future.tokens)[future.known]

    def predictor_weights(self) -> dict[str, Tensor]:
        """Weights of the predictor; empty without one."""
        predictor = self.wrapper.predictor
        return predictor.state_dict() if predictor is not None else {}

    def load_predictor(self, weights: Mapping[str, Tensor]) -> None:
        """Load what `predictor_weights` returned."""
        if self.wrapper.predictor is not None:
            self.wrapper.predictor.load_state_dict(dict(weights))


def _schedule(config: TrainingConfig, head_index: int, group: str, steps_per_epoch: int) -> Schedule:
    settings = config.experiment.optimization
    head = settings.multihead_kwargs[head_index]
    own = {"heatmap": settings.heatmap_lr, "predictor": settings.predictor_lr}.get(group)
    peak = head.lr if own is None else own
    scale = peak / head.lr if head.lr else 1.0  # a group's own peak rate keeps the shape of the probe's schedule
    return Schedule(
        total_steps=settings.num_epochs * steps_per_epoch,
        warmup_steps=int(head.warmup * steps_per_epoch),
        start_lr=(head.lr if head.start_lr is None else head.start_lr) * scale,
        peak_lr=peak,
        final_lr=head.final_lr * scale,
        weight_decay=head.weight_decay,
        final_weight_decay=head.weight_decay if head.final_weight_decay is None else head.final_weight_decay,
    )


def build_trunks(
    specs: Sequence[LearnerSpec],
    shared: Pretrained,
    num_classes: Mapping[str, int],
    train_clips: int,
    *,
    world: World,
    class_counts: Mapping[str, Sequence[int]] | None = None,
) -> list[Trunk]:
    """One trunk per predictor; where the predictor does not train, all probes of an arm and seed read the same one.

    `class_counts` (task -> training clips of each class) are needed for `class_weights`.
    """
    steps = steps_per_epoch(specs[0].config, train_clips, world.size)
    by_trunk: dict[str, list[LearnerSpec]] = {}
    for spec in specs:
        by_trunk.setdefault(spec.trunk, []).append(spec)
    trunks = []
    for members in by_trunk.values():
        own = members[0].config
        wrapper = build_wrapper(own, shared, seed=members[0].seed)
        trained = choose_trained(wrapper.predictor, trained_part(own))
        learners = [
            Learner(
                spec,
                build_probe(own, dict(num_classes), wrapper.embed_dim, seed=spec.seed),
                trained,
                num_classes=num_classes,
                steps_per_epoch=steps,
                class_counts=class_counts,
            )
            for spec in members
        ]
        trunks.append(Trunk(wrapper, learners, rank=world.rank))
    return trunks
