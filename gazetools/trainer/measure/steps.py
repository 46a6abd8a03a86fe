"""Records of training steps: the loss of every step; rates and gradient norms of those that are logged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gazetools.trainer.learn.loop import Loop


def step_line(loop: Loop, place: int) -> dict[str, Any]:
    """The record of step `place` (from 0) of the current epoch: `epoch`, `step`, `loss`.

    Steps whose number is a multiple of `log_every` have `grad_norm` and `lr` (one value per group of weights), too.
    Each is the value of the run's only model, or a mapping from model to value, without models that were dropped
    before. A loss is None in a step without a readable clip.
    """
    position = loop.position
    step = position.global_step - position.step_in_epoch + 1 + place
    learners = [learner for learner in loop.learners if place < len(learner.step_losses)]
    found: dict[str, dict[str, Any]] = {"loss": {x.name: x.step_losses[place] for x in learners}}
    if step % loop.config.log_every == 0:
        found["grad_norm"] = {x.name: x.step_norms[place] for x in learners}
        found["lr"] = {x.name: x.rates_at(step) for x in learners}
    several = len(loop.learners) > 1
    values = {key: by_name if several else next(iter(by_name.values()), None) for key, by_name in found.items()}
    return {"epoch": position.epoch, "step": step, **values}


def step_lines(loop: Loop) -> list[dict[str, Any]]:
    """The records of all steps of the current epoch so far."""
    return [step_line(loop, place) for place in range(loop.position.step_in_epoch)]


def logged_values(line: Mapping[str, Any]) -> dict[str, float]:
    """`step_loss`, `grad_norm` and `lr_<group>` of a record, after `<model>/` where there are several models.

    Empty for a step that is not logged.
    """
    if "lr" not in line or line["lr"] is None:
        return {}
    if isinstance(line["loss"], Mapping):
        return {
            f"{name}/{key}": value
            for name in line["loss"]
            for key, value in _of_model(line["loss"][name], line["grad_norm"][name], line["lr"][name]).items()
        }
    return _of_model(line["loss"], line["grad_norm"], line["lr"])


def _of_model(loss: float | None, grad_norm: float | None, rates: Mapping[str, float]) -> dict[str, float]:
    found = {"step_loss": loss, "grad_norm": grad_norm, **{f"lr_{name}": rate for name, rate in rates.items()}}
    return {name: value for name, value in found.items() if value is not None}
