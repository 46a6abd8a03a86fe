"""What of a run goes to W&B and TensorBoard: a copy of the run folder's own records, each step once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from gazetools.schemas.errors import GazetoolsError
from gazetools.schemas.training import TrainingConfig
from gazetools.trainer.folder.paths import RunFolder
from gazetools.trainer.folder.records import read_steps
from gazetools.trainer.learn.loop import Loop
from gazetools.trainer.logs.guarded import GuardedLog
from gazetools.trainer.logs.tensorboard import open_tensorboard
from gazetools.trainer.logs.wandb import WandbLog, has_finished_wandb_run, open_wandb
from gazetools.trainer.measure.final import flat_values
from gazetools.trainer.measure.steps import logged_values, step_line
from gazetools.trainer.plan.settle import RunPlan
from gazetools.trainer.report.run import report

Row = tuple[int, dict[str, Any]]  # step; its values

_TABLES = ("report.html", "report.json", "arms.csv", "contrasts.csv", "horizons.csv")


class Publisher:
    """The logs of a run at services outside the run folder.

    A row has the values of a logged step; that of an epoch's last step is sent with the epoch's measures. Each service
    says which step it has last, and receives the rows after that, those of an earlier, killed process included.
    """

    def __init__(self, plan: RunPlan, loop: Loop, say: Callable[[str], None]) -> None:
        self._plan, self._loop, self._say = plan, loop, say
        self._logs: list[GuardedLog] = []

    def open(self, *, new: bool) -> None:
        """Open the services and send what they lack. `new`: not the training that the folder's W&B run was."""
        plan, folder = self._plan, self._plan.folder
        new = new or plan.config.val_only  # every evaluation is a run of its own
        self._logs = [
            GuardedLog("W&B", _wandb(plan.config, folder, new=new), self._say),
            GuardedLog(
                "TensorBoard",
                partial(open_tensorboard, plan.config.experiment.tensorboard, folder, self._surely_logged()),
                self._say,
            ),
        ]
        for step, values in self._earlier_rows(min(log.last_step for log in self._logs)):
            self._send(step, values)

    def step(self) -> None:
        """Send the values of the step that has just ended, where it is one that is logged."""
        position = self._loop.position
        if any(log.is_open for log in self._logs) and position.step_in_epoch < self._loop.steps_per_epoch:
            self._send(position.global_step, logged_values(step_line(self._loop, position.step_in_epoch - 1)))

    def epoch(self, entry: Mapping[str, Any], line: Mapping[str, Any] | None) -> None:
        """Send the measures of an epoch with the values of its last step, whose record is `line`."""
        self._send(entry["step"], {**(logged_values(line) if line is not None else {}), **entry})

    def flush(self) -> None:
        """Write what was sent to files: to be called before a checkpoint, after which it is not sent again."""
        for log in self._logs:
            log.flush()

    def final(self, final: Mapping[str, Any]) -> None:
        """Send the measures with the chosen weights."""
        for log in self._logs:
            log.final(flat_values(self._loop, final, start="final_"), self._loop.position.global_step)

    def report(self) -> None:
        """Send report and verdict of the finished run, where a service takes them."""
        for log in self._logs:
            if log.takes_report:
                _send_report(log, self._plan.folder, self._loop.position.global_step, self._say)

    def finish(self, exit_code: int) -> None:
        """Close the logs of a run that ends with `exit_code`."""
        for log in self._logs:
            log.finish(exit_code)

    def _send(self, step: int, values: Mapping[str, Any]) -> None:
        if values:
            for log in self._logs:
                log.log(values, step)

    def _surely_logged(self) -> int:
        """The step up to which files that were flushed before the last checkpoint have all rows; -1 for none.

        The row of an epoch's last step may be there or not, and rows of a begun epoch are sent again.
        """
        position = self._loop.position
        return position.global_step - max(position.step_in_epoch, 1)

    def _earlier_rows(self, after: int) -> Iterator[Row]:
        """All rows after step `after` up to the current position."""
        loop, position = self._loop, self._loop.position
        for entry in position.history:
            if entry["step"] > after:
                rows = {line["step"]: logged_values(line) for line in read_steps(self._plan.folder, entry["epoch"] - 1)}
                yield from ((step, values) for step, values in rows.items() if step < entry["step"])
                yield entry["step"], {**rows.get(entry["step"], {}), **entry}
        for place in range(min(position.step_in_epoch, loop.steps_per_epoch - 1)):
            line = step_line(loop, place)
            yield line["step"], logged_values(line)


def needs_publishing(plan: RunPlan) -> bool:
    """Whether the W&B run of a finished training is wanted and was not ended: its process was killed, or had none."""
    return plan.config.experiment.wandb.enable and not has_finished_wandb_run(plan.folder)


def publish_study(config: TrainingConfig, folder: RunFolder, say: Callable[[str], None]) -> None:
    """Send report and verdict of a study whose trainings are all done, once, as a W&B run of its own in their group."""
    if not config.experiment.wandb.enable or has_finished_wandb_run(folder):
        return
    log = GuardedLog(
        "W&B",
        _wandb(config, folder, job_type="report"),
        say,
    )
    if log.takes_report:
        _send_report(log, folder, 0, say)
    log.finish(0)


def _wandb(config: TrainingConfig, folder: RunFolder, **how: Any) -> Callable[[], WandbLog | None]:
    """What opens the W&B run of a training."""
    return partial(open_wandb, config.experiment.wandb, config.model_dump(mode="json"), folder, **how)


def _send_report(log: GuardedLog, folder: RunFolder, step: int, say: Callable[[str], None]) -> None:
    """Make the report of a finished run folder in it, and send its page, tables, examples and verdict."""
    try:
        document = report([folder.path], output=folder.report, plots="svg")  # PNG would need one more package
    except Exception as error:  # a fault here must not become one of the training, which is done
        say(f"No report for W&B: {error.message if isinstance(error, GazetoolsError) else type(error).__name__}")
        return
    names = [*_TABLES, *(row["picture"] for row in document["examples"] if row["picture"] is not None)]
    primary = document["primary"]
    if primary is not None:
        keys = ("verdict", "contrast", "task", "difference", "low", "high", "p", "seeds", "text")
        log.final({f"report_{key}" if key != "verdict" else key: primary[key] for key in keys}, step)
    log.attach([(folder.report / name, name) for name in names])
