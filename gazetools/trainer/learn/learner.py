"""One model of a run with its optimizer and metrics, and the predictor that one or several models read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gazetools.schemas.training import TrainingConfig
from gazetools.trainer.learn.controls import maps_for
from gazetools.trainer.learn.encoding import FutureTokens
from gazetools.trainer.learn.losses import jepa_loss, task_loss
from gazetools.trainer.learn.metrics import MetricSet
from gazetools.trainer.learn.schedules import Schedule
from gazetools.trainer.models.probe import AttentiveClassifier
from gazetools.trainer.models.wrapper import AnticipativeWrapperHeatmap
from gazetools.trainer.plan.arms import LearnerSpec
from gazetools.trainer.processes.world import World


class Learner:
    """A probe, the trained part of the predictor in front of it, and how they learn.

    Nothing here depends on the other learners of the run, so that each gives what it would give alone.
    """

    def __init__(
        self,
        spec: LearnerSpec,
        probe: AttentiveClassifier,
        trained: Mapping[str, list[nn.Parameter]],
        *,
        num_classes: Mapping[str, int],
        steps_per_epoch: int,
    ) -> None:
        self.spec = spec
        self.probe = probe
        self.num_classes = dict(num_classes)
        settings = spec.config.experiment.optimization
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
        self.step_losses: list[float] = []
        """Mean loss per clip of each step of this epoch so far."""
        self.best: dict[str, Any] | None = None
        self.failed: str | None = None
        """Why it was dropped from the run."""
        self._pending: list[tuple[Tensor, dict[str, Tensor], dict[str, Tensor], Tensor | None]] = []

    @property
    def name(self) -> str:
        """Unique in the run."""
        return self.spec.name

    def start_step(self, step: int) -> None:
        """Set rates for optimizer step `step` (from 1) and forget gradients."""
        self.probe.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedules[group["name"]].lr(step)
            group["weight_decay"] = self.schedules[group["name"]].decay(step)
        self.optimizer.zero_grad(set_to_none=True)
        self._pending = []

    def learn(self, context: Tensor, labels: dict[str, Tensor], jepa: Tensor | None = None) -> None:
        """Add the gradient of the summed loss of a batch.

        Args:
            context: [B, N, D].
            labels: [B] by task.
            jepa: the JEPA loss of every clip whose future is known, where the run has that loss.
        """
        weights = self.spec.config.experiment.optimization.losses
        with torch.set_grad_enabled(weights.classification > 0):
            logits, summed = self.judge(context, labels)
        total = summed if weights.classification == 1 else summed * weights.classification
        if jepa is not None:
            total = total + weights.jepa * jepa.sum()
        if total.requires_grad:
            total.backward()
        outputs = {task: values.detach() for task, values in logits.items()}
        # Numbers stay on the device until the step ends: reading one here would wait for every learner in turn.
        self._pending.append((total.detach(), outputs, labels, None if jepa is None else jepa.detach()))

    def judge(self, context: Tensor, labels: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        """Logits and the loss summed over clips (the focal loss is a sum already, cross-entropy a mean)."""
        focal = self.spec.config.experiment.optimization.use_focal_loss
        logits: dict[str, Tensor] = self.probe(context)
        loss = task_loss(logits, labels, focal=focal)
        return logits, loss if focal else loss * len(context)

    def end_step(self, world: World, clips: int) -> str | None:
        """Apply the step of `clips` clips over all processes, unless its numbers are not finite.

        Returns what was not finite; nothing has changed then.
        """
        settings = self.spec.config.experiment.optimization
        losses = [float(total) for total, *_ in self._pending]
        loss = world.sum([sum(losses)])[0]
        world.sum_gradients(self.parameters)
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        if not settings.use_focal_loss:
            for gradient in gradients:
                gradient.div_(clips)
        norm = torch.nn.utils.get_total_norm(gradients)
        if not (torch.isfinite(torch.tensor(loss)) and torch.isfinite(norm)):
            return f"loss {loss:g} and gradient norm {float(norm):g}"
        if settings.clip_grad_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, settings.clip_grad_norm, norm)
        self.optimizer.step()
        for summed, (_, logits, labels, jepa) in zip(losses, self._pending, strict=True):
            self.metrics.update(summed, logits, labels)
            if jepa is not None:
                self.metrics.part("jepa", float(jepa.sum()), len(jepa))
        self.step_losses.append(loss / clips)
        self._pending = []
        return None

    def start_epoch(self) -> None:
        """Forget the last epoch's numbers."""
        self.metrics, self.step_losses = MetricSet(self.num_classes), []

    def rates(self) -> dict[str, float]:
        """`lr_<group>`."""
        return {f"lr_{group['name']}": group["lr"] for group in self.optimizer.param_groups}

    def weights(self) -> dict[str, Tensor]:
        """The probe's."""
        return self.probe.state_dict()

    def state(self) -> dict[str, Any]:
        """Plain values and tensors; metrics are those of this process."""
        return {
            "probe": self.probe.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "metrics": self.metrics.state(),
            "step_losses": list(self.step_losses),
            "best": self.best,
            "failed": self.failed,
        }

    def restore(self, state: Mapping[str, Any], *, leads: bool) -> None:
        """The inverse; the metrics so far are given to the leading process only, since they are added in the end."""
        self.probe.load_state_dict(state["probe"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.metrics = MetricSet(self.num_classes)
        if leads:
            self.metrics.restore(state["metrics"])
        self.step_losses, self.best, self.failed = list(state["step_losses"]), state["best"], state["failed"]


class Trunk:
    """A predictor behind the shared encoder, and the learners that read it.

    Args:
        rank: of this process; heatmap dropout draws differ between processes.
    """

    def __init__(self, wrapper: AnticipativeWrapperHeatmap, learners: Sequence[Learner], *, rank: int = 0) -> None:
        self.wrapper = wrapper.eval()
        self.learners = list(learners)
        self.spec = learners[0].spec
        self.trains = any(p.requires_grad for p in wrapper.parameters())
        self.dropout = self.spec.config.model_kwargs.pretrain_kwargs.predictor.heatmap_dropout
        # Its own generator: what other arms draw must not change this one.
        self.generator = torch.Generator().manual_seed((self.spec.seed << 16) + rank)

    @property
    def name(self) -> str:
        """Unique in the run."""
        return self.spec.trunk

    @property
    def alive(self) -> list[Learner]:
        """Its learners that were not dropped."""
        return [learner for learner in self.learners if learner.failed is None]

    def context(
        self,
        tokens: Tensor,
        anticipation_seconds: Tensor,
        sources: Mapping[str, Tensor],
        *,
        training: bool,
    ) -> Tensor:
        """What the probes read, [B, N, D], from the encoder's tokens."""
        heatmap = maps_for(sources, source=self.spec.source, control=self.spec.control)
        if training and heatmap is not None and self.dropout > 0:
            kept = torch.rand(len(heatmap), generator=self.generator) >= self.dropout
            heatmap = heatmap * kept.to(heatmap.device).view(-1, 1, 1, 1)
        with torch.set_grad_enabled(training and self.trains):
            return self.wrapper.anticipate(tokens, anticipation_seconds, heatmap)

    def jepa(self, context: Tensor, future: FutureTokens | None) -> Tensor | None:
        """The JEPA loss of every clip with a known future; None where nothing of it would train here."""
        if future is None or not self.trains or not self.wrapper.predicted_count:
            return None
        return jepa_loss(context[:, -self.wrapper.predicted_count :], future.tokens)[future.known]

    def predictor_weights(self) -> dict[str, Tensor]:
        """The predictor's; empty without one."""
        predictor = self.wrapper.predictor
        return predictor.state_dict() if predictor is not None else {}

    def load_predictor(self, weights: Mapping[str, Tensor]) -> None:
        """The inverse."""
        if self.wrapper.predictor is not None:
            self.wrapper.predictor.load_state_dict(dict(weights))


def _schedule(config: TrainingConfig, head_index: int, group: str, steps_per_epoch: int) -> Schedule:
    settings = config.experiment.optimization
    head = settings.multihead_kwargs[head_index]
    own = {"heatmap": settings.heatmap_lr, "predictor": settings.predictor_lr}.get(group)
    peak = head.lr if own is None else own
    # A group's own peak rate keeps the shape of the probe's schedule.
    scale = peak / head.lr if head.lr else 1.0
    final_decay = head.weight_decay if head.final_weight_decay is None else head.final_weight_decay
    return Schedule(
        total_steps=settings.num_epochs * steps_per_epoch,
        warmup_steps=int(head.warmup * steps_per_epoch),
        start_lr=(head.lr if head.start_lr is None else head.start_lr) * scale,
        peak_lr=peak,
        final_lr=head.final_lr * scale,
        weight_decay=head.weight_decay,
        final_weight_decay=final_decay,
    )
