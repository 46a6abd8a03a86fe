"""Comparison of two store files, and the store of an undisturbed run to compare with."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from gazetools.extraction.run import extract
from gazetools.store import open_store
from gazetools.store.columns import COLUMNS


def assert_stores_equal(left: Path, right: Path) -> None:
    """Assert that both checksums are right, and that every dataset of both files is equal bit for bit."""
    for path in (left, right):
        open_store(path, verify_checksum=True).close()
    with h5py.File(left) as first, h5py.File(right) as second:
        for name in (column.dataset for column in COLUMNS):
            assert first[name].dtype == second[name].dtype, name
            np.testing.assert_array_equal(first[name][()], second[name][()], err_msg=f"{left}: {name}")


def extract_alone(videos: Path, store: Path, *, model: Path) -> Path:
    """The store of one undisturbed local process."""
    assert extract(videos, store, model=str(model), device="cpu").exit_code == 0
    return store
