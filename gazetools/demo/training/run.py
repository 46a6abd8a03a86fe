"""Train `gazelle_tiny` from nothing: python -m gazetools.demo.training.run FOLDER; the same command resumes.

Two phases. First the backbone alone learns, on the cells of heads and objects only, where heads point; then the whole
model learns Gaze-LLE's task, the auxiliary losses fading. Sample and order are functions of (seed, step), weights are
averaged over steps, the learning rate falls in the last part; `--steps` and `--head-steps` may still be changed before
they matter.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset

from gazetools.demo.scenes.settings import GENERATOR_VERSION
from gazetools.demo.training.losses import heads_only_loss, make_batch, whole_loss
from gazetools.demo.training.network import TrainingNetwork, write_checkpoint
from gazetools.demo.training.samples import Sample, SamplePool, make_sample
from gazetools.gazelle.checkpoints import read_metadata, read_weight_file
from gazetools.gazelle.config import TINY_MODEL
from gazetools.io.atomic import atomic_path
from gazetools.schemas.errors import FaultError, UsageError

STATE, WEIGHTS, LOG, POOL = "state.safetensors", "gazelle_tiny.safetensors", "log.jsonl", "pool"


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """The recipe; no weights are shipped yet that its defaults made (docs/gazelle-tiny.md)."""

    seed: int = 7
    ranks: int = 2
    """Processes that share every batch: one per core; sums differ in the last bits with their number."""
    pool: int = 9000
    """Kitchens; each comes back a few times, augmented anew."""
    head_steps: int = 2000
    """Of the first phase."""
    steps: int = 5500
    """In all."""
    head_batch: int = 24
    easy_share: float = 0.2
    """Of the floating heads, those with the strongest contrast, to begin with."""
    easy_steps: int = 400
    """Half of them with the easy heads alone, then more and more; after one and a half times as many all."""
    batch: int = 16
    kept_cells: int = 110
    learning_rate: float = 5e-4
    warm_up: int = 80
    decay_share: float = 0.35
    """Of the second phase: the last part, in which the learning rate falls to zero."""
    weight_decay: float = 0.03
    average: float = 0.995
    """Per step, of the averaged weights."""
    auxiliary_share: float = 0.5
    """At the start of the second phase; falls with the learning rate."""
    save_every: int = 100

    def pictures_before(self, step: int) -> int:
        """Samples that the steps before `step` used."""
        heads = min(step, self.head_steps)
        return heads * self.head_batch + (step - heads) * self.batch

    def fall(self, step: int) -> float:
        """1, falling linearly to 0 in the last part of the second phase."""
        tail = self.decay_share * (self.steps - self.head_steps)
        return min(1.0, (self.steps - step) / max(tail, 1.0))

    def rate(self, step: int) -> float:
        """Learning rate of a step; both phases warm up."""
        since = step - self.head_steps if step >= self.head_steps else step
        return self.learning_rate * min(1.0, (since + 1) / self.warm_up) * self.fall(step)


def _pool(folder: Path, settings: TrainingSettings) -> SamplePool:
    return SamplePool(seed=settings.seed, size=settings.pool, folder=folder / POOL)


class _Samples(Dataset[list[Sample]]):
    """Item k is this rank's part of the k-th step's samples from `start` on."""

    def __init__(self, settings: TrainingSettings, start: int, folder: Path, rank: int) -> None:
        self.settings, self.start, self.rank = settings, start, rank
        self.pool = _pool(folder, settings)

    def __len__(self) -> int:
        return self.settings.steps - self.start

    def __getitem__(self, item: int) -> list[Sample]:
        settings, step = self.settings, self.start + item
        first, last = settings.pictures_before(step), settings.pictures_before(step + 1)
        mine = range(first + self.rank, last, settings.ranks)
        crowd = step < settings.head_steps
        share = min(1.0, max(settings.easy_share, step / settings.easy_steps - 0.5))
        return [make_sample(self.pool, k, TINY_MODEL.in_size[0], crowd=crowd, share=share) for k in mine]


def train(
    folder: Path, settings: TrainingSettings, *, workers: int = 1, until: int | None = None, rank: int = 0
) -> Path:
    """Train, or go on with what `folder` holds, and write FOLDER/gazelle_tiny.safetensors (averaged, float16).

    With several ranks torch.distributed is set up already and every rank calls this; rank 0 writes.

    Args:
        workers: processes that draw samples; 0 draws in this one.
        until: stop before this step, as if killed after a save.

    Raises:
        UsageError: the folder holds a run of other settings. FaultError: the loss is not finite.
    """
    network = TrainingNetwork(seed=settings.seed)
    trained = dict(network.named_parameters())
    decayed = [p for p in trained.values() if p.ndim >= 2]
    others = [p for p in trained.values() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=settings.learning_rate,
        betas=(0.9, 0.98),
    )
    average = {key: value.clone() for key, value in network.shipped().items()}
    start = _resume(folder, settings, network, optimizer, average)
    stop = min(settings.steps, until or settings.steps)
    seconds = time.monotonic()
    for step, samples in _batches(settings, start, stop, workers, folder, rank):
        for group in optimizer.param_groups:
            group["lr"] = settings.rate(step)
        torch.manual_seed(step)  # what is kept of a picture must not depend on interruptions
        batch = make_batch(samples, TINY_MODEL.grid)
        if step < settings.head_steps:
            loss, figures = heads_only_loss(network, batch, settings.kept_cells)
        else:
            share = settings.auxiliary_share * settings.fall(step)
            loss, figures = whole_loss(network, batch, auxiliary_share=share)
        if not torch.isfinite(loss):
            raise FaultError(f"The loss is {float(loss)} at step {step}.", hint="Lower the learning rate.")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        _share_gradients(decayed + others, settings.ranks)
        torch.nn.utils.clip_grad_norm_(trained.values(), 1.0)
        optimizer.step()
        _average(average, network, min(settings.average, (1 + step) / (10 + step)))
        if step % 20 == 0 and rank == 0:
            line = {"step": step, "loss": round(float(loss.detach()), 4), "lr": settings.rate(step)}
            line |= {key: round(value, 4) for key, value in figures.items()}
            _log(folder, {**line, "seconds": round(time.monotonic() - seconds, 1)})
        if rank == 0 and ((step + 1) % settings.save_every == 0 or step + 1 == stop):
            _save(folder, settings, step + 1, network, optimizer, average)
    return folder / WEIGHTS


def _batches(
    settings: TrainingSettings, start: int, stop: int, workers: int, folder: Path, rank: int
) -> Iterator[tuple[int, list[Sample]]]:
    loader: DataLoader[list[Sample]] = DataLoader(
        _Samples(settings, start, folder, rank),
        batch_size=None,
        num_workers=workers,
        multiprocessing_context="spawn" if workers else None,
        prefetch_factor=6 if workers else None,
        worker_init_fn=_one_thread,
    )
    for step, samples in enumerate(loader, start):
        if step >= stop:
            return
        yield step, samples


def _share_gradients(parameters: list[torch.nn.Parameter], ranks: int) -> None:
    """Every rank gets the mean of all ranks' gradients. A parameter that this phase leaves alone has none anywhere."""
    if ranks == 1:
        return
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


