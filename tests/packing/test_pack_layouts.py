"""Layouts, recorded sizes and inverses, workers, and what lies beside the maps of a packed dataset."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from gazetools.heatmaps import HeatmapReader
from gazetools.io.parallel import each
from gazetools.packing import pack
from gazetools.preview.rows import DatasetOverlays, StoreOverlays, open_overlays
from gazetools.schemas.errors import DataFileError, FaultError, UsageError
from gazetools.validation import validate
from tests.helpers.stores import make_video
from tests.packing.test_pack_dataset import _packed, _two_people


def test_the_video_size_is_recorded_and_made_when_reading(tmp_path: Path) -> None:
    """Stored small; torch's interpolate is the independent reference for what the reader hands out."""
    make_video(tmp_path / "store")
    stored = _packed(tmp_path, size="video", resize_on_load=True, dtype="float32")["heatmap"]
    assert stored.shape == (12, 8, 10)
    entry = json.loads((tmp_path / "data" / "manifest.json").read_text())["videos"]["clip"]
    assert (entry["H"], entry["W"], entry["target_size"]) == (8, 10, [64, 96])
    maps = HeatmapReader(tmp_path / "data", "clip")
    assert maps.shape == (12, 64, 96)
    wanted = torch.nn.functional.interpolate(
        torch.from_numpy(stored[[3, 1]])[:, None], size=(64, 96), mode="bilinear", align_corners=False
    )[:, 0]
    np.testing.assert_allclose(maps.read([3, 1]), wanted.numpy(), atol=1e-6)
    small = HeatmapReader(tmp_path / "data", "clip", resized=False)
    np.testing.assert_array_equal(small.read([3]), stored[[3]])
    with pytest.raises(UsageError, match="HxW is always resized"):
        pack(tmp_path / "store", tmp_path / "other", size="16x24", resize_on_load=True)


@pytest.mark.parametrize("normalize", ["max", "sum", "minmax", "softmax"])
@pytest.mark.parametrize("inout", ["keep", "weight"])
def test_normalising_can_be_undone_from_what_is_stored(tmp_path: Path, normalize: str, inout: str) -> None:
    """The raw maps come back from the packed ones and the two numbers per row, gaps and all."""
    people = {frame: [1] for frame in range(12) if frame not in (0, 5)}
    made = make_video(tmp_path / "store", people=people, make_inout=lambda f, t: 0.25 + f / 16)
    data = _packed(tmp_path, normalize=normalize, temperature=0.3, dtype="float32", inout=inout, missing="hold")
    shown = {**{f: f for f in people}, 5: 4}
    for row in range(12):
        scale, offset = data["norm_scale"][row], data["norm_offset"][row]
        if row == 0:
            assert np.isnan([scale, offset]).all(), "nothing is shown there"
            continue
        stored = data["heatmap"][row].astype(np.float64)
        raw = scale * np.log(stored) + offset if normalize == "softmax" else stored * scale + offset
        np.testing.assert_allclose(raw, made.maps[shown[row], 1].astype(np.float64), atol=2e-6)


def test_raw_maps_need_no_inverse(tmp_path: Path) -> None:
    _two_people(tmp_path)
    assert list(_packed(tmp_path)) == ["heatmap", "valid", "inout", "pts_seconds"]


