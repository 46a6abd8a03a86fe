"""A store gives back what was written, and refuses everything that is not a whole store of ours."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from gazetools.schemas.errors import DataFileError, FrameRangeError
from gazetools.store import StoreContent, is_complete, list_store, open_store, write_store
from gazetools.store.columns import COLUMNS
from gazetools.store.pieces import PieceFolder
from tests.helpers.stores import make_piece, make_provenance, make_store

CONTRACT = {
    "rows/frame": ("int64", 1),
    "rows/track_id": ("int32", 1),
    "rows/box": ("float32", 2),
    "rows/inout": ("float32", 1),
    "rows/prompt": ("uint8", 1),
    "rows/heatmap": ("float16", 3),
    "frames/index": ("int64", 1),
    "frames/pts_seconds": ("float64", 1),
    "frames/fingerprint": ("uint8", 3),
    "frames/fingerprint_index": ("int64", 1),
    "tracks/id": ("int32", 1),
    "tracks/role": ("object", 1),
}
"""Dataset -> (dtype, rank): what other programs read, stated apart from gazetools.store.columns."""


def test_everything_written_is_read_back(tmp_path: Path) -> None:
    first, second = make_piece([0, 1, 2], [(0, 1), (2, 1), (2, 7)], seed=3), make_piece([3, 4], [], seed=4)
    path = make_store(tmp_path, "take/cam01", pieces=[first, second], roles={1: "wearer", 7: "other"})
    with open_store(path, verify_checksum=True) as store:
        assert store.video_id == "take/cam01"
        assert store.tracks == {1: "wearer", 7: "other"}
        assert store.heatmap_shape == (8, 8)
        assert store.frames.index.tolist() == [0, 1, 2, 3, 4]
        np.testing.assert_array_equal(store.rows().heatmap, first.rows.heatmap)
        np.testing.assert_array_equal(store.rows(frame=2).track_id, [1, 7])
        assert len(store.rows(frame=1)) == 0
        frames, maps = store.heatmaps(track_id=1)
        assert frames.tolist() == [0, 2]
        np.testing.assert_array_equal(maps, first.rows.heatmap[:2])
        with pytest.raises(DataFileError, match="its tracks are: 1, 7"):
            store.heatmaps(track_id=3)
        with pytest.raises(FrameRangeError):
            store.read_heatmaps(0, 9)


def test_the_file_has_the_contracts_datasets_and_types(tmp_path: Path) -> None:
    with h5py.File(make_store(tmp_path), "r") as file:
        for name, (dtype, rank) in CONTRACT.items():
            assert file[name].dtype == np.dtype(dtype), name
            assert file[name].ndim == rank, name
        assert set(CONTRACT) == {column.dataset for column in COLUMNS}
        assert len(file.attrs["provenance"]) < 32 * 1024
        assert json.loads(file.attrs["provenance"])["video"]["rate"] == "30/1"


def test_nobody_in_any_frame_is_a_store_with_frames_and_no_rows(tmp_path: Path) -> None:
    path = make_store(tmp_path, pieces=[make_piece([0, 1], [])], roles={})
    with open_store(path) as store:
        assert len(store) == 0
        assert store.read_heatmaps(0, 0).shape == (0, 8, 8)
    sidecar = is_complete(tmp_path, "clip")
    assert sidecar is not None
    assert sidecar.frames_without_people == 2


@pytest.mark.parametrize("orders", [([3, 4], [0, 1]), ([0, 2, 1], [5])], ids=["pieces", "frames"])
def test_frames_out_of_order_are_refused(tmp_path: Path, orders: tuple[list[int], list[int]]) -> None:
    with pytest.raises(ValueError, match="out of frame order"):
        make_store(tmp_path, pieces=[make_piece(frames, []) for frames in orders])
    assert not list(tmp_path.glob("*.h5"))


def test_complete_means_that_payload_and_sidecar_agree(tmp_path: Path) -> None:
    path = make_store(tmp_path)
    assert is_complete(tmp_path, "clip") is not None
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert is_complete(tmp_path, "clip") is None
    assert list_store(tmp_path)[0].problem is None  # sizes agree; only the checksum tells
    with pytest.raises(DataFileError, match="sha256"):
        open_store(path, verify_checksum=True)


def test_listing_names_what_is_not_whole(tmp_path: Path) -> None:
    make_store(tmp_path, "good")
    make_store(tmp_path, "no_sidecar").with_suffix(".json").unlink()
    make_store(tmp_path, "no_payload").unlink()
    short = make_store(tmp_path, "short")
    short.write_bytes(short.read_bytes()[:-1])
    (tmp_path / ".work").mkdir()
    (tmp_path / ".work" / "x.h5").touch()
    (tmp_path / "extract_report.json").write_text("{}")
    problems = {entry.video_id: entry.problem for entry in list_store(tmp_path)}
    assert problems.pop("good") is None
    assert "did not finish" in (problems.pop("no_sidecar") or "")
    assert "no payload" in (problems.pop("no_payload") or "")
    assert "sidecar says" in (problems.pop("short") or "")
    assert not problems


def _external_link(file: h5py.File, other: Path) -> None:
    del file["rows/heatmap"]
    file["rows/heatmap"] = h5py.ExternalLink(str(other), "/secret")


def _soft_link(file: h5py.File, other: Path) -> None:
    del file["rows/heatmap"]
    file["rows/heatmap"] = h5py.SoftLink("/rows/box")


def _virtual(file: h5py.File, other: Path) -> None:
    shape = file["rows/heatmap"].shape
    del file["rows/heatmap"]
    layout = h5py.VirtualLayout(shape=shape, dtype="float16")
    layout[:] = h5py.VirtualSource(str(other), "secret", shape=shape)
    file.create_virtual_dataset("rows/heatmap", layout)


def _external_storage(file: h5py.File, other: Path) -> None:
    shape = file["rows/heatmap"].shape
    del file["rows/heatmap"]
    file.create_dataset("rows/heatmap", shape, "float16", external=[(str(other), 0, h5py.h5f.UNLIMITED)])


def _shape_bomb(file: h5py.File, other: Path) -> None:
    del file["rows/heatmap"]
    file.create_dataset("rows/heatmap", (1 << 40, 64, 64), "float16", chunks=(1, 64, 64))


def _foreign_filter(file: h5py.File, other: Path) -> None:
    data = file["rows/heatmap"][:]
    del file["rows/heatmap"]
    file.create_dataset("rows/heatmap", data=data, compression="lzf")


def _wrong_dtype(file: h5py.File, other: Path) -> None:
    data = file["rows/heatmap"][:].astype("float32")
    del file["rows/heatmap"]
    file.create_dataset("rows/heatmap", data=data)


def _fewer_boxes(file: h5py.File, other: Path) -> None:
    data = file["rows/box"][:-1]
    del file["rows/box"]
    file.create_dataset("rows/box", data=data)


def _group_instead(file: h5py.File, other: Path) -> None:
    del file["rows/box"]
    file.create_group("rows/box")


def _dataset_instead_of_a_group(file: h5py.File, other: Path) -> None:
    del file["rows"]
    file.create_dataset("rows", data=np.zeros(3))


def _missing(file: h5py.File, other: Path) -> None:
    del file["frames/index"]


def _no_provenance(file: h5py.File, other: Path) -> None:
    del file.attrs["provenance"]


def _foreign_provenance(file: h5py.File, other: Path) -> None:
    file.attrs["provenance"] = '{"tool": "another"}'


HOSTILE = [
    (_external_link, "link to elsewhere"),
    (_soft_link, "link to elsewhere"),
    (_virtual, "another file"),
    (_external_storage, "another file"),
    (_shape_bomb, "not stored"),
    (_foreign_filter, "filters"),
    (_wrong_dtype, "must be float16"),
    (_fewer_boxes, "rows/box has"),
    (_group_instead, "not a dataset"),
    (_dataset_instead_of_a_group, "missing"),
    (_missing, "missing"),
    (_no_provenance, "no usable provenance"),
    (_foreign_provenance, "does not parse"),
]


def _extra_is_a_link(file: h5py.File, other: Path) -> None:
    file["extra"] = h5py.ExternalLink(str(other), "/")


def _extra_holds_a_link(file: h5py.File, other: Path) -> None:
    file.create_group("extra")["secret"] = h5py.ExternalLink(str(other), "/secret")


def _extra_holds_a_group(file: h5py.File, other: Path) -> None:
    file.create_group("extra/secret")


@pytest.mark.parametrize("damage", [_extra_is_a_link, _extra_holds_a_link, _extra_holds_a_group])
def test_further_columns_come_from_the_file_itself(tmp_path: Path, damage: Callable[[h5py.File, Path], None]) -> None:
    path, other = make_store(tmp_path), tmp_path / "other.h5"
    with open_store(path) as store:
        assert store.extra("secret") is None
    with h5py.File(other, "w") as file:
        file["secret"] = np.zeros((14,), np.float32)
    with h5py.File(path, "r+") as file:
        damage(file, other)
    with open_store(path) as store, pytest.raises(DataFileError, match=r"link to elsewhere|not a dataset"):
        store.extra("secret")


@pytest.mark.parametrize(("damage", "words"), HOSTILE, ids=[f.__name__.strip("_") for f, _ in HOSTILE])
def test_hostile_and_foreign_files_are_refused(tmp_path: Path, damage: object, words: str) -> None:
    path = make_store(tmp_path)
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["secret"] = np.zeros((14, 8, 8), np.float16)
    with h5py.File(path, "r+") as file:
        damage(file, other)  # type: ignore[operator]
    with pytest.raises(DataFileError, match=words):
        open_store(path)


@pytest.mark.parametrize("content", [b"", b"no hdf5", b"\x89HDF\r\n\x1a\n" + bytes(200)])
def test_what_is_no_hdf5_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.h5").write_bytes(content)
    with pytest.raises(DataFileError, match=r"x\.h5"):
        open_store(tmp_path / "x.h5")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="does not exist"):
        open_store(tmp_path / "none.h5")


def test_random_damage_never_crashes(tmp_path: Path) -> None:
    """200 files with flipped bytes, read in one child process: each gives data or DataFileError, none a crash."""
    path = make_store(tmp_path)
    code = """
