"""`validate` names what is wrong: cut videos, lost frames, drift, whose maps, which model, videos without heatmaps."""

from __future__ import annotations

import importlib.metadata
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from gazetools import extract
from gazetools.gazemodels import register, registry
from gazetools.gazemodels.baselines import HeadDirection
from gazetools.packing import pack
from gazetools.schemas.errors import UsageError
from gazetools.schemas.findings import Finding
from gazetools.validation import validate
from gazetools.validation.rates import mistake_of
from gazetools.video import VideoReader
from tests.helpers.clips import write_clips
from tests.helpers.stores import make_video
from tests.validation.faults import edit_store
from tests.validation.test_deep import _write

FRAMES = np.arange(40)


class _Own(HeadDirection):
    name = "own"


def _alarms(findings: list[Finding]) -> dict[str, Finding]:
    return {f.code: f for f in findings if f.severity != "note"}


# ---- content: maps that belong to other frames, in each kind of file


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, clip: Path, tiny_model: Path) -> Path:
    """A store of `clip` with one map per frame."""
    root = tmp_path_factory.mktemp("whole")
    extract(clip, root / "store", heads="whole", model=str(tiny_model))
    return root / "store"


def _planted(whole: Path, to: Path, source: np.ndarray) -> Path:
    """A copy of the store whose row i has the map of frame source[i]."""
    store = Path(shutil.copytree(whole, to))

    def move(file: h5py.File) -> None:
        file["rows/heatmap"][:] = file["rows/heatmap"][:][source]

    edit_store(store, move)
    return store


def _at_rate(speed: float) -> np.ndarray:
    return np.clip(np.round(FRAMES * speed), 0, 39).astype(int)


MOVED: dict[str, tuple[np.ndarray, str, str]] = {
    # name: (frame that each row's map is of, code, words of the message)
    "drift of +3": (_at_rate(1 + 3 / 39), "content-drifts", "from k = +0 frames at frame 0 to k = +3 at frame 39"),
    "drift of -6": (_at_rate(1 - 6 / 39), "content-drifts", "from k = +0 frames at frame 0 to k = -6 at frame 39"),
    "half the rate": (FRAMES // 2, "content-drifts", "every frame has two maps (double the rate)"),
    "twice the rate": (_at_rate(2), "content-drifts", "only one frame in 2 has a map (half the rate)"),
    "frame 17 lost": (np.append(np.delete(FRAMES, 17), 39), "content-jumps", "from frame 17 on k = +1 instead of +0"),
    "frame 3 lost": (np.append(np.delete(FRAMES, 3), 39), "content-jumps", "from frame 3 on k = +1 instead of +0"),
    "frame 29 twice": (np.sort(np.append(FRAMES, 29))[:40], "content-jumps", "from frame 30 on k = -1 instead of +0"),
    "shifted by 2": (np.clip(FRAMES + 2, 0, 39), "content-shifted", "k = +2 frames"),
}


@pytest.mark.parametrize("kind", ["store", "npz", "npy", "foreign"])
@pytest.mark.parametrize("name", MOVED)
def test_moved_maps_are_named_in_each_kind_of_file(
    whole: Path, clip: Path, tmp_path: Path, tiny_model: Path, name: str, kind: str
) -> None:
    source, code, words = MOVED[name]
    root, heads = _planted(whole, tmp_path / "store", source), None
    if kind in ("npz", "npy"):
        pack(root, tmp_path / "data", layout=kind, normalize="max")
        root = tmp_path / "data"
    elif kind == "foreign":
        pack(root, tmp_path / "data", normalize="max")
        (tmp_path / "maps").mkdir()
        with np.load(tmp_path / "data" / "clip.npz") as packed:
            np.savez(tmp_path / "maps" / "clip.npz", x=packed["heatmap"])
        root, heads = tmp_path / "maps", "whole"
    found = _alarms(validate(root, videos=clip, deep=8, model=tiny_model, heads=heads).findings)
    assert {c for c in found if c.startswith(("content-", "maps-"))} == {code}
    assert words in found[code].message


# ---- counts: a cut is no other rate

CUTS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str, str | None]] = {
    # name: (frames of the video that are left, words of frame-count-mismatch, words of the finding about content)
    "to its first half": (lambda f: f[:20], "its last 20 frames are missing", None),
    "to its second half": (lambda f: f[20:], "its first 20 frames are missing", "k = -20 frames"),
    "to five sixths": (lambda f: f[6:39], "33", "k = -6 frames"),
    "a piece of 12 in the middle": (
        lambda f: np.delete(f, range(12, 24), axis=0),
        "see frame",
        "k = -12 instead of +0",
    ),
}


