"""Folders that other threads, processes and machines make, fill and remove at the same time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_MOST_TRIES = 1000
"""After so many removals in a row between two system calls, what is in the way is no other process."""


def make_folder(path: Path) -> None:
    """Make `path` with its parents where it is missing, also while another process removes them because they are empty.

    Raises the OSError that remains, such as FileExistsError where a file has that name.
    """
    for _ in range(_MOST_TRIES):
        with suppress(FileNotFoundError, FileExistsError):  # removed between two steps of mkdir
            path.mkdir(parents=True, exist_ok=True)
            return
    path.mkdir(parents=True, exist_ok=True)


def open_new_or_old(path: Path, flags: int) -> int:
    """A descriptor of the file `path`, made with its folder where missing; never inherited by other programs.

    Raises the OSError that remains, as `make_folder`.
    """
    for _ in range(_MOST_TRIES):
        make_folder(path.parent)
        with suppress(FileNotFoundError):  # the folder was removed in between
            return os.open(path, flags | os.O_CREAT | os.O_CLOEXEC, 0o666)
    return os.open(path, flags | os.O_CREAT | os.O_CLOEXEC, 0o666)


def remove_if_empty(folder: Path) -> None:
    """Remove `folder` where nothing is in it; makers of files there use this module, so that they make it again."""
    with suppress(OSError):
        folder.rmdir()


@contextmanager
def no_empty_folder_left(folder: Path) -> Iterator[None]:
    """On an error of the block remove `folder` and its parents, those that were not there before and hold nothing."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        yield
    except BaseException:
        for path in new:
            remove_if_empty(path)
        raise


def below(folder: Path) -> Iterator[Path]:
    """Every file and folder below `folder`, hidden ones too; what vanishes during the walk is left out.

    `Path.rglob` raises FileNotFoundError for a folder that is removed while it walks. Linked folders are not entered.
    """
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            yield Path(parent, name)
