"""One learner: network, optimizer and teacher; a step, and everything of it that a saved state must hold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from gazetools.schemas.errors import FaultError
from gazetools.schemas.finetune_learning import FinetuneLearning, MapDistillation, TokenDistillation
from gazetools.schemas.finetune_model import FinetuneModel
from gazetools.trainer.finetune.batches import HeadBatch
from gazetools.trainer.finetune.distilling import map_divergence, temperature_at, token_loss
from gazetools.trainer.finetune.gaze_network import GazeNetwork, NetworkInputs, TowerFeatures
from gazetools.trainer.finetune.map_losses import Counts, GazeAnswer, gaze_loss
from gazetools.trainer.finetune.networks import open_network
from gazetools.trainer.finetune.page_network import PageNetwork
from gazetools.trainer.finetune.rates import optimizer_for, set_rates
from gazetools.trainer.processes.exchange import sum_tensors
from gazetools.trainer.processes.world import World


@dataclass(frozen=True, kw_only=True)
class StepPlace:
    """Where in a training a step is; all count from 0."""

    epoch: int
    step_in_epoch: int
    step: int
    steps: int
    """Steps of the whole training."""
    epochs: int


class GazeLearner:
    """A network that learns, on its device. All processes of `world` take the same steps."""

    def __init__(
        self, network: GazeNetwork, learning: FinetuneLearning, *, device: torch.device, world: World, seed: int
    ) -> None:
        self.network = network.to(device)
        self.optimizer = optimizer_for(network.learning(), learning.optimizer)
        self._learning, self._device, self._world, self._seed = learning, device, world, seed
        self.teacher = open_teacher(learning, device)

    def step(self, batches: Sequence[HeadBatch], place: StepPlace) -> dict[str, float]:
        """Take one step on the parts of a batch; the losses of all processes. Raises FaultError for NaN."""
        learning, network = self._learning, self.network
        set_rates(
            self.optimizer,
            learning.schedule,
            epoch=place.epoch,
            step_in_epoch=place.step_in_epoch,
            epochs=place.epochs,
        )
        # What is dropped must not depend on interruptions; every process drops on its own.
        torch.manual_seed((self._seed << 32) + place.step * self._world.size + self._world.rank)
        own = [float(sum(int(b.inside_n.sum()) for b in batches)), float(sum(len(b.places) for b in batches))]
        inside, heads = self._world.sum(own)
        counts = Counts(inside=inside, heads=heads)
        self.optimizer.zero_grad(set_to_none=True)
        sums = dict.fromkeys(self._parts_of_loss(), 0.0)  # also where other processes have all heads of the batch
        for batch in batches:
            parts = self._losses(batch, place, counts)
            total = torch.stack(list(parts.values())).sum()
            total.backward()
            for name, part in parts.items():
                sums[name] += float(part.detach())
        values = dict(zip(sums, self._world.sum(list(sums.values())), strict=True))
        values = {"loss": sum(values.values()), **values}
        if not math.isfinite(values["loss"]):
            raise FaultError(
                f"The loss is {values['loss']} at step {place.step + 1}.",
                hint="Lower learning.optimizer.lr, or set clip_norm; the state before this step is kept.",
            )
        self._share_gradients()
        if learning.optimizer.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(list(network.learning().values()), learning.optimizer.clip_norm)
        self.optimizer.step()
        return values

    def answer(self, batch: HeadBatch) -> GazeAnswer:
        """What the network says, in the domain of the loss."""
        with self.autocast():
            return self._answered(batch, batch.inputs.to(self._device))

    def losses_of_each(self, answer: GazeAnswer, batch: HeadBatch) -> list[float]:
        """The loss of every head of a batch by itself."""
        targets, inside = batch.targets_nhw.to(self._device), batch.inside_n.to(self._device)
        losses = []
        for row in range(len(batch.places)):
            part = slice(row, row + 1)
            alone = GazeAnswer(maps=answer.maps[part], inout=None if answer.inout is None else answer.inout[part])
            scores = None if batch.inout_n is None else batch.inout_n[part]
            loss = gaze_loss(alone, targets[part], inside[part], self._learning.loss, inout_targets_n=scores)
            losses.append(float(loss.total))
        return losses

    def _answered(self, batch: HeadBatch, inputs: NetworkInputs) -> GazeAnswer:
        if batch.kept is None:
            answer: GazeAnswer = self.network(inputs, self._learning.loss.domain)
            return answer
        kept = batch.kept.to(self._device)
        if len(inputs.pictures):
            computed = self.network.features(inputs).pictures
            kept = torch.cat([computed, kept.to(computed.dtype)])
        return self.network.answer(inputs, TowerFeatures(pictures=kept), self._learning.loss.domain)

    def _parts_of_loss(self) -> list[str]:
        learning = self._learning
        if isinstance(learning.distil, TokenDistillation):
            return ["distil"]
        names = ["heatmap"]
        if self.network.has_inout and learning.loss.inout_weight:
            names.append("inout")
        return [*names, "distil"] if isinstance(learning.distil, MapDistillation) else names

    def _losses(self, batch: HeadBatch, place: StepPlace, counts: Counts) -> dict[str, torch.Tensor]:
        """Parts of the loss by name, with their weights, as shares of the whole batch of all processes."""
        distil, inputs = self._learning.distil, batch.inputs.to(self._device)
        if isinstance(distil, TokenDistillation):
            return {"distil": self._token_loss(batch, distil) * len(batch.places) / counts.heads}
        with self.autocast():
            answer = self._answered(batch, inputs)
        loss = gaze_loss(
            answer,
            batch.targets_nhw.to(self._device),
            batch.inside_n.to(self._device),
            self._learning.loss,
            counts,
            inout_targets_n=batch.inout_n,
        )
        parts = {"heatmap": loss.heatmap}
        if loss.inout is not None:
            parts["inout"] = loss.inout * self._learning.loss.inout_weight
        if isinstance(distil, MapDistillation) and self.teacher is not None:
            with torch.no_grad():
                taught = self.teacher(self._teacher_inputs(batch), "logits").maps
            temperature = temperature_at(distil, place.step, place.steps)
            divergence = map_divergence(answer.maps, taught, temperature)
            parts["distil"] = distil.weight * divergence * len(batch.places) / counts.heads
        return parts

    def _token_loss(self, batch: HeadBatch, settings: TokenDistillation) -> torch.Tensor:
        network, teacher = self.network, self.teacher
        assert isinstance(network, PageNetwork) and isinstance(teacher, PageNetwork), "checked when it was opened"
        inputs = batch.inputs.to(self._device)
        with self.autocast():
            own = network.tokens(inputs, network.features(inputs))
        with torch.no_grad():
            theirs = self._teacher_inputs(batch)
            taught = teacher.tokens(theirs, teacher.features(theirs))
        return token_loss([one.float() for one in own], [one.float() for one in taught], settings)

    def _teacher_inputs(self, batch: HeadBatch) -> NetworkInputs:
        return (batch.inputs if batch.teacher_inputs is None else batch.teacher_inputs).to(self._device)

    def _share_gradients(self) -> None:
        """Sum gradients over processes; losses are shares of the whole batch, so that the sum is its gradient."""
        if self._world.size == 1:
            return
        parameters = [p for p in self.network.learning().values() if p.requires_grad]
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        sum_tensors(self._world, [parameter.grad for parameter in parameters if parameter.grad is not None])

    def autocast(self) -> Any:
        """The context in which the network runs: products in `learning.dtype`."""
        if self._learning.dtype == "float32":
            return nullcontext()
        return torch.autocast(self._device.type, dtype=torch.bfloat16)


def open_teacher(learning: FinetuneLearning, device: torch.device) -> GazeNetwork | None:
    """The teacher that `learning.distil` names, frozen; None where heads are learnt from labels or a store alone."""
    distil = learning.distil
    if not isinstance(distil, MapDistillation | TokenDistillation):
        return None
    teacher = open_network(FinetuneModel(name=distil.teacher, checkpoint=distil.checkpoint))
    return teacher.eval().requires_grad_(False).to(device)
