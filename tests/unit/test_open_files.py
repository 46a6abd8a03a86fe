"""The last files stay open, older ones are closed, and a pickled copy opens its own."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import IO

import pytest

from gazetools.io.open_files import OpenFiles, Recent


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / name for name in "abc"]
    for path in paths:
        path.write_text(path.name)
    return paths


def test_the_file_used_longest_ago_is_closed(files: list[Path]) -> None:
    a, b, c = files
    kept: OpenFiles[Path, IO[str]] = OpenFiles(2)
    first, second = kept.get(a, a.open), kept.get(b, b.open)
    assert kept.get(a, a.open) is first
    third = kept.get(c, c.open)
    assert (first.closed, second.closed, third.closed) == (False, True, False)
    assert kept.get(b, b.open).read() == "b" and first.closed
    third.close()


def test_a_failed_opening_leaves_the_others(files: list[Path], tmp_path: Path) -> None:
    kept: OpenFiles[Path, IO[str]] = OpenFiles(1)
    first = kept.get(files[0], files[0].open)
    with pytest.raises(FileNotFoundError):
        kept.get(tmp_path / "gone", (tmp_path / "gone").open)
    assert kept.get(files[0], files[1].open) is first and not first.closed
    first.close()


def test_a_pickled_copy_is_empty_and_works(files: list[Path]) -> None:
    kept: OpenFiles[Path, IO[str]] = OpenFiles(2)
    first = kept.get(files[0], files[0].open)
    copy = pickle.loads(pickle.dumps(kept))
    second = copy.get(files[0], files[0].open)
    assert second is not first and not first.closed and second.read() == "a"
    first.close()
    second.close()


def test_values_that_need_no_closing_are_kept_too() -> None:
    kept: Recent[str, int] = Recent(1)
    assert [kept.get("a", lambda: 1), kept.get("a", lambda: 2), kept.get("b", lambda: 3), kept.get("a", lambda: 4)] == [
        1, 1, 3, 4,
    ]  # fmt: skip
