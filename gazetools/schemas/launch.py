"""Options of `train`: where and in how many processes a config runs. What is trained stands in the config."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from gazetools.schemas.base import StrictModel
from gazetools.schemas.flags import Flag


class LaunchOptions(StrictModel):
    """One call of `gazetools train`."""

    config: Path | None = None
    """Training config (YAML), see docs/training.md; with --init the file to write."""
    dry_run: bool = False
    """Check everything and print sizes, clips and the resolved config."""
    cache_only: bool = False
    """Encode all clips into the feature cache and end; the trainings then need no video."""
    resume: Annotated[bool | None, Flag(names=("--resume/--no-resume",))] = None
    """Continue from the run folder's last checkpoint, or start where there is none; `--resume auto` is the same
    (default: resume_checkpoint of the config, which is true)."""
    only_seed: int | None = Field(default=None, ge=0)
    """Train only the training of this seed of a study (`seeds` in the config), as one job of an array does."""
    evaluate_only: bool = False
    """Only measure: the best weights of the run folder (into its `evaluation`), or classifier_checkpoint."""
    predict: Path | None = None
    """Only predict annotations without labels, such as EPIC_100_test_timestamps.csv, with the best weights of the run
    folder (into its `test`), or classifier_checkpoint."""
    epic_sls: Annotated[str | None, Flag(metavar="PT,TL,TD")] = None
    """Write the predictions as test.json for EPIC-KITCHENS' challenge.

    Its supervision levels, 0..5 each: pretraining, training labels, training data."""
    gpus: str | None = None
    """0: CPU, N or `all`: GPUs of this machine (default: `device` of the config)."""
    processes: int | None = Field(default=None, ge=1)
    """Processes on this machine (default: one per GPU); several on CPU too."""
    nodes: int = Field(default=1, ge=1)
    """Machines; each runs this command with --rdzv-endpoint."""
    node_rank: int | None = Field(default=None, ge=0)
    """Number of this machine, from 0."""
    rdzv_endpoint: str | None = None
    """HOST:PORT of the first machine."""
    rdzv_id: str | None = None
    """Name of the meeting of several machines."""