@pytest.mark.parametrize("with_model", [False, True])
@pytest.mark.parametrize("name", CUTS)
def test_a_cut_video_is_called_cut(
    whole: Path, clip: Path, tmp_path: Path, tiny_model: Path, name: str, with_model: bool
) -> None:
    """40 frames recorded, 20 or 33 left: 2.0 and 1.2 maps per frame would be known mistakes of rate."""
    change, counted, moved = CUTS[name]
    with VideoReader(clip) as reader:
        _write(tmp_path / "videos" / "clip.mp4", change(reader.read(range(40))))
    options: dict[str, Any] = {"deep": 8, "model": tiny_model} if with_model else {}
    pack(whole, tmp_path / "data", normalize="max")
    for root in (whole, tmp_path / "data"):
        found = _alarms(validate(root, videos=tmp_path / "videos", **options).findings)
        assert "rate-mismatch" not in found
        assert counted in found["frame-count-mismatch"].message
        content = [f.message for code, f in found.items() if code.startswith("content-")]
        assert len(content) == (moved is not None)
        assert not content or str(moved) in content[0]


def test_the_place_of_a_cut_is_exact_where_every_frame_has_a_map(
    whole: Path, clip: Path, tmp_path: Path, tiny_model: Path
) -> None:
    with VideoReader(clip) as reader:
        _write(tmp_path / "videos" / "clip.mp4", np.delete(reader.read(range(40)), range(12, 24), axis=0))
    found = _alarms(validate(whole, videos=tmp_path / "videos", deep=8, model=tiny_model).findings)
    (last,) = found["content-jumps"].frames or []
    assert 24 <= last <= 26, "the first frames after a cut are encoded worst"
    assert f"from a frame in 12..{last} on" in found["content-jumps"].message


RATES = {
    # (rows / frames, frames per second of the video): the mistake, or None where it can't happen to such a video
    (30 / 25, 25.0): "25 (or 50) fps was read as 30 (or 60)",
    (30 / 25, 24.0): None,
    (25 / 24, 23.976): "24 fps was read as 25",
    (1 / 2, 24.0): "only one frame in 2 has a map (half the rate)",
    (2.0, 29.97): "every frame has two maps (double the rate)",
    (30 / 29.97, 30000 / 1001): "29.97 fps was read as 30",
    (0.77, 30.0): None,
}


@pytest.mark.parametrize(("ratio", "rate"), RATES)
def test_a_mistake_of_rate_must_be_possible(ratio: float, rate: float) -> None:
    assert mistake_of(ratio, within=1e-4, rate=rate) == RATES[ratio, rate]


def test_counts_alone_leave_both_readings_and_content_decides(
    whole: Path, clip: Path, tmp_path: Path, tiny_model: Path
) -> None:
    """20 maps of a video of 40 frames: of every second frame, or of the first half."""
    pack(whole, tmp_path / "data", normalize="max")
    with np.load(tmp_path / "data" / "clip.npz") as packed:
        maps = packed["heatmap"]
    for name, part in (("half", maps[::2]), ("first", maps[:20])):
        (tmp_path / name).mkdir()
        np.savez(tmp_path / name / "clip.npz", x=part)
    alone = _alarms(validate(tmp_path / "first", videos=clip).findings)["rate-mismatch"].message
    assert "half the rate" in alone
    assert "cut" in alone
    options: dict[str, Any] = {"videos": clip, "deep": 6, "model": tiny_model, "heads": "whole"}
    half, first = (_alarms(validate(tmp_path / name, **options).findings) for name in ("half", "first"))
    assert half.keys() == {"rate-mismatch", "content-drifts"}
    assert "half the rate" in half["content-drifts"].message
    assert first.keys() == {"frame-count-mismatch"}
    assert "the last 20 have no map" in first["frame-count-mismatch"].message


# ---- times

TIMES = np.arange(42) / 30
JUMPS = {
    # name: (times of the 40 rows, words)
    "a frame lost before row 17": (np.delete(TIMES, 17)[:40], "from frame 17 on those of the frames +1 further on"),
    "two places": (np.delete(TIMES, [5, 30])[:40], "from frame 29 on those of the frames +2 further on (+1 before)"),
}


@pytest.mark.parametrize("name", JUMPS)
def test_times_that_jump_name_the_place(tmp_path: Path, clip: Path, name: str) -> None:
    pts, words = JUMPS[name]
    make_video(tmp_path / "store", "clip", frame_count=40, pts_seconds=pts)
    found = _alarms(validate(tmp_path / "store", videos=clip).findings)
    assert words in found["pts-jumps"].message
    assert "pts-mismatch" not in found


# ---- whose maps

PEOPLE: dict[str, tuple[str, str | None, set[str], str]] = {
    # name: (dataset's people, --people, codes, words)
    "one, not stated": ("7", None, {"people-unstated"}, "--people 7"),
    "one, stated": ("7", "7", set(), ""),
    "another one, stated": ("7", "1", {"maps-differ"}, ""),
    "all, not stated": ("max", None, set(), ""),
    "all, stated": ("max", "max", set(), ""),
    "mean, stated": ("mean", "mean", set(), ""),
}


