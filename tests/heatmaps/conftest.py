"""Maps and datasets that tests of reading share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gazetools.packing import pack
from tests.helpers.stores import make_video

MAPS = np.random.default_rng(0).random((9, 5, 7)).astype(np.float16)


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Datasets in both layouts and two dtypes, of a video with a gap, and the store they come from."""
    root = tmp_path_factory.mktemp("packed")
    make_video(root / "store", "take/cam01", people={f: [1] for f in range(12) if f not in (4, 5)})
    for layout in ("npz", "npy"):
        for dtype in ("float16", "uint8"):
            pack(root / "store", root / f"{layout}-{dtype}", layout=layout, dtype=dtype, normalize="max")
    return root
