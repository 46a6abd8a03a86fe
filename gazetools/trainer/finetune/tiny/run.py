"""Train `gazelle_tiny` from nothing, by `gazetools finetune` with a config that has `from_nothing`.

There are two phases. First the backbone alone learns where heads point, on the cells of heads and objects only; then
the whole model learns Gaze-LLE's task, while the auxiliary losses fade. Samples and order are functions of (seed,
step), weights are averaged over steps, the learning rate falls in the last part. `steps` and `head_steps` may be
changed until they matter.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from gazetools.gazemodels.gazelle.config import TINY_MODEL
from gazetools.progress import NoProgress, Progress
from gazetools.schemas.errors import FaultError, UsageError
from gazetools.schemas.finetune_from_nothing import FromNothingConfig, FromNothingSettings
from gazetools.trainer.finetune.outcome import FinetuneResult
from gazetools.trainer.finetune.tiny.auxiliary import heads_only_loss, make_batch, whole_loss
from gazetools.trainer.finetune.tiny.network import TrainingNetwork
from gazetools.trainer.finetune.tiny.samples import GazeSample, SamplePool, make_sample
from gazetools.trainer.finetune.tiny.state import WEIGHTS, TrainingState
from gazetools.trainer.processes.interruption import Interruption
from gazetools.trainer.processes.launch import accept_warnings
from gazetools.trainer.processes.one_run import only_run_in
from gazetools.trainer.processes.world import joined_world


def train_from_nothing(config: FromNothingConfig, *, dry_run: bool, progress: Progress) -> FinetuneResult:
    """Train in all processes of the run, or go on; a `dry_run` says how many steps there are. Errors as `train`."""
    settings, folder = config.from_nothing, Path(config.folder).expanduser()
    if dry_run:
        return _result(config, "dry_run", 0)
    with Interruption() as interruption, joined_world("cpu") as world:
        if world.size != settings.ranks:
            raise UsageError(
                f"from_nothing.ranks is {settings.ranks}, and {world.size} processes train.",
                hint=f"Run with --processes {settings.ranks}, or set from_nothing.ranks={world.size}.",
            )
        with only_run_in(folder, world):
            interruption.arm()
            accept_warnings()
            torch.set_num_threads(1)
            reached = train(
                folder,
                settings,
                workers=config.workers,
                rank=world.rank,
                progress=progress if world.leads else NoProgress(),
                stop=lambda: world.any(interruption.requested()),
            )
            world.barrier()
    return _result(config, "done" if reached == settings.steps else "interrupted", reached)


def _result(config: FromNothingConfig, status: Any, step: int) -> FinetuneResult:
    settings = config.from_nothing
    parameters = sum(tensor.numel() for tensor in TrainingNetwork(seed=settings.seed).shipped().values())
    return FinetuneResult(
        status=status,
        folder=config.folder,
        model={
            "name": TINY_MODEL.name,
            "parameters": parameters,
            "parameters_that_learn": parameters,
            "in_size": list(TINY_MODEL.in_size),
            "out_size": list(TINY_MODEL.out_size),
            "has_inout": TINY_MODEL.inout,
        },
        data={},
        steps_done=step,
        steps=settings.steps,
        weights=str(Path(config.folder) / WEIGHTS) if step else None,
        config=config.model_dump(mode="json"),
    )


class _Samples(Dataset[list[GazeSample]]):
    """Item k: this rank's part of the samples of step `start` + k."""

    def __init__(self, settings: FromNothingSettings, start: int, folder: Path, rank: int) -> None:
        self.settings, self.start, self.rank = settings, start, rank
        self.pool = SamplePool(seed=settings.seed, size=settings.pool, folder=folder / "pool")

    def __len__(self) -> int:
        return self.settings.steps - self.start

    def __getitem__(self, item: int) -> list[GazeSample]:
        settings, step = self.settings, self.start + item
        first, last = settings.pictures_before(step), settings.pictures_before(step + 1)
        mine = range(first + self.rank, last, settings.ranks)
        crowd = step < settings.head_steps
        share = min(1.0, max(settings.easy_share, step / settings.easy_steps - 0.5))
        return [make_sample(self.pool, k, TINY_MODEL.in_size[0], crowd=crowd, share=share) for k in mine]


