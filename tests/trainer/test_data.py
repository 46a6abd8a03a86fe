"""Clips of a small study: frames, heatmaps and labels of the right moments, nothing of the future."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gazetools.schemas.errors import DataFileError
from gazetools.trainer.data.anchors import resolve_anchors
from gazetools.trainer.data.clips import ClipDataset, ClipOptions, Sample, Unreadable, collate
from gazetools.trainer.data.maps.base import ClipFramesAsked
from gazetools.trainer.data.maps.dataset import DatasetMaps
from gazetools.trainer.data.survey import plan_data
from gazetools.trainer.plan.config import load_config
from tests.helpers.videos import ArrayVideo
from tests.trainer.conftest import Study


def make_dataset(study: Study, tmp_path: Path, *, training: bool = False, **data: Any) -> ClipDataset:
    config = load_config(study.config(tmp_path, **data))
    settings = config.experiment.data
    plan = plan_data(settings, resolve_anchors(config))
    sources = {"heatmap": DatasetMaps(Path(settings.heatmap_base_path or ""))} if settings.use_heatmap else {}
    split = plan.train if training else plan.validation[0]
    return ClipDataset(split, settings, plan.labels, ClipOptions(training=training, seed=0), heatmaps=sources)


def test_a_clip_holds_frames_heatmaps_labels_and_tau(study: Study, tmp_path: Path) -> None:
    dataset = make_dataset(study, tmp_path)
    sample = dataset[1]
    assert isinstance(sample, Sample) and "heatmap" in sample.heatmaps
    assert sample.video.shape == (3, 4, 32, 32) and sample.heatmaps["heatmap"].shape == (4, 32, 32)
    assert sample.labels == {"verb": 1, "noun": 0, "action": 2}
    assert sample.anticipation_seconds == 1.0
    missing = dataset[4]
    assert isinstance(missing, Sample) and "heatmap" in missing.heatmaps
    assert missing.counts["heatmap_missing"] == 1 and not missing.heatmaps["heatmap"].any()


def test_items_depend_on_seed_epoch_and_place_only(study: Study, tmp_path: Path) -> None:
    first, second = (make_dataset(study, tmp_path, training=True) for _ in range(2))
    second[3]  # another item before must not matter
    a, b = first[0], second[0]
    assert isinstance(a, Sample) and isinstance(b, Sample)
    assert (a.video == b.video).all() and a.anticipation_seconds == b.anticipation_seconds
    second.epoch = 1
    c = second[0]
    assert isinstance(c, Sample) and c.anticipation_seconds != a.anticipation_seconds


class FakeVideo(ArrayVideo):
    """Frames whose grey value is their number; everything from `spoilt_from` on is replaced by noise."""

    def __init__(self, spoilt_from: int | None) -> None:
        numbers = np.repeat(np.arange(150, dtype=np.uint8)[:, None], 48 * 64 * 3, axis=1).reshape(150, 48, 64, 3)
        if spoilt_from is not None:
            numbers[spoilt_from:] = np.random.default_rng(0).integers(0, 256, numbers[spoilt_from:].shape)
        super().__init__(numbers)


@pytest.mark.parametrize("rate", [4, 7.9, 30])
def test_changing_everything_at_or_after_the_end_of_observation_changes_nothing(
    study: Study, tmp_path: Path, rate: float
) -> None:
    """Action 1 starts at 3 s, tau is 1 s: frames 60 and later (2.0 s ...) are the future, which no input may show."""
    folder = tmp_path / "maps"
    folder.mkdir()
    samples = []
    for spoilt in (None, 60, 59):
        maps = np.random.default_rng(1).random((150, 8, 8)).astype(np.float32)
        if spoilt is not None:
            maps[spoilt:] = 0.123
        np.savez(folder / "P01_01.npz", heatmap=maps)
        dataset = make_dataset(study, tmp_path, heatmap_base_path=str(folder), frames_per_second=rate)
        dataset.reader = lambda path, s=spoilt: FakeVideo(s)
        sample = dataset[1]
        assert isinstance(sample, Sample) and "heatmap" in sample.heatmaps
        samples.append(sample)
    assert (samples[0].video == samples[1].video).all()
    assert (samples[0].heatmaps["heatmap"] == samples[1].heatmaps["heatmap"]).all()
    if rate == 30:  # frame 59 itself is seen at this rate: the test would notice a leak
        assert not (samples[0].video == samples[2].video).all()
        assert not (samples[0].heatmaps["heatmap"] == samples[2].heatmaps["heatmap"]).all()


def asked(frames: Any, pts: Any, end: float) -> ClipFramesAsked:
    return ClipFramesAsked(indices=frames, video_pts_seconds=pts, end_seconds=end, frame_hw=(48, 64))


def test_maps_on_a_grid_of_their_own_are_matched_by_time_and_never_from_the_future(tmp_path: Path) -> None:
    pts = np.arange(100) / 10
    maps = np.arange(10, dtype=np.float32)[:, None, None].repeat(4, 1).repeat(4, 2) / 10
    np.savez(tmp_path / "v.npz", heatmap=maps, pts_seconds=np.arange(10.0))
    read = DatasetMaps(tmp_path).maps_of("v", asked(np.array([10, 14, 26, 39]), pts, 4.0))
    # 3.9 s is nearest to the map at 4.0 s, which is not before the end
    assert np.round(read.maps_thw[:, 0, 0] * 10).tolist() == [1, 1, 3, 3]


@pytest.mark.parametrize(("rows", "fine"), [(100, True), (99, True), (101, True), (98, False), (103, False)])
def test_maps_without_times_must_fit_the_frames_up_to_the_tolerance(tmp_path: Path, rows: int, fine: bool) -> None:
    np.savez(tmp_path / "v.npz", heatmap=np.zeros((rows, 4, 4), np.float32))
    source = DatasetMaps(tmp_path, frame_tolerance=1)

    def read() -> Any:
        return source.maps_of("v", asked(np.array([50, 99]), np.arange(100) / 10, 9.95))

    if fine:
        assert read().maps_thw.shape == (2, 4, 4)
    else:
        with pytest.raises(DataFileError, match="without usable times"):
            read()


@pytest.mark.parametrize(("inout", "expected"), [("keep", [1, 1, 1]), ("gate", [0, 1, 1]), ("weight", [0.25, 0.75, 1])])
def test_out_of_frame_gaze_is_gated_or_weighted(tmp_path: Path, inout: Any, expected: list[float]) -> None:
    values = np.array([0.25, 0.75, np.nan], dtype=np.float32)  # NaN: the model has no in/out
    np.savez(tmp_path / "v.npz", heatmap=np.ones((3, 2, 2), np.float32), inout=values)
    source = DatasetMaps(tmp_path, inout=inout)
    read = source.maps_of("v", asked(np.arange(3), np.arange(3.0), 9.0))
    assert read.maps_thw[:, 0, 0].tolist() == expected


def test_unreadable_clips_are_named_and_not_replaced(study: Study, tmp_path: Path) -> None:
    dataset = make_dataset(study, tmp_path)

    class Broken(FakeVideo):
        def frames(self, indices: Any) -> Any:
            raise DataFileError("frame 12 does not decode.")

    dataset.reader = lambda path: Broken(None) if path.stem == "P01_02" else FakeVideo(None)
    batch = collate([dataset[place] for place in range(5)])
    assert batch.clips == [0, 1, 4]
    assert [(clip.video_id, clip.row, clip.reason) for clip in batch.unreadable] == [
        ("P01_02", 4, "frame 12 does not decode."),
        ("P01_02", 5, "frame 12 does not decode."),
    ]
    alone = collate([dataset[2]])
    assert alone.video is None and isinstance(alone.unreadable[0], Unreadable)
