"""HeatmapReader over every layout: by frame, by time, across processes, with what is missing."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gazetools import HeatmapReader
from gazetools.schemas.errors import DataFileError, FrameRangeError
from tests.heatmaps.conftest import MAPS


@pytest.mark.parametrize("layout", ["npz", "npy"])
@pytest.mark.parametrize("dtype", ["float16", "uint8"])
def test_our_layouts_read_alike(packed: Path, layout: str, dtype: str) -> None:
    reader = HeatmapReader(packed / f"{layout}-{dtype}", "take/cam01")
    with np.load(packed / f"npz-{dtype}" / "take" / "cam01.npz") as archive:
        expected = archive["heatmap"].astype(np.float64) / (255 if dtype == "uint8" else 1)
        times = archive["pts_seconds"]
    assert (len(reader), reader.shape) == (12, (12, 8, 10))
    maps = reader.read([3, 0, 3, 11])
    assert maps.dtype == np.float32
    assert maps.flags.writeable
    np.testing.assert_allclose(maps, expected[[3, 0, 3, 11]], rtol=1e-6, atol=1e-8)
    np.testing.assert_array_equal(reader.valid, [f not in (4, 5) for f in range(12)])
    assert reader.inout is not None
    assert np.isnan(reader.inout).tolist() == [f in (4, 5) for f in range(12)]
    np.testing.assert_array_equal(reader.pts_seconds, times)


def _save_frames(folder: Path, maps: np.ndarray) -> None:
    folder.mkdir(parents=True)
    for k, frame in enumerate(maps):
        np.save(folder / f"frame_{k:06d}.npy", frame)


FOREIGN: dict[str, Callable[[Path], None]] = {
    "npz, any key": lambda r: np.savez(r / "v.npz", whatever=MAPS),
    "npz, heatmap not first": lambda r: np.savez(r / "v.npz", a=np.zeros(3), heatmap=MAPS),
    "npz compressed": lambda r: np.savez_compressed(r / "v.npz", x=MAPS),
    "npz T1HW": lambda r: np.savez(r / "v.npz", x=MAPS[:, None]),
    "npz compressed T1HW float64": lambda r: np.savez_compressed(r / "v.npz", x=MAPS[:, None].astype(np.float64)),
    "npz Fortran order": lambda r: np.savez(r / "v.npz", x=np.asfortranarray(MAPS)),
    "npz big endian": lambda r: np.savez(r / "v.npz", x=MAPS.astype(">f4")),
    "npy": lambda r: np.save(r / "v.npy", MAPS),
    "npy Fortran order": lambda r: np.save(r / "v.npy", np.asfortranarray(MAPS)),
    "folder": lambda r: _save_frames(r / "v", MAPS),
    "folder of 1HW": lambda r: _save_frames(r / "v", MAPS[:, None]),
    "folder of Fortran frames": lambda r: _save_frames(r / "v", [np.asfortranarray(m) for m in MAPS]),
    "gaze.npy": lambda r: [(r / "v").mkdir(), np.save(r / "v" / "gaze.npy", MAPS)],
    "with members of other meaning": lambda r: np.savez(r / "v.npz", heatmap=MAPS, valid=np.arange(4), inout="yes"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_heatmaps_of_other_tools(tmp_path: Path, name: str) -> None:
    FOREIGN[name](tmp_path)
    reader = HeatmapReader(tmp_path, "v")
    assert reader.shape == (9, 5, 7)
    np.testing.assert_array_equal(reader.read([8, 0, 1, 2]), MAPS[[8, 0, 1, 2]].astype(np.float32))
    assert reader.valid.all()
    assert reader.inout is None
    assert reader.pts_seconds is None
    with pytest.raises(DataFileError, match="have no times"):
        reader.read_seconds([0.0])


def test_uint8_of_other_tools_is_scaled_and_a_single_map_is_one_frame(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.array([[0, 51, 255]], np.uint8))
    reader = HeatmapReader(tmp_path, "v")
    assert reader.shape == (1, 1, 3)
    np.testing.assert_allclose(reader.read([0]), [[[0, 0.2, 1]]])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(indices=st.lists(st.integers(0, 11), max_size=20))
def test_any_indices_in_any_order(packed: Path, indices: list[int]) -> None:
    expected = np.load(packed / "npz-float16" / "take" / "cam01.npz")["heatmap"].astype(np.float32)
    for layout in ("npz", "npy"):
        with HeatmapReader(packed / f"{layout}-float16", "take/cam01") as reader:
            np.testing.assert_array_equal(reader.read(indices), expected[np.array(indices, dtype=np.int64)])


@pytest.mark.parametrize("indices", [[-1], [12], [0, 99], [1.5], [[0]], [True], ["0"]])
def test_indices_outside_are_errors(packed: Path, indices: Any) -> None:
    for layout in ("npz", "npy"):
        with pytest.raises(FrameRangeError):
            HeatmapReader(packed / f"{layout}-float16", "take/cam01").read(indices)


def test_reading_by_time(packed: Path) -> None:
    reader = HeatmapReader(packed / "npz-float16", "take/cam01")
    np.testing.assert_array_equal(reader.read_seconds([0.101, 0.0, 0.3667]), reader.read([3, 0, 11]))
    np.testing.assert_array_equal(reader.read_seconds([-0.03, 0.39]), reader.read([0, 11]))
    for time in (-0.05, 0.5):
        with pytest.raises(FrameRangeError, match=r"cover 0.000 to 0.367 s"):
            reader.read_seconds([time])
    for times in ([float("nan")], [[0.0]]):
        with pytest.raises(FrameRangeError):
            reader.read_seconds(times)


def _in_worker(reader: HeatmapReader, connection: Any) -> None:
    connection.send((os.getpid(), reader.read([2, 7]).tobytes()))


@pytest.mark.parametrize(("method", "layout"), [("fork", "npz"), ("fork", "npy"), ("spawn", "npz")])
def test_readers_work_in_other_processes(packed: Path, method: str, layout: str) -> None:
    reader = HeatmapReader(packed / f"{layout}-float16", "take/cam01")
    expected = reader.read([2, 7]).tobytes()
    context = multiprocessing.get_context(method)
    ours, theirs = context.Pipe()
    worker = context.Process(target=_in_worker, args=(reader, theirs))
    worker.start()
    theirs.close()
    process, data = ours.recv()
    worker.join(30)
    assert process != os.getpid()
    assert data == expected
    assert pickle.loads(pickle.dumps(reader)).read([2, 7]).tobytes() == expected
    assert reader.read([2, 7]).tobytes() == expected


def test_missing_heatmaps(packed: Path, tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="no heatmaps of the video 'other'"):
        HeatmapReader(packed / "npz-float16", "other")
    blank = HeatmapReader(packed / "npz-float16", "other", missing="zero")
    assert blank.is_missing
    assert blank.shape == (0, 8, 10)
    assert blank.read([5, 900]).shape == (2, 8, 10)
    assert not blank.read([5]).any()
    assert not blank.read_seconds([7.5]).any()
    with pytest.raises(DataFileError, match=r"size of its zero maps is unknown.*size=\(H, W\)"):
        HeatmapReader(tmp_path, "other", missing="zero")
    assert HeatmapReader(tmp_path, "other", missing="zero", size=(3, 4)).read([0]).shape == (1, 3, 4)


def test_a_missing_frame_of_a_folder(tmp_path: Path) -> None:
    _save_frames(tmp_path / "v", MAPS)
    (tmp_path / "v" / "frame_000004.npy").unlink()
    strict = HeatmapReader(tmp_path, "v")
    assert len(strict) == 9
    with pytest.raises(DataFileError, match="no file for frame 4"):
        strict.read([3, 4])
    lenient = HeatmapReader(tmp_path, "v", missing="zero")
    assert not lenient.read([4]).any()
    assert np.flatnonzero(~lenient.valid).tolist() == [4]
    np.testing.assert_array_equal(lenient.read([3, 4, 5])[::2], MAPS[[3, 5]].astype(np.float32))


def test_a_broken_file_is_never_a_missing_one(tmp_path: Path) -> None:
    (tmp_path / "v.npz").write_bytes(b"PK")
    with pytest.raises(DataFileError):
        HeatmapReader(tmp_path, "v", missing="zero", size=(3, 4))
