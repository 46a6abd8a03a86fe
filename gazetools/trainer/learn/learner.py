"""One model of a run: a probe and what trains of its predictor, with loss, optimizer and numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from gazetools.schemas.training import TrainingConfig
from gazetools.trainer.learn.averaging import WeightAverage
from gazetools.trainer.learn.class_weights import class_weights
from gazetools.trainer.learn.losses import build_loss, task_loss
from gazetools.trainer.learn.metrics import MetricSet
from gazetools.trainer.learn.schedules import Schedule
from gazetools.trainer.learn.shards import OptimizerShard
from gazetools.trainer.learn.stopping import EarlyStop
from gazetools.trainer.learn.unread import Unread
from gazetools.trainer.models.probe import AttentiveClassifier
from gazetools.trainer.plan.arms import LearnerSpec
from gazetools.trainer.processes.owners import Owners


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
        self.parameters = [p for parameters in groups.values() for p in parameters]
        self.shard = OptimizerShard(groups, settings, owners=owners, rank=rank)
        self.optimizer = self.shard.optimizer
        self.metrics = MetricSet(self.num_classes)
        self.step_losses: list[float | None] = []  # mean loss per clip of each step of this epoch so far; None: no clip
        self.step_norms: list[float | None] = []  # norm of each step's gradient, before clipping
        self.best: dict[str, Any] | None = None
        self.failed: str | None = None  # why it was dropped from the run
        self.stop = EarlyStop(settings=settings.early_stopping) if settings.early_stopping is not None else None
        self.ended: int | None = None  # the epoch (from 1) that was its last one; None: it still trains
        self.average = WeightAverage(settings.ema, self.parameters) if settings.ema is not None else None
        self.class_weights: dict[str, Tensor] | None = None
        if settings.class_weights is not None and class_counts is not None:
            self.class_weights = class_weights(settings.class_weights, class_counts)
        self._pending: list[tuple[Tensor, dict[str, Tensor], dict[str, Tensor], Tensor | None]] = []
        self._bad: Tensor | None = (
            None  # 1 on the device once a step was not finite: the optimizer changes nothing then
        )

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
        for parameter in self.parameters:  # the optimizer may know a part of them
            parameter.grad = None
        self._pending = []

    def learn(self, context: Tensor, labels: dict[str, Tensor], jepa: Tensor | None = None) -> None:
        """Add the gradient of the summed loss of a batch: context [B, N, D], labels [B] by task.

        `jepa` is the JEPA loss [K] of the clips whose future is known; None: the run has no such loss.
        """
        weights = self.spec.config.experiment.optimization.losses
        with torch.set_grad_enabled(weights.classification > 0):
            own = self._weights_on(context.device)
            logits, summed = self.judge(context, labels, weights=own, known={})  # training has no other classes
        total = summed if weights.classification == 1 else summed * weights.classification
        if jepa is not None:
            total = total + weights.jepa * jepa.sum()
        if total.requires_grad:
            total.backward()
        outputs = {task: values.detach() for task, values in logits.items()}
        # Numbers stay on the device until the step ends: reading one here would wait for every learner in turn.
        self._pending.append((total.detach(), outputs, labels, None if jepa is None else jepa.detach()))

    def judge(
        self,
        context: Tensor,
        labels: dict[str, Tensor],
        *,
        weights: Mapping[str, Tensor] | None = None,
        known: Mapping[str, Tensor] | None = None,
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Logits and the loss summed over clips; `known` as for `task_loss`.

        Without `weights` of classes where something is measured.
        """
        logits = self.predict(context)
        loss = task_loss(self.loss, logits, labels, weights, known=known)
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

    def update_average(self) -> None:
        """Take the weights after a step into their average, once this process has all of them."""
        if self.average is not None:
            self.average.update(self._bad)

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
            if self.average is not None:
                self.average.forget_update()
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
            **({} if self.average is None else {"average": self.average.state()}),
            **({} if self.stop is None else {"stop": self.stop.state(), "ended": self.ended}),
        }

    def restore(self, state: Mapping[str, Any], *, leads: bool) -> None:
        """Load what `state` returned. Only the leading process takes the metrics: all processes' are added later."""
        self.probe.load_state_dict(state["probe"])
        self.shard.load(state["optimizer"])
        self._bad = None
        self.metrics = MetricSet.total(self.num_classes, [state["metrics"]] if leads else [])
        self.step_losses, self.best, self.failed = list(state["step_losses"]), state["best"], state["failed"]
        self.step_norms = list(state.get("step_norms", [None] * len(self.step_losses)))  # 0.2.0 saved none
        if self.average is not None:
            self.average.restore(state["average"])
        if self.stop is not None:
            self.stop, self.ended = EarlyStop(settings=self.stop.settings, **state["stop"]), state["ended"]


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
