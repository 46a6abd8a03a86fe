"""Programs that run ONNX files: onnxruntime, OpenVINO, TensorRT; what each needs, and how a file is loaded."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gazetools.schemas.errors import CheckpointError, EnvironmentLacksError, FaultError, UsageError
from gazetools.schemas.excerpt import shortened

if TYPE_CHECKING:
    import numpy.typing as npt

    from gazetools.gazemodels.runtimes.graphs import Arrays, Session

PACKAGES = {
    "onnxruntime": ("onnx", ("onnx", "onnxruntime")),
    "openvino": ("openvino", ("onnx", "openvino")),
    "tensorrt": ("tensorrt", ("onnx", "onnxruntime", "tensorrt")),
}
"""Runtime -> the extra that installs it, and the packages that it imports."""
PRECISIONS = {
    "onnxruntime": ("float32",),
    "openvino": ("float32", "bfloat16", "float16"),
    "tensorrt": ("float32", "float16"),
}
"""Runtime -> number types that it computes in."""
_OPENVINO_TYPES = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}
_OPENVINO_ABILITIES = {"bfloat16": "BF16", "float16": "FP16"}


@dataclass(frozen=True, kw_only=True)
class RuntimePlace:
    """Where and how a file is run."""

    runtime: str
    """Key of `PACKAGES`."""
    device: str
    """`cpu` or `cuda:N`."""
    dtype: str = "float32"
    threads: int = 1
    """Threads of one call; those of torch, so that runtimes are compared alike."""

    def check(self) -> None:
        """Refuse what cannot work, before anything is loaded.

        Raises UsageError for a number type or device that the runtime does not have, EnvironmentLacksError for a
        missing package.
        """
        if self.dtype not in PRECISIONS[self.runtime]:
            can = " or ".join(PRECISIONS[self.runtime])
            raise UsageError(
                f"--runtime {self.runtime} computes in {can}, not in {self.dtype}.", hint="Use another --dtype."
            )
        if self.runtime == "openvino" and self.device != "cpu":
            raise UsageError(f"--runtime openvino runs on the CPU, not on {self.device}.", hint="Use --device cpu.")
        if self.runtime == "tensorrt" and self.device == "cpu":
            raise UsageError("--runtime tensorrt runs on a CUDA device, not on the CPU.", hint="Use --device cuda.")
        require(self.runtime)


def is_installed(runtime: str) -> bool:
    """Whether the packages of a runtime are installed; imports none of them."""
    return all(importlib.util.find_spec(name) is not None for name in PACKAGES[runtime][1])


def require(runtime: str, *, what: str = "") -> None:
    """EnvironmentLacksError with the pip command where a package of `runtime` cannot be imported."""
    extra, names = PACKAGES[runtime]
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise EnvironmentLacksError(
                f"{what or f'--runtime {runtime}'} needs the package {name}, which cannot be imported ({error}).",
                hint=f"pip install 'gazetools[{extra}]'",
            ) from error


def open_session(path: Path, place: RuntimePlace) -> Session:
    """Load an ONNX file into the runtime of `place`.

    Raises CheckpointError where the program refuses the file, and what `RuntimePlace.check` raises.
    """
    place.check()
    session: Session = _OPENERS[place.runtime](path, place)
    return session


class OnnxRuntimeSession:
    """A file in onnxruntime, on the CPU or, by its CUDA or TensorRT provider, on a GPU."""

    def __init__(self, path: Path, place: RuntimePlace) -> None:
        import onnxruntime

        self.program = f"onnxruntime {onnxruntime.__version__}"
        if place.runtime == "tensorrt":
            self.program += f" with TensorRT {importlib.metadata.version('tensorrt')}"
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads, settings.inter_op_num_threads = place.threads, 1
        settings.log_severity_level = 4  # its errors are raised
        providers = _providers(place, onnxruntime.get_available_providers())
        try:
            self._session = onnxruntime.InferenceSession(str(path), settings, providers=providers)
        except Exception as error:
            raise _refused(path, self.program, error) from error
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, npt.NDArray[Any]]) -> Arrays:
        """All outputs by name. Raises FaultError where onnxruntime fails."""
        try:
            found = self._session.run(self._outputs, dict(inputs))
        except Exception as error:
            raise _failed(self.program, error) from error
        return dict(zip(self._outputs, found, strict=True))


class OpenVinoSession:
    """A file in OpenVINO's CPU plugin, in float32 or in a shorter type that this CPU computes in."""

    def __init__(self, path: Path, place: RuntimePlace) -> None:
        import onnx
        import openvino

        self.program = f"openvino {openvino.__version__.split('-')[0]}"
        core = _openvino_core()
        ability = _OPENVINO_ABILITIES.get(place.dtype)
        if ability and ability not in (has := core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")):
            raise EnvironmentLacksError(
                f"OpenVINO computes no {place.dtype} on this CPU; it has {', '.join(has)}.",
                hint="Use --dtype float32, or a CPU with AVX512_BF16 or AMX.",
            )
        settings = {
            "INFERENCE_NUM_THREADS": place.threads,
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": _OPENVINO_TYPES[place.dtype],
        }
        try:
            self._model = core.compile_model(core.read_model(str(path)), "CPU", settings)
        except Exception as error:
            raise _refused(path, self.program, error) from error
        # OpenVINO gives a tensor several names; the file's own are those of its interface.
        self._outputs = [output.name for output in onnx.load(str(path), load_external_data=False).graph.output]

    def run(self, inputs: Mapping[str, npt.NDArray[Any]]) -> Arrays:
        """All outputs by name. Raises FaultError where OpenVINO fails."""
        try:
            found = self._model(dict(inputs))
        except Exception as error:
            raise _failed(self.program, error) from error
        return {name: found[name] for name in self._outputs}


@cache
def _openvino_core() -> Any:
    """The one Core of this process, which is never freed.

    Each Core gives its thread a stack for signal handlers, and puts back the one that it found when it is freed. Two
    Cores that are freed in the order of their making leave the thread with a stack that is freed, and the next signal
    with a handler, such as SIGCHLD after torch's DataLoader, ends the process by a segmentation fault (2026.4).
    """
    import openvino

    return openvino.Core()


_OPENERS: dict[str, Callable[[Path, RuntimePlace], Session]] = {
    "onnxruntime": OnnxRuntimeSession,
    "openvino": OpenVinoSession,
    "tensorrt": OnnxRuntimeSession,
}


def _providers(place: RuntimePlace, available: list[str]) -> list[tuple[str, dict[str, Any]]]:
    """onnxruntime's execution providers for a place. Raises EnvironmentLacksError where its build lacks them."""
    if place.device == "cpu":
        return [("CPUExecutionProvider", {})]
    device_id = int(place.device.partition(":")[2] or 0)
    wanted: list[tuple[str, dict[str, Any]]] = [("CUDAExecutionProvider", {"device_id": device_id, "use_tf32": 0})]
    if place.runtime == "tensorrt":
        half = place.dtype == "float16"
        wanted.insert(0, ("TensorrtExecutionProvider", {"device_id": device_id, "trt_fp16_enable": half}))
    if missing := [name for name, _ in wanted if name not in available]:
        raise EnvironmentLacksError(
            f"This onnxruntime has no {missing[0]}; it has {', '.join(available)}.",
            hint="pip uninstall -y onnxruntime && pip install 'gazetools[tensorrt]' (onnxruntime-gpu), or use "
            "--device cpu.",
        )
    return wanted


def _refused(path: Path, program: str, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"{program} cannot load {path}: {shortened(error, 400)}.",
        hint="Fetch or export the file again.",
        path=str(path),
    )


def _failed(program: str, error: Exception) -> FaultError:
    return FaultError(f"{program} failed: {shortened(error, 400)}.", hint="Use --runtime torch.")
