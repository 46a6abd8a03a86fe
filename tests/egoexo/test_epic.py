"""The synthetic EPIC-KITCHENS through readers, video reader and trainer: times count, frame numbers don't."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gazetools.annotations.segments import read_segments
from gazetools.schemas.training import DataSettings
from gazetools.trainer.data.anchors import AnchorPlan, NamedAnchor
from gazetools.trainer.data.survey import plan_data
from gazetools.validation.checks.annotations import read_clips
from gazetools.video import VideoReader
from tests.helpers.synthetic_epic import VIDEOS, EpicVideo, write_epic


@pytest.fixture(scope="module")
def epic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_epic(tmp_path_factory.mktemp("epic"))


def test_annotations_without_classes_are_read(epic: Path) -> None:
    folder = epic / "annotations"
    unlabelled = read_clips(folder / "EPIC_100_test_timestamps.csv")  # no classes: `validate` needs times only
    assert {video_id: len(clips) for video_id, clips in unlabelled.items()} == {v.video_id: 2 for v in VIDEOS}


@pytest.mark.parametrize("video", VIDEOS, ids=lambda video: video.video_id)
def test_times_find_the_action_and_frame_numbers_do_not(epic: Path, video: EpicVideo) -> None:
    """The picture is bright during actions: so decoded frames in [start, stop) are, at each of the three rates."""
    rows = read_segments(epic / "annotations" / f"EPIC_100_{video.split}.csv")
    own = [row for row in rows if row.video_id == video.video_id]
    path = epic / "videos" / own[0].video_id[:3] / "videos" / f"{own[0].video_id}.MP4"
    with VideoReader(path) as reader:
        pts = reader.pts_seconds
        bright = np.array([rgb[24:].mean() > 128 for rgb in reader.read(range(len(pts)))])
    during = np.zeros(len(pts), np.bool_)
    for row in own:
        during |= (pts >= row.start_seconds - 1e-6) & (pts < row.stop_seconds - 1e-6)
        assert row.frame_range is not None
        rate = video.annotation_rate
        assert row.frame_range[0] == int(row.start_seconds * rate)
    np.testing.assert_array_equal(bright, during)
    indexed = [row.frame_range[0] for row in own if row.frame_range]  # what indexing the MP4 by frame would take
    at_start = [index < len(bright) and bright[index] and not bright[index - 1] for index in indexed]
    # in 12 s the 59.94 fps file has drifted by less than a frame; in the 29.97 fps one every number is twice too large
    assert all(at_start) == (video.video_id != "P02_03")


def test_the_trainer_plans_all_clips(epic: Path) -> None:
    settings = DataSettings(
        base_path=str(epic / "videos"),
        dataset_train=str(epic / "annotations" / "EPIC_100_train.csv"),
        dataset_val=str(epic / "annotations" / "EPIC_100_validation.csv"),
        file_format=0,
        use_heatmap=False,
    )
    start = NamedAnchor(name="start", point=(1.0, 1.0))
    planned = plan_data(settings, AnchorPlan(train=start, validation=(start,), rule="test"))
    assert [(clip.segment.video_id, clip.segment.name) for clip in planned.train.clips] == [
        (video.video_id, f"{video.video_id}_{number}") for video in VIDEOS[:2] for number in range(2)
    ]
    (validation,) = planned.validation
    assert [clip.segment.video_id for clip in validation.clips] == ["P02_03"]  # (put, plate) is not in train
    assert planned.labels.counts == {"verb": 3, "noun": 3, "action": 4}
