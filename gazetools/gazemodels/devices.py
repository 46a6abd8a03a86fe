"""Words for devices and number types -> what torch knows them as, refused early where this machine lacks them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from gazetools.schemas.errors import EnvironmentLacksError, UsageError

DtypeName = Literal["auto", "float32", "bfloat16", "float16"]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def resolve_device(device: str | torch.device) -> torch.device:
    """`auto`, `cpu`, `cuda` or `cuda:N` as a device; UsageError for other words, EnvironmentLacksError if not there."""
    text = str(device)
    if text in {"auto", "cpu"}:
        return torch.device("cuda:0" if text == "auto" and torch.cuda.is_available() else "cpu")
    kind, _, number = text.partition(":")
    if kind != "cuda" or not (number.isdigit() or text == "cuda"):
        raise UsageError(f"device={text!r} is unknown.", hint="Use auto, cpu, cuda or cuda:N.")
    if not torch.cuda.is_available():
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "a CPU build"
        raise EnvironmentLacksError(
            f"device={text!r}: CUDA is not available (torch {torch.__version__} is {built}).",
            hint="Use --device cpu, or install a CUDA build of torch and a driver (https://pytorch.org/get-started).",
        )
    index = int(number or 0)
    if index >= torch.cuda.device_count():
        raise EnvironmentLacksError(
            f"device={text!r}: this machine has {torch.cuda.device_count()} CUDA device(s), numbered from 0.",
            hint="Use one of those, or --device auto.",
        )
    return torch.device("cuda", index)


def resolve_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """The torch dtype for `auto`, `float32`, `bfloat16` or `float16` on `device`; else UsageError.

    `auto` is float32: only frames can show that another type gives the same gaze, and `extract` has frames.
    """
    if dtype == "auto":
        return torch.float32
    if dtype not in DTYPES:
        raise UsageError(f"dtype={dtype!r} is unknown.", hint=f"Use auto, {', '.join(DTYPES)}.")
    return DTYPES[dtype]


def device_kind(device: torch.device) -> str:
    """The kind of device, on which equal programs compute equal numbers: a GPU's name, or a CPU's instructions."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu {torch.backends.cpu.get_cpu_capability()}{' bfloat16' if cpu_computes_bfloat16() else ''}"


def cpu_computes_bfloat16() -> bool:
    """Whether this CPU has instructions for products of bfloat16 (AVX512-BF16, AMX); without them it is far slower."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


@contextmanager
def products_in(word: str, device: torch.device) -> Iterator[None]:
    """In the block, CUDA computes products of float32 as `word` says: exactly for `float32`, rounded for `tf32`.

    Other words and devices change nothing. By itself torch rounds in convolutions but not in matrix products.
    """
    if device.type != "cuda" or word not in ("float32", "tf32"):
        yield
        return
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = word == "tf32"
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before
