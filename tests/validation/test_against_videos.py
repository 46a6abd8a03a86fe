"""Counts, times and identity against a decoded video, and coverage of annotated clips."""

from __future__ import annotations

import hashlib
import json
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from gazetools import extract
from gazetools.packing import pack
from gazetools.schemas.errors import UsageError
from gazetools.schemas.findings import ValidationReport
from gazetools.validation import validate
from gazetools.validation.checks.time import KNOWN_RATES
from gazetools.video import VideoReader
from tests.helpers.clips import write_clip
from tests.helpers.stores import make_video

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
    make_video(tmp_path / "store", video_id, **{"frame_count": 40, "video": video, **changes})
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
    assert _codes(report) == ["videos-not-compared"]
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
        ["pts-drift", "rate-mismatch"],
        list(range(1, 20)),
    ),
    "25 fps clock": ({"pts_seconds": np.arange(40) / 25}, ["pts-drift"], list(range(1, 40))),
    "nominal clock": ({"pts_seconds": np.arange(40) / 30.3}, ["pts-drift"], list(range(2, 40))),
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


def test_the_message_of_a_drift_names_the_rates(tmp_path: Path) -> None:
    """Times made from a nominal 30 on a video of 30000/1001 frames per second."""
    video = write_clip(tmp_path / "videos" / "clip.mp4", frames=60, fps=Fraction(30000, 1001))
    store = _make(tmp_path, video, frame_count=60, pts_seconds=np.arange(60) / 30)
    (found,) = [f for f in validate(store, videos=tmp_path / "videos").findings if f.code == "pts-drift"]
    assert "29.97 fps was read as 30" in found.message


def _notes(root: Path, **options: Any) -> set[str]:
    return {f.code for f in validate(root, **options).findings if f.severity == "note"}


VIDEO_NOTES = {
    "h264_variable_rate.mp4": {"video-rate-varies", "video-starts-late"},
    "h264_late_start.mp4": {"video-starts-late"},
    "h264_ntsc.mp4": set(),
}


@pytest.mark.parametrize("name", VIDEO_NOTES)
def test_what_is_unusual_about_a_video_is_noted(tmp_path: Path, name: str) -> None:
    video = Path(__file__).parents[1] / "media" / "made" / name
    with VideoReader(video) as reader:
        store = _make(tmp_path, video, frame_count=reader.frame_count, pts_seconds=reader.pts_seconds)
    report = validate(store, videos=video)
    assert "video-missing" in _codes(report), "ids differ"
    shutil.copy(video, tmp_path / "clip.mp4")
    notes = {code for code in _notes(store, videos=tmp_path / "clip.mp4") if code.startswith("video-")}
    assert notes == VIDEO_NOTES[name]


def test_frozen_maps_are_found_where_the_video_moves_and_only_there(tmp_path: Path, clip: Path, videos: Path) -> None:
    generator = np.random.default_rng(0)
    drawn = [generator.random((8, 10)) for _ in range(40)]

    def stuck(frame: int, track: int) -> np.ndarray:
        return drawn[12] if 12 <= frame < 24 else drawn[frame]

    store = _make(tmp_path, clip, make_map=stuck)
    for given in (videos, None):
        (found,) = [f for f in validate(store, videos=given).findings if f.code == "frozen-maps"]
        assert found.frames == list(range(12, 24))
    pack(store, tmp_path / "data", normalize="max")
    assert _codes(validate(tmp_path / "data", videos=videos)) == ["frozen-maps"]
    # rows that hold the last map on purpose are no finding
    gap = {frame: [1] for frame in range(40) if not 12 <= frame < 24}
    held = _make(tmp_path / "held", clip, people=gap)
    pack(held, tmp_path / "held" / "data", missing="hold")
    assert _codes(validate(tmp_path / "held" / "data", videos=videos)) == []