import sys, pathlib, random
from gazetools.schemas.errors import DataFileError
from gazetools.store import open_store
path = pathlib.Path(sys.argv[1]); good = path.read_bytes(); refused = 0
for seed in range(200):
    rng = random.Random(seed); data = bytearray(good)
    for _ in range(4): data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)
    try:
        with open_store(path) as store: store.rows()
    except DataFileError: refused += 1
print(refused)
"""
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 0


_FULL_DISK = """
import resource, sys
from pathlib import Path
from tests.helpers.stores import make_piece, make_store
pieces = [make_piece([k], [(k, 1)], shape=(64, 64)) for k in range(200)]
limit = int(sys.argv[2]); resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
make_store(Path(sys.argv[1]), pieces=pieces, roles={1: "other"}, shape=(64, 64))
"""


@pytest.mark.parametrize("limit", [2_000, 20_000, 200_000, 1_500_000])
def test_a_full_disk_keeps_the_old_store_and_crashes_nothing(tmp_path: Path, limit: int) -> None:
    """HDF5 that sees the error itself ends in SIGSEGV at exit; ours must end with one FaultError."""
    before = {p.name: p.read_bytes() for p in (make_store(tmp_path), tmp_path / "clip.json")}
    done = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, str(tmp_path), str(limit)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done
    assert "FaultError: No space left" in done.stderr
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_pieces_of_other_options_are_not_mixed_and_damage_counts_as_missing(tmp_path: Path) -> None:
    folder = PieceFolder(tmp_path, "clip", "key-a")
    folder.save(0, make_piece([0, 1], [(0, 1)]))
    assert folder.load_if_good(0) is not None
    assert PieceFolder(tmp_path, "clip", "key-b").load_if_good(0) is None
    path = folder.piece_path(0)
    data = bytearray(path.read_bytes())
    data[300] ^= 0xFF
    path.write_bytes(data)
    assert folder.load_if_good(0) is None
    assert not path.exists()


def test_provenance_is_bounded() -> None:
    huge = make_provenance().model_copy(update={"options": {"x": "y" * 40_000}})
    with pytest.raises(ValueError, match="32768"):
        huge.to_text()


def test_rows_of_a_track_without_a_role_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"tracks \[5\]"):
        write_store(
            tmp_path,
            "clip",
            StoreContent(
                provenance=make_provenance(),
                pieces=[lambda: make_piece([0], [(0, 5)])],
                track_roles={},
                heatmap_shape=(8, 8),
            ),
        )
