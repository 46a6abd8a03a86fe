"""`doctor`: what this machine has and lacks for gazetools, each lack with the command that gets it."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Literal

from gazetools._version import __version__

# module to import -> (package to install, what it is for, needed by every command?)
_PACKAGES = {
    "torch": ("torch", "models", True),
    "numpy": ("numpy", "arrays", True),
    "h5py": ("h5py", "stores", True),
    "av": ("av", "video decoding", True),
    "cv2": ("opencv-python (or opencv-python-headless where libGL is missing)", "drawing and resizing", True),
    "decord": ("decord", "--backend decord", False),
    "trackers": ("'gazetools[detect]'", "gazetools heads, --heads detect", False),
    "transformers": ("'gazetools[transformers]'", "detectors, encoders by a hub name, exports in its format", False),
    "scipy": ("'gazetools[report]'", "gazetools report, the demo's report", False),
    "matplotlib": ("'gazetools[report]'", "PNG files of the report's plots", False),
    "weasyprint": ("'gazetools[pdf]'", "gazetools report --format pdf", False),
    "sklearn": ("'gazetools[evaluate]'", "gaze metrics", False),
    "submitit": ("'gazetools[slurm]'", "extract --engine slurm", False),
    "ray": ("'gazetools[ray]'", "extract --engine ray", False),
    "onnxruntime": ("'gazetools[onnx]'", "gazetools export, extract --runtime onnxruntime", False),
    "openvino": ("'gazetools[openvino]'", "extract --runtime openvino", False),
    "pyarrow": ("'gazetools[hub]'", "pack and convert --layout hf", False),
    "huggingface_hub": ("'gazetools[hub]'", "gazetools push", False),
    "wandb": ("'gazetools[wandb]'", "logging to Weights & Biases", False),
    "tensorboard": ("'gazetools[tensorboard]'", "logging to TensorBoard", False),
}


@dataclass(frozen=True, kw_only=True)
class Check:
    """One line of the report."""

    name: str
    status: Literal["ok", "optional", "missing"]
    """`optional`: absent, and only the named use needs it."""
    found: str
    remedy: str | None = None


def examine() -> list[Check]:
    """Check Python, packages, devices, weights cache and disk, without changing anything."""
    free = shutil.disk_usage(Path.cwd()).free
    return [
        Check(name="gazetools", status="ok", found=__version__),
        Check(name="python", status="ok", found=f"{platform.python_version()} on {platform.platform()}"),
        *(_package(module, *facts) for module, facts in _PACKAGES.items()),
        _cuda(),
        _weights(),
        Check(name="disk here", status="ok", found=f"{free / 2**30:.1f} GiB free"),
    ]


def _package(module: str, package: str, use: str, needed: bool) -> Check:
    try:
        found = _version(importlib.import_module(module))
    except ImportError as error:
        reason = str(error) if importlib.util.find_spec(module) else "not installed"
        return Check(
            name=module,
            status="missing" if needed else "optional",
            found=f"{reason} (for {use})",
            remedy=f"pip install {package}",
        )
    return Check(name=module, status="ok", found=found)


def _version(module: ModuleType) -> str:
    try:
        return str(getattr(module, "__version__", None) or importlib.metadata.version(module.__name__))
    except importlib.metadata.PackageNotFoundError:
        return "present"


def _cuda() -> Check:
    if importlib.util.find_spec("torch") is None:
        return Check(name="CUDA", status="optional", found="torch is missing", remedy="pip install torch")
    import torch

    if not torch.cuda.is_available():
        return Check(
            name="CUDA",
            status="optional",
            found=f"not available to torch {torch.__version__}; commands run on {os.cpu_count()} CPU cores",
            remedy="install a CUDA build of torch and a driver, if this machine has an NVIDIA GPU",
        )
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return Check(name="CUDA", status="ok", found=f"{torch.version.cuda}: {', '.join(names)}")


def _weights() -> Check:
    from gazetools.gazemodels.weights import cache_folder

    folder = cache_folder()
    files = sorted(path.name for path in folder.glob("**/*") if path.suffix in {".pt", ".pth", ".safetensors"})
    if not files:
        return Check(
            name="gaze weights",
            status="optional",
            found=f"none in {folder}",
            remedy="gazetools models NAME --fetch, or pass --checkpoint and --backbone",
        )
    return Check(name="gaze weights", status="ok", found=f"{folder}: {', '.join(files)}")