def test_maps_may_stand_still_with_their_video(tmp_path: Path) -> None:
    import av

    (tmp_path / "videos").mkdir()
    with av.open(str(tmp_path / "videos" / "clip.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for _ in range(20):
            picture = np.full((64, 96, 3), 90, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    same = np.random.default_rng(0).random((8, 10))
    store = _make(tmp_path, tmp_path / "videos" / "clip.mp4", frame_count=20, make_map=lambda f, t: same)
    assert _codes(validate(store, videos=tmp_path / "videos")) == []


def test_a_dataset_whose_rows_are_shifted_is_found(tmp_path: Path, clip: Path, videos: Path) -> None:
    from tests.validation.faults import edit_npz

    store = _make(tmp_path, clip)
    pack(store, tmp_path / "data")
    edit_npz(tmp_path / "data", lambda a: a.update(pts_seconds=a["pts_seconds"] + 3 / 30))
    (found,) = [f for f in validate(tmp_path / "data", videos=videos).findings if f.severity == "error"]
    assert (found.code, found.frames) == ("pts-shifted", list(range(40)))
    assert "+3" in found.message


def test_videos_that_are_missing_named_otherwise_or_broken(tmp_path: Path, clip: Path, videos: Path) -> None:
    store = _make(tmp_path, clip, "a", video={"sha256": "a" * 64})
    _make(tmp_path, clip, "CLIP")
    _make(tmp_path, clip, "cut", video={"sha256": "c" * 64})
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


def test_keystep_annotations_cover_every_camera_of_a_take(tmp_path: Path) -> None:
    """A segment inside, one behind the end; two cameras each; one take without heatmaps."""
    for camera in ("cam01", "cam02"):
        make_video(tmp_path / "store", f"take_a/{camera}", frame_count=90)
    segments = [{"start_time": 0.5, "end_time": 2.0, "step_unique_id": 3}, {"start_time": 2.0, "end_time": 9.0}]
    takes = {
        "uid-a": {"take_name": "take_a", "segments": segments, "scenario": "Cooking"},
        "uid-b": {"take_name": "take_b", "segments": segments[:1]},
    }
    path = tmp_path / "keystep_train.json"
    path.write_text(json.dumps({"annotations": takes, "taxonomy": {}}))
    report = validate(tmp_path / "store", annotations=path)
    found = {(f.code, f.video_id) for f in report.findings if f.severity == "warning"}
    assert found == {
        ("clips-uncovered", "take_a/cam01"),
        ("clips-uncovered", "take_a/cam02"),
        ("annotated-video-missing", "take_b"),
        ("videos-not-compared", None),
    }
    assert (report.summary["clips"], report.summary["clips_covered"]) == (4, 2)
    assert report.summary["share_of_clips_covered"] == 0.5
    path.write_text(json.dumps({"annotations": {"uid": {"take_name": "x"}}}))
    with pytest.raises(UsageError, match="'segments'"):
        validate(tmp_path / "store", annotations=path)


def test_rates_of_people_prompts_and_gaze_are_in_the_summary(tmp_path: Path) -> None:
    people = {frame: [1] for frame in range(9)}
    change = lambda rows: rows["prompt"].__setitem__(slice(0, 3), 3)  # noqa: E731 - one line reads better
    make_video(tmp_path / "store", people=people, make_inout=lambda f, t: 0.9 if f < 6 else 0.1, change_rows=change)
    summary = validate(tmp_path / "store").summary
    assert summary["share_of_frames_without_people"] == 0.25
    assert summary["share_of_rows_without_prompt"] == pytest.approx(3 / 9, abs=1e-4)
    assert summary["share_of_rows_inside_frame"] == pytest.approx(6 / 9, abs=1e-4)


def test_clips_without_heatmaps_are_reported(tmp_path: Path) -> None:
    """One clip is inside, one over the gap at 10..12, one behind the end, one in a video that isn't there."""
    people = {frame: [1] for frame in range(90) if not 10 <= frame < 13}
    make_video(tmp_path / "store", "P01/P01_01", people=people, frame_count=90)
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
        assert sorted(found) == ["annotated-video-missing", "clips-uncovered", "videos-not-compared"]
        assert "2 of 3 annotated clips, such as n1, n2" in found["clips-uncovered"].message
        assert found["annotated-video-missing"].video_id == "P02_07"
        assert (report.summary["clips"], report.summary["clips_covered"]) == (3, 1)


LATE_CLIPS = {
    "milliseconds": ("100,900\n300,1100\n", 2, "look like milliseconds"),
    "frame numbers": ("4,14\n20,32\n", 2, "look like frame numbers"),
    "a typing error": ("0.1,0.9\n10.3,11.1\n", 1, "correct the times of the rows"),
    "a cut video": ("0.1,0.9\n7.5,8\n9.5,11\n", 2, "the file was cut"),
}


@pytest.mark.parametrize("case", LATE_CLIPS)
@pytest.mark.parametrize("with_video", [True, False])
def test_clips_past_the_end_of_the_video_are_no_lack_of_maps(
    tmp_path: Path, clip: Path, videos: Path, case: str, *, with_video: bool
) -> None:
    """The video has 40 frames, the last at 1.3 s; without it, the times of all its frames are in the store."""
    times, count, cause = LATE_CLIPS[case]
    path = tmp_path / "clips.csv"
    rows = [f"clip,{row}" for row in times.split()]
    path.write_text("\n".join(["video_id,start_timestamp,stop_timestamp", *rows]) + "\n")
    store = _make(tmp_path, clip)
    if not with_video:
        clip.rename(clip.with_name("gone.mp4"))
    try:
        report = validate(store, annotations=path, videos=videos if with_video else None)
    finally:
        if not with_video:
            clip.with_name("gone.mp4").rename(clip)
    found = {f.code: f for f in report.findings if f.severity == "warning"}
    assert set(found) == {"clips-past-end"} | (set() if with_video else {"videos-not-compared"})
    finding = found["clips-past-end"]
    assert f"{count} of {len(rows)} annotated clips begin past the end of the video" in finding.message
    assert cause in finding.message and f"line {len(rows) + 1} (clip: " in finding.message
    assert "Extract" not in finding.remedy
    assert (report.summary["clips"], report.summary["clips_past_end"]) == (len(rows), count)
    assert report.summary["clips_covered"] == len(rows) - count


def test_a_clip_that_runs_past_the_end_is_told_from_missing_maps(tmp_path: Path, clip: Path, videos: Path) -> None:
    path = tmp_path / "clips.csv"
    path.write_text("video_id,start_timestamp,stop_timestamp\nclip,0.2,1.0\nclip,1.0,1.9\n")
    report = validate(_make(tmp_path, clip), annotations=path, videos=videos)
    (finding,) = (f for f in report.findings if f.code == "clips-uncovered")
    assert "end past the last frame of the video, which is at 1.300 s: correct their stop times" in finding.message


@pytest.mark.parametrize("root", ["store", "data"])
@pytest.mark.parametrize("with_video", [True, False])
def test_annotations_count_from_the_first_frame_as_in_training(tmp_path: Path, root: str, *, with_video: bool) -> None:
    """A stream that begins at 5 s, as MPEG-TS and cut files do: one clip inside, one past its last frame at 1.3 s."""
    late = tmp_path / "videos" / "late.mp4"
    late.parent.mkdir()
    with av.open(str(late), "w") as out:
        stream = out.add_stream("mpeg4", rate=30)
        stream.width, stream.height = 64, 48
        for number in range(40):
            picture = np.full((48, 64, 3), 40 + 4 * number, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number + 150, Fraction(1, 30)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    with VideoReader(late) as reader:
        assert reader.pts_seconds[0] == 5.0
    extract(late, tmp_path / "store", heads="whole", model="centre-prior")
    pack(tmp_path / "store", tmp_path / "data")
    path = _csv(tmp_path / "clips.csv", "n0,late,00:00:00.10,00:00:00.90", "n1,late,00:00:05.20,00:00:06.00")
    if not with_video:
        late.rename(tmp_path / "gone.mp4")
    report = validate(tmp_path / root, annotations=path, videos=late.parent if with_video else None)
    found = {f.code: f for f in report.findings if f.severity == "warning" and f.code.startswith("clips")}
    assert set(found) == {"clips-past-end"}
    assert "n1 (late, line 3: 5.2 s to 6 s, its last frame is at 1.300 s)" in found["clips-past-end"].message
    assert report.summary["clips_covered"] == 1


BAD_CSV = {
    "columns": ("video,start\n", "lacks the columns start_timestamp, stop_timestamp, video_id"),
    "time": ("video_id,start_timestamp,stop_timestamp\na,1:99,2\n", "line 2: '1:99' is no timestamp"),
    "bytes": (b"video_id,\xff\xfe\n", "not a CSV file in UTF-8"),
}


@pytest.mark.parametrize("case", BAD_CSV)
def test_bad_annotations_are_wrong_usage(tmp_path: Path, case: str) -> None:
    content, message = BAD_CSV[case]
    make_video(tmp_path / "store")
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
