"""The training and validation loop over batches; what it needs to go on after a stop is in one state."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from gazetools.progress import Progress
from gazetools.schemas.errors import DataFileError, FaultError
from gazetools.schemas.training import TrainingConfig
from gazetools.trainer.data.clips import Batch, ClipDataset, collate
from gazetools.trainer.data.order import batches, epoch_order
from gazetools.trainer.interruption import Interruption
from gazetools.trainer.losses import task_loss
from gazetools.trainer.metrics import MetricSet
from gazetools.trainer.models.probe import AttentiveClassifier
from gazetools.trainer.models.wrapper import AnticipativeWrapperHeatmap
from gazetools.trainer.schedules import Schedule

_WORKER_TIMEOUT_SECONDS = 600


@dataclass(kw_only=True)
class Position:
    """Where a run stands; all of it is saved."""

    epoch: int = 0
    step_in_epoch: int = 0
    global_step: int = 0
    step_losses: list[float] = field(default_factory=list)
    """Mean loss per clip of each step of this epoch so far; a step without readable clips repeats nothing."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """One entry per finished epoch."""
    best: dict[str, Any] | None = None


class Loop:
    """Model, probe, optimizer and data of one run.

    Args:
        trained: groups of the model's trained parameters (`heatmap`, `predictor`), beside the probe.
        before_stop: called to save the state before a fault is raised.
    """

    def __init__(
        self,
        config: TrainingConfig,
        *,
        wrapper: AnticipativeWrapperHeatmap,
        probe: AttentiveClassifier,
        trained: dict[str, list[nn.Parameter]],
        train_set: ClipDataset,
        device: torch.device,
        progress: Progress,
        interruption: Interruption,
        before_stop: Callable[[], object] = lambda: None,
    ) -> None:
        self.config = config
        self.wrapper = wrapper.to(device).eval()
        self.probe = probe.to(device)
        self.train_set = train_set
        self.device = device
        self.progress = progress
        self.interruption = interruption
        self.before_stop = before_stop
        self.position = Position()
        self.metrics = MetricSet(train_set.labels.counts)
        self.num_classes = train_set.labels.counts
        settings = config.experiment.optimization
        self.steps_per_epoch = math.ceil(len(train_set) / settings.batch_size)
        groups = {"probe": list(probe.parameters()), **trained}
        self.schedules = {name: self._schedule(name) for name in groups}
        self.optimizer = torch.optim.AdamW(
            [{"params": parameters, "name": name} for name, parameters in groups.items()],
            betas=settings.adam_betas,
            eps=settings.adam_eps,
        )
        self.parameters = [p for parameters in groups.values() for p in parameters]

    def _schedule(self, group: str) -> Schedule:
        settings = self.config.experiment.optimization
        head = settings.multihead_kwargs[settings.head or 0]
        own = {"heatmap": settings.heatmap_lr, "predictor": settings.predictor_lr}.get(group)
        peak = head.lr if own is None else own
        # A group's own peak rate keeps the shape of the probe's schedule.
        scale = peak / head.lr if head.lr else 1.0
        final_decay = head.weight_decay if head.final_weight_decay is None else head.final_weight_decay
        return Schedule(
            total_steps=settings.num_epochs * self.steps_per_epoch,
            warmup_steps=int(head.warmup * self.steps_per_epoch),
            start_lr=(head.lr if head.start_lr is None else head.start_lr) * scale,
            peak_lr=peak,
            final_lr=head.final_lr * scale,
            weight_decay=head.weight_decay,
            final_weight_decay=final_decay,
        )

    def train_epoch(self) -> bool:
        """Train the rest of the position's epoch; False where a signal stopped it (the state is then consistent)."""
        position, settings = self.position, self.config.experiment.optimization
        if position.step_in_epoch == 0:
            self.metrics = MetricSet(self.num_classes)
            position.step_losses = []
        self.train_set.epoch = position.epoch
        order = epoch_order(len(self.train_set), seed=self.config.seed, epoch=position.epoch)
        rest = batches(order, settings.batch_size, skip_batches=position.step_in_epoch)
        task = f"epoch {position.epoch + 1}/{settings.num_epochs} train"
        self.progress.start(task, self.steps_per_epoch, unit="steps")
        self.progress.advance(task, position.step_in_epoch)
        try:
            if self.interruption.requested():
                return False
            for batch in self._loader(self.train_set, rest):
                self._train_step(batch)
                self.progress.advance(task)
                if position.step_in_epoch % self.config.log_every == 0 and position.step_losses:
                    self.progress.say(f"{task}: step {position.step_in_epoch} loss {position.step_losses[-1]:.4f}")
                if self.interruption.requested():
                    return False
        finally:
            self.progress.finish(task)
        return True

    def validate(self, dataset: ClipDataset) -> dict[str, float] | None:
        """Metrics over every clip of `dataset` exactly once; None where a signal stopped it."""
        name = dataset.split.anchor.name
        task = f"epoch {self.position.epoch + 1} validation ({name})"
        size = self.config.experiment.optimization.batch_size
        metrics = MetricSet(self.num_classes)
        rest = batches(torch.arange(len(dataset)).numpy(), size)
        self.progress.start(task, len(rest), unit="steps")
        self.probe.eval()
        try:
            with torch.no_grad():
                for batch in self._loader(dataset, rest):
                    self._count(batch, metrics)
                    if batch.video is not None:
                        logits, labels, loss = self._forward(batch)
                        metrics.update(self._summed(loss, batch), logits, labels)
                    self.progress.advance(task)
                    if self.interruption.requested():
                        return None
        finally:
            self.progress.finish(task)
        return metrics.values()

    def _train_step(self, batch: Batch) -> None:
        """One optimizer step; stops before it where loss or gradients are not finite."""
        position = self.position
        self._count(batch, self.metrics)
        if batch.video is not None:
            self.probe.train()
            step = position.global_step + 1
            for group in self.optimizer.param_groups:
                group["lr"] = self.schedules[group["name"]].lr(step)
                group["weight_decay"] = self.schedules[group["name"]].decay(step)
            self.optimizer.zero_grad(set_to_none=True)
            logits, labels, loss = self._forward(batch)
            loss.backward()
            gradients = [p.grad for p in self.parameters if p.grad is not None]
            norm, value = torch.nn.utils.get_total_norm(gradients), loss.detach()
            if not (torch.isfinite(value) and torch.isfinite(norm)):
                self.before_stop()
                raise FaultError(
                    f"Loss {float(value):g} and gradient norm {float(norm):g} at step {step} (epoch "
                    f"{position.epoch + 1}, clips {batch.clips}): not finite. Stopped before the weights changed; the "
                    "state before this step is saved.",
                    hint="Lower experiment.optimization.multihead_kwargs.*.lr, or look at these clips.",
                    clips=batch.clips,
                )
            self.optimizer.step()
            summed = self._summed(value, batch)
            self.metrics.update(summed, {t: v.detach() for t, v in logits.items()}, labels)
            position.step_losses.append(summed / len(batch.clips))
        # A batch without readable clips counts as a step, so that schedules and order stay the same.
        position.global_step += 1
        position.step_in_epoch += 1

    def _forward(self, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
        if batch.video is None:
            raise AssertionError("an empty batch has no forward pass")
        settings = self.config.experiment.optimization
        video = batch.video.to(self.device, non_blocking=True)
        heatmap = batch.heatmap
        if heatmap is not None:
            heatmap = heatmap.to(self.device, non_blocking=True) if self.wrapper.takes_heatmap else None
        labels = {task: values.to(self.device) for task, values in batch.labels.items()}
        autocast = settings.use_bfloat16 and self.device.type == "cuda"
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=autocast):
            # Steps are computed from float64 times on the CPU, without waiting for the device.
            tokens = self.wrapper(video, batch.anticipation_seconds, heatmap)
            logits = self.probe(tokens)
        return logits, labels, task_loss(logits, labels, focal=settings.use_focal_loss)

    def _summed(self, loss: Tensor, batch: Batch) -> float:
        """The loss summed over clips: the focal loss is a sum already, cross-entropy a mean."""
        return float(loss) * (1 if self.config.experiment.optimization.use_focal_loss else len(batch.clips))

    def _count(self, batch: Batch, metrics: MetricSet) -> None:
        metrics.count({**batch.counts, "unreadable": len(batch.unreadable)})
        for clip in batch.unreadable:
            self.progress.say(f"Unreadable clip: video {clip.video_id!r}, CSV line {clip.row}: {clip.reason}")
        allowed = self.config.experiment.data.max_unreadable_clips
        if metrics.counts["unreadable"] > allowed:
            first = batch.unreadable[0]
            self.before_stop()
            raise DataFileError(
                f"{metrics.counts['unreadable']} clip(s) could not be read, {allowed} allowed; the last: video "
                f"{first.video_id!r}, CSV line {first.row}: {first.reason}",
                hint="Repair the file, or raise experiment.data.max_unreadable_clips.",
            )

    def _loader(self, dataset: ClipDataset, chosen: list[list[int]]) -> DataLoader[Any]:
        workers = self.config.experiment.data.num_workers
        return DataLoader(
            dataset,
            batch_sampler=chosen,
            num_workers=workers,
            collate_fn=collate,
            # A generator of its own: the global random state must not depend on how often a run was resumed.
            generator=torch.Generator().manual_seed(self.config.seed),
            multiprocessing_context="spawn" if workers else None,
            timeout=_WORKER_TIMEOUT_SECONDS if workers else 0,
        )

    def state(self) -> dict[str, Any]:
        """Plain values and tensors: everything that a resumed run needs to go on exactly."""
        predictor = self.wrapper.predictor
        return {
            "predictor": predictor.state_dict() if predictor is not None else {},
            "probe": self.probe.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "position": vars(self.position).copy(),
            "metrics": self.metrics.state(),
            "rng": {
                "torch": torch.get_rng_state(),
                "cuda": torch.cuda.get_rng_state_all() if self.device.type == "cuda" else [],
            },
        }

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""
        self.load_weights(state)
        self.optimizer.load_state_dict(state["optimizer"])
        self.position = Position(**state["position"])
        self.metrics = MetricSet(self.num_classes)
        self.metrics.restore(state["metrics"])
        torch.set_rng_state(state["rng"]["torch"])
        if self.device.type == "cuda" and state["rng"]["cuda"]:
            torch.cuda.set_rng_state_all(state["rng"]["cuda"])

    def load_weights(self, state: dict[str, Any]) -> None:
        """Only predictor and probe."""
        if self.wrapper.predictor is not None:
            self.wrapper.predictor.load_state_dict(state["predictor"])
        self.probe.load_state_dict(state["probe"])
