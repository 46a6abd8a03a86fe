"""The whole way, from videos to a dataset, with links, decomposed names, odd names and moved folders."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from gazetools.extraction.run import extract
from gazetools.packing import convert, pack
from gazetools.preview import preview
from gazetools.schemas.extract import ExtractReport
from gazetools.store import list_store, open_store
from gazetools.validation import validate
from tests.helpers.clips import write_boxes, write_clip
from tests.helpers.command_line import run_cli

NFD = "Ku\u0308che"


def _extract(inputs: str | Path, store: str | Path, **options: object) -> ExtractReport:
    return extract(inputs, store, **{"model": "centre-prior", "device": "cpu", **options})


def _codes(path: str | Path, **options: object) -> list[str]:
    return [found.code for found in validate(path, **options).findings if found.severity != "note"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with every second frame of a video, made with relative paths; the working folder is another one then."""
    write_clip(tmp_path / "project" / "videos" / "P01" / "v1.mp4", frames=12)
    monkeypatch.chdir(tmp_path / "project")
    _extract("videos", "store", stride=2)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "project"


def _has_all_times(dataset: Path) -> bool:
    times = np.load(dataset / "P01" / "v1.npz")["pts_seconds"]
    return len(times) == 12 and bool(np.isfinite(times).all())


def test_a_store_works_from_any_folder(project: Path, tmp_path: Path) -> None:
    pack(project / "store", "data")
    assert _has_all_times(tmp_path / "elsewhere" / "data")
    assert _codes("../project/store") == _codes("data") == []
    assert validate("data").summary["videos_decoded"] == 1


@pytest.mark.parametrize("layout", ["npz", "npy", "hdf5"])
def test_folders_that_are_moved_together_keep_working(project: Path, tmp_path: Path, layout: str) -> None:
    pack(project / "store", project / "sets" / "data", layout=layout)
    convert(project / "sets" / "data", project / "copy", layout="npz")
    moved = project.rename(tmp_path / "moved")
    for place in ("store", "sets/data", "copy"):
        assert validate(moved / place).summary["videos_decoded"] == 1, place
        assert _codes(moved / place) == [], place
    pack(moved / "store", "again")
    assert _has_all_times(tmp_path / "elsewhere" / "again")
    assert validate("again").summary["videos_decoded"] == 1


def test_a_store_that_is_moved_alone_finds_its_videos(project: Path, tmp_path: Path) -> None:
    shutil.move(project / "store", tmp_path / "elsewhere" / "deep" / "store")
    pack("deep/store", "data")
    assert _has_all_times(tmp_path / "elsewhere" / "data")


def test_another_file_at_the_recorded_place_is_not_taken(project: Path) -> None:
    write_clip(project / "videos" / "P01" / "v1.mp4", frames=20)
    report = pack(project / "store", "data")
    assert "has changed since it was extracted" in str(report.items[0].warnings)
    assert "video-changed" in _codes(project / "store")


@pytest.mark.parametrize("kind", ["store", "data"])
def test_without_any_video_nothing_was_compared_and_it_is_said(project: Path, kind: str) -> None:
    pack(project / "store", project / "data")
    shutil.rmtree(project / "videos")
    report = validate(project / kind)
    (found,) = (found for found in report.findings if found.severity != "note")
    assert found.code == "videos-not-compared"
    assert "1 of 1 videos" in found.message and "is not there" in found.message and "--videos" in found.remedy
    assert report.exit_code == 1


def test_odd_names_pass_through_all_layouts(tmp_path: Path) -> None:
    names = ("-abc", "index", "README", f"{NFD}/{NFD}")
    for number, name in enumerate(names):
        write_clip(tmp_path / "videos" / f"{name}.MP4", frames=5 + number)
    write_clip(tmp_path / "videos" / "manifest.mp4", frames=5)
    report = _extract(tmp_path / "videos", tmp_path / "store")
    assert [(item.video_id, item.status) for item in report.items] == [
        *((video_id, "done") for video_id in ("-abc", "K\u00fcche/K\u00fcche", "README", "index")),
        ("manifest", "failed"),
    ]
    assert report.exit_code == 1
    for layout in ("npz", "npy", "hdf5"):
        data = tmp_path / layout
        assert not [item for item in pack(tmp_path / "store", data, layout=layout).items if item.status == "failed"]
        assert _codes(data, videos=tmp_path / "videos") == ["videos-without-heatmaps"], "manifest.mp4 has none"
        assert preview(tmp_path / "videos" / "-abc.MP4", data, tmp_path / "sheet.png", frames=2) == 2


def test_linked_folders_and_box_files_give_what_the_files_give(tmp_path: Path) -> None:
    write_clip(tmp_path / "disk" / "P02" / f"{NFD}.Mov", frames=6)
    boxes = write_boxes(tmp_path / "disk" / "boxes.csv", frames=range(6))
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "P02").symlink_to("../disk/P02")
    (tmp_path / "heads" / "P02").mkdir(parents=True)
    (tmp_path / "heads" / "P02" / f"{NFD}.CSV").symlink_to(boxes)
    report = _extract(
        tmp_path / "videos", tmp_path / "store", model="head-direction", heads=f"file:{tmp_path / 'heads'}"
    )
    assert [(item.video_id, item.rows, item.status) for item in report.items] == [("P02/K\u00fcche", 12, "done")]
    assert _codes(tmp_path / "store", videos=tmp_path / "videos") == []


