"""The most memory that a part of a program uses."""

from __future__ import annotations

import resource
import sys
from contextlib import suppress
from pathlib import Path

import torch

_STATUS, RESET_PEAK = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_bytes(device: torch.device) -> int:
    """The most memory that was in use since `forget_peak`."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with suppress(OSError, StopIteration, ValueError), _STATUS.open() as file:  # Linux
        return 1024 * int(next(line for line in file if line.startswith("VmHWM:")).split()[1])
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def forget_peak(device: torch.device) -> None:
    """Let the peak begin at what is in use now, where the system can: else reading the data would count, too."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):
        RESET_PEAK.write_text("5")  # see proc(5), clear_refs
