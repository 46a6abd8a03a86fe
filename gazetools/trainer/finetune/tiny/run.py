"""Train `gazelle_tiny` from nothing: python -m gazetools.trainer.finetune.tiny.run FOLDER; the same command resumes.

There are two phases. First the backbone alone learns where heads point, on the cells of heads and objects only; then
the whole model learns Gaze-LLE's task, while the auxiliary losses fade. Samples and order are functions of (seed,
step), weights are averaged over steps, the learning rate falls in the last part. `--steps` and `--head-steps` may be
changed until they matter.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset

from gazetools.gazemodels.gazelle.config import TINY_MODEL
from gazetools.schemas.errors import FaultError
from gazetools.trainer.finetune.tiny.auxiliary import heads_only_loss, make_batch, whole_loss
from gazetools.trainer.finetune.tiny.network import TrainingNetwork
from gazetools.trainer.finetune.tiny.recipe import TrainingSettings
from gazetools.trainer.finetune.tiny.samples import GazeSample, SamplePool, make_sample
from gazetools.trainer.finetune.tiny.state import TrainingState


class _Samples(Dataset[list[GazeSample]]):
    """Item k: this rank's part of the samples of step `start` + k."""

    def __init__(self, settings: TrainingSettings, start: int, folder: Path, rank: int) -> None:
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
    folder: Path, settings: TrainingSettings, *, workers: int = 1, until: int | None = None, rank: int = 0
) -> None:
    """Train, or continue the run of `folder`, and write FOLDER/gazelle_tiny.safetensors (averaged, float16).

    With several ranks every rank calls this after it has set up torch.distributed; rank 0 writes. `workers` processes
    draw samples (0: this one). It stops before the step `until`, as if killed after a save. Raises UsageError where the
    folder holds a run of other settings, FaultError where the loss is not finite.
    """
    network = TrainingNetwork(seed=settings.seed)
    trained = dict(network.named_parameters())
    optimizer = torch.optim.AdamW(_groups(trained, settings), betas=(0.9, 0.98))
    average = {key: value.clone() for key, value in network.shipped().items()}
    state = TrainingState(folder=folder, settings=settings, network=network, optimizer=optimizer, average=average)
    start, stop = state.load(), min(settings.steps, until or settings.steps)
    loader: DataLoader[list[GazeSample]] = DataLoader(
        _Samples(settings, start, folder, rank),
        batch_size=None,
        num_workers=workers,
        multiprocessing_context="spawn" if workers else None,
        prefetch_factor=6 if workers else None,
        worker_init_fn=_one_thread,
    )
    began = time.monotonic()
    for step, samples in zip(range(start, stop), loader, strict=False):
        for group in optimizer.param_groups:
            group["lr"] = group["full_rate"] * settings.rate(step)
        loss, figures = _loss(network, samples, settings, step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if settings.ranks > 1:
            _share_gradients(list(trained.values()), settings.ranks)
        torch.nn.utils.clip_grad_norm_(trained.values(), 1.0)
        optimizer.step()
        state.update_average(min(settings.average, (1 + step) / (10 + step)))
        if step % 20 == 0 and rank == 0:
            figures = {key: round(value, 4) for key, value in figures.items()}
            rate, seconds = settings.learning_rate * settings.rate(step), round(time.monotonic() - began, 1)
            state.log({"step": step, "loss": round(float(loss.detach()), 4), "lr": rate, **figures, "seconds": seconds})
        if rank == 0 and ((step + 1) % settings.save_every == 0 or step + 1 == stop):
            state.save(step + 1)


def _loss(
    network: TrainingNetwork, samples: list[GazeSample], settings: TrainingSettings, step: int
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


def _groups(trained: dict[str, torch.nn.Parameter], settings: TrainingSettings) -> list[dict[str, object]]:
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


def _start_ranks(ranks: int) -> int:
    """Run this command once per rank and wait; the first failure ends the others. Returns the exit code."""
    with tempfile.TemporaryDirectory() as name:
        command = [sys.executable, "-m", "gazetools.trainer.finetune.tiny.run", *sys.argv[1:]]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        command += ["--meeting", f"{name}/meeting", "--rank"]
        running = [
            subprocess.Popen([*command, str(rank)], env=environment, start_new_session=True) for rank in range(ranks)
        ]
        try:
            while all(process.poll() is None for process in running):
                time.sleep(0.5)
            codes = [process.wait(60) if process.poll() in (None, 0) else process.returncode for process in running]
        finally:
            for process in running:
                if process.poll() is None:
                    process.terminate()
        return max(abs(code) for code in codes)


def main() -> None:
    """Parse the command line, then train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--workers", type=int, default=1, help="processes per rank that read samples")
    parser.add_argument("--rank", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--meeting", help=argparse.SUPPRESS)
    for name, value in asdict(TrainingSettings()).items():
        parser.add_argument("--" + name.replace("_", "-"), type=type(value), default=value)
    options = vars(parser.parse_args())
    folder, workers, rank, meeting = (options.pop(key) for key in ("folder", "workers", "rank", "meeting"))
    settings = TrainingSettings(**options)
    if rank is None and settings.ranks > 1:
        sys.exit(_start_ranks(settings.ranks))
    if rank is not None:
        torch.set_num_threads(1)
        address = f"file://{meeting}"
        torch.distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=settings.ranks)
    train(folder, settings, workers=workers, rank=rank or 0)


if __name__ == "__main__":
    main()
