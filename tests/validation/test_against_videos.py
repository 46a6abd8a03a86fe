"""Counts, times and identity against a decoded video, and coverage of annotated clips."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gazetools.packing import pack
from gazetools.schemas.errors import UsageError
from gazetools.schemas.findings import ValidationReport
from gazetools.validation import validate
from gazetools.validation.checks_time import KNOWN_RATES
from tests.helpers.clips import write_clip
from tests.packing.made_stores import make_store

TIMES = np.arange(40) / 30


def _codes(report: ValidationReport) -> list[str]:
    return [f.code for f in report.findings if f.severity != "note"]


def _make(tmp_path: Path, clip: Path, video_id: str = "clip", **changes: Any) -> Path:
    video = {
        "path": str(clip),
        "size_bytes": clip.stat().st_size,
        "sha256": hashlib.sha256(clip.read_bytes()).hexdigest(),
        **changes.pop("video", {}),
    }
    make_store(tmp_path / "store", video_id, **{"frame_count": 40, "video": video, **changes})
    return tmp_path / "store"


@pytest.fixture
def videos(tmp_path: Path, clip: Path) -> Path:
    """A root with the one video `clip`."""
    (tmp_path / "videos").mkdir()
    shutil.copy(clip, tmp_path / "videos" / "clip.mp4")
    return tmp_path / "videos"


def test_a_good_store_and_its_datasets_raise_no_alarm(tmp_path: Path, clip: Path, videos: Path) -> None:
    store = _make(tmp_path, clip)
    strided = tmp_path / "strided"
    for root, given in ((store, videos), (store, videos / "clip.mp4"), (store, None)):
        report = validate(root, videos=given)
        assert _codes(report) == []
        assert report.summary["videos_decoded"] == 1
    for name, options in {"a": {}, "b": {"layout": "npy"}, "c": {"align": "native"}, "d": {"fps": 8.0}}.items():
        pack(store, tmp_path / name, **options)
        assert _codes(validate(tmp_path / name, videos=videos)) == []
    _make(strided, clip, index=range(0, 40, 3), pts_seconds=TIMES[::3])
    pack(strided / "store", strided / "data")
    assert _codes(validate(strided / "data", videos=videos)) == []


def test_without_the_video_nothing_is_claimed(tmp_path: Path, clip: Path) -> None:
    report = validate(_make(tmp_path, clip, video={"path": "/nowhere/clip.mp4"}))
    assert _codes(report) == []
    assert report.summary["videos_decoded"] == 0


# name: (changes of the store, expected codes, frames of the first finding)
FAULTS: dict[str, tuple[dict[str, Any], list[str], list[int] | None]] = {
    "two frames less": ({"frame_count": 38, "pts_seconds": TIMES[:38]}, ["frame-count-mismatch"], [38, 39]),
    "one frame more": (
        {"frame_count": 41, "pts_seconds": np.arange(41) / 30},
        ["frame-count-mismatch", "frames-beyond-video"],
        [40],
    ),
    "every second frame taken for all": (
        {"frame_count": 20, "pts_seconds": TIMES[::2]},
        ["pts-mismatch", "rate-mismatch"],
        list(range(1, 20)),
    ),
    "25 fps clock": ({"pts_seconds": np.arange(40) / 25}, ["pts-mismatch"], list(range(1, 40))),
    "one time off": ({"pts_seconds": np.where(np.arange(40) == 7, TIMES + 0.01, TIMES)}, ["pts-mismatch"], [7]),
    "shifted by two": ({"index": range(38), "pts_seconds": TIMES[2:]}, ["pts-shifted"], list(range(38))),
    "shifted by minus one": ({"index": range(1, 40), "pts_seconds": TIMES[:39]}, ["pts-shifted"], list(range(1, 40))),
    "another file": ({"video": {"sha256": "0" * 64}}, ["video-changed"], None),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_disagrees_with_the_video_is_found(tmp_path: Path, clip: Path, videos: Path, name: str) -> None:
    changes, codes, frames = FAULTS[name]
    report = validate(_make(tmp_path, clip, **changes), videos=videos)
    assert sorted(_codes(report)) == codes
    first = next(f for f in report.findings if f.code == codes[0])
    assert first.frames == frames
    if name.startswith("shifted"):
        shift = {"shifted by two": "+2", "shifted by minus one": "-1"}[name]
        assert f"of the frames {shift} further on" in first.message


@pytest.mark.parametrize(("rows", "code"), [(40, None), (39, "frame-count-mismatch"), (20, "rate-mismatch")])
def test_heatmaps_of_others_are_counted(tmp_path: Path, videos: Path, rows: int, code: str | None) -> None:
    (tmp_path / "maps").mkdir()
    np.savez(tmp_path / "maps" / "clip.npz", x=np.random.default_rng(0).random((rows, 4, 5), dtype=np.float32))
    assert _codes(validate(tmp_path / "maps", videos=videos)) == ([code] if code else [])


def test_rate_mistakes_are_named() -> None:
    """The 30 / 29.97 and 8 / 8.56 mistakes have an entry each, and no entry hides another for an hour of video."""
    decoded = 107_892
    counts = [round(decoded * ratio) for ratio, _ in KNOWN_RATES]
    assert len(set(counts)) == len(counts)
    text = " ".join(mistake for _, mistake in KNOWN_RATES)
    assert "29.97 fps was read as 30" in text
    assert "8.56 (59.94 with the stride 7) fps was read as 8" in text


def test_a_dataset_whose_rows_are_shifted_is_found(tmp_path: Path, clip: Path, videos: Path) -> None:
    from tests.validation.faults import edit_npz

    store = _make(tmp_path, clip)
    pack(store, tmp_path / "data")
    edit_npz(tmp_path / "data", lambda a: a.update(pts_seconds=a["pts_seconds"] + 3 / 30))
    (found,) = [f for f in validate(tmp_path / "data", videos=videos).findings if f.severity == "error"]
    assert (found.code, found.frames) == ("pts-shifted", list(range(40)))
    assert "+3" in found.message


def test_videos_that_are_missing_named_otherwise_or_broken(tmp_path: Path, clip: Path, videos: Path) -> None:
    store = _make(tmp_path, clip, "a")
    _make(tmp_path, clip, "CLIP")
    _make(tmp_path, clip, "cut")
    (videos / "cut.mp4").write_bytes(clip.read_bytes()[:200])
    by_id = {f.video_id: f.code for f in validate(store, videos=videos).findings}
    assert by_id == {"a": "video-missing", "CLIP": "video-case-differs", "cut": "video-unreadable"}


def test_a_root_that_does_not_exist_is_wrong_usage(tmp_path: Path, clip: Path) -> None:
    store = _make(tmp_path, clip)
    with pytest.raises(UsageError, match=r"video root .* does not exist"):
        validate(store, videos=tmp_path / "nowhere")
    for path in (tmp_path / "nowhere", tmp_path / "empty", clip):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(UsageError):
            validate(path)


def _csv(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(["narration_id,video_id,start_timestamp,stop_timestamp", *rows]) + "\n")
    return path


def test_clips_without_heatmaps_are_reported(tmp_path: Path) -> None:
    """One clip is inside, one over the gap at 10..12, one behind the end, one in a video that isn't there."""
    people = {frame: [1] for frame in range(90) if not 10 <= frame < 13}
    make_store(tmp_path / "store", "P01/P01_01", people=people, frame_count=90)
    pack(tmp_path / "store", tmp_path / "data")
    annotations = _csv(
        tmp_path / "clips.csv",
        "n0,P01_01,00:00:01.00,00:00:02.00",
        "n1,P01_01,00:00:00.20,00:00:01.00",
        "n2,P01_01,00:00:02.50,00:00:09.00",
        "n3,P02_07,00:00:02.50,00:00:09.00",
    )
    for root in ("store", "data"):
        report = validate(tmp_path / root, annotations=annotations)
        found = {f.code: f for f in report.findings if f.severity == "warning"}
        assert sorted(found) == ["annotated-video-missing", "clips-uncovered"]
        assert "2 of 3 annotated clips, such as n1, n2" in found["clips-uncovered"].message
        assert found["annotated-video-missing"].video_id == "P02_07"
        assert (report.summary["clips"], report.summary["clips_covered"]) == (3, 1)


BAD_CSV = {
    "columns": ("video,start\n", "lacks the columns start_timestamp, stop_timestamp, video_id"),
    "time": ("video_id,start_timestamp,stop_timestamp\na,1.5,2\n", "line 2: not enough values"),
    "bytes": (b"video_id,\xff\xfe\n", "not a CSV file in UTF-8"),
}


@pytest.mark.parametrize("case", BAD_CSV)
def test_bad_annotations_are_wrong_usage(tmp_path: Path, case: str) -> None:
    content, message = BAD_CSV[case]
    make_store(tmp_path / "store")
    path = tmp_path / "clips.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UsageError, match=message):
        validate(tmp_path / "store", annotations=path)


def test_a_clip_of_another_length_is_found_at_its_frame_rate(tmp_path: Path) -> None:
    """A store that says 30 fps of a 25 fps video of the same length: named as a rate."""
    made = write_clip(tmp_path / "videos" / "clip.mp4", frames=50, fps=25)
    store = _make(tmp_path, made, frame_count=60, pts_seconds=np.arange(60) / 30)
    report = validate(store, videos=tmp_path / "videos")
    messages = {f.code: f.message for f in report.findings}
    assert "25 (or 50) fps was read as 30 (or 60)" in messages["rate-mismatch"]
