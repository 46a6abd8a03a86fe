"""Datasets in shards, `webdataset` and `hf`: the numbers, the bytes, and what stays after a kill or a failure."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from gazetools.heatmaps import HeatmapReader
from gazetools.layouts.open_shard import OpenShard
from gazetools.packing import convert, pack
from gazetools.schemas.dataset import PackOptions
from gazetools.schemas.errors import DataFileError, EnvironmentLacksError, UsageError
from gazetools.schemas.training import DataSettings
from gazetools.trainer.data.maps.base import ClipFramesAsked
from gazetools.trainer.data.maps.build import build_sources
from gazetools.validation import validate
from tests.helpers.command_line import run_cli
from tests.helpers.stores import make_video

NEEDS_ARROW = pytest.mark.skipif(
    importlib.util.find_spec("pyarrow") is None, reason="the extra [hub] is not installed: pip install -e '.[hub]'"
)
BOTH = pytest.mark.parametrize("layout", ["webdataset", pytest.param("hf", marks=NEEDS_ARROW)])
IDS = ("P01/P01_01", "a.b/c.d", "a/" + "lang" * 30, "é-1")
"""With a folder, with dots (which end the key of a sample), longer than ustar's 100 characters, not ASCII."""
ROWS = 300


def _files(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _shards(folder: Path) -> list[Path]:
    return sorted((folder / "shards").iterdir())


def _alarms(folder: Path) -> list[tuple[str, str]]:
    found = [(one.code, one.message) for one in validate(folder).findings if one.severity != "note"]
    return [(code, message) for code, message in found if code != "videos-not-compared"]


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six videos of another tool, 300 maps of 32x32 each: 614 KB a video, two blocks of 262 KB and one of 90 KB."""
    folder = tmp_path_factory.mktemp("foreign")
    generator = np.random.default_rng(3)
    for name in ("a", "b", "c", "d", "e", "f"):
        np.savez(folder / f"{name}.npz", maps=generator.random((ROWS, 32, 32), dtype=np.float32).astype(np.float16))
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stores") / "store"
    for video_id in IDS:
        make_video(folder, video_id, frame_count=140, people={f: [1] for f in range(140) if f != 5})
    return folder


@BOTH
@pytest.mark.parametrize("dtype", ["float16", "uint8"])
def test_every_number_is_that_of_the_npz_dataset(store: Path, tmp_path: Path, layout: str, dtype: str) -> None:
    """Packed and converted give equal bytes, and the way back those of the .npz dataset."""
    settings: dict[str, Any] = {"normalize": "max", "dtype": dtype}
    pack(store, tmp_path / "npz", **settings)
    report = pack(store, tmp_path / "packed", layout=layout, shard_size=1, **settings)
    assert [item.status for item in report.items] == ["packed"] * len(IDS)
    for video_id in IDS:
        ours, theirs = (HeatmapReader(tmp_path / name, video_id) for name in ("packed", "npz"))
        assert ours.shape == theirs.shape
        for rows in (range(140), [139, 0, 127, 128, 129, 5, 128], []):
            np.testing.assert_array_equal(ours.read(rows), theirs.read(rows))
        for name in ("valid", "inout", "pts_seconds"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
    assert _alarms(tmp_path / "packed") == []
    convert(tmp_path / "npz", tmp_path / "converted", layout=layout, shard_size=1)
    assert _files(tmp_path / "converted") == _files(tmp_path / "packed")
    convert(tmp_path / "packed", tmp_path / "back", layout="npz")
    assert _files(tmp_path / "back") == _files(tmp_path / "npz")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "packed").rglob("*")}
    again = pack(store, tmp_path / "packed", layout=layout, shard_size=1, **settings)
    assert [item.status for item in again.items] == ["unchanged"] * len(IDS)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "packed").rglob("*") if path.is_file()} == {
        path: changed for path, changed in before.items() if path.is_file()
    }


@BOTH
def test_training_reads_the_same_maps(store: Path, tmp_path: Path, layout: str) -> None:
    found = []
    for name in ("npz", layout):
        pack(store, tmp_path / name, layout=name, normalize="max")
        data = DataSettings(
            base_path="videos",
            dataset_train="train.csv",
            dataset_val="val.csv",
            use_heatmap=True,
            heatmap_base_path=str(tmp_path / name),
        )
        (source,) = build_sources(data).values()
        survey = source.survey(IDS)
        assert (sorted(survey.present), survey.broken) == (sorted(IDS), {})
        asked = ClipFramesAsked(
            indices=np.arange(120, 140, 3), video_pts_seconds=np.arange(140) / 30, end_seconds=9.0, frame_hw=(64, 96)
        )
        found.append(source.maps_of(IDS[0], asked).maps_thw)
    np.testing.assert_array_equal(*found)
    assert found[0].shape == (7, 8, 10) and found[0].max() == 1


def test_tar_samples_as_python_reads_them(store: Path, tmp_path: Path) -> None:
    pack(store, tmp_path / "out", layout="webdataset", normalize="max")
    (shard,) = _shards(tmp_path / "out")
    listed = json.loads((tmp_path / "out" / "index.json").read_text())["shards"]
    assert [(one["file"], len(one["blocks"]), one["bytes"]) for one in listed] == [
        ("shards/maps-000000.tar", 2 * len(IDS), shard.stat().st_size)
    ]
    assert listed[0]["sha256"] == hashlib.sha256(shard.read_bytes()).hexdigest()
    with tarfile.open(shard) as tar:
        infos = tar.getmembers()
        assert {(i.mtime, i.uid, i.gid, i.uname, i.gname, i.mode, i.isreg()) for i in infos} == {
            (0, 0, 0, "", "", 0o644, True)
        }
        names = [info.name for info in infos]
        assert names[:4] == [f"{IDS[0]}/000000000.json", f"{IDS[0]}/000000000.npy", *names[2:4]]
        assert names == [f"{v}/{r:09d}.{e}" for v in IDS for r in (0, 128) for e in ("json", "npy")]
        facts = json.load(tar.extractfile(f"{IDS[1]}/000000128.json"))  # type: ignore[arg-type]
        maps = np.load(io.BytesIO(tar.extractfile(f"{IDS[1]}/000000128.npy").read()))  # type: ignore[union-attr]
    reader = HeatmapReader(tmp_path / "out", IDS[1])
    np.testing.assert_array_equal(maps.astype(np.float32), reader.read(range(128, 140)))
    assert reader.pts_seconds is not None
    assert facts["pts_seconds"] == reader.pts_seconds[128:].tolist() and facts["valid"] == [True] * 12
    assert (facts["video_id"], facts["first_row"], facts["rows"], facts["video_rows"]) == (IDS[1], 128, 12, 140)
    assert (facts["normalisation"], facts["shape"], facts["dtype"]) == ("max", [12, 8, 10], "float16")
    with tarfile.open(shard) as tar:
        assert json.load(tar.extractfile(f"{IDS[0]}/000000000.json"))["inout"][5] is None  # type: ignore[arg-type]


@NEEDS_ARROW
def test_arrow_rows_as_pyarrow_reads_them(store: Path, tmp_path: Path) -> None:
    import pyarrow as pa

    done = run_cli("pack", str(store), "-o", str(tmp_path / "o"), "--layout", "hf", "--license", "cc-by-nc-4.0")
    assert done.exit_code == 0, done.stderr
    (shard,) = _shards(tmp_path / "o")
    with pa.ipc.open_stream(shard) as stream:
        table = stream.read_all()
    assert table.column_names == ["video_id", "row", "valid", "inout", "pts_seconds", "heatmap"]
    assert table["video_id"].to_pylist() == [video_id for video_id in IDS for _ in range(140)]
    assert table["row"].to_pylist() == [*range(140)] * len(IDS)
    reader = HeatmapReader(tmp_path / "o", IDS[2])
    rows = table.slice(2 * 140, 140)
    np.testing.assert_array_equal(np.array(rows["heatmap"].to_pylist(), np.float32), reader.read(range(140)))
    np.testing.assert_array_equal(rows["inout"].to_numpy(), reader.inout)
    card = (tmp_path / "o" / "README.md").read_text().split("---\n")[1]
    facts = yaml.safe_load(card)
    assert facts["license"] == "cc-by-nc-4.0"
    features = {one["name"]: one["dtype"] for one in facts["dataset_info"]["features"]}
    assert list(features) == table.column_names
    assert features["heatmap"] == {"array2_d": {"shape": [8, 10], "dtype": "float16"}}
    assert facts["configs"][0]["data_files"] == [{"split": "train", "path": "shards/*.arrow"}]


@BOTH
def test_shards_have_the_stated_size(foreign: Path, tmp_path: Path, layout: str) -> None:
    convert(foreign, tmp_path / "out", layout=layout, shard_size=1)
    sizes = [path.stat().st_size for path in _shards(tmp_path / "out")]
    assert len(sizes) >= 4 and max(sizes) <= 10**6  # 3.7 MB of maps
    assert min(sizes[:-1]) > 10**6 - 280_000  # closed only where the next block would not fit
    if layout == "hf":
        assert "license: unknown" in (tmp_path / "out" / "README.md").read_text()


_KILLED = """
import os, signal, sys
from gazetools.layouts.open_shard import OpenShard
from gazetools.packing import convert
finish = OpenShard.finish
def finish_or_die(self):
    if self.final.stem.endswith(sys.argv[4]):
        os.kill(os.getpid(), signal.SIGKILL)
    return finish(self)
OpenShard.finish = finish_or_die
convert(sys.argv[1], sys.argv[2], layout=sys.argv[3], shard_size=1)
"""


@BOTH
def test_finished_shards_stay_after_a_kill(foreign: Path, tmp_path: Path, layout: str) -> None:
    """Killed while the fourth shard is finished; the next run writes no finished shard again, and ends alike."""
    convert(foreign, tmp_path / "whole", layout=layout, shard_size=1)
    out = tmp_path / "out"
    command = [sys.executable, "-c", _KILLED, str(foreign), str(out), layout, "000002"]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert not (out / "manifest.json").exists()
    finished = {path: path.stat() for path in _shards(out) if not path.name.startswith(".")}
    assert [path.stem for path in finished] == ["maps-000000", "maps-000001"]
    report = convert(foreign, out, layout=layout, shard_size=1)
    assert not report.failed and "unchanged" in [item.status for item in report.items]
    assert all(
        (path.stat().st_ino, path.stat().st_mtime_ns) == (s.st_ino, s.st_mtime_ns) for path, s in finished.items()
    )
    assert _files(out) == _files(tmp_path / "whole")


@BOTH
def test_another_video_changes_only_the_shards_from_its_own_on(foreign: Path, tmp_path: Path, layout: str) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    shutil.copytree(foreign, source)
    (source / "f.npz").unlink()
    convert(source, out, layout=layout, shard_size=1)
    first = _shards(out)[0].stat().st_ino
    shutil.copy(foreign / "f.npz", source / "g.npz")  # behind all others
    np.savez(source / "d.npz", maps=np.zeros((ROWS - 7, 32, 32), np.float16))  # shorter, with other numbers
    statuses = [item.status for item in convert(source, out, layout=layout, shard_size=1).items]
    assert statuses == ["unchanged", "unchanged", "unchanged", "packed", "packed", "packed"]
    assert _shards(out)[0].stat().st_ino == first
    convert(source, tmp_path / "fresh", layout=layout, shard_size=1)
    assert _files(out) == _files(tmp_path / "fresh")
    (source / "b.npz").unlink()
    with pytest.raises(UsageError, match="holds 1 videos that this run does not have, such as 'b'"):
        convert(source, out, layout=layout, shard_size=1)
    assert _files(out) == _files(tmp_path / "fresh")


@BOTH
@pytest.mark.parametrize("before", [False, True], ids=["from the first run on", "good in an earlier run"])
def test_a_video_that_fails_leaves_no_trace(foreign: Path, tmp_path: Path, layout: str, before: bool) -> None:
    """Its last row is out of range: by then its first blocks are in a shard that is finished."""
    source, out = tmp_path / "source", tmp_path / "out"
    shutil.copytree(foreign, source)
    if before:
        convert(source, out, layout=layout, shard_size=1)
    with np.load(source / "c.npz") as archive:
        maps = np.tile(archive["maps"], (4, 1, 1))
    maps[-1, 3, 3] = 7
    np.savez(source / "c.npz", maps=maps)
    done = run_cli("convert", str(source), "-o", str(out), "--layout", layout, "--shard-size", "1", "--json")
    items = {item["video_id"]: item for item in json.loads(done.stdout)["items"]}
    assert (done.exit_code, items["c"]["status"]) == (1, "failed")
    assert "rows" in items["c"]["reason"] and "0..1" in items["c"]["reason"]
    (source / "c.npz").unlink()
    convert(source, tmp_path / "without", layout=layout, shard_size=1)
    assert _files(out) == _files(tmp_path / "without")
    assert _alarms(out) == []


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@BOTH
@pytest.mark.parametrize(
    ("damage", "code", "message", "readable"),
    [
        (_cut, "file-unreadable", "is truncated: it has", False),
        (Path.unlink, "file-unreadable", "is missing", False),
        (_flip, "checksum-mismatch", "is damaged: rows", True),
    ],
    ids=["truncated", "missing", "another byte"],
)
def test_a_bad_shard_is_named(
    foreign: Path, tmp_path: Path, layout: str, damage: Any, code: str, message: str, readable: bool
) -> None:
    out = tmp_path / "out"
    convert(foreign, out, layout=layout, shard_size=1)
    damage(bad := _shards(out)[1])
    found = [(found, text) for found, text in _alarms(out) if bad.name in text]
    assert code in {found for found, _ in found} and any(message in text for _, text in found)
    assert run_cli("validate", str(out)).exit_code == 1
    if not readable:
        with pytest.raises(DataFileError, match=f"{bad.name} {message}"):
            HeatmapReader(out, "c")
        HeatmapReader(out, "f").read([0, ROWS - 1])  # those in other shards are read
    again = convert(out, tmp_path / "npz", layout="npz")
    assert "c" in {item.video_id for item in again.failed} and "f" not in {item.video_id for item in again.failed}
    repaired = convert(foreign, out, layout=layout, shard_size=1, overwrite=True)
    if not readable:  # a byte that differs is found by validate, not by the size that a new run compares
        assert not repaired.failed and _alarms(out) == []


def test_a_shard_that_is_a_link_out_of_the_dataset_is_refused(foreign: Path, tmp_path: Path) -> None:
    convert(foreign, tmp_path / "out", layout="webdataset")
    (shard,) = _shards(tmp_path / "out")
    shard.rename(tmp_path / "elsewhere.tar")
    shard.symlink_to(tmp_path / "elsewhere.tar")
    with pytest.raises(DataFileError, match="leads outside"):
        HeatmapReader(tmp_path / "out", "a")
    assert run_cli("validate", str(tmp_path / "out")).exit_code == 1


def test_a_snapshot_in_the_hubs_cache_is_read(foreign: Path, tmp_path: Path) -> None:
    """There every file is a link to a blob of the same repository, as huggingface_hub downloads it."""
    convert(foreign, tmp_path / "out", layout="webdataset", shard_size=1)
    repository = tmp_path / "datasets--org--gaze"
    (repository / "blobs").mkdir(parents=True)
    snapshot = repository / "snapshots" / "0123"
    for number, path in enumerate(sorted(p for p in (tmp_path / "out").rglob("*") if p.is_file())):
        link = snapshot / path.relative_to(tmp_path / "out")
        link.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, repository / "blobs" / str(number))
        link.symlink_to(os.path.relpath(repository / "blobs" / str(number), link.parent))
    ours, theirs = (HeatmapReader(root, "c").read(range(ROWS)) for root in (tmp_path / "out", snapshot))
    np.testing.assert_array_equal(ours, theirs)


@BOTH
def test_a_damaged_index_is_named(foreign: Path, tmp_path: Path, layout: str) -> None:
    convert(foreign, tmp_path / "out", layout=layout)
    index = next((tmp_path / "out").glob("c.*index"))
    original = index.read_bytes()
    for data in (original[:100], original[: len(original) // 2] + original[len(original) // 2 + 8 :], b"no index"):
        index.write_bytes(data)
        with pytest.raises(DataFileError, match=r"c\.(tar|arrow)index"):
            HeatmapReader(tmp_path / "out", "c")
        assert run_cli("validate", str(tmp_path / "out")).exit_code == 1
    np.savez(tmp_path / "other.npz", place=np.zeros(2, np.int64), blocks=np.zeros((1, 7), np.int64))
    shutil.copy(tmp_path / "other.npz", index)
    with pytest.raises(DataFileError, match="is not an index of a video in shards"):
        HeatmapReader(tmp_path / "out", "c")
    bad = np.array([[0, 300, 10**7, 0, 10**6, 100, 0]], np.int64)  # a shard number that is none
    np.savez(tmp_path / "o.npz", place=np.array([300, 0]), blocks=bad, map_type=np.zeros((0, 32, 32), np.float16))
    shutil.copy(tmp_path / "o.npz", index)
    with pytest.raises(DataFileError, match="does not follow"):
        HeatmapReader(tmp_path / "out", "c")


def test_sizes_and_types_may_differ_in_tar_shards_only(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", maps=np.zeros((3, 8, 8), np.float16))
    np.savez(tmp_path / "b.npz", maps=np.zeros((2, 9, 12), np.float32))
    report = convert(tmp_path, tmp_path.parent / "tars", layout="webdataset")
    assert not report.failed
    shapes = {name: HeatmapReader(tmp_path.parent / "tars", name).shape for name in "ab"}
    assert shapes == {"a": (3, 8, 8), "b": (2, 9, 12)}
    if importlib.util.find_spec("pyarrow") is not None:
        (failed,) = convert(tmp_path, tmp_path.parent / "arrow", layout="hf").failed
        assert failed.video_id == "b" and "float32 maps of 9x12" in str(failed.reason)
        assert "--layout webdataset" in str(failed.reason)


def test_options_that_exclude_each_other(foreign: Path, tmp_path: Path) -> None:
    cases = [
        (("--shard-size", "5"), "--shard-size is for --layout webdataset and hf, not npz"),
        (("--layout", "webdataset", "--license", "mit"), "--license is for --layout hf, not webdataset"),
        (("--layout", "hf", "--license", "a b"), "identifier of the hub"),
        (("--layout", "hf", "--shard-size", "0"), "at least 1"),
    ]
    for arguments, message in cases:
        for command in ("convert", "pack"):
            done = run_cli(command, str(foreign), "-o", str(tmp_path / "out"), *arguments)
            assert done.exit_code == 2
            assert message in done.stderr, done.stderr
    # manifests of older versions have neither key, and their datasets stay complete
    assert "shard_size" not in PackOptions().model_dump() and "license" not in PackOptions().model_dump()
    assert PackOptions(layout="hf").key() == PackOptions(layout="hf", license="mit").key()


def test_shards_of_others_are_not_replaced(foreign: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "shards").mkdir(parents=True)
    (tmp_path / "out" / "shards" / "maps-000000.tar").write_bytes(b"mine")
    with pytest.raises(UsageError, match="is in no manifest of gazetools"):
        convert(foreign, tmp_path / "out", layout="webdataset")
    assert (tmp_path / "out" / "shards" / "maps-000000.tar").read_bytes() == b"mine"


def test_without_pyarrow_the_error_names_the_extra(
    foreign: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(EnvironmentLacksError, match="can't be imported") as caught:
        convert(foreign, tmp_path / "out", layout="hf")
    assert caught.value.hint == "pip install 'gazetools[hub]'"


def test_a_full_disk_leaves_finished_shards(foreign: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error of the thread that finishes a shard stops the run, and no half shard is left."""
    finish = OpenShard.finish

    def full(shard: OpenShard) -> tuple[str, int]:
        if shard.final.stem.endswith("1"):
            with shard._faults():
                raise OSError(28, "No space left on device")
        return finish(shard)

    monkeypatch.setattr(OpenShard, "finish", full)
    done = run_cli("convert", str(foreign), "-o", str(tmp_path / "o"), "--layout", "webdataset", "--shard-size", "1")
    assert done.exit_code == 4 and "No space left" in done.stderr
    assert [path.name for path in _shards(tmp_path / "o")] == ["maps-000000.tar"]
    monkeypatch.setattr(OpenShard, "finish", finish)
    assert not convert(foreign, tmp_path / "o", layout="webdataset", shard_size=1).failed
    assert _alarms(tmp_path / "o") == []
