"""One writer per video of a store: locks that vanish with their process."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gazetools.io.atomic import write_error
from gazetools.schemas.errors import UsageError
from gazetools.schemas.store import WORK_FOLDER

_POLL_SECONDS = 0.05
_CANNOT_LOCK = {errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL}


class BusyError(UsageError):
    """Another process is working on the same thing; try again later."""

    code = "busy"


@contextmanager
def locked(root: Path, name: str, *, shared: bool = False, wait_seconds: float = 0.0) -> Iterator[None]:
    """Hold the lock `name` of the store `root`: alone, or with other `shared` holders.

    An flock(2), which ends with its process and reaches other machines over NFS and Lustre (mounted with `flock`).
    Where the file system has no locks, the work continues without: commits are atomic, so only time is lost.

    Raises BusyError where it is not free within `wait_seconds`, FaultError where its file can't be made.
    """
    path = root / WORK_FOLDER / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.lock"
    deadline = time.monotonic() + wait_seconds
    while (descriptor := _try_lock(path, shared=shared)) is None:
        if time.monotonic() >= deadline:
            raise BusyError(
                f"Another run is working on {name!r} in the store {root}.",
                hint="Wait for it to end, or choose another -o.",
            )
        time.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        with suppress(OSError):
            # Removed only by a sole holder, so that two processes never hold two files of one name.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
        os.close(descriptor)
        with suppress(OSError):  # only where nothing else is in it
            path.parent.rmdir()


def _try_lock(path: Path, *, shared: bool) -> int | None:
    """A descriptor that holds the lock, None where another process holds it (or just removed the file)."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except FileNotFoundError:  # the folder was removed in between
        return None
    except OSError as error:
        raise write_error(error, path) from error
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_ino == path.stat().st_ino:
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError as error:
        if error.errno in _CANNOT_LOCK:
            return descriptor
        os.close(descriptor)
        raise write_error(error, path) from error
    os.close(descriptor)
    return None
