"""Checks before training: weights, device, compiler and memory; several problems are reported at once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from gazetools.schemas.errors import EnvironmentLacksError, GazetoolsError, UsageError
from gazetools.schemas.training import TrainingConfig
from gazetools.trainer.data.anchors import refuse_late_observation
from gazetools.trainer.data.survey import DataPlan
from gazetools.trainer.models.build import read_checkpoint
from gazetools.trainer.plan.memory import MemoryPlan


class Problems:
    """Collects the errors of independent checks.

    >>> problems = Problems()
    >>> with problems.gather():
    ...     raise UsageError("No such folder.")
    >>> len(problems.found)
    1
    """

    def __init__(self) -> None:
        self.found: list[GazetoolsError] = []

    @contextmanager
    def gather(self) -> Iterator[None]:
        """Keep a UsageError or EnvironmentLacksError of the block; faults pass through."""
        try:
            yield
        except (UsageError, EnvironmentLacksError) as error:
            self.add(error)

    def add(self, error: GazetoolsError) -> None:
        """Keep an error unless its text is known."""
        if str(error) not in map(str, self.found):
            self.found.append(error)

    def refuse(self) -> None:
        """Raise what was collected: a single error as it is, several as one (UsageError if any is one)."""
        if len(self.found) == 1:
            raise self.found[0]
        if self.found:
            lines = [f"({number}) {error}" for number, error in enumerate(self.found, start=1)]
            kind = UsageError if any(isinstance(error, UsageError) for error in self.found) else EnvironmentLacksError
            raise kind(f"{len(lines)} problems: {' '.join(lines)}", problems=[error.as_dict() for error in self.found])


def check_weights_exist(config: TrainingConfig) -> None:
    """Raise UsageError where `classifier_checkpoint` is missing, EnvironmentLacksError where `checkpoint` is."""
    given = config.classifier_checkpoint
    if given is not None and not Path(given).exists():
        raise UsageError(
            f"classifier_checkpoint: {given} does not exist.",
            hint="Pass a run folder, a checkpoint folder, an export of weights, or a probe file of V-JEPA 2.",
        )
    name = config.model_kwargs.checkpoint
    if name.endswith((".pt", ".pth")) and not Path(name).is_file():
        read_checkpoint(Path(name))  # its error names the source of the file


def choose_device(config: TrainingConfig) -> torch.device:
    """The device of this process. Raises EnvironmentLacksError where CUDA or a compiler is wanted and absent."""
    name = config.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and "LOCAL_RANK" in os.environ:  # one GPU per process
        name = f"cuda:{os.environ['LOCAL_RANK']}"
    device = torch.device(name)
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise EnvironmentLacksError(
            f"device: {name} was asked for, but torch {torch.__version__} sees {torch.cuda.device_count()} CUDA "
            "device(s).",
            hint="Set device=cpu, or install a CUDA build of torch.",
        )
    if config.model_kwargs.pretrain_kwargs.encoder.compile:
        _check_compiler(device)
    return device


def _check_compiler(device: torch.device) -> None:
    """Raise EnvironmentLacksError where torch.compile fails: no C++ compiler, or no Triton on CUDA."""
    try:
        torch.compile(lambda x: x + 1)(torch.zeros(8, device=device))
    except Exception as error:
        raise EnvironmentLacksError(
            f"encoder.compile is true, but torch.compile does not work here: {type(error).__name__}: "
            f"{str(error)[:300]}",
            hint="Install a C++ compiler (CPU: apt-get install g++) or Triton (CUDA: pip install triton), or set "
            "model_kwargs.pretrain_kwargs.encoder.compile=false.",
        ) from error


def available_memory(device: torch.device) -> int:
    """Bytes of memory of a device, in use or not."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def check_memory(device: torch.device, model: dict[str, Any], plan: MemoryPlan) -> None:
    """Raise UsageError where weights, gradients and optimizer alone need more memory than the device has."""
    needed, available = plan.total, available_memory(device)
    if needed > available:
        raise UsageError(
            f"{len(model['learners'])} model(s) need {needed / 2**30:.1f} GiB for weights, gradients and optimizer in "
            f"each of {plan.processes} process(es), {device} has {available / 2**30:.1f} GiB.",
            hint="Use fewer arms, seeds or probes, optimization.train=probe or heatmap, or dtype: bfloat16 for the "
            "encoder; with more processes, optimization.shard_optimizer=on divides the optimizers' states among them.",
        )


def check_submission(config: TrainingConfig, data: DataPlan) -> None:
    """Raise UsageError before any work where the config wants a submission that the challenge would refuse."""
    if config.experiment.evaluation.epic_sls is None or data.test is None:
        return
    refuse_late_observation(data.test.anchor.name, data.test.anticipation_seconds[0])
    every = [*(clip.segment for clip in data.test.clips), *data.test.left_out]
    names = [segment.name for segment in every]
    if (
        any(segment.clip_uid for segment in every)
        or None in names
        or len(set(names)) != len(names)
        or set(data.labels.ids) != {"verb", "noun", "action"}
    ):
        raise UsageError(
            f"experiment.evaluation.epic_sls asks for a submission to EPIC-KITCHENS' challenge, which is by verb, noun "
            f"and narration_id; these are not so in {config.experiment.data.dataset_test}.",
            hint="Use EPIC_100_test_timestamps.csv, or remove epic_sls.",
        )
