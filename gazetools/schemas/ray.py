"""Options of `extract --engine ray`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gazetools.schemas.base import StrictModel, matching

_ADDRESS = matching(
    r"(?!ray://).*\S.*",
    "must be HOST:PORT, auto or local; run the command on a node instead of through ray://",
)


class RayOptions(StrictModel):
    """Which Ray cluster works, and how many workers of which size."""

    address: Annotated[str, _ADDRESS] | None = None
    """`HOST:PORT` of a running cluster, `auto` on one of its nodes, `local` for a cluster of this machine alone that
    ends with the command; None: the environment's RAY_ADDRESS, else `local`."""
    workers: int | None = Field(default=None, ge=1)
    """Worker actors; None: as many as the cluster's GPUs, or its CPUs without any."""
    cpus: int = Field(default=1, ge=1)
    """CPUs that Ray sets aside for each worker; decoding 1080p for a GPU needs about 5."""
    gpus: int | None = Field(default=None, ge=0)
    """GPUs of each worker; None: 1 where `--device` is cuda, or auto in a cluster with GPUs; else 0."""
    wait_seconds: int = Field(default=600, ge=1)
    """The run stops when no worker could be started anywhere for so long."""
