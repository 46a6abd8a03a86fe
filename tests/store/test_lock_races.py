"""Locks of one store under races: different videos never meet, one video has one writer, nothing stays behind."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import pytest

from gazetools.io.atomic import TEMP_MARK, remove_stale_temps, write_bytes_atomic
from gazetools.io.folders import below, make_folder, remove_if_empty
from gazetools.schemas.errors import FaultError
from gazetools.store.lock import BusyError, locked
from gazetools.store.pieces import PieceFolder


@pytest.fixture
def eager_threads() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def _lock_many(work: tuple[Path, str, int]) -> list[str]:
    """What went wrong while the locks of so many different videos were taken, one after the other."""
    store, name, count = work
    wrong = []
    for number in range(count):
        try:
            with locked(store, f"{name}{number}"):
                pass
        except Exception as error:
            wrong.append(f"{type(error).__name__}: {error}")
    return wrong


def _lock_and_write(work: tuple[Path, str, int]) -> list[str]:
    """As `_lock_many`, with a file next to the lock, as the journal of attempts is."""
    store, name, count = work
    wrong = []
    for number in range(count):
        try:
            with locked(store, f"{name}{number}"):
                journal = store / ".work" / f"{name}{number}.attempts"
                write_bytes_atomic(journal, b"1", durable=False)
                journal.unlink()
        except Exception as error:
            wrong.append(f"{type(error).__name__}: {error}")
    return wrong


def _share_many(work: tuple[Path, str, int]) -> list[str]:
    """As `_lock_many`, of ONE video that all workers share."""
    store, _, count = work
    wrong = []
    for _ in range(count):
        try:
            with locked(store, "long video", shared=True):
                pass
        except Exception as error:
            wrong.append(f"{type(error).__name__}: {error}")
    return wrong


def _processes(function: Callable[[Any], list[str]], work: list[Any], method: str) -> list[list[str]]:
    with multiprocessing.get_context(method).Pool(len(work)) as pool:
        return pool.map(function, work, chunksize=1)


def _threads(function: Callable[[Any], list[str]], work: list[Any], _: str) -> list[list[str]]:
    with ThreadPool(len(work)) as pool:
        return pool.map(function, work, chunksize=1)


WAYS = [(_processes, "fork"), (_processes, "spawn"), (_threads, "")]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.usefixtures("eager_threads")
@pytest.mark.parametrize("function", [_lock_many, _lock_and_write, _share_many])
@pytest.mark.parametrize(
    ("way", "method"),
    [WAYS[0], pytest.param(*WAYS[1], marks=pytest.mark.slow), pytest.param(*WAYS[2], marks=pytest.mark.slow)],
    ids=["fork", "spawn", "threads"],
)
def test_no_lock_is_lost_to_a_race(way: Any, method: str, function: Callable[[Any], list[str]], tmp_path: Path) -> None:
    """Nobody else is near the store, so no lock is busy and none is a fault."""
    counts = {_lock_many: 500, _lock_and_write: 250, _share_many: 600}
    work = [(tmp_path / "store", f"v{worker}_", counts[function]) for worker in range(4)]
    assert [wrong for part in way(function, work, method) for wrong in part] == []
    assert list(below(tmp_path)) == [] or list(below(tmp_path)) == [tmp_path / "store"]


def _count_up(work: tuple[Path, Path, int]) -> list[str]:
    """Add to a number in a file, in two steps that only a lock makes one."""
    store, counter, count = work
    for _ in range(count):
        with locked(store, "one video", wait_seconds=120):
            number = int(counter.read_text())
            os.sched_yield()
            counter.write_text(str(number + 1))
    return []


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize(("way", "method"), WAYS[::2], ids=["fork", "threads"])
def test_one_video_has_one_writer(way: Any, method: str, tmp_path: Path) -> None:
    """A lost update would show two holders at a time, also across the removal of the lock's file."""
    counter = tmp_path / "counter"
    counter.write_text("0")
    way(_count_up, [(tmp_path / "store", counter, 60)] * 4, method)
    assert counter.read_text() == "240"


