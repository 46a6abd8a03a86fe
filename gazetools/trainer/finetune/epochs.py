"""The epochs of one training in its folder: steps, held-out figures, saved states, best and last weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from gazetools.io.json_files import write_json_atomic
from gazetools.progress import Progress
from gazetools.schemas.errors import UsageError
from gazetools.schemas.finetune import FinetuneConfig
from gazetools.trainer.finetune.batch_loading import LoadedItems, MakesSteps, StepOrder
from gazetools.trainer.finetune.batches import BatchMaker, HeadBatch
from gazetools.trainer.finetune.feature_shelf import FeatureShelf
from gazetools.trainer.finetune.gaze_network import GazeNetwork
from gazetools.trainer.finetune.held_out import HeldOut, HeldOutFigures
from gazetools.trainer.finetune.kept_features import FeatureKeeper
from gazetools.trainer.finetune.labelled import LabelledHead, RunHeads, digest_of
from gazetools.trainer.finetune.learner import GazeLearner, StepPlace
from gazetools.trainer.finetune.logs import FinetuneLogs
from gazetools.trainer.finetune.networks import open_network
from gazetools.trainer.finetune.outcome import FinetuneResult
from gazetools.trainer.finetune.saved import FinetuneProgress, load_state, save_state
from gazetools.trainer.folder.paths import RunFolder
from gazetools.trainer.processes.interruption import Interruption
from gazetools.trainer.processes.world import World

STATE, BEST, LAST, FEATURES = "state.safetensors", "best.safetensors", "last.safetensors", "features"


class Training:
    """One training of a config in a folder."""

    def __init__(
        self,
        config: FinetuneConfig,
        folder: RunFolder,
        heads: RunHeads,
        network: GazeNetwork,
        *,
        device: torch.device,
        world: World,
        progress: Progress,
        interruption: Interruption,
    ) -> None:
        self.config, self.folder, self._world = config, folder, world
        train, held_out = heads.train.heads, heads.held_out.heads
        self._say, self._interruption = progress, interruption
        self.learner = GazeLearner(network, config.learning, device=device, world=world, seed=config.seed)
        shelves = self._shelves(train, held_out) if config.data.keep_features else (None, None)
        teacher = self.learner.teacher
        self._maker = BatchMaker(train, network, config.augment, seed=config.seed, teacher=teacher, shelf=shelves[0])
        self._order = StepOrder(
            heads=len(train),
            seed=config.seed,
            batch_size=config.learning.batch_size,
            parts=config.learning.parts,
            rank=world.rank,
            ranks=world.size,
        )
        self._loaded: LoadedItems[list[HeadBatch]] | None = None
        self._held_out = None
        if held_out:
            workers = min(config.data.workers, 1)
            self._held_out = HeldOut(
                held_out, self.learner, workers=workers, world=world, progress=progress, shelf=shelves[1]
            )
        self._labels = digest_of([*train, *held_out])
        self.progress = FinetuneProgress()
        self.figures: HeldOutFigures | None = None
        self._logs: FinetuneLogs | None = None

    def begin(self, *, resume: bool) -> None:
        """Start, or go on from the saved state; UsageError for one that is not wanted or of other settings."""
        state = self.folder.path / STATE
        if state.exists():
            if not resume:
                raise UsageError(
                    f"{self.folder.path} holds a training, and --no-resume was given.",
                    hint="Choose another folder, or leave --no-resume out to go on.",
                )
            self.progress = load_state(state, self.learner, self.config, self._labels)
            self._say.say(f"Resumed at step {self.progress.step}.")
        if self._world.leads:
            self.folder.path.mkdir(parents=True, exist_ok=True)
            write_json_atomic(self.folder.config, self.config.model_dump(mode="json"))
            self._logs = FinetuneLogs(self.config, self.folder, self._say.say, step=self.progress.step)

    def go(self) -> bool:
        """Train the epochs that are left; False where a signal came. The state is saved in both cases."""
        config, progress, steps = self.config, self.progress, self._order.steps_per_epoch
        left = range(progress.epoch * steps + progress.step_in_epoch, config.learning.epochs * steps)
        workers = config.data.workers if left and not self._has_ended() else 0
        self._loaded = LoadedItems(MakesSteps(maker=self._maker, order=self._order), left, workers=workers)
        batches = iter(self._loaded)
        while progress.epoch < config.learning.epochs and not self._has_ended():
            if not self._epoch(batches):
                self._save()
                return False
            self._end_epoch()
        return True

    def result(self, described: FinetuneResult, *, curve: list[dict[str, Any]]) -> FinetuneResult:
        """`described` with what the training came to."""
        progress, path = self.progress, self.folder.path
        best = None
        if progress.best_epoch is not None:
            metric = self.config.selection.metric
            best = {"epoch": progress.best_epoch, "metric": metric, "value": progress.best_value}
        weights = path / (BEST if best is not None else LAST)
        metrics = {key: value for key, value in (progress.history or [{}])[-1].items() if isinstance(value, float)}
        return dataclasses.replace(
            described,
            folder=str(path),
            epochs_done=progress.epoch,
            steps_done=progress.step,
            best=best,
            metrics=metrics,
            weights=str(weights) if progress.epoch else None,
            page=str(path / "report.html") if described.status == "done" else None,
            curve=list(curve),
        )

    def measure_best(self) -> None:
        """Measure the weights that are the result, all processes together, where the last epoch's are others."""
        if self._held_out is not None and (self.progress.best_epoch != self.progress.epoch or self.figures is None):
            if self.progress.best_epoch is not None:
                self._load_best()
            self.figures = self._held_out.measure()

    def close(self, exit_code: int) -> None:
        """Close the logs, and end the workers."""
        for loaded in (self._loaded, self._held_out):
            if loaded is not None:
                loaded.close()
        if self._logs is not None:
            best = {"best_epoch": self.progress.best_epoch, "best_value": self.progress.best_value}
            known = {name: value for name, value in best.items() if value is not None}
            self._logs.finish(known, step=self.progress.step, exit_code=exit_code)

    def _shelves(
        self, train: Sequence[LabelledHead], held_out: Sequence[LabelledHead]
    ) -> tuple[FeatureShelf | None, FeatureShelf | None]:
        """Kept features of training and held-out pictures."""
        keeper = FeatureKeeper(
            folder=self.folder.path / FEATURES,
            network=self.learner.network,
            autocast=self.learner.autocast,
            workers=self.config.data.workers,
            world=self._world,
            progress=self._say,
            stopped=lambda: self._world.any(self._interruption.requested()),
        )
        mirrored = self.config.augment.flip > 0
        own = keeper.shelf(train, mirrored=mirrored)
        return own, keeper.shelf(held_out, mirrored=False) if held_out else None

    def _epoch(self, batches: Iterator[list[HeadBatch]]) -> bool:
        """Take the steps that are left of the epoch; False where a signal came between two of them."""
        progress, steps = self.progress, self._order.steps_per_epoch
        if progress.step_in_epoch == 0:
            progress.losses = {}
        self.learner.network.start_epoch(progress.epoch)
        self.learner.network.train()
        task = f"epoch {progress.epoch + 1}/{self.config.learning.epochs}"
        self._say.start(task, steps, unit="steps")
        self._say.advance(task, progress.step_in_epoch)
        try:
            while progress.step_in_epoch < steps:
                if self._world.any(self._interruption.requested()):
                    return False
                self._step(next(batches))
                self._say.advance(task)
        finally:
            self._say.finish(task)
        return True

    def _step(self, batches: list[HeadBatch]) -> None:
        progress, config = self.progress, self.config
        steps, epochs = self._order.steps_per_epoch, config.learning.epochs
        place = StepPlace(
            epoch=progress.epoch,
            step_in_epoch=progress.step_in_epoch,
            step=progress.step,
            steps=steps * epochs,
            epochs=epochs,
        )
        values = self.learner.step(batches, place)
        progress.step += 1
        progress.step_in_epoch += 1
        for name, value in values.items():
            progress.losses[name] = progress.losses.get(name, 0.0) + value
        ends = progress.step_in_epoch == steps  # services take one entry a step: the epoch's
        if self._logs is not None and progress.step % config.log_every == 0 and not ends:
            self._logs.write(
                {f"train_{name}": value for name, value in values.items()} | self._rates(), step=progress.step
            )
        if progress.step % config.checkpoint_every == 0 and not ends:
            self._save()

    def _rates(self) -> dict[str, float]:
        return {f"lr_{group['part']}": group["lr"] for group in self.learner.optimizer.param_groups}

    def _end_epoch(self) -> None:
        """Measure, keep the best and the last weights, then save: a kill in between repeats this end alone."""
        progress, path = self.progress, self.folder.path
        steps = max(progress.step_in_epoch, 1)
        entry: dict[str, Any] = {"epoch": progress.epoch + 1, "step": progress.step}
        entry |= {f"train_{name}": value / steps for name, value in progress.losses.items()}
        if self._held_out is not None:
            self.figures = self._held_out.measure()
            entry |= self.figures.values()
        progress.history = [*[one for one in progress.history if one["epoch"] != entry["epoch"]], entry]
        better = self._is_better(entry)
        if better:
            progress.best_epoch, progress.best_value = entry["epoch"], entry[f"val_{self.config.selection.metric}"]
        if self._world.leads:
            self.learner.network.write_weights(path / LAST)
            if better:
                self.learner.network.write_weights(path / BEST)
            if self._logs is not None:
                self._logs.write(entry | self._rates(), step=progress.step)
        progress.epoch += 1
        progress.step_in_epoch, progress.losses = 0, {}
        self._save()
        shown = ", ".join(f"{name} {entry[name]:.4f}" for name in entry if name not in ("epoch", "step"))
        self._say.say(f"epoch {entry['epoch']}: {shown}")

    def _is_better(self, entry: dict[str, Any]) -> bool:
        value = entry.get(f"val_{self.config.selection.metric}")
        if value is None:
            return False
        best = self.progress.best_value
        return best is None or (value < best if self.config.selection.lower_is_better else value > best)

    def _has_ended(self) -> bool:
        """Whether patience is over."""
        patience, best = self.config.selection.patience, self.progress.best_epoch
        return patience is not None and best is not None and self.progress.epoch - best >= patience

    def _save(self) -> None:
        if self._world.leads:
            if self._logs is not None:
                self._logs.flush()
            save_state(self.folder.path / STATE, self.learner, self.progress, self.config, self._labels)
        self._world.barrier()

    def _load_best(self) -> None:
        """Put the best epoch's weights into the network, for its pictures."""
        settings = self.config.model.model_copy(
            update={"name": str(self.folder.path / BEST), "checkpoint": None, "decoder": "kept", "inout_head": "kept"}
            | {"backbone": None, "trains": "decoder", "unfreeze": None}
        )
        device = next(self.learner.network.parameters()).device
        self.learner.network = open_network(settings).to(device)
