"""A disk that reports little free space."""

from __future__ import annotations

import os
from typing import Any

import pytest


def pretend_free(
    monkeypatch: pytest.MonkeyPatch, *, free_bytes: int = 10**15, free_files: int = 10**9, all_files: int = 10**9
) -> list[str]:
    """Make `os.statvfs` report these numbers for every path; returns the list of paths that it was called with."""
    asked: list[str] = []
    real = os.statvfs("/")

    def statvfs(path: Any) -> os.statvfs_result:
        asked.append(os.fspath(path))
        values = list(real)
        for name, value in (
            ("f_frsize", 1), ("f_blocks", 10**16), ("f_bfree", free_bytes), ("f_bavail", free_bytes),
            ("f_files", all_files), ("f_ffree", free_files), ("f_favail", free_files),
        ):  # fmt: skip
            values[_PLACES[name]] = value
        return os.statvfs_result(values)

    monkeypatch.setattr(os, "statvfs", statvfs)
    return asked


_PLACES = {
    name: place
    for place, name in enumerate(
        "f_bsize f_frsize f_blocks f_bfree f_bavail f_files f_ffree f_favail f_flag f_namemax".split()  # noqa: SIM905
    )
}
