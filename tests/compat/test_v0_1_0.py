"""What 0.1.0 left on disk is read, resumed and finished by this version: `data/`, made by `make_data.py`."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml

import gazetools
from gazetools.schemas.provenance import Provenance
from tests.compat.make_data import CONFIG, EXTRACT
from tests.helpers.command_line import run_cli

DATA = Path(__file__).parent / "data"
DATASETS = (
    "rows/frame",
    "rows/track_id",
    "rows/box",
    "rows/inout",
    "rows/prompt",
    "rows/heatmap",
    "frames/index",
    "frames/pts_seconds",
    "frames/fingerprint",
    "tracks/id",
)
LAYOUTS = ("npz", "npy", "hdf5")
SAME_MACHINE = {"rtol": 2e-3, "atol": 2e-3}
"""Another CPU multiplies in another order: float16 maps in 0..1, and losses of four steps, stay within this."""


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `data/` as the working folder: its files name each other by relative paths."""
    shutil.copytree(DATA, tmp_path / "data")
    monkeypatch.chdir(tmp_path / "data")
    return tmp_path / "data"


def _document(*arguments: str, code: int = 0) -> dict[str, Any]:
    done = run_cli(*arguments, "--json")
    assert done.exit_code == code, done.stderr
    return json.loads(done.stdout)


def test_a_store_is_read_and_counts_as_complete(old: Path) -> None:
    with gazetools.open_store("store/clip.h5") as store:
        frames, maps = store.heatmaps(track_id=1)
        assert store.provenance.tool_version == "0.1.0"
    assert (maps.shape, list(frames[:2]), len(frames)) == ((280, 8, 8), [20, 21], 280)
    before = (old / "store" / "clip.h5").read_bytes()
    report = _document(*EXTRACT, "-o", "store")
    assert [item["status"] for item in report["items"]] == ["complete"]
    assert (old / "store" / "clip.h5").read_bytes() == before


def test_a_killed_store_goes_on_from_its_piece_and_equals_the_finished_one(old: Path) -> None:
    (item,) = _document(*EXTRACT, "-o", "store_killed")["items"]
    assert (item["status"], item["resumed_frames"], item["frames"]) == ("done", 256, 300)
    with h5py.File("store/clip.h5") as one, h5py.File("store_killed/clip.h5") as other:
        names = [name for name in DATASETS if name in one]
        assert len(names) == len(DATASETS), "all of 0.1.0's datasets are there"
        for name in names:
            assert one[name].dtype == other[name].dtype, name
            bound = SAME_MACHINE if name in {"rows/heatmap", "rows/inout"} else {"rtol": 0, "atol": 0}
            a, b = (file[name][()].astype(np.float64) for file in (one, other))
            np.testing.assert_allclose(a, b, **bound, err_msg=name)
    keys = [open_provenance(folder).options_key for folder in ("store", "store_killed")]
    assert keys[0] == keys[1]


def open_provenance(folder: str) -> Provenance:
    with gazetools.open_store(f"{folder}/clip.h5") as store:
        return store.provenance


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_dataset_is_read_and_packed_to_the_same_bytes(old: Path, layout: str) -> None:
    maps = gazetools.HeatmapReader(f"dataset_{layout}", "clip")
    assert maps.shape == ((300 if layout == "npz" else 10), 8, 8)
    peaks = maps.read(range(len(maps))).max(axis=(1, 2))
    assert set(np.unique(peaks)) == {0.0, 1.0}, "frames without people are zero, the others have a largest value of 1"
    again = ["pack", "store", "-o", "again", "--layout", layout, "--normalize", "max"]
    _document(*again, *([] if layout == "npz" else ["--fps", "1"]))
    old_manifest, new_manifest = (
        json.loads((old / folder / "manifest.json").read_text()) for folder in (f"dataset_{layout}", "again")
    )
    assert [v["sha256"] for v in _videos(new_manifest)] == [v["sha256"] for v in _videos(old_manifest)]
    findings = _document("validate", f"dataset_{layout}", "--videos", "videos", "--fail-on", "error")["findings"]
    assert not [finding for finding in findings if finding["severity"] == "error"], findings


def _videos(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    videos = manifest["videos"]
    return list(videos.values()) if isinstance(videos, dict) else videos


def test_a_stopped_training_goes_on_and_ends_like_the_undisturbed_one(old: Path) -> None:
    (old / "config.yaml").write_text(yaml.safe_dump({**CONFIG, "folder": "run_stopped"}))
    result = _document("train", "--config", "config.yaml")
    assert (result["status"], result["steps_done"]) == ("done", 4)
    whole, resumed = (
        [json.loads(line) for line in (old / folder / "metrics.jsonl").read_text().splitlines()]
        for folder in ("run", "run_stopped")
    )
    assert len(whole) == len(resumed) == 2
    for one, other in zip(map(_numbers, whole), map(_numbers, resumed), strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            if "seconds" not in name and "per_second" not in name:
                assert other[name] == pytest.approx(value, rel=5e-3, abs=5e-3), name


def _numbers(value: Any, name: str = "") -> dict[str, float]:
    """Dotted name -> number, for every number in a JSON document."""
    if isinstance(value, dict):
        return {key: number for part in value for key, number in _numbers(value[part], f"{name}.{part}").items()}
    if isinstance(value, list):
        return {key: n for i, part in enumerate(value) for key, n in _numbers(part, f"{name}.{i}").items()}
    return {} if isinstance(value, bool) or not isinstance(value, int | float) else {name: float(value)}


def test_a_finished_run_is_reported(old: Path) -> None:
    document = _document("report", "run", "-o", "report")
    assert {"none", "estimated", "added"} <= set(re.findall(r"[a-z]+", json.dumps(document)))
    page = (old / "report" / "report.html").read_text()
    assert all(arm in page for arm in ("none", "estimated", "added"))
