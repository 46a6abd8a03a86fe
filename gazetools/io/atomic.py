"""Commit files so that a final name is always a complete file: temporary file, fsync, replace, fsync of the folder."""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import re
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from gazetools.io.folders import below, make_folder
from gazetools.schemas.errors import FaultError, UsageError

TEMP_MARK = ".gazetools-tmp-"
"""Part of every unfinished file's name; such names start with '.', which no video id segment can."""

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NOT_WRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENOENT, errno.EEXIST, errno.EISDIR}


def write_error(error: OSError, path: Path) -> FaultError:
    """The user's message for a failed write to `path` (exit 4)."""
    what, remedy = f"Writing {path} failed: {error.strerror or error}.", "Check the file system"
    if error.errno in _DISK_FULL:
        what, remedy = f"No space left while writing {path} ({error.strerror}).", "Free some space (or raise the quota)"
    return FaultError(what, hint=f"{remedy} and run the same command again: finished files are kept.", path=str(path))


def temp_path_for(path: Path) -> Path:
    """A fresh name next to `path` for an unfinished file; it contains machine and process of its writer."""
    return path.parent / f".{path.name[:60]}{TEMP_MARK}{_machine()}-{os.getpid()}-{secrets.token_hex(4)}"


def _machine() -> str:
    return re.sub(r"[^A-Za-z0-9]", "", platform.node())[:32] or "local"


@contextmanager
def atomic_path(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path; on success it is fsynced (if `durable`) and replaces `path`, on any error it is removed.

    Raises FaultError for a failed write (full disk and the like); `path` then still holds what it held before.
    """
    temp = temp_path_for(path)
    try:
        make_folder(path.parent)
        yield temp
        _open_to_others(temp)
        if durable:
            _fsync(temp)
        temp.replace(path)
        if durable:
            _fsync(path.parent)
    except OSError as error:
        raise write_error(error, path) from error
    finally:
        with suppress(OSError):
            temp.unlink(missing_ok=True)


def _open_to_others(temp: Path) -> None:
    """Set the mode that the umask asks for: safetensors makes files that only their owner may read."""
    mode = temp.stat().st_mode
    if not stat.S_ISREG(mode) or stat.S_IMODE(mode) != 0o600:
        return
    probe = temp.with_name(f"{temp.name}-mode")  # the umask itself can only be read by changing it
    probe.touch()
    try:
        temp.chmod(stat.S_IMODE(probe.stat().st_mode))
    finally:
        probe.unlink()


@contextmanager
def atomic_folder(path: Path, *, temp: Path | None = None) -> Iterator[Path]:
    """Yield a temporary folder; on success its files are fsynced and the folder is renamed to `path`.

    A folder at `path` is moved aside first and removed last. `temp` is a path of `temp_path_for` that other processes
    know and write to as well; it may exist.
    """
    shared, aside = temp is not None, temp_path_for(path)
    temp = temp or temp_path_for(path)
    try:
        temp.mkdir(parents=True, exist_ok=shared)
        yield temp
        for file in sorted(temp.rglob("*")):
            _open_to_others(file)
            _fsync(file)
        _fsync(temp)
        if path.exists():
            path.replace(aside)
        temp.replace(path)
        _fsync(path.parent)
    except OSError as error:
        raise write_error(error, path) from error
    finally:
        shutil.rmtree(temp, ignore_errors=True)
        shutil.rmtree(aside, ignore_errors=True)


def write_bytes_atomic(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Write `data` to `path` in one commit; `durable` as in `atomic_path`."""
    with atomic_path(path, durable=durable) as temp, temp.open("wb") as file:
        file.write(data)


def check_writable_folder(folder: Path, *, option: str) -> None:
    """Create `folder` if needed and check that a file can be made in it, before any work starts.

    Raises UsageError (exit 2) where the place is wrong, FaultError (exit 4) where the disk is full.
    """
    probe = temp_path_for(folder / "probe")
    try:
        make_folder(folder)
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        if error.errno in _NOT_WRITABLE:
            file = next((one for one in (folder, *folder.parents) if one.exists() and not one.is_dir()), None)
            reason = str(error.strerror) if file is None else f"{file} is a file"
            raise UsageError(
                f"Cannot write to the folder {folder} given by {option}: {reason}.",
                hint="Choose a folder that you may write to." if file is None else "Give a folder instead of a file.",
                path=str(folder),
            ) from error
        raise write_error(error, folder) from error


def remove_stale_temps(folder: Path) -> int:
    """Remove unfinished files below `folder` whose writer is gone, and return their number.

    A writer on this machine is gone when its process is, one on another machine when its file is older than a week.
    """
    removed = 0
    for path in below(folder):
        if TEMP_MARK not in path.name or not path.name.startswith("."):
            continue
        machine, _, rest = path.name.split(TEMP_MARK)[-1].partition("-")
        pid = rest.split("-")[0]
        if machine == _machine() and pid.isdigit():
            gone = Path("/proc").is_dir() and not Path(f"/proc/{pid}").exists()
        else:
            gone = _age_seconds(path) > 7 * 86400
        if gone and path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif gone:
            with suppress(OSError):  # another process removes it too
                path.unlink(missing_ok=True)
        removed += gone
    return removed


def _age_seconds(path: Path) -> float:
    """Seconds since the last change of `path`; 0 where its writer has just removed it."""
    with suppress(OSError):
        return time.time() - path.lstat().st_mtime
    return 0.0


def sha256_of_file(path: Path) -> str:
    """Hex sha256 of the bytes of `path`, read in bounded memory."""
    with path.open("rb") as file:
        if sys.version_info >= (3, 11):
            return hashlib.file_digest(file, "sha256").hexdigest()
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
        return digest.hexdigest()


def sha256_while_synced(path: Path) -> str:
    """Hex sha256 of a file that was just written, computed while it goes to the disk."""
    with ThreadPoolExecutor(1, thread_name_prefix="gazetools-fsync") as pool:
        synced = pool.submit(_fsync, path)
        digest = sha256_of_file(path)
        synced.result()
    return digest


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
