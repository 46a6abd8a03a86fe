"""Words for devices and number types -> what torch knows them as, refused early where this machine lacks them."""

from __future__ import annotations

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
    """The torch dtype for `auto`, `float32`, `bfloat16` or `float16` on `device`; else UsageError."""
    if dtype == "auto":
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    if dtype not in DTYPES:
        raise UsageError(f"dtype={dtype!r} is unknown.", hint=f"Use auto, {', '.join(DTYPES)}.")
    return DTYPES[dtype]
