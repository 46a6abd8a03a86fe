"""One writer per video of a store: locks that vanish with their process."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from gazetools.io.atomic import write_error
from gazetools.io.folders import open_new_or_old, remove_if_empty
from gazetools.schemas.errors import FaultError, UsageError
from gazetools.schemas.store import WORK_FOLDER

_POLL_SECONDS = 0.05
_CANNOT_LOCK = {errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL}
_NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}
_SHARER_WAITS_SECONDS = 1.0
"""A sharer waits at least so long: another one that is ending holds the lock alone while it removes the file."""
_MOST_HOLDER_BYTES = 300


class BusyError(UsageError):
    """Another process is working on the same thing; try again later. `details["holder"]` names it, if it is known."""

    code = "busy"


@contextmanager
def locked(root: Path, name: str, *, shared: bool = False, wait_seconds: float = 0.0) -> Iterator[None]:
    """Hold the lock `name` of the store `root`: alone, or with other `shared` holders.

    An flock(2), which ends with its process and reaches other machines over NFS and Lustre (mounted with `flock`).
    Where the file system has no locks, the work continues without: commits are atomic, so only time is lost.
    Locks of different names never affect each other, although the last one to end removes their folder.

    Raises BusyError where it is not free within `wait_seconds`, FaultError where its file can't be made.
    """
    path = root / WORK_FOLDER / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.lock"
    deadline = time.monotonic() + (max(wait_seconds, _SHARER_WAITS_SECONDS) if shared else wait_seconds)
    while (held := _try_lock(path, name, shared=shared)) is None:
        if time.monotonic() >= deadline:
            holder = _holder_of(path)
            raise BusyError(
                f"Another run is working on {name!r} in the store {root}{f' ({holder})' if holder else ''}.",
                hint="Wait for it to end, or choose another -o.",
                **({"holder": holder} if holder else {}),
            )
        time.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        held.release()


@dataclass(frozen=True, kw_only=True)
class _Held:
    """A lock that this process holds."""

    path: Path
    descriptor: int
    process: int
    """A child that was forked in the block leaves it too, but must not end its parent's lock."""

    def release(self) -> None:
        """Remove the lock's file if this is the only holder, and unlock it, for forked copies of the descriptor too."""
        if self.process != os.getpid():
            return
        _OPEN.discard(self.descriptor)
        with suppress(OSError):
            # Removed only by a sole holder, so that two processes never hold two files of one name.
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(self.path, self.descriptor):  # from shared to alone is not one step
                self.path.unlink(missing_ok=True)
        with suppress(OSError):
            fcntl.flock(self.descriptor, fcntl.LOCK_UN)
        os.close(self.descriptor)
        remove_if_empty(self.path.parent)


_OPEN: set[int] = set()
"""Descriptors of held locks."""


def _close_in_forked_child() -> None:
    """Close the copies of the parent's locks: with them, a child that outlives the parent would keep it busy."""
    for descriptor in _OPEN:
        with suppress(OSError):
            os.close(descriptor)
    _OPEN.clear()


os.register_at_fork(after_in_child=_close_in_forked_child)


def _try_lock(path: Path, name: str, *, shared: bool) -> _Held | None:
    """The lock, None where another holder has it; a file that its holder has just removed is made again."""
    how = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB
    while True:
        try:
            descriptor = _open(path)
        except OSError as error:
            raise _no_file(error, path, name) from error
        try:
            fcntl.flock(descriptor, how)
            current = _is_at(path, descriptor)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError as error:
            if error.errno not in _CANNOT_LOCK:
                os.close(descriptor)
                raise write_error(error, path) from error
            current = True
        if current:
            _OPEN.add(descriptor)
            _name_holder(descriptor, shared=shared)
            return _Held(path=path, descriptor=descriptor, process=os.getpid())
        os.close(descriptor)


def _name_holder(descriptor: int, *, shared: bool) -> None:
    """Write into the lock's file who holds it alone; several holders are not named."""
    text = "" if shared else f"process {os.getpid()} on {platform.node() or 'this machine'}"
    with suppress(OSError):  # only a help for people: another user's file, or a full disk
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode(), 0)


def _holder_of(path: Path) -> str:
    """Who has written its name into a lock's file; empty where nobody has."""
    with suppress(OSError, UnicodeDecodeError):
        with path.open("rb") as file:
            text = file.read(_MOST_HOLDER_BYTES).decode()
        return text if text.isprintable() else ""
    return ""


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether `path` still names the open file; its holder may have removed it."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    opened = os.fstat(descriptor)
    return (there.st_dev, there.st_ino) == (opened.st_dev, opened.st_ino)


def _open(path: Path) -> int:
    try:
        return open_new_or_old(path, os.O_RDWR)
    except PermissionError:
        # another user's lock in a common store can be read, and so be waited for
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _no_file(error: OSError, path: Path, name: str) -> FaultError:
    """The error to raise where the file of a lock can't be made."""
    if error.errno not in _NOT_ALLOWED and not isinstance(error, FileNotFoundError):
        return write_error(error, path)
    return FaultError(
        f"The lock of {name!r} can't be made in {path.parent}: {error.strerror}.",
        hint="A store needs a folder that this user may write to, with all in it: change its permissions "
        "(chmod -R u+rwX,g+rwX), mount it for writing, or choose another -o.",
        path=str(path),
    )
