"""`convert`: every layout into every other without a changed number, and other tools' heatmaps into a dataset."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gazetools.heatmaps import HeatmapReader
from gazetools.packing import convert, pack
from gazetools.schemas.errors import UsageError
from gazetools.validation import validate
from tests.helpers.command_line import run_cli
from tests.helpers.stores import make_video

LAYOUTS = ("npz", "npy", "hdf5")
OPTIONS: dict[str, dict[str, Any]] = {
    "raw": {},
    "max, uint8": {"normalize": "max", "dtype": "uint8"},
    "to the video's size": {"size": "video", "resize_on_load": True, "missing": "hold"},
}


def _alarms(root: Path) -> list[str]:
    """Codes of errors and warnings; the videos are nowhere, so that nothing is compared with them."""
    codes = [f.code for f in validate(root).findings if f.severity != "note"]
    return [code for code in codes if code != "videos-not-compared"]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Two videos, one with gaps, one below a folder."""
    make_video(tmp_path / "store", people={f: [1, 2] for f in range(12) if f not in (0, 5, 6)})
    make_video(tmp_path / "store", "take/cam01")
    return tmp_path / "store"


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("source", LAYOUTS)
def test_every_layout_becomes_every_other_as_if_packed_so(tmp_path: Path, store: Path, source: str, name: str) -> None:
    """The bytes are those that pack itself would have written: an independent way to the same files."""
    pack(store, tmp_path / "from", layout=source, **OPTIONS[name])
    for layout in LAYOUTS:
        report = convert(tmp_path / "from", tmp_path / layout, layout=layout)
        assert [item.status for item in report.items] == ["packed", "packed"]
        pack(store, tmp_path / f"packed {layout}", layout=layout, **OPTIONS[name])
        there = {
            p.relative_to(tmp_path / layout): p.read_bytes() for p in (tmp_path / layout).rglob("*") if p.is_file()
        }
        packed = tmp_path / f"packed {layout}"
        assert there == {p.relative_to(packed): p.read_bytes() for p in packed.rglob("*") if p.is_file()}
        assert [item.status for item in convert(tmp_path / "from", tmp_path / layout, layout=layout).items] == [
            "unchanged",
            "unchanged",
        ]


def test_the_public_prototypes_results_become_a_dataset(tmp_path: Path) -> None:
    """`results/<id>/gaze.npy`, 2-D or 3-D."""
    generator = np.random.default_rng(0)
    maps = {"P01_01": generator.random((7, 6, 8), dtype=np.float32), "P01_02": generator.random((6, 8))}
    for video_id, array in maps.items():
        (tmp_path / "results" / video_id).mkdir(parents=True)
        np.save(tmp_path / "results" / video_id / "gaze.npy", array)
    for layout in LAYOUTS:
        report = convert(tmp_path / "results", tmp_path / layout, layout=layout)
        assert not report.failed
        assert _alarms(tmp_path / layout) == []
        reader = HeatmapReader(tmp_path / layout, "P01_01")
        np.testing.assert_array_equal(reader.read(range(7)), maps["P01_01"])
        assert reader.valid.all()
        np.testing.assert_allclose(HeatmapReader(tmp_path / layout, "P01_02").read([0])[0], maps["P01_02"], atol=1e-7)
    entry = json.loads((tmp_path / "npz" / "manifest.json").read_text())["videos"]["P01_01"]
    assert entry["provenance"]["converted_from"].endswith("results/P01_01/gaze.npy")
    assert "another tool" in (tmp_path / "npz" / "README.md").read_text()


