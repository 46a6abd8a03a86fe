"""The models of a run: probes with their optimizers, and the predictors that one or several of them read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from gazetools.schemas.training import TrainingConfig
from gazetools.trainer.learn.controls import maps_for
from gazetools.trainer.learn.losses import FutureTokens, build_loss, jepa_loss, task_loss
from gazetools.trainer.learn.metrics import MetricSet
from gazetools.trainer.learn.schedules import Schedule, steps_per_epoch
from gazetools.trainer.learn.shards import OptimizerShard
from gazetools.trainer.learn.unread import Unread
from gazetools.trainer.models.build import Pretrained, build_probe, build_wrapper, choose_trained, trained_part
from gazetools.trainer.models.probe import AttentiveClassifier
from gazetools.trainer.models.wrapper import AnticipativeWrapperHeatmap
from gazetools.trainer.plan.arms import LearnerSpec
from gazetools.trainer.processes.owners import Owners
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
        owners: Owners | None = None,
        rank: int = 0,
    ) -> None:
        self.spec = spec
        self.name = spec.name
        self.probe = probe
        self.num_classes = dict(num_classes)
        settings = spec.config.experiment.optimization
        self.loss = build_loss(settings)
        groups = {"probe": list(probe.parameters()), **trained}
        self.schedules = {name: _schedule(spec.config, spec.head, name, steps_per_epoch) for name in groups}
        self.parameters = [p for parameters in groups.values() for p in parameters]
        self.shard = OptimizerShard(groups, settings, owners=owners, rank=rank)
        self.optimizer = self.shard.optimizer
        self.metrics = MetricSet(self.num_classes)
        self.step_losses: list[float | None] = []  # mean loss per clip of each step of this epoch so far; None: no clip
        self.step_norms: list[float | None] = []  # norm of each step's gradient, before clipping
        self.best: dict[str, Any] | None = None
        self.failed: str | None = None  # why it was dropped from the run
        self._pending: list[tuple[Tensor, dict[str, Tensor], dict[str, Tensor], Tensor | None]] = []
        self._bad: Tensor | None = (
            None  # 1 on the device once a step was not finite: the optimizer changes nothing then
        )

    def start_step(self, step: int) -> None:
        """Set rates for optimizer step `step` (from 1) and clear gradients."""
        self.probe.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedules[group["name"]].lr(step)
            group["weight_decay"] = self.schedules[group["name"]].decay(step)
        for parameter in self.parameters:  # the optimizer may know a part of them
            parameter.grad = None
        self._pending = []

    def learn(self, context: Tensor, labels: dict[str, Tensor], jepa: Tensor | None = None) -> None:
        """Add the gradient of the summed loss of a batch: context [B, N, D], labels [B] by task.

        `jepa` is the JEPA loss [K] of the clips whose future is known; None: the run has no such loss.
        """
        weights = self.spec.config.experiment.optimization.losses
        with torch.set_grad_enabled(weights.classification > 0):
            logits, summed = self.judge(context, labels, all_known=True)
        total = summed if weights.classification == 1 else summed * weights.classification
        if jepa is not None:
            total = total + weights.jepa * jepa.sum()
        if total.requires_grad:
            total.backward()
        outputs = {task: values.detach() for task, values in logits.items()}
        # Numbers stay on the device until the step ends: reading one here would wait for every learner in turn.
        self._pending.append((total.detach(), outputs, labels, None if jepa is None else jepa.detach()))

    def judge(
        self, context: Tensor, labels: dict[str, Tensor], *, all_known: bool = False
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Logits and the loss summed over clips; `all_known`: every label is a class of training."""
        logits = self.predict(context)
        loss = task_loss(self.loss, logits, labels, all_known=all_known)
        return logits, loss * len(context) if self.loss.is_mean else loss

    def predict(self, context: Tensor) -> dict[str, Tensor]:
        """Logits float32 [B, classes] by task."""
        logits: dict[str, Tensor] = self.probe(context)
        return logits

    def step_loss(self, device: torch.device) -> Tensor:
        """Loss of the step so far in this process, summed over clips, float64 on the device; 0 without clips."""
        total = torch.zeros((), dtype=torch.float64, device=device)
        for summed, *_ in self._pending:
            total = total + summed.double()
        return total

    def end_step(self, clips: int, loss: Tensor | None = None) -> Unread:
        """Apply the step of `clips` clips over all processes; where a number is not finite, change nothing any more.

        `loss` is the sum over processes of `step_loss`, None with one process; gradients are summed already. Nothing is
        read from the device: pass what is returned to `take` when its numbers were read.
        """
        settings = self.spec.config.experiment.optimization
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        if self.loss.is_mean:
            for gradient in gradients:
                gradient.div_(clips)
        norm = torch.nn.utils.get_total_norm(gradients)
        if loss is None:
            loss = self.step_loss(norm.device)
        finite = torch.isfinite(loss) & torch.isfinite(norm)
        bad = (~finite).float() if self._bad is None else torch.maximum(self._bad, (~finite).float())
        self._bad = bad
        if settings.clip_grad_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, settings.clip_grad_norm, norm)
        self.optimizer.found_inf = bad  # type: ignore[attr-defined]  # the fused kernels then write nothing
        self.optimizer.step()
        unread = Unread(
            clips=clips,
            head=torch.stack([loss.double(), norm.double(), bad.double()]),
            losses=torch.stack([total.double() for total, *_ in self._pending]) if self._pending else loss.new_zeros(0),
            judged=[self.metrics.judge(logits, labels) for _, logits, labels, _ in self._pending],
            jepa=[None if jepa is None else jepa.sum() for *_, jepa in self._pending],
            jepa_clips=[0 if jepa is None else len(jepa) for *_, jepa in self._pending],
        )
        self._pending = []
        return unread

    def take(self, unread: Unread, values: Iterator[npt.NDArray[np.float64]]) -> str | None:
        """Count a step whose numbers come next in `values`; a step that was not applied counts not, and is named."""
        (loss, norm, bad), losses = next(values).tolist(), next(values).tolist()
        for summed, judged, jepa, jepa_clips in zip(losses, unread.judged, unread.jepa, unread.jepa_clips, strict=True):
            found = {task: next(values).astype(np.int64) for task in judged}
            part = None if jepa is None else float(next(values))
            if not bad:
                self.metrics.count(summed, found)
                if part is not None:
                    self.metrics.part("jepa", part, jepa_clips)
        if bad:
            return f"loss {loss:g} and gradient norm {norm:g}"
        self.step_losses.append(loss / unread.clips)
        self.step_norms.append(norm)
        return None

    def skip_step(self) -> None:
        """Count a step without any readable clip, in which nothing is learned."""
        self.step_losses.append(None)
        self.step_norms.append(None)

    def start_epoch(self) -> None:
        """Clear the last epoch's numbers."""
        self.metrics, self.step_losses, self.step_norms = MetricSet(self.num_classes), [], []

    def rates(self) -> dict[str, float]:
        """Current learning rates as `lr_<group>`."""
        return {f"lr_{group['name']}": group["lr"] for group in self.optimizer.param_groups}

    def rates_at(self, step: int) -> dict[str, float]:
        """Learning rate of each group of weights in optimizer step `step` (from 1)."""
        return {name: schedule.lr(step) for name, schedule in self.schedules.items()}

    def state(self) -> dict[str, Any]:
        """Everything to save, as plain values and tensors; metrics are those of this process."""
        return {
            "probe": self.probe.state_dict(),
            "optimizer": self.shard.state(),
            "metrics": self.metrics.state(),
            "step_losses": list(self.step_losses),
            "step_norms": list(self.step_norms),
            "best": self.best,
            "failed": self.failed,
        }

    def restore(self, state: Mapping[str, Any], *, leads: bool) -> None:
        """Load what `state` returned. Only the leading process takes the metrics: all processes' are added later."""
        self.probe.load_state_dict(state["probe"])
        self.shard.load(state["optimizer"])
        self._bad = None
        self.metrics = MetricSet.total(self.num_classes, [state["metrics"]] if leads else [])
        self.step_losses, self.best, self.failed = list(state["step_losses"]), state["best"], state["failed"]
        self.step_norms = list(state.get("step_norms", [None] * len(self.step_losses)))  # 0.2.0 saved none


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
    sharded: bool = False,
) -> list[Trunk]:
    """One trunk per predictor; where the predictor does not train, all probes of an arm and seed read the same one.

    With `sharded` every process holds the optimizer's state of a part of the parameters.
    """
    owners = Owners(world.size) if sharded and world.size > 1 else None
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
                owners=owners,
                rank=world.rank,
            )
            for spec in members
        ]
        trunks.append(Trunk(wrapper, learners, rank=world.rank))
    return trunks
