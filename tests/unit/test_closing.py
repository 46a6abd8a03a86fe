"""What closes itself at the end of a `with`, and reads at given places of a file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gazetools.io.closing import Closing
from gazetools.io.positioned import PositionedFile
from gazetools.schemas.errors import DataFileError


class _Thing(Closing):
    closed = 0

    def close(self) -> None:
        self.closed += 1


def test_it_is_closed_also_after_an_error() -> None:
    thing = _Thing()
    with thing as same:
        assert same is thing and not thing.closed
    with pytest.raises(KeyError), thing:
        raise KeyError
    assert thing.closed == 2


def test_reads_at_any_place_and_says_when_the_file_became_shorter(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(100)))
    buffer = bytearray(10)
    with PositionedFile(path, hint="Leave it.") as file:
        for offset in (90, 0, 37):
            file.read_into(memoryview(buffer), offset)
            assert bytes(buffer) == bytes(range(offset, offset + 10))
        os.truncate(path, 95)
        with pytest.raises(DataFileError, match=r"file became shorter while it was being read\. Leave it\."):
            file.read_into(memoryview(buffer), 90)
    file.close()
