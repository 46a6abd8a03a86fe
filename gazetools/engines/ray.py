"""The engine `ray`: actors of a Ray cluster that get one task at a time from this process."""

from __future__ import annotations

import os
import secrets
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from gazetools.engines.paths import absolute_inputs, absolute_options
from gazetools.engines.ray_pool import RayPool
from gazetools.engines.registry import import_for
from gazetools.extraction.run import Workers, extract, plan
from gazetools.extraction.work import WorkOrder
from gazetools.io.atomic import check_writable_folder, temp_path_for
from gazetools.progress import Progress
from gazetools.schemas.errors import EnvironmentLacksError, UsageError
from gazetools.schemas.extract import ExtractOptions, ExtractReport
from gazetools.schemas.ray import RayOptions

_OBJECT_STORE_BYTES = 80 << 20
"""Size of Ray's object store, which gets small messages only. Its minimum is 75 MiB; its default, 30 % of the memory,
would be taken from the models."""


def run(
    inputs: Sequence[str | Path], output: Path, options: ExtractOptions, settings: RayOptions, progress: Progress
) -> ExtractReport:
    """`extract` with workers on a Ray cluster; the store equals that of one local run.

    Anybody who reaches a Ray port can run code as you. So tokens are always on (`RAY_AUTH_MODE=token`): a local cluster
    gets a token of its own and listens on 127.0.0.1 only; a running cluster must have the same token as this process
    (`RAY_AUTH_TOKEN_PATH`, `RAY_AUTH_TOKEN` or `~/.ray/auth_token`). All nodes share inputs, weights and store.

    Raises UsageError (also for unfit options) and FaultError as `extract`, EnvironmentLacksError where ray is missing,
    the cluster does not answer, refuses the token or has no room for a worker, or a node does not see the files.
    """
    if options.shard is not None:
        raise UsageError("--engine ray shares the work out itself.", hint="Leave out --shard.")
    if options.device not in {"auto", "cpu", "cuda"}:
        raise UsageError(
            f"--device {options.device} names devices of one machine; under --engine ray it is auto, cpu or cuda.",
            hint="Use --device cuda with --ray workers=N; Ray gives each worker GPUs of its own.",
        )
    inputs, options = absolute_inputs(inputs), absolute_options(options)
    plan(inputs, options)
    check_writable_folder(output, option="-o")
    with _connected(settings, progress) as ray, _probe_file(output) as probe:
        device, sized = _sizes(ray.cluster_resources(), options.device, settings)
        assert sized.workers is not None
        progress.say(f"Ray: up to {sized.workers} workers on {device} in a cluster of {len(ray.nodes())} node(s)")

        def start(order: WorkOrder) -> RayPool:
            return RayPool(ray, order, progress, sized, probe=probe)

        options = options.model_copy(update={"device": device})
        return extract(inputs, output, options=options, progress=progress, workers=Workers(sized.workers, start))


def _sizes(resources: dict[str, float], device: str, wanted: RayOptions) -> tuple[str, RayOptions]:
    """Device, and `wanted` with GPUs and workers; UsageError: they contradict, EnvironmentLacksError: no such GPU."""
    cluster_gpus = int(resources.get("GPU", 0))
    if device == "auto":
        device = "cuda" if wanted.gpus or (wanted.gpus is None and cluster_gpus) else "cpu"
    gpus = int(device == "cuda") if wanted.gpus is None else wanted.gpus
    if (device == "cuda") != (gpus > 0):
        raise UsageError(f"--device {device} and --ray gpus={gpus} contradict each other.", hint="Leave one out.")
    if gpus > cluster_gpus:
        raise EnvironmentLacksError(
            f"Each worker needs {gpus} GPU(s), the cluster has {cluster_gpus} in all.", hint="Use --device cpu."
        )
    room = cluster_gpus // gpus if gpus else int(resources.get("CPU", 0)) // wanted.cpus
    return device, wanted.model_copy(update={"gpus": gpus, "workers": wanted.workers or max(room, 1)})