def test_folders_of_frames_keep_their_gaps(tmp_path: Path) -> None:
    maps = np.random.default_rng(0).random((5, 4, 4)).astype(np.float16)
    (tmp_path / "theirs" / "v").mkdir(parents=True)
    for k in (0, 1, 3, 4):
        np.save(tmp_path / "theirs" / "v" / f"frame_{k:06d}.npy", maps[k])
    convert(tmp_path / "theirs", tmp_path / "data")
    reader = HeatmapReader(tmp_path / "data", "v")
    assert reader.valid.tolist() == [True, True, False, True, True]
    np.testing.assert_array_equal(reader.read([1, 3]), maps[[1, 3]].astype(np.float32))


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "above one": (lambda p: np.savez(p, x=np.full((2, 3, 3), 255.0)), "must be in 0..1"),
    "nan": (lambda p: np.savez(p, x=np.full((2, 3, 3), np.nan)), "must be in 0..1"),
    "integers": (lambda p: np.savez(p, x=np.ones((2, 3, 3), np.int32)), "scale is unknown"),
    "colour": (lambda p: np.savez(p, x=np.ones((2, 3, 3, 3))), "has shape"),
    "no zip": (lambda p: p.write_bytes(b"nothing"), "damaged"),
}


@pytest.mark.parametrize("case", BAD)
def test_one_bad_file_costs_one_video(tmp_path: Path, case: str) -> None:
    plant, message = BAD[case]
    (tmp_path / "theirs").mkdir()
    np.savez(tmp_path / "theirs" / "good.npz", x=np.full((2, 3, 3), 0.5))
    plant(tmp_path / "theirs" / "bad.npz")
    report = convert(tmp_path / "theirs", tmp_path / "data")
    assert {item.video_id: item.status for item in report.items} == {"bad": "failed", "good": "packed"}
    assert message in str(report.failed[0].reason)
    assert not (tmp_path / "data" / "bad.npz").exists()


def test_a_damaged_dataset_is_not_passed_on(tmp_path: Path, store: Path) -> None:
    pack(store, tmp_path / "data")
    path = tmp_path / "data" / "clip.npz"
    data = bytearray(path.read_bytes())
    data[500] ^= 1
    path.write_bytes(data)
    (tmp_path / "data" / "take" / "cam01.origin.json").write_text("{}")
    report = convert(tmp_path / "data", tmp_path / "new", layout="hdf5")
    assert [item.status for item in report.items] == ["failed", "failed"]
    assert all("sha256" in str(item.reason) for item in report.items)


USAGE: dict[str, tuple[list[str], str]] = {
    "no such folder": (["nowhere", "-o", "{tmp}/x"], "is not a folder"),
    "nothing in it": (["{tmp}/empty", "-o", "{tmp}/x"], "holds no .npz, .npy, .pt or .zarr"),
    "into itself": (["{tmp}/data", "-o", "{tmp}/data/x"], "would lie inside"),
    "other numbers": (["{tmp}/data", "-o", "{tmp}/x", "--dtype", "uint8"], "does not change its numbers"),
    "unknown layout": (["{tmp}/data", "-o", "{tmp}/x", "--layout", "zarr"], "'layout' = 'zarr'"),
}


@pytest.mark.parametrize("case", USAGE)
def test_wrong_usage_is_exit_2(tmp_path: Path, store: Path, case: str) -> None:
    arguments, message = USAGE[case]
    pack(store, tmp_path / "data")
    (tmp_path / "empty").mkdir()
    done = run_cli("convert", *(a.format(tmp=tmp_path) for a in arguments))
    assert done.exit_code == 2
    assert message in done.stderr
    assert not (tmp_path / "x").exists()


def test_the_command_line(tmp_path: Path, store: Path) -> None:
    pack(store, tmp_path / "data")
    done = run_cli("convert", str(tmp_path / "data"), "-o", str(tmp_path / "new"), "--layout", "npy", "--json")
    assert done.exit_code == 0
    assert [item["status"] for item in json.loads(done.stdout)["items"]] == ["packed", "packed"]
    assert "Example: gazetools convert" in run_cli("convert", "--help").stdout


def test_two_files_of_one_id_are_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    np.savez(tmp_path / "theirs" / "a.npz", x=np.ones((1, 2, 2)))
    np.save(tmp_path / "theirs" / "a.npy", np.ones((1, 2, 2)))
    with pytest.raises(UsageError, match="are both of 'a'"):
        convert(tmp_path / "theirs", tmp_path / "data")
