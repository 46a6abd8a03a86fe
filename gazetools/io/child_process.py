"""Child processes that die with their parent, and the JSON messages between them."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

_PR_SET_PDEATHSIG = 1
"""linux/prctl.h: the signal that a process gets when its parent dies."""

_MAIN = "import sys; sys.path[:] = {path!r}; from {module} import main; sys.exit(main(sys.argv[1:]))"


def start_child(
    module: str, *arguments: str, pass_fds: Sequence[int] = (), env: dict[str, str] | None = None
) -> tuple[subprocess.Popen[bytes], Connection]:
    """Start MODULE's `main` in a new interpreter and return it with the parent's end of its message channel.

    Never a fork, over which decoders and CUDA contexts break, nor multiprocessing's spawn, which needs a `__main__`
    guard. The child imports from where its parent does; its stdout goes to stderr, since the parent's is one JSON text.
    """
    ours, theirs = socket.socketpair()
    code = _MAIN.format(path=[os.path.abspath(entry) for entry in sys.path], module=module)  # noqa: PTH100 - '' is the cwd
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(theirs.fileno()), str(os.getpid()), *arguments],
            pass_fds=(theirs.fileno(), *pass_fds),
            stdin=subprocess.DEVNULL,
            stdout=2,
            env=None if env is None else {**os.environ, **env},
        )
    finally:
        theirs.close()
    return process, Connection(ours.detach())


def enter_child(arguments: Sequence[str]) -> Connection:
    """First call of a child's main: bind its life to the parent's and return its message channel."""
    import resource

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it too, and ends its children
    end_with_parent(int(arguments[1]), signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return Connection(int(arguments[0]))


def end_with_parent(parent: int, by: signal.Signals) -> None:
    """Let the kernel send the signal `by` to this process when its parent, the process `parent`, dies (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, by)
    if os.getppid() != parent:  # it died before prctl
        os._exit(1)


def send(channel: Connection, **message: Any) -> None:
    """Send one message; JSON and not pickle, because a hijacked decoder must not run code in its parent."""
    channel.send_bytes(json.dumps(message).encode())


def receive(channel: Connection) -> dict[str, Any]:
    """The next message; EOFError or ConnectionError where the other side is gone."""
    message: dict[str, Any] = json.loads(channel.recv_bytes())
    return message


def end_process(process: subprocess.Popen[bytes]) -> None:
    """Kill a child and reap it. Its finished work is committed, so nothing of value is lost."""
    if process.poll() is None:
        process.kill()
    process.wait()


def how_it_ended(process: subprocess.Popen[bytes]) -> str:
    """Words for the end of a child whose channel is closed: `was killed by SIGSEGV`, `exited with code 3`."""
    try:
        code = process.wait(timeout=5.0)
    except subprocess.TimeoutExpired:
        end_process(process)
        return "closed its channel and had to be killed"
    if code >= 0:
        return f"exited with code {code}"
    names = {number.value: number.name for number in signal.Signals}
    return f"was killed by {names.get(-code, f'signal {-code}')}"
