"""A gaze model whose layers another program computes, behind the same interface."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from gazetools.gazemodels.devices import DTYPES, resolve_device
from gazetools.gazemodels.interface import GazeModel, Loader, LoadSettings
from gazetools.gazemodels.runtimes.agreement import check_steps
from gazetools.gazemodels.runtimes.forms import form_of
from gazetools.gazemodels.runtimes.graphs import GraphForm, OnRuntime, Session
from gazetools.gazemodels.runtimes.sessions import RuntimePlace, open_session
from gazetools.gazemodels.runtimes.step_files import StepFiles, step_files
from gazetools.io.json_files import read_json, write_json_atomic
from gazetools.schemas.errors import DataFileError, UsageError
from gazetools.schemas.provenance import RuntimeRecord


def load_on_runtime(settings: LoadSettings, loader: Loader, runtime: str) -> GazeModel:
    """The model of `settings`, computed by `runtime`.

    Its graphs are written to the cache at the first use, and compared with torch at the first use with each version of
    the program, device and number type.

    Raises UsageError for a model without graphs, a number type or device that the runtime does not have;
    EnvironmentLacksError for a missing package; FaultError where its numbers differ; and what the loader raises.
    """
    place = place_for(settings, runtime)
    place.check()
    model = loader(plain(settings))
    if model.dtype != torch.float32:
        raise UsageError(f"The model {model.name} cannot be loaded in float32, from which graphs are written.")
    form = form_of(model)
    files = step_files(model, form)
    frame, people = open_session(files.frame, place), open_session(files.people, place)
    difference = _checked(files, place, people.program, lambda: _measure(form, frame, people, place.dtype))
    record = RuntimeRecord(name=runtime, program=people.program, threads=place.threads, max_difference=difference)
    where = OnRuntime(record, torch.device(place.device), DTYPES[place.dtype])
    return form.on_sessions(frame, people, where)


def plain(settings: LoadSettings) -> LoadSettings:
    """The same model as graphs are written from: float32, on the CPU, no packed layers."""
    return replace(settings, device="cpu", dtype="float32", pack="off")


def place_for(settings: LoadSettings, runtime: str) -> RuntimePlace:
    """Where `runtime` computes; `auto` is float32 for it on every device. Raises what `resolve_device` raises."""
    device = resolve_device("cpu" if runtime == "openvino" and settings.device == "auto" else settings.device)
    dtype = "float32" if settings.dtype == "auto" else settings.dtype
    return RuntimePlace(runtime=runtime, device=str(device), dtype=dtype, threads=torch.get_num_threads())


def _measure(form: GraphForm, frame: Session, people: Session, dtype: str) -> float:
    frame_graph, people_graph = form.steps()
    return check_steps((frame_graph, frame), (people_graph, people), dtype)


def _checked(files: StepFiles, place: RuntimePlace, program: str, measure: Callable[[], float]) -> float:
    """Largest difference to torch as an earlier run found it, else as `measure` finds it now."""
    path = files.folder / "agreement.json"
    key = f"{program}, {place.runtime}, {place.device}, {place.dtype}, {torch.backends.cpu.get_cpu_capability()}"
    try:
        known = dict(read_json(path))
    except (DataFileError, TypeError, ValueError):
        known = {}
    if not isinstance(known.get(key), float):
        known[key] = measure()
        write_json_atomic(path, known, durable=False)
    return float(known[key])
