"""`--runtime auto`: measures once which program computes a model fastest here, and remembers it."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import torch
from pydantic import Field

from gazetools.gazemodels.interface import GazeModel, Loader, LoadSettings
from gazetools.gazemodels.runtimes.computed import load_on_runtime
from gazetools.gazemodels.runtimes.sessions import PACKAGES, PRECISIONS, is_installed
from gazetools.gazemodels.runtimes.step_files import model_digest, runtimes_cache
from gazetools.io.json_files import read_json, write_json_atomic
from gazetools.schemas.base import StrictModel
from gazetools.schemas.errors import DataFileError, EnvironmentLacksError, FaultError, UsageError
from gazetools.schemas.provenance import RuntimeRecord

TORCH = "torch"
GAIN = 0.95
"""A program takes torch's place where it needs less than this part of its time: below, noise would decide."""
_FRAMES = 3


class RuntimeChoice(StrictModel):
    """What was measured on this machine for one model, in a file of the cache."""

    name: str
    milliseconds: dict[str, float]
    """Runtime -> the shortest time of one frame with one person."""
    left_out: dict[str, str] = Field(default_factory=dict)
    """Runtime -> why it was not measured."""


@dataclass
class _Candidates:
    """Models by runtime, and those that cannot be had."""

    models: dict[str, GazeModel]
    left_out: dict[str, str] = field(default_factory=dict)


def load_fastest(settings: LoadSettings, loader: Loader) -> GazeModel:
    """The model in torch or in the installed program that is at least 5 % faster, as measured here at the first use.

    Kept by model, processor, versions and threads. Raises what the loader raises.
    """
    model = loader(settings)
    path = runtimes_cache() / "choices" / f"{_key(model)}.json"
    choice = _known(path)
    if choice is None:
        candidates = _candidates(settings, loader, model)
        choice = choose_fastest(candidates.models, candidates.left_out)
        write_json_atomic(path, choice.model_dump(mode="json"), durable=False)
        if choice.name != TORCH:
            return _with_record(candidates.models[choice.name], choice)
    if choice.name != TORCH:
        return _with_record(load_on_runtime(settings, loader, choice.name), choice)
    return _with_record(model, choice)


def choose_fastest(
    models: Mapping[str, GazeModel],
    left_out: Mapping[str, str],
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> RuntimeChoice:
    """Time one frame with one person on each of `models` (torch among them) and take the fastest."""
    times: dict[str, list[float]] = {name: [] for name in models}
    generator = torch.Generator().manual_seed(0)
    for attempt in range(_FRAMES + 1):  # in turns, so that other jobs slow all alike
        for name, model in models.items():
            frame = torch.randint(0, 256, (1, *model.in_size, 3), dtype=torch.uint8, generator=generator)
            started = clock()
            out = model(frame.to(model.device), [[(0.4, 0.1, 0.55, 0.3)]])
            out.heatmap.cpu()  # waits for a GPU
            if attempt:  # the first call also prepares
                times[name].append((clock() - started) * 1000)
    best = {name: round(min(some), 3) for name, some in times.items()}
    fastest = min(best, key=lambda name: best[name])
    name = fastest if best[fastest] < GAIN * best[TORCH] else TORCH
    return RuntimeChoice(name=name, milliseconds=best, left_out=dict(left_out))


def _candidates(settings: LoadSettings, loader: Loader, model: GazeModel) -> _Candidates:
    found = _Candidates({TORCH: model})
    for runtime in PACKAGES:
        dtype = str(model.dtype).removeprefix("torch.")
        if not is_installed(runtime):
            found.left_out[runtime] = "not installed"
        elif dtype not in PRECISIONS[runtime]:
            found.left_out[runtime] = f"computes no {dtype}"
        else:
            try:
                found.models[runtime] = load_on_runtime(settings, loader, runtime)
            except (UsageError, EnvironmentLacksError, FaultError) as error:
                found.left_out[runtime] = error.message[:300]
    return found


def _with_record(model: GazeModel, choice: RuntimeChoice) -> GazeModel:
    record = getattr(model, "runtime", None) or RuntimeRecord(
        name=TORCH, program=f"torch {torch.__version__}", threads=torch.get_num_threads()
    )
    measured = {"chosen": "measured", "milliseconds": choice.milliseconds, "left_out": choice.left_out}
    vars(model)["runtime"] = record.model_copy(update=measured)
    return model


def _known(path: Path) -> RuntimeChoice | None:
    try:
        return RuntimeChoice.model_validate(read_json(path))
    except (DataFileError, ValueError):
        return None


def _key(model: GazeModel) -> str:
    """Digest of everything that the choice may depend on."""
    versions = {name: metadata.version(name) for name in ("onnxruntime", "openvino", "tensorrt") if is_package(name)}
    return model_digest(
        model,
        processor=processor_name(),
        threads=str(torch.get_num_threads()),
        device=str(model.device),
        dtype=str(model.dtype),
        **versions,
    )[:32]


def is_package(name: str) -> bool:
    """Whether a distribution of that name is installed."""
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def processor_name() -> str:
    """The processor as the system calls it, with the instructions that torch uses."""
    name = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text(errors="replace").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    return f"{name or platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"
