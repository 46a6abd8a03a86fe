"""Processes below a process, and the memory of a command together with all its children (Linux)."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

_SAMPLE_SECONDS = 0.1


@dataclass
class Usage:
    """Output, memory, processes and CPU time of a finished command."""

    stdout: str
    peak_pss_mib: float
    """Peak memory: proportional set size summed over the tree, shared pages counted once."""
    peak_process_mib: float
    """Peak memory of the largest single process."""
    processes: int
    """Largest number of processes at one time."""
    cpu_seconds: float
    """CPU time of the command and of all children that it waited for."""


def run_measured(command: list[str]) -> Usage:
    """Run `command` and sample its process tree; stderr is not captured. Raises CalledProcessError if it fails."""
    import resource

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    peak = largest = 0.0
    most = 0
    while process.poll() is None:
        sizes = [_pss_mib(pid) for pid in [process.pid, *descendants(process.pid)]]
        peak, largest, most = max(peak, sum(sizes)), max(largest, *sizes), max(most, len(sizes))
        time.sleep(_SAMPLE_SECONDS)
    assert process.stdout is not None
    text = process.stdout.read()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, text)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Usage(text, round(peak, 1), round(largest, 1), most, round(cpu, 2))


def _pss_mib(pid: int) -> float:
    """Pss of a process (a page that n processes share counts 1/n); 0 for a process that has ended."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    except (OSError, IndexError):
        pass
    return 0.0


def descendants(pid: int) -> dict[int, str]:
    """Pid -> command line of all living descendants of `pid`."""
    parents, commands = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                commands[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ")
            except OSError:  # it has just ended
                continue
    found: set[int] = set()
    while more := {child for child, parent in parents.items() if parent in found | {pid}} - found:
        found |= more
    return {child: commands[child] for child in sorted(found) if child in commands}