def test_a_part_of_a_store_may_lie_behind_a_link(tmp_path: Path) -> None:
    write_clip(tmp_path / "videos" / "P01" / "v1.mp4", frames=5)
    _extract(tmp_path / "videos", tmp_path / "disk")
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "P01").symlink_to("../disk/P01")
    (entry,) = list_store(tmp_path / "store")
    assert (entry.video_id, entry.problem) == ("P01/v1", None)
    assert [item.status for item in pack(tmp_path / "store", tmp_path / "data").items] == ["packed"]
    shutil.rmtree(tmp_path / "disk" / "P01")
    for suffix in (".h5", ".json"):
        (tmp_path / "store" / f"v2{suffix}").symlink_to(f"../disk/v2{suffix}")
    (broken,) = list_store(tmp_path / "store")
    assert broken.video_id == "v2" and broken.problem is not None
    (found,) = (found for found in validate(tmp_path / "store").findings if found.code == "part-left-out")
    assert "1 broken link" in found.message and "P01 -> ../disk/P01" in found.message


def test_the_report_and_the_dry_run_name_what_is_left_out(tmp_path: Path) -> None:
    write_clip(tmp_path / "videos" / "v.mp4", frames=5)
    (tmp_path / "videos" / "gone.mp4").symlink_to("nowhere.mp4")
    (tmp_path / "videos" / "again").symlink_to(".")
    (tmp_path / "videos" / "notes.txt").touch()
    words = ("extract", str(tmp_path / "videos"), "-o", str(tmp_path / "store"), "--model", "centre-prior")
    done = run_cli(*words, "--device", "cpu")
    assert done.exit_code == 0
    for part in ("1 broken link(s)", "gone.mp4 -> nowhere.mp4", "1 without the suffix", "again -> ."):
        assert part in done.stderr
    report = json.loads((tmp_path / "store" / "extract_report.json").read_text())
    assert {group["reason"]: group["count"] for group in report["left_out"]} == {
        "broken-link": 1,
        "suffix": 1,
        "loop": 1,
    }
    planned = run_cli(*words, "--device", "cpu", "--dry-run", "--json")
    assert json.loads(planned.stdout)["left_out"] == report["left_out"]


def test_a_dry_run_counts_only_videos_that_can_be_extracted(tmp_path: Path) -> None:
    for name in ("one", "two", "manifest"):
        write_clip(tmp_path / "videos" / f"{name}.mp4", frames=5)
    write_boxes(tmp_path / "boxes" / "one.csv", frames=range(5))
    words = ("extract", str(tmp_path / "videos"), "-o", str(tmp_path / "store"), "--model", "centre-prior", "--dry-run")
    assert "2 of 3 videos would be extracted" in run_cli(*words).stdout  # manifest.mp4 has a reserved id
    assert "1 of 3 videos would be extracted" in run_cli(*words, "--heads", f"file:{tmp_path / 'boxes'}").stdout
    (tmp_path / "videos" / "manifest.mp4").unlink()
    assert " 2 videos would be extracted" in run_cli(*words).stdout


def test_a_file_whose_name_looks_like_an_option_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_clip(tmp_path / "-abc.mp4", frames=5)
    monkeypatch.chdir(tmp_path)
    words = ("-o", "store", "--model", "centre-prior", "--device", "cpu")
    refused = run_cli("extract", "-abc.mp4", *words)
    assert refused.exit_code == 2
    assert "./-abc.mp4" in refused.stderr
    assert run_cli("extract", "./-abc.mp4", *words).exit_code == 0
    with open_store(tmp_path / "store" / "-abc.h5") as store:
        assert store.provenance.video.path == str(tmp_path / "-abc.mp4")
        assert store.provenance.video.relative_path == "../-abc.mp4"


def _bytes_path(root: Path, name: bytes) -> Path:
    path = Path(os.fsdecode(os.fsencode(root) + b"/" + name))
    write_clip(path, frames=6)
    return path


NOT_UTF_8 = [
    ("the file's name, from an old Windows disk", b"caf\xe9.mp4", ["failed"]),
    ("a folder below the input", b"\xe9t\xe9/v.mp4", ["failed"]),
    ("a folder above the input", b"\xff/videos/v.mp4", ["done"]),
]


@pytest.mark.parametrize(("name", "statuses"), [row[1:] for row in NOT_UTF_8], ids=[row[0] for row in NOT_UTF_8])
def test_names_that_are_no_utf_8_cost_themselves_and_never_the_run(
    tmp_path: Path, name: bytes, statuses: list[str]
) -> None:
    path = _bytes_path(tmp_path, name)
    given = path.parent if b"videos" in name else tmp_path
    if given == tmp_path:
        write_clip(tmp_path / "zzz.mp4", frames=6)
        statuses = ["done", *statuses]
    store = tmp_path / "out" / "store"
    done = run_cli("extract", str(given), "-o", str(store), "--model", "centre-prior", "--device", "cpu", "--json")
    document = json.loads(done.stdout)
    assert [item["status"] for item in document["items"]] == statuses, done.stderr
    assert done.exit_code == int("failed" in statuses)
    done.stdout.encode("utf-8")
    assert (store / "extract_report.json").read_text(encoding="utf-8")
    (entry,) = list_store(store)
    with open_store(store / f"{entry.video_id}.h5") as reader:
        assert reader.provenance.video.path.endswith(".mp4")
        reader.provenance.video.path.encode("utf-8")
    pack(store, tmp_path / "out" / "data")
    found = validate(tmp_path / "out" / "data", videos=given)
    assert found.summary["errors"] == 0
