"""Every committed clip (and those of GAZETOOLS_DATA), extracted, packed and checked in depth: not one false alarm.

24, 25, 29.97 and 30 fps, variable rate, edit lists, late starts, B-frames, open GOPs, 10 bit, AV1, H.265, rotations.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gazetools import extract
from gazetools.packing import pack
from gazetools.schemas.video import VIDEO_SUFFIXES
from gazetools.validation import validate

MEDIA = Path(__file__).parents[1] / "media"
REFUSED = {"made_mirrored_mp4", "made_rotated_45_mp4"}
"""Extract applies turns by quarters only and says so of these."""
FULL = os.environ.get("GAZETOOLS_DATA")


def _linked(source: Path, folder: Path) -> Path:
    """All videos below `source` under ids that differ although many of them have one stem."""
    folder.mkdir(parents=True)
    for path in sorted(source.rglob("*")):
        if path.suffix.lower() in VIDEO_SUFFIXES:
            relative = path.relative_to(source).with_suffix("").as_posix().replace("/", "_")
            (folder / f"{relative}_{path.suffix[1:]}{path.suffix}").symlink_to(path.resolve())
    return folder


def _no_alarm(videos: Path, work: Path, model: Path, *, refused: set[str], stride: int, packed: bool) -> None:
    report = extract(videos, work / "store", heads="whole", model=str(model), stride=stride)
    assert {item.video_id for item in report.items if item.status != "done"} == refused
    roots = [work / "store"]
    if packed:
        pack(work / "store", work / "data", normalize="max")
        roots.append(work / "data")
    for root in roots:
        found = validate(root, videos=videos, deep=2, model=model if root.name == "store" else None).findings
        alarms = [f for f in found if f.severity != "note"]
        # videos that extract refused have no heatmaps, which is said and true
        without = [f.message for f in alarms if f.code == "videos-without-heatmaps"]
        assert len(without) == bool(refused)
        assert all(repr(video_id) in without[0] for video_id in refused)
        assert [(f.video_id, f.code, f.message) for f in alarms if f.code != "videos-without-heatmaps"] == []
        # frames of one colour have no fingerprint to compare, but maps
        skipped = {f.video_id for f in found if f.code == "deep-skipped"}
        assert all(str(video_id).startswith("made_colour") for video_id in skipped)
        assert not (skipped and root.name == "store")


def test_no_alarm_on_the_committed_clips(tmp_path: Path, tiny_model: Path) -> None:
    videos = _linked(MEDIA, tmp_path / "videos")
    assert len(list(videos.iterdir())) >= 25
    _no_alarm(videos, tmp_path, tiny_model, refused=REFUSED, stride=8, packed=False)


@pytest.mark.slow
def test_no_alarm_on_datasets_of_the_committed_clips(tmp_path: Path, tiny_model: Path) -> None:
    videos = _linked(MEDIA, tmp_path / "videos")
    _no_alarm(videos, tmp_path, tiny_model, refused=REFUSED, stride=1, packed=True)


@pytest.mark.slow
@pytest.mark.skipif(FULL is None, reason="set GAZETOOLS_DATA to a folder with codecs/ and real/")
def test_no_alarm_on_the_full_set(tmp_path: Path, tiny_model: Path) -> None:
    videos = _linked(Path(str(FULL)), tmp_path / "videos")
    _no_alarm(videos, tmp_path, tiny_model, refused=set(), stride=1, packed=True)