@torch.no_grad()
def _average(average: dict[str, torch.Tensor], network: TrainingNetwork, keep: float) -> None:
    now = network.shipped()
    torch._foreach_lerp_(list(average.values()), [now[key] for key in average], 1 - keep)


def _save(
    folder: Path,
    settings: TrainingSettings,
    step: int,
    network: TrainingNetwork,
    optimizer: torch.optim.Optimizer,
    average: dict[str, torch.Tensor],
) -> None:
    from safetensors.torch import save_file

    tensors = {f"network.{k}": v for k, v in network.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in average.items()}
    for name, parameter in network.named_parameters():
        for key, value in optimizer.state[parameter].items() if parameter in optimizer.state else ():
            tensors[f"optimizer.{key}.{name}"] = torch.as_tensor(value, dtype=torch.float32)
    recipe = {**asdict(settings), "generator_version": GENERATOR_VERSION}
    with atomic_path(folder / STATE) as temp:
        metadata = {"step": str(step), "settings": json.dumps(recipe)}
        save_file({k: v.contiguous() for k, v in tensors.items()}, temp, metadata=metadata)
    write_checkpoint(folder / WEIGHTS, average, TINY_MODEL)


def _resume(
    folder: Path,
    settings: TrainingSettings,
    network: TrainingNetwork,
    optimizer: torch.optim.Optimizer,
    average: dict[str, torch.Tensor],
) -> int:
    """Fill everything from the folder's state and return the next step; 0 without one."""
    path = folder / STATE
    if not path.exists():
        return 0
    metadata = read_metadata(path)
    recipe = {**asdict(settings), "generator_version": GENERATOR_VERSION}
    before, step = json.loads(metadata["settings"]), int(metadata["step"])
    ahead = {"save_every"} | ({"steps"} if settings.fall(step) == 1 else set())
    ahead |= {"head_steps"} if step <= min(before["head_steps"], settings.head_steps) else set()
    if changed := [key for key in recipe if recipe[key] != before.get(key) and key not in ahead]:
        raise UsageError(
            f"{folder} holds a run with other settings: {', '.join(changed)} differ at step {step}.",
            hint="Give its settings or another folder; steps and head_steps may change before they matter.",
        )
    tensors = read_weight_file(path).tensors
    network.load_state_dict({k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")})
    for key, value in average.items():
        value.copy_(tensors[f"average.{key}"])
    for name, parameter in network.named_parameters():
        keys = ("step", "exp_avg", "exp_avg_sq")
        if f"optimizer.step.{name}" in tensors:
            optimizer.state[parameter] = {key: tensors[f"optimizer.{key}.{name}"].clone() for key in keys}
    return step


def _log(folder: Path, line: dict[str, float]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOG).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def _start_ranks(ranks: int) -> int:
    """Start this very command once per rank and wait; the first failure ends the others. Returns the exit code."""
    with tempfile.TemporaryDirectory() as name:
        command = [sys.executable, "-m", "gazetools.demo.training.run", *sys.argv[1:]]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        meeting = f"{name}/meeting"
        running = [
            subprocess.Popen(
                [*command, "--rank", str(k), "--meeting", meeting], env=environment, start_new_session=True
            )
            for k in range(ranks)
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
    """Parse and train."""
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
        torch.distributed.init_process_group(
            "gloo", init_method=f"file://{meeting}", rank=rank, world_size=settings.ranks
        )
    train(folder, settings, workers=workers, rank=rank or 0)


if __name__ == "__main__":
    main()
