"""Reading past HDF5 gives what HDF5 gives, and is not tried where the file is laid out in another way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from gazetools.schemas.errors import DataFileError
from gazetools.store import open_store
from gazetools.store.chunks import ChunkedRows
from tests.helpers.stores import make_video


@pytest.mark.parametrize("rows", [1, 31, 32, 33, 100])
def test_direct_reads_equal_those_of_hdf5(tmp_path: Path, rows: int) -> None:
    """Chunks hold 32 rows: less than one, one, and parts of several."""
    make_video(tmp_path, frame_count=rows)
    with open_store(tmp_path / "clip.h5") as plain, open_store(tmp_path / "clip.h5", direct=True) as direct:
        assert direct._direct is not None
        for start, stop in ((0, rows), (0, 0), (rows // 2, rows), (rows - 1, rows), (rows // 3, rows // 3 + 1)):
            expected = plain.read_heatmaps(start, stop)
            np.testing.assert_array_equal(direct.read_heatmaps(start, stop), expected, strict=True)


LAYOUTS: dict[str, dict[str, object]] = {
    "compressed": {"chunks": (4, 3, 5), "compression": "gzip"},
    "shuffled": {"chunks": (4, 3, 5), "shuffle": True},
    "parts of rows": {"chunks": (4, 3, 2)},
    "contiguous": {},
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_other_layouts_are_left_to_hdf5(tmp_path: Path, name: str) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        dataset = file.create_dataset("x", data=np.ones((10, 3, 5), np.float16), **LAYOUTS[name])
        assert ChunkedRows.of(tmp_path / "x.h5", dataset) is None


def _never_written(file: h5py.File) -> None:
    file.create_dataset("x", (10, 3, 5), "f2", chunks=(4, 3, 5))[:4] = 1


def _filter_skipped(file: h5py.File) -> None:
    """One chunk says that its checksum was left out, so its size is not that of the others."""
    dataset = file.create_dataset("x", (8, 3, 5), "f2", chunks=(4, 3, 5), fletcher32=True)
    dataset[:4] = 1
    dataset.id.write_direct_chunk((4, 0, 0), bytes(120), filter_mask=1)


@pytest.mark.parametrize("make", [_never_written, _filter_skipped])
def test_chunks_that_are_not_there_in_full_are_left_to_hdf5(tmp_path: Path, make: Callable[[h5py.File], None]) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        make(file)
        assert ChunkedRows.of(tmp_path / "x.h5", file["x"]) is None


def test_a_file_that_is_cut_meanwhile_is_an_error(tmp_path: Path) -> None:
    make_video(tmp_path, frame_count=100)
    with open_store(tmp_path / "clip.h5", direct=True) as store:
        data = (tmp_path / "clip.h5").read_bytes()
        (tmp_path / "clip.h5").write_bytes(data[: len(data) // 2])
        with pytest.raises(DataFileError, match="became shorter"):
            store.read_heatmaps(0, 100)
