"""From a plan and a loop to the result of the run, and whether a run folder already has one."""

from __future__ import annotations

from typing import Any, Literal

from gazetools.io.json_files import read_json
from gazetools.schemas.training import RANDOM_WEIGHTS
from gazetools.trainer.folder.checkpoints import best_checkpoint
from gazetools.trainer.folder.paths import RunFolder
from gazetools.trainer.learn.loop import Loop
from gazetools.trainer.learn.position import Position
from gazetools.trainer.plan.settle import RunPlan
from gazetools.trainer.result import TrainResult


def result_of(
    status: Literal["done", "interrupted", "dry_run"],
    plan: RunPlan,
    loop: Loop | None,
    *,
    checkpoint: str | None,
    notes: list[str],
    processes: int,
) -> TrainResult:
    """The result; without a loop that of a dry run."""
    settings = plan.config.experiment.optimization
    per_step = settings.batch_size * settings.accumulation_steps * processes
    position = loop.position if loop is not None else Position()
    best: dict[str, Any] = {}
    for learner in loop.learners if loop is not None else ():
        path = best_checkpoint(plan.checkpoints, learner.name)
        kept = {"checkpoint": str(path) if path is not None else None}
        best[learner.name] = {**learner.best, **kept} if learner.best is not None else None
    return TrainResult(
        status=status,
        folder=str(plan.folder),
        epochs_done=position.epoch,
        steps_done=position.global_step,
        random_weights=plan.config.model_kwargs.checkpoint == RANDOM_WEIGHTS,
        anchor_rule=plan.anchors.rule,
        data={
            **plan.data.summary(),
            "held_out": plan.selecting.summary() if plan.selecting is not None else None,
            "steps_per_epoch": -(-len(plan.data.train.clips) // per_step),
        },
        model=plan.model,
        processes=processes,
        metrics=position.history[-1] if position.history else {},
        best=next(iter(best.values())) if len(best) == 1 else None,
        best_by_learner=best,
        failed={x.name: x.failed for x in loop.learners if x.failed is not None} if loop is not None else {},
        final=position.final or {},
        horizons=list(plan.horizons),
        checkpoint=checkpoint,
        notes=notes,
        config=plan.dumped_config(),
    )


def is_finished(plan: RunPlan, loop: Loop) -> bool:
    """Whether the run is over and measured, so that the same command changes nothing; fills in what it measured."""
    path = RunFolder(plan.folder).result
    over = loop.position.epoch >= plan.config.experiment.optimization.num_epochs
    if plan.config.val_only or not over or not path.is_file():
        return False
    document = read_json(path)
    if document.get("status") != "done" or document.get("steps_done") != loop.position.global_step:
        return False
    if set(plan.horizons) - {float(key) for key in document.get("horizons", [])}:
        return False
    loop.position.final = document["final"]
    return True
