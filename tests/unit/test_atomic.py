"""A final name always holds a complete file."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from gazetools.io.atomic import (
    TEMP_MARK,
    atomic_folder,
    atomic_path,
    check_writable_folder,
    remove_stale_temps,
    temp_path_for,
    write_bytes_atomic,
)
from gazetools.schemas.errors import FaultError, UsageError


def test_an_error_keeps_the_old_file_and_leaves_no_temp(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    write_bytes_atomic(target, b"old")
    with pytest.raises(RuntimeError), atomic_path(target) as temp:
        temp.write_bytes(b"half")
        raise RuntimeError
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_replaces_the_old_one_whole(tmp_path: Path) -> None:
    target = tmp_path / "frames"
    for names in (["a", "b"], ["c"]):
        with atomic_folder(target) as temp:
            for name in names:
                (temp / name).write_text(name)
    assert [p.name for p in target.iterdir()] == ["c"]
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_files_of_every_library_are_as_readable_as_the_umask_says(tmp_path: Path, umask: int, mode: int) -> None:
    """safetensors makes 0600 of anything: colleagues could not read weights and exports."""
    before = os.umask(umask)
    try:
        with atomic_path(tmp_path / "a.safetensors") as temp:
            save_file({"x": torch.zeros(1)}, temp)
        with atomic_folder(tmp_path / "export") as folder:
            save_file({"x": torch.zeros(1)}, folder / "w.safetensors")
    finally:
        os.umask(before)
    for path in (tmp_path / "a.safetensors", tmp_path / "export" / "w.safetensors"):
        assert stat.S_IMODE(path.stat().st_mode) == mode
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.safetensors", "export", "w.safetensors"]


# RLIMIT_FSIZE makes the kernel refuse the write as a full disk does, without needing a disk of its own
_WRITE_BEYOND_LIMIT = """
import resource, sys
from pathlib import Path
from gazetools.io.atomic import write_bytes_atomic
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    write_bytes_atomic(Path(sys.argv[1]), bytes(100_000))
except Exception as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


def test_a_full_disk_is_one_clear_fault(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")
    done = subprocess.run(
        [sys.executable, "-c", _WRITE_BEYOND_LIMIT, str(target)], capture_output=True, text=True, check=False
    )
    assert "FaultError: No space left" in done.stderr
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_below_a_file_is_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="-o"):
        check_writable_folder(tmp_path / "file" / "store", option="-o")


def test_a_full_disk_at_the_probe_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "touch", full)
    with pytest.raises(FaultError, match="No space left"):
        check_writable_folder(tmp_path, option="-o")


def test_only_temps_of_dead_writers_are_swept(tmp_path: Path) -> None:
    alive = temp_path_for(tmp_path / "a")
    machine = alive.name.split(TEMP_MARK)[1].split("-")[0]
    child = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    dead = tmp_path / f".b{TEMP_MARK}{machine}-{int(child.stdout)}-00"
    foreign = tmp_path / f".c{TEMP_MARK}elsewhere-1-00"
    old_foreign = tmp_path / f".d{TEMP_MARK}elsewhere-1-01"
    for path in (alive, dead, foreign, old_foreign):
        path.touch()
    os.utime(old_foreign, (0, 0))
    assert remove_stale_temps(tmp_path) == 2
    assert sorted(tmp_path.iterdir()) == sorted([alive, foreign])
