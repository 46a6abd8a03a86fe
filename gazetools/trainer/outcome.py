"""The result of a run: what `train` returns and `result.json` holds, and whether a run folder already has it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from gazetools.io.json_files import read_json
from gazetools.schemas.errors import ExitCode
from gazetools.schemas.training import RANDOM_WEIGHTS
from gazetools.trainer.folder.checkpoints import best_checkpoint
from gazetools.trainer.learn.loop import Loop, Position
from gazetools.trainer.learn.schedules import steps_per_epoch
from gazetools.trainer.plan.settle import RunPlan

Status = Literal["done", "interrupted", "dry_run"]


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """The outcome of `train`."""

    status: Status
    folder: str
    epochs_done: int
    steps_done: int
    random_weights: bool
    anchor_rule: str
    data: dict[str, Any]
    """Clips, videos, classes, heatmap coverage and what was left out, per split."""
    model: dict[str, Any]
    """Parameters in all and trained, tokens, sizes."""
    metrics: dict[str, float] = field(default_factory=dict)
    """`train_*` and `val_<anchor>_*` of the last finished epoch."""
    best: dict[str, Any] | None = None
    """Epoch, metric name, value and checkpoint of the chosen epoch, where the run has one model."""
    best_by_learner: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    """Models that were dropped, and why."""
    ended: dict[str, int] = field(default_factory=dict)
    """Models that ended early, and the epoch after which they did."""
    final: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Model -> split (`held_out`, `val_<anchor>`, `horizon_<seconds>`, `test`) -> metrics with the chosen weights."""
    submissions: list[dict[str, Any]] = field(default_factory=list)
    """Files for EPIC-KITCHENS' challenge: `model`, `file`, `actions`, and how many of them were not observed."""
    horizons: list[float] = field(default_factory=list)
    processes: int = 1
    checkpoint: str | None = None
    notes: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    step: dict[str, Any] | None = None
    """Time and memory of a training step, as a dry run measures them on synthetic clips; None without."""
    decoding: dict[str, Any] | None = None
    """Time of decoding, as a dry run measures it on a few clips, by number of workers; None without."""
    planning: list[dict[str, Any]] = field(default_factory=list)
    """What 3, 5 and 8 trainings cost and can find, from a dry run."""
    trainings: list[dict[str, Any]] = field(default_factory=list)
    """Trainings of a study: `seed`, `folder` below the study's, and `status`; their own results have the rest."""

    @property
    def exit_code(self) -> ExitCode:
        """0, or 130 where the run was interrupted."""
        return ExitCode.INTERRUPTED if self.status == "interrupted" else ExitCode.OK

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def result_of(
    status: Status, plan: RunPlan, loop: Loop | None, *, checkpoint: str | None, notes: list[str], processes: int
) -> TrainResult:
    """The result of a run; a dry run has no loop."""
    position, learners = (loop.position, loop.learners) if loop is not None else (Position(), [])
    best: dict[str, dict[str, Any] | None] = {}
    for learner in learners:
        path = best_checkpoint(plan.folder.checkpoints, learner.name)
        kept = {"checkpoint": str(path) if path is not None else None}
        best[learner.name] = {**learner.best, **kept} if learner.best is not None else None
    return TrainResult(
        status=status,
        folder=str(plan.folder.path),
        epochs_done=position.epoch,
        steps_done=position.global_step,
        random_weights=plan.config.model_kwargs.checkpoint == RANDOM_WEIGHTS,
        anchor_rule=plan.anchors.rule,
        data={
            **plan.data.summary(),
            "held_out": plan.selecting.summary() if plan.selecting is not None else None,
            "steps_per_epoch": steps_per_epoch(plan.config, len(plan.data.train.clips), processes),
        },
        model=plan.model,
        processes=processes,
        metrics=position.history[-1] if position.history else {},
        best=next(iter(best.values())) if len(best) == 1 else None,
        best_by_learner=best,
        failed={learner.name: learner.failed for learner in learners if learner.failed is not None},
        ended={learner.name: learner.ended for learner in learners if learner.ended is not None},
        final=position.final or {},
        horizons=list(plan.horizons),
        checkpoint=checkpoint,
        notes=notes,
        config=plan.dumped_config(),
    )


def finished_final(plan: RunPlan, loop: Loop) -> dict[str, Any] | None:
    """The final measurements in the run folder, where the same command would change nothing; None otherwise."""
    path = plan.folder.result
    if plan.config.val_only or not loop.over or not path.is_file():
        return None
    document = read_json(path)
    same = document.get("status") == "done" and document.get("steps_done") == loop.position.global_step
    measured = {float(key) for key in document.get("horizons", [])}
    tested = plan.data.test is None or all("test" in found for found in document["final"].values())
    return document["final"] if same and tested and measured.issuperset(plan.horizons) else None
