"""Options of `extract --engine slurm`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gazetools.schemas.base import StrictModel, matching

_Word = Annotated[str, matching(r"[\w.,+-]+", "must be one word")]


class SlurmOptions(StrictModel):
    """One job array; each task of it is one shard of the run."""

    jobs: int = Field(default=8, ge=1)
    """Array tasks, hence shards. Several per GPU, so that the queue evens out slow nodes."""
    parallel: int | None = Field(default=None, ge=1)
    """At most so many run at a time (`--array=...%N`); None: as many as the cluster allows."""
    minutes: int = Field(default=60, ge=1)
    """Time limit of one task; a task that needs longer is requeued and goes on."""
    requeues: int = Field(default=20, ge=0)
    """How often a task is requeued after a time-out. Preemption does not count, except in the printed script, where
    Slurm's own count of restarts is all there is."""
    partition: _Word | None = None
    account: _Word | None = None
    gpus: int | None = Field(default=None, ge=0)
    """GPUs of each task; None: 0 with `--device cpu`, those that `--device cuda:0,cuda:1` names, else 1."""
    cpus: int = Field(default=8, ge=1)
    """CPU cores of each task: decoding needs about 5 per GPU for 1080p."""
    memory: Annotated[str, matching(r"\d+[KMGT]?", "must be a number with K, M, G or T, such as 32G")] = "32G"
    setup: list[str] = Field(default_factory=list)
    """Shell lines before the job, such as `module load cuda`."""