def test_a_forked_child_neither_ends_nor_keeps_its_parents_lock(tmp_path: Path) -> None:
    """The child leaves the block too, and lives on when the parent has ended."""
    code = f"""
import os, sys, time
from pathlib import Path
from gazetools.store.lock import locked
with locked(Path({str(tmp_path)!r}), "v"):
    child = os.fork()
    if child:
        print(child, flush=True)
        time.sleep(60)
time.sleep(60)
"""
    holder = subprocess.Popen([sys.executable, "-W", "ignore", "-c", code], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    child = int(holder.stdout.readline())
    try:
        for _ in range(3):  # the child has left its copy of the block, or is about to
            time.sleep(0.1)
            with pytest.raises(BusyError), locked(tmp_path, "v"):
                pytest.fail("the child ended its parent's lock")
        holder.kill()
        holder.wait()
        with locked(tmp_path, "v", wait_seconds=5):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        holder.stdout.close()


def test_a_holder_that_is_killed_leaves_nothing_that_stays_locked(tmp_path: Path) -> None:
    code = "import sys, time; from pathlib import Path; from gazetools.store.lock import locked\n"
    code += f"with locked(Path({str(tmp_path)!r}), 'v'): print('held', flush=True); time.sleep(60)"
    for _ in range(3):
        holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        holder.kill()
        holder.wait()
        holder.stdout.close()
        assert list(tmp_path.rglob("*.lock")), "the file of the killed holder stays"
        with locked(tmp_path, "v"):
            pass
        assert list(below(tmp_path)) == []


REFUSED = [
    (errno.EROFS, "Read-only file system"),
    (errno.EACCES, "Permission denied"),
    (errno.EPERM, "Operation not permitted"),
]


@pytest.mark.parametrize(("code", "words"), REFUSED)
def test_a_store_that_may_not_be_written_is_named_with_the_way_out(
    code: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("gazetools.io.folders.os.open", refuse)
    said = rf"lock of 'v' can't be made in .*\.work: {words}.*choose another -o"
    with pytest.raises(FaultError, match=said), locked(tmp_path, "v"):
        pytest.fail("no lock")


def test_another_users_lock_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file may be read but not written; that is no broken store but a busy video."""
    opened = os.open

    def read_only(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        if flags & os.O_RDWR and str(path).endswith(".lock"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(path, flags, *rest, **more)

    with locked(tmp_path, "v"):
        monkeypatch.setattr("gazetools.io.folders.os.open", read_only)
        with pytest.raises(BusyError, match="Another run is working on 'v'"), locked(tmp_path, "v"):
            pytest.fail("two holders")


@pytest.mark.usefixtures("eager_threads")
def test_a_folder_is_made_while_others_remove_it(tmp_path: Path) -> None:
    """The pattern of every folder that the last user removes: pieces, locks, attempts."""
    folder, stop, wrong = tmp_path / "a" / "b", threading.Event(), []

    def remove() -> None:
        while not stop.is_set():
            remove_if_empty(folder)
            remove_if_empty(folder.parent)

    removers = [threading.Thread(target=remove) for _ in range(2)]
    for thread in removers:
        thread.start()
    for _ in range(3000):
        try:
            make_folder(folder)
        except OSError as error:
            wrong.append(str(error))
    stop.set()
    for thread in removers:
        thread.join()
    assert wrong == []


def test_a_file_in_the_way_of_a_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    with pytest.raises(FileExistsError):
        make_folder(tmp_path / "file")
    with pytest.raises(NotADirectoryError):
        make_folder(tmp_path / "file" / "below")
    with pytest.raises(FileExistsError):
        make_folder(tmp_path / "nowhere")
    (tmp_path / ".work").touch()
    with pytest.raises(FaultError, match=r"\.work"), locked(tmp_path, "v"):
        pytest.fail("no lock")


@pytest.mark.usefixtures("eager_threads")
def test_a_sweep_passes_over_what_vanishes_meanwhile(tmp_path: Path) -> None:
    """Shards begin, and sweep, while others finish videos and remove the folders of their pieces."""
    stop = threading.Event()

    def come_and_go() -> None:
        while not stop.is_set():
            pieces = PieceFolder(tmp_path, "v", "key")
            make_folder(pieces.path)
            for number in range(20):
                (pieces.path / f".x{TEMP_MARK}elsewhere-1-{number}").touch()
            pieces.remove()

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        for _ in range(300):
            assert remove_stale_temps(tmp_path) == 0
            list(below(tmp_path))
    finally:
        stop.set()
        thread.join()