def test_hdf5_holds_the_same_and_h5py_alone_reads_it(tmp_path: Path) -> None:
    _two_people(tmp_path)
    options: dict[str, Any] = {"normalize": "max", "missing": "hold"}
    arrays = _packed(tmp_path, **options)
    hashes = []
    for name in ("one", "two"):
        pack(tmp_path / "store", tmp_path / name, layout="hdf5", **options)
        hashes.append(hashlib.sha256((tmp_path / name / "clip.h5").read_bytes()).hexdigest())
    assert hashes[0] == hashes[1], "the same input gives the same bytes"
    with h5py.File(tmp_path / "one" / "clip.h5") as file:
        assert sorted(file) == sorted(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(file[name][:], array)
    maps = HeatmapReader(tmp_path / "one", "clip")
    np.testing.assert_array_equal(maps.read([7, 2]), arrays["heatmap"][[7, 2]].astype(np.float32))
    np.testing.assert_array_equal(maps.valid, arrays["valid"])
    assert pack(tmp_path / "store", tmp_path / "one", layout="hdf5", **options).items[0].status == "unchanged"


def test_previews_tell_a_packed_h5_from_a_store(tmp_path: Path) -> None:
    _two_people(tmp_path)
    pack(tmp_path / "store", tmp_path / "data", layout="hdf5")
    for root, kind in (("store", StoreOverlays), ("data", DatasetOverlays)):
        source = open_overlays(tmp_path / root, "clip")
        assert isinstance(source, kind)
        assert source.frames() == [1, 2, 3, 6, 7]
        source.close()


def test_an_empty_video_packs_into_every_layout(tmp_path: Path) -> None:
    make_video(tmp_path / "store", people={}, frame_count=3)
    for layout in ("npz", "npy", "hdf5"):
        pack(tmp_path / "store", tmp_path / layout, layout=layout, align="native")
        assert not HeatmapReader(tmp_path / layout, "clip").valid.any()


HOSTILE_H5: dict[str, Callable[[h5py.File], object]] = {
    "a link to another file": lambda f: f.__setitem__("heatmap", h5py.ExternalLink("/etc/passwd", "x")),
    "a soft link": lambda f: f.__setitem__("heatmap", h5py.SoftLink("/valid")),
    "external storage": lambda f: f.create_dataset("heatmap", (12, 8, 10), "f2", external=[("/etc/passwd", 0, 1920)]),
    "filters": lambda f: f.create_dataset("heatmap", (12, 8, 10), "f2", compression="gzip"),
    "numbers that are not there": lambda f: f.create_dataset("heatmap", (1 << 40, 8, 10), "f2"),
    "text": lambda f: f.create_dataset("heatmap", data=["x"]),
    "a group": lambda f: f.create_group("heatmap"),
}


@pytest.mark.parametrize("case", HOSTILE_H5)
def test_hostile_hdf5_is_refused(tmp_path: Path, case: str) -> None:
    make_video(tmp_path / "store")
    pack(tmp_path / "store", tmp_path / "data", layout="hdf5")
    with h5py.File(tmp_path / "data" / "clip.h5", "r+") as file:
        del file["heatmap"]
        HOSTILE_H5[case](file)
    with pytest.raises(DataFileError):
        HeatmapReader(tmp_path / "data", "clip")
    assert validate(tmp_path / "data").exit_code == 1


def test_workers_change_nothing_but_the_time(tmp_path: Path) -> None:
    """Also with a broken video among them: one failed item, the same bytes, one manifest with all the others."""
    for number in range(6):
        make_video(tmp_path / "store", f"v{number}")
    broken = tmp_path / "store" / "v3.h5"
    broken.write_bytes(broken.read_bytes()[:-1] + b"?")
    files = {}
    for workers in (1, 3):
        report = pack(tmp_path / "store", tmp_path / f"w{workers}", workers=workers)
        assert [(i.video_id, i.status) for i in report.items] == [
            (f"v{n}", "failed" if n == 3 else "packed") for n in range(6)
        ]
        root = tmp_path / f"w{workers}"
        files[workers] = {p.name: p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}
    assert files[1] == files[3]
    assert len(files[1]) == 5 * 2 + 2, "five videos with their origin, manifest and README"


def test_a_fault_stops_the_videos_that_have_not_begun(tmp_path: Path) -> None:
    begun = []

    def work(item: int) -> int:
        begun.append(item)
        if item == 0:
            raise FaultError("disk full")
        return item

    with pytest.raises(FaultError, match="disk full"):
        each(work, list(range(500)), workers=2)
    assert len(begun) < 500


def test_readme_says_what_the_dataset_is(tmp_path: Path) -> None:
    _two_people(tmp_path)
    pack(tmp_path / "store", tmp_path / "data", normalize="sum", dtype="float32", people="mean")
    path = tmp_path / "data" / "README.md"
    text = path.read_text(encoding="utf-8")
    for part in (
        "each map divided by its sum",
        "`mean`",
        "gazelle_tiny_inout",
        "HeatmapReader(\"DATASET\", 'clip')",
        "licences",
    ):
        assert part in text
    path.write_text("mine")
    pack(tmp_path / "store", tmp_path / "data", normalize="sum", dtype="float32", people="mean", overwrite=True)
    assert path.read_text() == "mine", "somebody else's file is left alone"


def test_a_thousand_videos_keep_the_manifest_small(tmp_path: Path) -> None:
    """At most 2 KB per video; the whole provenance is in the origin file."""
    make_video(tmp_path / "store")
    pack(tmp_path / "store", tmp_path / "data")
    entry = json.loads((tmp_path / "data" / "manifest.json").read_text())["videos"]["clip"]
    assert len(json.dumps(entry)) < 2000
    origin = json.loads((tmp_path / "data" / "clip.origin.json").read_text())
    assert origin["provenance"]["libraries"] == {}
    assert entry["provenance"]["model"]["weights_sha256"] == origin["provenance"]["model"]["weights_sha256"]
