"""Memory of pack, validate and the reader does not grow with the length of the video."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gazetools.schemas.store import Piece, Rows
from gazetools.store import StoreContent, write_store
from tests.helpers.stores import provenance_of

_SIDE = 64
_WORK = """
import resource, sys
import gazetools
from gazetools.packing import pack
from gazetools.validation import validate
pack(sys.argv[1], sys.argv[2], normalize="max", people="mean")
assert {f.code for f in validate(sys.argv[2]).findings} == {"frozen-maps", "videos-not-compared"}
reader = gazetools.HeatmapReader(sys.argv[2], "clip")
reader.read(range(0, len(reader), 50))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def _store(root: Path, frames: int) -> None:
    """Two people per frame of 64x64, in pieces of 256 frames."""
    ramp = np.linspace(0.01, 0.99, _SIDE * _SIDE).reshape(_SIDE, _SIDE).astype(np.float16)

    def piece(start: int) -> Piece:
        index = np.arange(start, min(start + 256, frames))
        count = 2 * len(index)
        return Piece(
            frame_index=index,
            pts_seconds=index / 30,
            fingerprint=np.zeros((0, 32, 32), np.uint8),
            fingerprint_index=np.zeros(0, np.int64),
            rows=Rows(
                frame=np.repeat(index, 2),
                track_id=np.tile(np.array([1, 2], np.int32), len(index)),
                box_xyxy=np.tile(np.array([0.1, 0.1, 0.4, 0.5], np.float32), (count, 1)),
                inout=np.full(count, 0.9, np.float32),
                prompt=np.zeros(count, np.uint8),
                heatmap=np.broadcast_to(ramp, (count, _SIDE, _SIDE)),
            ),
            batch_size=1,
        )

    write_store(
        root,
        "clip",
        StoreContent(
            provenance=provenance_of("clip", frames, (_SIDE, _SIDE)),
            pieces=[lambda s=start: piece(s) for start in range(0, frames, 256)],
            track_roles={1: "other", 2: "other"},
            heatmap_shape=(_SIDE, _SIDE),
        ),
    )


def test_memory_is_flat_in_the_length(tmp_path: Path) -> None:
    """Ten times the frames (98 MB of raw maps instead of 10) cost at most 25 MB more."""
    peaks = {}
    for frames in (600, 6000):
        _store(tmp_path / f"store{frames}", frames)
        command = [sys.executable, "-c", _WORK, str(tmp_path / f"store{frames}"), str(tmp_path / f"data{frames}")]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        peaks[frames] = int(result.stdout) / 1024
    assert peaks[6000] - peaks[600] < 25, peaks


@pytest.mark.parametrize("people", [1500])
def test_a_crowd_in_one_frame(tmp_path: Path, people: int) -> None:
    """More people than are read at once still make one map."""
    from gazetools.packing import pack
    from tests.helpers.stores import make_video

    made = make_video(
        tmp_path / "store", people={0: range(people), 1: [3], 2: range(people)}, frame_count=3, size_hw=(2, 3)
    )
    pack(tmp_path / "store", tmp_path / "data", people="mean", dtype="float32")
    with np.load(tmp_path / "data" / "clip.npz") as archive:
        maps = archive["heatmap"]
    for frame in range(3):
        own = [made.maps[frame, track].astype(np.float64) for track in made.people(frame)]
        np.testing.assert_allclose(maps[frame], np.mean(own, axis=0), rtol=1e-5)