def train(
    folder: Path,
    settings: FromNothingSettings,
    *,
    workers: int = 1,
    until: int | None = None,
    rank: int = 0,
    progress: Progress | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> int:
    """Train, or continue the run of `folder`, and write FOLDER/gazelle_tiny.safetensors (averaged, float16).

    With several ranks every rank calls this after it has set up torch.distributed; rank 0 writes. `workers` processes
    draw samples (0: this one). It stops before the step `until`, as if killed after a save, and where `stop`, asked by
    all ranks between two steps, says so. Returns the step before which it stopped; the state is saved then. Raises
    UsageError where the folder holds a run of other settings, FaultError where the loss is not finite.
    """
    network = TrainingNetwork(seed=settings.seed)
    trained = dict(network.named_parameters())
    optimizer = torch.optim.AdamW(_groups(trained, settings), betas=(0.9, 0.98))
    average = {key: value.clone() for key, value in network.shipped().items()}
    state = TrainingState(folder=folder, settings=settings, network=network, optimizer=optimizer, average=average)
    start, last = state.load(), min(settings.steps, until or settings.steps)
    loader: DataLoader[list[GazeSample]] = DataLoader(
        _Samples(settings, start, folder, rank),
        batch_size=None,
        num_workers=workers,
        multiprocessing_context="spawn" if workers else None,
        prefetch_factor=6 if workers else None,
        worker_init_fn=_one_thread,
    )
    progress = progress or NoProgress()
    progress.start("steps", settings.steps, unit="steps")
    progress.advance("steps", start)
    began, step = time.monotonic(), start
    for step, samples in zip(range(start, last), loader, strict=False):
        figures = _take_step(state, samples, step)
        if step % 20 == 0 and rank == 0:
            rate, seconds = settings.learning_rate * settings.rate(step), round(time.monotonic() - began, 1)
            loss = figures.pop("loss")
            state.log({"step": step, "loss": round(loss, 4), "lr": rate, **_rounded(figures), "seconds": seconds})
        progress.advance("steps")
        ends = step + 1 == last or stop()
        if rank == 0 and ((step + 1) % settings.save_every == 0 or ends):
            state.save(step + 1)
        if ends:
            break
    progress.finish("steps")
    return step + 1 if start < last else start


def _take_step(state: TrainingState, samples: list[GazeSample], step: int) -> dict[str, float]:
    """One step of this process, whose gradients are shared with all; the loss and its parts."""
    settings, trained = state.settings, list(state.network.parameters())
    for group in state.optimizer.param_groups:
        group["lr"] = group["full_rate"] * settings.rate(step)
    loss, figures = _loss(state.network, samples, settings, step)
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    if settings.ranks > 1:
        _share_gradients(trained, settings.ranks)
    torch.nn.utils.clip_grad_norm_(trained, 1.0)
    state.optimizer.step()
    state.update_average(min(settings.average, (1 + step) / (10 + step)))
    return {"loss": float(loss.detach()), **figures}


def _rounded(figures: dict[str, float]) -> dict[str, float]:
    return {key: round(value, 4) for key, value in figures.items()}


def _loss(
    network: TrainingNetwork, samples: list[GazeSample], settings: FromNothingSettings, step: int
) -> tuple[torch.Tensor, dict[str, float]]:
    """The phase's loss and its parts. Raises FaultError where it is not finite."""
    torch.manual_seed(step)  # which cells of a picture are kept must not depend on interruptions
    batch = make_batch(samples, TINY_MODEL.grid)
    if step < settings.head_steps:
        loss, figures = heads_only_loss(network, batch, settings.kept_cells)
    else:
        loss, figures = whole_loss(network, batch, auxiliary_share=settings.auxiliary_share * settings.fall(step))
    if not torch.isfinite(loss):
        raise FaultError(f"The loss is {float(loss)} at step {step}.", hint="Lower the learning rate.")
    return loss, figures


def _groups(trained: dict[str, torch.nn.Parameter], settings: FromNothingSettings) -> list[dict[str, object]]:
    """Parameter groups of the optimizer: the decoder has its own rate, only matrices have weight decay."""
    return [
        {
            "params": [p for n, p in trained.items() if n.startswith("decoder.") == decoder and (p.ndim > 1) == matrix],
            "full_rate": settings.decoder_learning_rate if decoder else settings.learning_rate,
            "weight_decay": settings.weight_decay if matrix else 0.0,
        }
        for decoder, matrix in itertools.product((True, False), repeat=2)
    ]


def _share_gradients(parameters: list[torch.nn.Parameter], ranks: int) -> None:
    """Replace gradients by their mean over the ranks. A parameter without one in this phase has none on any rank."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    torch.distributed.all_reduce(flat)
    flat /= ranks
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def _one_thread(worker: int) -> None:
    import cv2

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
