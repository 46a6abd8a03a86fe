"""What a run of pack leaves behind: manifest, deterministic bytes, and how the next run goes on from it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

import gazetools
from gazetools.packing import pack
from tests.helpers.stores import make_video


def test_the_manifest_names_what_was_done(tmp_path: Path) -> None:
    make_video(tmp_path / "store", "take/cam01")
    pack(tmp_path / "store", tmp_path / "data", normalize="max", dtype="uint8")
    manifest = json.loads((tmp_path / "data" / "manifest.json").read_text())
    entry = manifest["videos"]["take/cam01"]
    file = tmp_path / "data" / entry["file"]
    assert (manifest["schema_name"], manifest["schema_version"], manifest["layout"]) == ("gazetools.dataset", 1, "npz")
    assert (entry["T"], entry["H"], entry["W"], entry["dtype"]) == (12, 8, 10, "uint8")
    assert (entry["normalisation"], entry["people"], entry["valid_frames"]) == ("max", "max", 12)
    assert entry["scale"] == pytest.approx(1 / 255)
    assert entry["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert entry["bytes"] == file.stat().st_size
    payload = (tmp_path / "store" / "take" / "cam01.h5").read_bytes()
    assert entry["source_sha256"] == hashlib.sha256(payload).hexdigest()
    assert entry["provenance"]["video_id"] == "take/cam01"
    assert not (tmp_path / "data" / ".work").exists()


@pytest.mark.parametrize("layout", ["npz", "npy"])
def test_the_same_input_gives_the_same_bytes(tmp_path: Path, layout: str) -> None:
    make_video(tmp_path / "store", people={0: [], 1: [1, 2], 2: [2]}, frame_count=4)
    trees = []
    for name in ("a", "b"):
        pack(tmp_path / "store", tmp_path / name, layout=layout, missing="hold")
        files = sorted(p for p in (tmp_path / name).rglob("*") if p.is_file())
        trees.append({str(p.relative_to(tmp_path / name)): p.read_bytes() for p in files})
    assert trees[0] == trees[1]


def _state(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(p): (p.stat().st_mtime_ns, p.stat().st_ino) for p in folder.rglob("*")}


@pytest.mark.parametrize("layout", ["npz", "npy"])
def test_packing_again_touches_nothing_until_the_source_changes(tmp_path: Path, layout: str) -> None:
    make_video(tmp_path / "store", "a")
    make_video(tmp_path / "store", "b")
    pack(tmp_path / "store", tmp_path / "data", layout=layout)
    before = _state(tmp_path / "data")
    report = pack(tmp_path / "store", tmp_path / "data", layout=layout)
    assert [item.status for item in report.items] == ["unchanged", "unchanged"]
    assert _state(tmp_path / "data") == before
    make_video(tmp_path / "store", "b", frame_count=9)
    report = pack(tmp_path / "store", tmp_path / "data", layout=layout)
    assert [item.status for item in report.items] == ["unchanged", "packed"]
    assert len(gazetools.HeatmapReader(tmp_path / "data", "b")) == 9


def test_a_damaged_result_is_packed_again(tmp_path: Path) -> None:
    make_video(tmp_path / "store")
    pack(tmp_path / "store", tmp_path / "data")
    file = tmp_path / "data" / "clip.npz"
    whole = file.read_bytes()
    file.write_bytes(whole[:-7])
    assert pack(tmp_path / "store", tmp_path / "data").items[0].status == "packed"
    assert file.read_bytes() == whole


def test_videos_are_added_to_the_manifest(tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_video(tmp_path / "store", name)
    pack(tmp_path / "store", tmp_path / "data", videos=["b"])
    pack(tmp_path / "store", tmp_path / "data", videos=["a"])
    assert list(json.loads((tmp_path / "data" / "manifest.json").read_text())["videos"]) == ["a", "b"]


def test_a_killed_run_goes_on_from_its_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b", "c"):
        make_video(tmp_path / "store", name)
    pack(tmp_path / "store", tmp_path / "whole")

    class Killed(BaseException):
        pass

    real = gazetools.packing.run.open_store

    def dying(path: Path, **keywords: Any) -> Any:
        if path.stem == "c":
            raise Killed
        return real(path, **keywords)

    monkeypatch.setattr("gazetools.packing.run.open_store", dying)
    with pytest.raises(Killed):
        pack(tmp_path / "store", tmp_path / "data")
    assert not (tmp_path / "data" / "manifest.json").exists()
    monkeypatch.undo()
    report = pack(tmp_path / "store", tmp_path / "data")
    assert [item.status for item in report.items] == ["unchanged", "unchanged", "packed"]
    for path in (tmp_path / "whole").rglob("*"):
        assert path.read_bytes() == (tmp_path / "data" / path.relative_to(tmp_path / "whole")).read_bytes()
    assert not (tmp_path / "data" / ".work").exists()
