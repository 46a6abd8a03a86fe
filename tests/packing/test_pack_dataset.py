"""`gazetools.pack` on real store files: what row i of the dataset holds, under every option."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gazetools.packing import pack
from tests.helpers.stores import MadeVideo, make_video

TWO_WITH_GAPS = {0: [], 1: [1], 2: [1, 2], 3: [2], 4: [], 5: [], 6: [1, 2], 7: [1]}


def _packed(tmp_path: Path, video_id: str = "clip", **options: Any) -> dict[str, np.ndarray]:
    report = pack(tmp_path / "store", tmp_path / "data", **options)
    assert not report.failed, report
    with np.load(tmp_path / "data" / f"{video_id}.npz", allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _two_people(tmp_path: Path, **changes: Any) -> MadeVideo:
    return make_video(
        tmp_path / "store", people=TWO_WITH_GAPS, frame_count=8, roles={1: "wearer", 2: "other"}, **changes
    )


def test_defaults_copy_the_maps_bit_by_bit(tmp_path: Path) -> None:
    made = make_video(tmp_path / "store")
    data = _packed(tmp_path)
    assert list(data) == ["heatmap", "valid", "inout", "pts_seconds"]
    assert [data[name].dtype.name for name in data] == ["float16", "bool", "float32", "float64"]
    np.testing.assert_array_equal(data["heatmap"], np.stack([made.maps[f, 1] for f in range(12)]))
    np.testing.assert_allclose(data["pts_seconds"], np.arange(12) / 30)
    np.testing.assert_allclose(data["inout"], [made.inout[f, 1] for f in range(12)], rtol=1e-6)
    assert data["valid"].all()


@pytest.mark.parametrize("people", ["max", "mean", "1", "2", "wearer"])
def test_people_rules(tmp_path: Path, people: str) -> None:
    made = _two_people(tmp_path)
    data = _packed(tmp_path, people=people, dtype="float32")
    wanted = {"1": [1], "wearer": [1], "2": [2]}.get(people, [1, 2])
    for frame in range(8):
        present = [track for track in made.people(frame) if track in wanted]
        assert data["valid"][frame] == bool(present)
        if not present:
            assert not data["heatmap"][frame].any()
            assert math.isnan(data["inout"][frame])
            continue
        maps = [made.maps[frame, track].astype(np.float64) for track in present]
        expected = np.mean(maps, axis=0) if people == "mean" else np.max(maps, axis=0)
        np.testing.assert_allclose(data["heatmap"][frame], expected, rtol=1e-6)
        assert data["inout"][frame] == pytest.approx(max(made.inout[frame, track] for track in present), rel=1e-6)


def test_zero_hold_and_interpolate(tmp_path: Path) -> None:
    made = _two_people(tmp_path)
    own = {f: np.max([made.maps[f, t].astype(np.float64) for t in made.people(f)], axis=0) for f in (1, 2, 3, 6, 7)}
    hold = _packed(tmp_path, dtype="float32", missing="hold")
    assert not hold["heatmap"][0].any(), "nothing was seen before frame 0"
    for frame, shown in [(4, 3), (5, 3)]:
        np.testing.assert_allclose(hold["heatmap"][frame], own[shown], rtol=1e-6)
        assert hold["inout"][frame] == hold["inout"][shown]
    mixed = _packed(tmp_path, dtype="float32", missing="interpolate", overwrite=True)
    np.testing.assert_allclose(mixed["heatmap"][0], own[1], rtol=1e-6)
    np.testing.assert_allclose(mixed["heatmap"][4], own[3] * 2 / 3 + own[6] / 3, rtol=1e-5)
    np.testing.assert_allclose(mixed["heatmap"][5], own[3] / 3 + own[6] * 2 / 3, rtol=1e-5)
    for data in (hold, mixed):
        assert data["valid"].tolist() == [False, True, True, True, False, False, True, True]


def test_hold_is_causal(tmp_path: Path) -> None:
    """Whatever the maps after frame k are, the rows up to k are the same."""
    rows = {}
    for changed in (False, True):
        folder = tmp_path / str(changed)
        generator = np.random.default_rng(0)
        drawn = {f: generator.random((8, 10)) for f in range(8)}
        later = np.random.default_rng(1)
        maps = {f: later.random((8, 10)) if changed and f >= 5 else drawn[f] for f in drawn}
        make_video(folder / "store", people=TWO_WITH_GAPS, frame_count=8, make_map=lambda f, t, maps=maps: maps[f])
        rows[changed] = _packed(folder, missing="hold")["heatmap"]
    np.testing.assert_array_equal(rows[False][:6], rows[True][:6])
    assert (rows[False][6:] != rows[True][6:]).any()


@pytest.mark.parametrize(("missing", "future"), [("zero", False), ("hold", False), ("interpolate", True)])
def test_the_manifest_says_whether_later_frames_were_used(tmp_path: Path, missing: str, future: bool) -> None:
    _two_people(tmp_path)
    _packed(tmp_path, missing=missing)
    entry = json.loads((tmp_path / "data" / "manifest.json").read_text())["videos"]["clip"]
    assert entry["uses_future"] is future


@pytest.mark.parametrize("normalize", ["none", "max", "sum", "minmax", "softmax"])
def test_weighting_by_inout_survives_normalising(tmp_path: Path, normalize: str) -> None:
    """Multiplied before a division by max or sum, inout would cancel out."""
    make_video(tmp_path / "store", make_inout=lambda f, t: f / 12)
    plain = _packed(tmp_path, normalize=normalize, dtype="float32")
    weighted = _packed(tmp_path, normalize=normalize, dtype="float32", inout="weight", overwrite=True)
    factor = (np.arange(12) / 12)[:, None, None]
    np.testing.assert_allclose(weighted["heatmap"], plain["heatmap"] * factor, rtol=1e-5, atol=1e-8)
    gated = _packed(tmp_path, normalize=normalize, dtype="float32", inout="gate", overwrite=True)
    np.testing.assert_allclose(gated["heatmap"], plain["heatmap"] * (factor >= 0.5), rtol=1e-6)
    assert gated["valid"].all()


def test_gate_drops_only_the_person_who_looks_outside(tmp_path: Path) -> None:
    made = make_video(
        tmp_path / "store", people={0: [1, 2]}, frame_count=1, make_inout=lambda f, t: 0.9 if t == 1 else 0.1
    )
    data = _packed(tmp_path, inout="gate", dtype="float32")
    np.testing.assert_array_equal(data["heatmap"][0], made.maps[0, 1].astype(np.float32))


def test_normalised_maps_of_the_dataset(tmp_path: Path) -> None:
    _two_people(tmp_path)
    for normalize, check in {
        "max": lambda m: m.max(axis=(1, 2)),
        "sum": lambda m: m.sum(axis=(1, 2)),
        "softmax": lambda m: m.sum(axis=(1, 2)),
        "minmax": lambda m: m.max(axis=(1, 2)) - m.min(axis=(1, 2)),
    }.items():
        data = _packed(tmp_path, normalize=normalize, temperature=0.2, dtype="float32", overwrite=True)
        np.testing.assert_allclose(check(data["heatmap"][data["valid"]].astype(np.float64)), 1.0, rtol=1e-5)
        assert not data["heatmap"][~data["valid"]].any()


def test_frames_that_were_not_processed_are_rows_without_maps(tmp_path: Path) -> None:
    made = make_video(tmp_path / "store", index=[3, 5, 7], frame_count=10)
    report = pack(tmp_path / "store", tmp_path / "data")
    data = dict(np.load(tmp_path / "data" / "clip.npz"))
    assert data["heatmap"].shape == (10, 8, 10)
    assert np.flatnonzero(data["valid"]).tolist() == [3, 5, 7]
    np.testing.assert_array_equal(data["heatmap"][5], made.maps[5, 1])
    assert np.isnan(data["pts_seconds"]).sum() == 7
    assert "7 frames were not processed" in report.items[0].warnings[0]
    native = _packed(tmp_path, align="native", overwrite=True)
    assert native["heatmap"].shape == (3, 8, 10)
    np.testing.assert_allclose(native["pts_seconds"], [0.1, 5 / 30, 7 / 30])


def test_times_of_unprocessed_frames_come_from_the_video(tmp_path: Path, clip: Path) -> None:
    made = make_video(
        tmp_path / "store",
        index=range(0, 40, 4),
        frame_count=40,
        video={"path": str(clip), "size_bytes": clip.stat().st_size},
    )
    data = _packed(tmp_path)
    assert len(made.index) == 10
    np.testing.assert_allclose(data["pts_seconds"], np.arange(40) / 30, atol=1e-3)


FPS_CASES = {
    # half the rate: every second frame
    "half": (15.0, list(range(0, 12, 2))),
    # twice the rate: each frame twice; of two equally near the earlier
    "double": (60.0, sorted([*range(12), *range(11)])),
    # 8 of 30 fps: nearest to 0, 3.75, 7.5 (the earlier); 11.25 is behind the last frame
    "eight": (8.0, [0, 4, 7]),
}


@pytest.mark.parametrize("case", FPS_CASES)
def test_resampling_takes_the_nearest_frame(tmp_path: Path, case: str) -> None:
    fps, expected = FPS_CASES[case]
    made = make_video(tmp_path / "store")
    data = _packed(tmp_path, fps=fps)
    np.testing.assert_array_equal(data["heatmap"], np.stack([made.maps[f, 1] for f in expected]))
    np.testing.assert_allclose(data["pts_seconds"], np.array(expected) / 30)
    assert data["valid"].all()


def test_resampling_does_not_bridge_gaps(tmp_path: Path) -> None:
    made = make_video(tmp_path / "store", index=[0, 1, 2, 9, 10, 11], frame_count=12)
    data = _packed(tmp_path, fps=30.0)
    assert np.flatnonzero(~data["valid"]).tolist() == [3, 4, 5, 6, 7, 8]
    np.testing.assert_allclose(data["pts_seconds"], np.arange(12) / 30, atol=1e-9)
    np.testing.assert_array_equal(data["heatmap"][9], made.maps[9, 1])


SIZES: dict[str, tuple[dict[str, Any], tuple[int, int]]] = {
    "HxW": ({"size": "16x24"}, (16, 24)),
    "video": ({"size": "video"}, (64, 96)),
    "the model's": ({}, (8, 10)),
}


@pytest.mark.parametrize("case", SIZES)
def test_sizes_are_real(tmp_path: Path, case: str) -> None:
    options, shape = SIZES[case]
    make_video(tmp_path / "store")
    data = _packed(tmp_path, normalize="sum", dtype="float32", **options)
    assert data["heatmap"].shape == (12, *shape)
    np.testing.assert_allclose(data["heatmap"].sum(axis=(1, 2)), 1.0, rtol=1e-5)


def test_npy_layout_holds_the_same(tmp_path: Path) -> None:
    _two_people(tmp_path)
    flat = _packed(tmp_path, normalize="max")
    pack(tmp_path / "store", tmp_path / "frames", layout="npy", normalize="max")
    folder = tmp_path / "frames" / "clip"
    names = sorted(p.name for p in folder.iterdir())
    assert names == [*(f"frame_{k:06d}.npy" for k in range(8)), "index.npz"]
    np.testing.assert_array_equal(np.stack([np.load(folder / name) for name in names[:-1]]), flat["heatmap"])
    with np.load(folder / "index.npz") as index:
        for name in ("valid", "inout", "pts_seconds"):
            np.testing.assert_array_equal(index[name], flat[name])
    entry = json.loads((tmp_path / "frames" / "manifest.json").read_text())["videos"]["clip"]
    lines = sorted(f"{n} {hashlib.sha256((folder / n).read_bytes()).hexdigest()}" for n in names)
    assert entry["sha256"] == hashlib.sha256(("\n".join(lines) + "\n").encode()).hexdigest()
    assert entry["bytes"] == sum(p.stat().st_size for p in folder.iterdir())


@pytest.mark.parametrize("frames", [0, 1])
@pytest.mark.parametrize("align", ["video", "native"])
def test_hardly_any_frames(tmp_path: Path, frames: int, align: str) -> None:
    make_video(tmp_path / "store", frame_count=frames)
    for fps in (None, 10.0):
        data = _packed(tmp_path, align=align, fps=fps, missing="hold", overwrite=True)
        assert data["heatmap"].shape == (frames, 8, 10)


def test_a_video_without_people(tmp_path: Path) -> None:
    make_video(tmp_path / "store", people={})
    for missing in ("zero", "hold", "interpolate"):
        data = _packed(tmp_path, missing=missing, overwrite=True)
        assert not data["heatmap"].any()
        assert not data["valid"].any()
        assert np.isnan(data["inout"]).all()


def test_the_maps_start_at_a_multiple_of_64_bytes(tmp_path: Path) -> None:
    from gazetools.io.npz import Npz

    make_video(tmp_path / "store")
    pack(tmp_path / "store", tmp_path / "data")
    with Npz(tmp_path / "data" / "clip.npz") as archive:
        assert archive.names == ["heatmap", "valid", "inout", "pts_seconds"]
        assert archive.element_offset("heatmap") % 64 == 0
        assert all(archive.is_stored(name) for name in archive.names)
