"""What pack refuses, and what one bad video costs."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from gazetools.packing import pack
from gazetools.schemas.errors import FaultError, UsageError
from tests.helpers.disks import pretend_free
from tests.helpers.stores import make_video


def _flip_heatmap_bit(folder: Path, name: str) -> None:
    path = folder / f"{name}.h5"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_one_bad_video_costs_one_video(tmp_path: Path) -> None:
    store = tmp_path / "store"
    for name in ("a", "b", "c", "d", "e"):
        make_video(store, name)
    _flip_heatmap_bit(store, "b")
    (store / "c.json").unlink()
    (store / "d.h5").unlink()
    make_video(store, "e", make_map=lambda f, t: np.full((8, 10), np.nan if f == 4 else 0.5))
    report = pack(store, tmp_path / "data")
    reasons = {item.video_id: item.reason for item in report.items}
    assert [item.status for item in report.items] == ["packed", "failed", "failed", "failed", "failed"]
    assert report.exit_code == 1
    assert "sha256" in reasons["b"]
    assert "no sidecar" in reasons["c"]
    assert "no payload" in reasons["d"]
    assert "NaN at frames [4]" in reasons["e"]
    assert sorted(p.name for p in (tmp_path / "data").iterdir()) == [
        "README.md",
        "a.npz",
        "a.origin.json",
        "manifest.json",
    ]


NEEDS = {
    "person": ({"people": "7"}, {}, "no person '7'; its people are: 1"),
    "wearer": ({"people": "wearer"}, {}, "no person 'wearer'"),
    "inout": ({"inout": "gate"}, {"make_inout": lambda f, t: math.nan}, "has no inout"),
    "sum": ({"size": "1080x1920", "normalize": "sum"}, {}, "--dtype float32"),
    "beyond": ({}, {"index": [0, 5, 12]}, "reaches 12, but the video has 12 frames"),
}


@pytest.mark.parametrize("case", NEEDS)
def test_what_a_store_lacks_is_named(tmp_path: Path, case: str) -> None:
    options, store, message = NEEDS[case]
    make_video(tmp_path / "store", **store)
    (item,) = pack(tmp_path / "store", tmp_path / "data", **options).items
    assert item.status == "failed"
    assert message in item.reason
    assert not (tmp_path / "data" / "clip.npz").exists()


USAGE = {
    "unknown option": ({"normalise": "max"}, "did you mean 'normalize'"),
    "rule": ({"normalize": "l2"}, "'normalize' = 'l2'"),
    "uint8 of sums": ({"dtype": "uint8", "normalize": "sum"}, "dtype uint8 and normalize sum exclude.*use float32"),
    "size": ({"size": "64"}, "'size' = '64'"),
    "people": ({"people": "everybody"}, "must be 'max', 'mean', 'wearer' or a track id"),
    "id": ({"videos": ["clipp"]}, "Did you mean 'clip'"),
}


@pytest.mark.parametrize("case", USAGE)
def test_wrong_usage_is_said_before_any_work(tmp_path: Path, case: str) -> None:
    make_video(tmp_path / "store")
    options, message = USAGE[case]
    with pytest.raises(UsageError, match=message.replace("(", r"\(")):
        pack(tmp_path / "store", tmp_path / "data", **options)
    assert not (tmp_path / "data").exists()


def test_other_options_are_not_mixed_in(tmp_path: Path) -> None:
    make_video(tmp_path / "store", "a")
    make_video(tmp_path / "store", "b")
    pack(tmp_path / "store", tmp_path / "data")
    with pytest.raises(UsageError, match=r"other options \(normalize 'none' -> 'max'\).*--overwrite"):
        pack(tmp_path / "store", tmp_path / "data", normalize="max")
    with pytest.raises(UsageError, match="holds 1 videos that this run would not replace, such as 'b'"):
        pack(tmp_path / "store", tmp_path / "data", normalize="max", overwrite=True, videos=["a"])
    with pytest.raises(UsageError, match="has the layout npz, not npy"):
        pack(tmp_path / "store", tmp_path / "data", layout="npy", overwrite=True)
    report = pack(tmp_path / "store", tmp_path / "data", normalize="max", overwrite=True)
    assert [item.status for item in report.items] == ["packed", "packed"]


def test_files_of_others_are_not_replaced(tmp_path: Path) -> None:
    make_video(tmp_path / "store")
    (tmp_path / "data").mkdir()
    np.savez(tmp_path / "data" / "clip.npz", theirs=np.zeros(3))
    (item,) = pack(tmp_path / "store", tmp_path / "data").items
    assert "is in no manifest of gazetools" in item.reason
    assert np.load(tmp_path / "data" / "clip.npz").files == ["theirs"]


@pytest.mark.parametrize("where", ["", "inside"])
def test_the_dataset_may_not_lie_in_the_store(tmp_path: Path, where: str) -> None:
    make_video(tmp_path / "store")
    with pytest.raises(UsageError, match="inside the store"):
        pack(tmp_path / "store", tmp_path / "store" / where)


def test_nested_ids_in_the_npy_layout_are_refused(tmp_path: Path) -> None:
    """Replacing the folder of `a` would remove the folder of `a/b`."""
    make_video(tmp_path / "store", "a")
    make_video(tmp_path / "store", "a/b")
    with pytest.raises(UsageError, match="'a/b' would lie in the way of 'a'"):
        pack(tmp_path / "store", tmp_path / "data", layout="npy")
    assert not pack(tmp_path / "store", tmp_path / "data").failed


FULL = [
    # layout, free bytes, free files, words; the video has 12 maps of 8x10 float16 (160 bytes each)
    ("npz", 1919, 100, "clip.npz needs 1.9 kB, 1.9 kB are free.*finished videos are kept"),
    ("npz", 10**6, 2, "clip.npz needs 3 files, 2 .inodes. are free.*finished videos are kept"),
    ("npy", 12 * 4096 - 1, 100, "clip needs 49.2 kB, 49.2 kB are free"),  # a small file takes a whole block
    ("npy", 10**6, 13, "clip needs 14 files, 13 .inodes. are free.*Use --layout npz"),
]


@pytest.mark.parametrize(("layout", "free_bytes", "free_files", "words"), FULL)
def test_a_full_disk_is_said_before_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str, free_bytes: int, free_files: int, words: str
) -> None:
    make_video(tmp_path / "store")
    pretend_free(monkeypatch, free_bytes=free_bytes, free_files=free_files)
    with pytest.raises(FaultError, match=words):
        pack(tmp_path / "store", tmp_path / "data", layout=layout)
    assert not list((tmp_path / "data").glob("*"))


def test_a_disk_that_does_not_count_files_has_room_for_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_video(tmp_path / "store")
    pretend_free(monkeypatch, free_bytes=10**6, free_files=0, all_files=0)
    assert not pack(tmp_path / "store", tmp_path / "data", layout="npy").failed