@contextmanager
def _probe_file(store: Path) -> Iterator[Path]:
    """A file in the store for the length of the block; the next run removes that of a killed run."""
    probe = temp_path_for(store / "ray-probe")
    probe.touch()
    try:
        yield probe
    finally:
        probe.unlink(missing_ok=True)


@contextmanager
def _connected(wanted: RayOptions, progress: Progress) -> Iterator[Any]:
    """The module `ray`, connected to the cluster for the length of the block; a local cluster ends with it."""
    address = wanted.address or os.environ.get("RAY_ADDRESS") or "local"
    with _environment(local=address == "local"):
        ray = import_for("ray", "ray", otherwise="share the work with --engine slurm or --shard I/N")
        if ray.is_initialized():
            raise UsageError(
                "Ray is already in use by this process, perhaps without a token.",
                hint="Call ray.shutdown() before, and set RAY_AUTH_MODE=token before ray is imported.",
            )
        progress.say("starting a local Ray cluster" if address == "local" else f"connecting to Ray at {address}")
        local: dict[str, Any] = {}
        if address == "local":
            local = {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
            local["object_store_memory"] = _OBJECT_STORE_BYTES
        with redirect_stdout(sys.stderr):  # Ray prints messages about lost nodes; stdout is for the report
            try:
                with _own_sigterm():
                    ray.init(address=address, log_to_driver=False, configure_logging=False, **local)
            except Exception as error:  # Ray raises a bare `Exception` for a node that starts too slowly
                raise _no_cluster(address, error) from error
            try:
                yield ray
            finally:
                ray.shutdown()


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keep this process's handler of SIGTERM over the block, in which Ray puts two of its own in its place.

    One prints a stack trace of C++ frames, the other ends the process with code 1: a scheduler's SIGTERM would leave
    the run without a word. Where the process has no handler, Ray's stay: they end its local cluster.
    """
    before = signal.getsignal(signal.SIGTERM)
    ours = callable(before) and threading.current_thread() is threading.main_thread()
    try:
        yield
    except SystemExit as stop:  # Ray's own answer to a SIGTERM while it starts
        raise KeyboardInterrupt from stop
    finally:
        if ours:
            signal.signal(signal.SIGTERM, before)


@contextmanager
def _environment(*, local: bool) -> Iterator[None]:
    """Set what Ray reads from the environment for the block; UsageError where the user has turned tokens off."""
    mode = os.environ.get("RAY_AUTH_MODE", "token")
    if mode.lower() == "disabled":
        raise UsageError(
            "RAY_AUTH_MODE=disabled lets anybody who reaches a port of the cluster run code as you.",
            hint="Set RAY_AUTH_MODE=token, here and where the cluster is started.",
        )
    values = {"RAY_AUTH_MODE": mode, "RAY_USAGE_STATS_ENABLED": os.environ.get("RAY_USAGE_STATS_ENABLED", "0")}
    if local:
        values["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
        # Ray's own switch for clusters that stay on the loopback; otherwise it listens on every interface.
        values["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    before = {name: os.environ[name] for name in values if name in os.environ}
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values:
            os.environ.pop(name, None)
        os.environ.update(before)


def _no_cluster(address: str, error: BaseException) -> EnvironmentLacksError:
    """The error to raise for a cluster that can't be used; Ray hides the reason in the causes of `error`."""
    causes = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None and cause not in causes:
        causes.append(cause)
    if any("InvalidAuthToken" in str(cause) for cause in causes):
        return EnvironmentLacksError(
            f"The Ray cluster at {address} refused the token.",
            hint="Point RAY_AUTH_TOKEN_PATH at the file with the cluster's token.",
        )
    if any(type(cause).__name__ == "AuthenticationError" for cause in causes):
        return EnvironmentLacksError(
            f"There is no token for the Ray cluster at {address}.",
            hint="Point RAY_AUTH_TOKEN_PATH at the file with it; `ray get-auth-token --generate` makes one.",
        )
    return EnvironmentLacksError(
        f"The Ray cluster at {address} can't be used: {next(iter(str(error).splitlines()), type(error).__name__)}",
        hint="Check that it runs (ray status) and has this version of ray, or use --ray address=local.",
    )
