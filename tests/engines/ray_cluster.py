"""A real Ray cluster on this machine, for tests: a head without CPUs, nodes next to it, tokens on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

TOKEN = "7" * 64
"""The same for every cluster of a test process: Ray reads it once and keeps it."""


@dataclass
class RayNodes:
    """A running cluster."""

    cluster: Any
    workers: list[Any]
    """The nodes with CPUs, in the order in which they were asked for."""

    @property
    def address(self) -> str:
        return str(self.cluster.address)


@contextmanager
def running_ray(*cpus: int, **environment: str) -> Iterator[RayNodes]:
    """A head and one node of each number of CPUs, with variables of its environment; shut down at the end."""
    ray = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, "RAY_USAGE_STATS_ENABLED": "0"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (ray | environment).items():
            patch.setenv(name, value)
        from ray.cluster_utils import Cluster  # reads the environment

        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        try:
            yield RayNodes(cluster, [cluster.add_node(num_cpus=each) for each in cpus])
        finally:
            cluster.shutdown()