@pytest.fixture(scope="module")
def two_people(tmp_path_factory: pytest.TempPathFactory, clip: Path, boxes: Path, tiny_model: Path) -> Path:
    """Other tools' maps of the people 1, of 7 and of both, from `boxes`, in one folder each."""
    root = tmp_path_factory.mktemp("people")
    extract(clip, root / "store", heads=f"file:{boxes}", model=str(tiny_model))
    for people in ("1", "7", "max", "mean"):
        pack(root / "store", root / f"data {people}", people=people, normalize="max")
        (root / people).mkdir()
        with np.load(root / f"data {people}" / "clip.npz") as packed:
            np.savez(root / people / "clip.npz", x=packed["heatmap"])
    return root


@pytest.mark.parametrize("name", PEOPLE)
def test_people_say_whose_maps_they_are(two_people: Path, clip: Path, boxes: Path, tiny_model: Path, name: str) -> None:
    made, given, codes, words = PEOPLE[name]
    options: dict[str, Any] = {"videos": clip, "deep": 5, "model": tiny_model, "heads": f"file:{boxes}"}
    found = _alarms(validate(two_people / made, people=given, **options).findings)
    assert found.keys() - {"zero-maps", "frozen-maps"} == codes
    assert all(words in found[code].message for code in codes)


def test_people_of_nobody_and_people_without_boxes(two_people: Path, clip: Path, boxes: Path, tiny_model: Path) -> None:
    options: dict[str, Any] = {"videos": clip, "deep": 5, "model": tiny_model}
    report = validate(two_people / "1", people="9", heads=f"file:{boxes}", **options)
    (skipped,) = [f for f in report.findings if f.code == "deep-skipped"]
    assert "tracks 1, 7" in skipped.message
    for wrong in ({"people": "1"}, {"people": "1", "heads": "whole"}):
        with pytest.raises(UsageError, match="chooses among the people of --heads file:PATH"):
            validate(two_people / "1", **options, **wrong)
    with pytest.raises(UsageError, match="--people"):
        validate(two_people / "1", people="1")


# ---- which model


@pytest.mark.parametrize("model", ["centre-prior", "head-direction", "gazelle_tiny", "own-in-process", "own-installed"])
def test_every_model_of_extract_is_known(
    clip: Path, boxes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    place = f"{_Own.__module__}:_Own.load"
    entry = importlib.metadata.EntryPoint("own-installed", place, registry.ENTRY_POINTS)
    monkeypatch.setattr(
        importlib.metadata, "entry_points", lambda group: [entry] if group == registry.ENTRY_POINTS else []
    )
    monkeypatch.setattr(registry, "_LOADERS", {})
    register("own-in-process", _Own.load)
    extract(clip, tmp_path / "store", heads=f"file:{boxes}", model=model, device="cpu", stride=8)
    report = validate(tmp_path / "store", deep=3, model=model)
    assert _alarms(report.findings) == {}
    assert "deep-skipped" not in {f.code for f in report.findings}


def test_models_without_weights_are_told_apart_by_name(clip: Path, tmp_path: Path) -> None:
    extract(clip, tmp_path / "store", heads="whole", model="centre-prior", device="cpu", stride=8)
    found = _alarms(validate(tmp_path / "store", deep=3, model="head-direction").findings)
    assert "centre-prior" in found["weights-differ"].message


# ---- videos without heatmaps


def test_videos_without_heatmaps_are_one_warning(tmp_path: Path) -> None:
    names = ["a", "P01/b", "P01/deep/c", *(f"x{i}" for i in range(5))]
    videos = write_clips(tmp_path / "videos", {name: 6 + number for number, name in enumerate(names)})
    extract(videos, tmp_path / "store", heads="whole", model="centre-prior", device="cpu")
    assert _alarms(validate(tmp_path / "store", videos=videos).findings) == {}
    for name in names[1:]:
        for suffix in (".h5", ".json"):
            (tmp_path / "store" / f"{name}{suffix}").unlink()
    report = validate(tmp_path / "store", videos=videos)
    (found,) = _alarms(report.findings).values()
    assert (found.code, found.severity, found.video_id) == ("videos-without-heatmaps", "warning", None)
    assert "7 of 8 videos" in found.message
    assert "'P01/b', 'P01/deep/c'" in found.message
    assert found.message.endswith("and 2 more.")
    assert report.summary["videos_without_heatmaps"] == 7
    assert report.exit_code_for("warning") == 1
    # one file was asked about, and one video was given: the others are not meant
    assert _alarms(validate(tmp_path / "store" / "a.h5", videos=videos).findings) == {}
    assert _alarms(validate(tmp_path / "store", videos=videos / "a.mp4").findings) == {}


def test_without_any_match_both_sides_are_named(tmp_path: Path) -> None:
    videos = write_clips(tmp_path / "videos", {"P01/a": 6})
    extract(videos / "P01", tmp_path / "store", heads="whole", model="centre-prior", device="cpu")
    found = _alarms(validate(tmp_path / "store", videos=videos).findings)
    assert found.keys() == {"video-missing", "videos-without-heatmaps"}
    assert "'P01/a'" in found["videos-without-heatmaps"].message
