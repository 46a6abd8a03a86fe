"""Annotations, clip times, transforms and heatmaps: the right moments, the same geometry, nothing of the future."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from gazetools.schemas.errors import DataFileError, UsageError
from gazetools.trainer.config import load_config, resolve_anchors
from gazetools.trainer.data.annotations import ActionSegment, LabelSpace, parse_timestamp, read_annotations
from gazetools.trainer.data.clips import ClipDataset, Sample, Unreadable, collate
from gazetools.trainer.data.geometry import View, evaluation_view, training_view
from gazetools.trainer.data.heatmap_source import ClipFramesAsked, HeatmapSource
from gazetools.trainer.data.order import batches, clip_random, epoch_order
from gazetools.trainer.data.plan import plan_data
from gazetools.trainer.data.sampling import anchor_seconds, clip_frames
from gazetools.trainer.data.transforms import MEAN_RGB, STD_RGB, transform_frames, transform_heatmaps
from gazetools.trainer.data.videos import find_video
from tests.helpers.videos import ArrayVideo
from tests.trainer.conftest import Study

HEADER = "video_id,start_timestamp,stop_timestamp,verb_class,noun_class\n"


# Annotations


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("00:01:02.50", 62.5), ("01:00:00", 3600.0), ("2:03.25", 123.25), ("7.5", 7.5), ("00:00:00.00", 0.0)],
)
def test_timestamps(text: str, seconds: float) -> None:
    assert parse_timestamp(text) == seconds


@pytest.mark.parametrize("text", ["", "abc", "-1", "1:99", "nan", "inf", "1:2:3:4", "00:60:00"])
def test_no_timestamps(text: str) -> None:
    with pytest.raises(ValueError, match="timestamp"):
        parse_timestamp(text)


def test_columns_by_name_whatever_their_order_and_spaces(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("\ufeffnoun_class, verb_class ,x,video_id,stop_timestamp,start_timestamp\n7, 2,?,v,3.0,1.0\n\n")
    (segment,) = read_annotations(path)
    assert segment.classes == {"verb": 2, "noun": 7, "action": (2, 7)}
    assert (segment.video_id, segment.start_seconds, segment.stop_seconds, segment.row) == ("v", 1.0, 3.0, 2)


def test_one_action_column_is_enough(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("video_id,start_timestamp,stop_timestamp,action_class\ntake/cam01,1,2,9\n")
    (segment,) = read_annotations(path)
    assert segment.classes == {"action": 9}
    assert LabelSpace.of([segment]).counts == {"action": 1}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("v,1,2,0\n", "line 2: 4 fields"),
        ("v,2,1,0,0\n", "line 2: stop_timestamp 1 is not after"),
        ("v,1,2,x,0\n", "line 2: verb_class = 'x'"),
        ("v,1,2,0,-3\n", "line 2: noun_class = '-3'"),
        ("../v,1,2,0,0\n", "line 2"),
        ("", "no rows"),
        ('"v,1,2,0,0\n', "not a CSV file"),
    ],
)
def test_broken_rows_are_named_with_their_line(tmp_path: Path, body: str, message: str) -> None:
    path = tmp_path / "broken.csv"
    path.write_text(HEADER + body)
    with pytest.raises(UsageError) as caught:
        read_annotations(path)
    assert message in str(caught.value) and "broken.csv" in str(caught.value)


def test_a_missing_column_names_the_nearest_one(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(HEADER.replace("verb_class", "verb_clas") + "v,1,2,0,0\n")
    with pytest.raises(DataFileError, match=r"verb_class \(nearest: verb_clas\)"):
        read_annotations(path)


def segment(classes: dict[str, Any]) -> ActionSegment:
    return ActionSegment(row=2, video_id="v", start_seconds=1.0, stop_seconds=2.0, classes=classes)


def test_class_ids_are_sorted_whatever_the_order_of_rows() -> None:
    rows = [segment({"verb": v, "noun": n, "action": (v, n)}) for v, n in ((9, 1), (2, 30), (2, 4), (9, 1))]
    space = LabelSpace.of(rows)
    assert space.ids == {"verb": [2, 9], "noun": [1, 4, 30], "action": [(2, 4), (2, 30), (9, 1)]}
    assert LabelSpace.of(reversed(rows)) == space
    assert space.encode(rows[0]) == {"verb": 1, "noun": 0, "action": 2}
    assert not space.covers(segment({"verb": 9, "noun": 30, "action": (9, 30)}))


@pytest.mark.parametrize(
    ("name", "file_format"),
    [("P01/videos/P01_02.MP4", 0), ("P01/P01_02.MP4", 1), ("P01_02.mkv", None), ("P01_02.mp4", 0)],
)
def test_video_layouts(tmp_path: Path, name: str, file_format: int | None) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).touch()
    assert find_video(tmp_path, "P01_02", file_format) == tmp_path / name
    assert find_video(tmp_path, "P01_03", file_format) is None


# Clip times


def frames_of(pts: Any, end: float, count: int = 4, rate: float = 8.0) -> list[int]:
    chosen = clip_frames(
        np.asarray(pts, float), observation_end_seconds=end, frames_per_clip=count, frames_per_second=rate
    )
    return chosen.frame_indices.tolist()


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        # wanted 1.5, 1.625, 1.75, 1.875 s; a stride of int(rate / 8) would drift (PITFALLS 3)
        (8, [12, 13, 14, 15]),
        (30, [45, 49, 52, 56]),
        (24, [36, 39, 42, 45]),
        (60000 / 1001, [90, 97, 105, 112]),
    ],
)
def test_frames_are_those_nearest_to_the_wanted_times(rate: float, expected: list[int]) -> None:
    assert frames_of(np.arange(600) / rate, 2.0) == expected


def test_frames_of_a_variable_rate_are_chosen_by_their_times() -> None:
    assert frames_of([0.0, 0.1, 0.6, 0.61, 0.9, 1.4], 1.0, count=4, rate=4) == [0, 1, 2, 3]


def test_times_count_from_the_first_frame() -> None:
    assert frames_of(np.arange(100) / 8 + 5.0, 2.0) == frames_of(np.arange(100) / 8, 2.0)


@pytest.mark.parametrize("end", [0.9999, 1.0, 1.0001])
def test_no_frame_at_or_after_the_end_of_the_observation(end: float) -> None:
    pts = np.arange(11) / 10
    # A low rate makes the frame at 1.0 s the nearest one to a wanted time just before the end.
    chosen = frames_of(pts, end, count=50, rate=1000.0)
    assert pts[max(chosen)] < end
    assert max(chosen) == (10 if end > 1.0 else 9)


def test_a_clip_that_begins_before_the_video_repeats_its_first_frame() -> None:
    chosen = clip_frames(np.arange(100) / 8, observation_end_seconds=0.25, frames_per_clip=4, frames_per_second=8)
    assert chosen.frame_indices.tolist() == [0, 0, 0, 1]
    assert chosen.frames_before_video == 2


@pytest.mark.parametrize(
    ("end", "message"), [(0.0, "no frame yet"), (-1.0, "no frame yet"), (13.7, "last frame is at")]
)
def test_observations_outside_the_video_are_errors(end: float, message: str) -> None:
    with pytest.raises(DataFileError, match=message):
        frames_of(np.arange(100) / 8, end)


@pytest.mark.parametrize(("point", "seconds"), [(1.0, 2.0), (0.0, 6.0), (0.25, 5.0)])
def test_anchor_points(point: float, seconds: float) -> None:
    assert anchor_seconds(2.0, 6.0, point) == seconds


# Transforms


def dot_views() -> list[Any]:
    views = [pytest.param(evaluation_view(hw, 64), hw, id=f"eval-{hw}") for hw in ((90, 160), (160, 90), (73, 110))]
    random = np.random.default_rng(4)
    for number in range(8):
        view = training_view((120, 200), random, scale=(0.2, 1.0), aspect_ratio=(0.75, 4 / 3), flip=True)
        views.append(pytest.param(view, (120, 200), id=f"train{number}-{'flip' if view.flip else 'plain'}"))
    return views


@pytest.mark.parametrize(("view", "frame_hw"), dot_views())
def test_a_dot_in_the_frame_and_a_dot_in_the_map_stay_together(view: View, frame_hw: tuple[int, int]) -> None:
    # Put the dot where the crop's point (0.3, 0.6) lies, so that it is visible whatever was drawn.
    x0, y0, x1, y1 = view.box_xyxy()
    x, y = x0 + 0.3 * (x1 - x0), y0 + 0.6 * (y1 - y0)

    def blurred_dot(height: int, width: int) -> np.ndarray:
        columns, rows = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
        return np.exp(-(((columns - x) / 0.03) ** 2 + ((rows - y) / 0.03) ** 2))

    frame = np.repeat((255 * blurred_dot(*frame_hw))[None, :, :, None], 3, axis=3).astype(np.uint8)
    video = transform_frames(frame, view, 64)[:, 0].mean(0)
    heatmap = transform_heatmaps(blurred_dot(64, 64)[None].astype(np.float32), view, 64)[0]
    at_frame, at_map = (np.unravel_index(int(t.argmax()), (64, 64)) for t in (video, heatmap))
    wanted_column = 64 * (0.7 if view.flip else 0.3)
    assert abs(at_frame[0] - at_map[0]) <= 2 and abs(at_frame[1] - at_map[1]) <= 2
    assert abs(at_map[0] + 0.5 - 64 * 0.6) <= 2 and abs(at_map[1] + 0.5 - wanted_column) <= 2


def test_both_flips_and_many_crops_were_among_the_drawn_views() -> None:
    views = [case.values[0] for case in dot_views()[3:]]
    assert {view.flip for view in views} == {True, False}
    assert len({(view.top, view.left, view.height, view.width) for view in views}) == len(views)


@pytest.mark.parametrize(("hw", "side"), [((90, 160), 64), ((60, 45), 64), ((73, 110), 64), ((480, 640), 224)])
def test_the_evaluation_transform_is_resize_and_centre_crop(hw: tuple[int, int], side: int) -> None:
    """Against the same steps written out with OpenCV on whole frames."""
    frames = np.random.default_rng(1).integers(0, 256, (2, *hw, 3), dtype=np.uint8)
    short = int(side * 256 / 224)
    height, width = hw
    size = (short, int(short * height / width)) if width < height else (int(short * width / height), short)
    if min(hw) == short:
        size = (width, height)
    top, left = round((size[1] - side) / 2), round((size[0] - side) / 2)
    expected = np.stack([cv2.resize(f, size)[top : top + side, left : left + side] for f in frames])
    expected = (expected / 255.0 - np.array(MEAN_RGB)) / np.array(STD_RGB)
    output = transform_frames(frames, evaluation_view(hw, side), side)
    np.testing.assert_allclose(output.permute(1, 2, 3, 0).numpy(), expected, atol=1e-5)


def test_a_constant_map_stays_constant_up_to_the_edges() -> None:
    view = View(resized_hw=(40, 40), top=0, left=0, height=40, width=40, flip=True)
    output = transform_heatmaps(np.full((3, 8, 8), 0.25, np.float32), view, 20)
    assert output.shape == (3, 20, 20)
    np.testing.assert_allclose(output.numpy(), 0.25, atol=1e-6)


# Order


def test_order_is_a_function_of_seed_and_epoch() -> None:
    assert epoch_order(50, seed=1, epoch=2).tolist() == epoch_order(50, seed=1, epoch=2).tolist()
    different = {tuple(epoch_order(50, seed=s, epoch=e)) for s in (1, 2) for e in (0, 1)}
    assert len(different) == 4
    assert sorted(epoch_order(50, seed=1, epoch=0)) == list(range(50))
    assert clip_random(seed=1, epoch=0, clip=3).random() == clip_random(seed=1, epoch=0, clip=3).random()


@pytest.mark.parametrize(("count", "size"), [(10, 3), (9, 3), (1, 4)])
def test_batches_hold_every_clip_once_and_resume_where_they_stopped(count: int, size: int) -> None:
    order = epoch_order(count, seed=0, epoch=0)
    whole = batches(order, size)
    assert [clip for batch in whole for clip in batch] == order.tolist()
    for done in range(len(whole) + 1):
        assert batches(order, size, skip_batches=done) == whole[done:]


# Clips of the study


def make_dataset(study: Study, tmp_path: Path, *, training: bool = False, **data: Any) -> ClipDataset:
    config = load_config(study.config(tmp_path, **data))
    settings = config.experiment.data
    plan = plan_data(settings, resolve_anchors(config))
    source = HeatmapSource(Path(settings.heatmap_base_path or "")) if settings.use_heatmap else None
    split = plan.train if training else plan.validation[0]
    return ClipDataset(split, settings, plan.labels, heatmaps=source, training=training, seed=0)


def test_a_clip_holds_frames_heatmaps_labels_and_tau(study: Study, tmp_path: Path) -> None:
    dataset = make_dataset(study, tmp_path)
    sample = dataset[1]
    assert isinstance(sample, Sample) and sample.heatmap is not None
    assert sample.video.shape == (3, 4, 32, 32) and sample.heatmap.shape == (4, 32, 32)
    assert sample.labels == {"verb": 1, "noun": 0, "action": 2}
    assert sample.anticipation_seconds == 1.0
    missing = dataset[4]
    assert isinstance(missing, Sample) and missing.heatmap is not None
    assert missing.counts["heatmap_missing"] == 1 and not missing.heatmap.any()


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
    """Action 1 starts at 3 s, tau is 1 s: frames 60 and later (2.0 s ...) are the future (PITFALLS 41)."""
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
        assert isinstance(sample, Sample) and sample.heatmap is not None
        samples.append(sample)
    assert (samples[0].video == samples[1].video).all()
    assert (samples[0].heatmap == samples[1].heatmap).all()
    if rate == 30:  # frame 59 itself is seen at this rate: the test would notice a leak
        assert not (samples[0].video == samples[2].video).all()
        assert not (samples[0].heatmap == samples[2].heatmap).all()


def asked(frames: Any, pts: Any, end: float) -> ClipFramesAsked:
    return ClipFramesAsked(indices=frames, video_pts_seconds=pts, end_seconds=end, frame_hw=(48, 64))


def test_maps_on_a_grid_of_their_own_are_matched_by_time_and_never_from_the_future(tmp_path: Path) -> None:
    pts = np.arange(100) / 10
    maps = np.arange(10, dtype=np.float32)[:, None, None].repeat(4, 1).repeat(4, 2) / 10
    np.savez(tmp_path / "v.npz", heatmap=maps, pts_seconds=np.arange(10.0))
    read = HeatmapSource(tmp_path).maps_of("v", asked(np.array([10, 14, 26, 39]), pts, 4.0))
    # 3.9 s is nearest to the map at 4.0 s, which is not before the end
    assert np.round(read.maps_thw[:, 0, 0] * 10).tolist() == [1, 1, 3, 3]


@pytest.mark.parametrize(("rows", "fine"), [(100, True), (99, True), (101, True), (98, False), (103, False)])
def test_maps_without_times_must_fit_the_frames_up_to_the_tolerance(tmp_path: Path, rows: int, fine: bool) -> None:
    np.savez(tmp_path / "v.npz", heatmap=np.zeros((rows, 4, 4), np.float32))
    source = HeatmapSource(tmp_path, frame_tolerance=1)

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
    source = HeatmapSource(tmp_path, inout=inout)
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


# The plan


def plan_of(study: Study, tmp_path: Path, **data: Any) -> Any:
    config = load_config(study.config(tmp_path, **data))
    return plan_data(config.experiment.data, resolve_anchors(config))


def test_coverage_and_what_was_left_out_are_counted(study: Study, tmp_path: Path) -> None:
    plan = plan_of(study, tmp_path)
    assert plan.train.coverage == pytest.approx(4 / 5)
    assert plan.survey.missing == ("P02_01",)
    skipped = plan_of(study, tmp_path, missing="skip")
    assert len(skipped.train.clips) == 4 and skipped.train.counts["heatmap_missing_skipped"] == 1
    assert skipped.train.coverage == 1.0
    limited = plan_of(study, tmp_path, max_train_clips=2)
    assert len(limited.train.clips) == 2 and limited.train.counts["limit"] == 3


def test_actions_that_training_lacks_and_actions_without_observation_are_dropped_with_a_count(
    study: Study, tmp_path: Path
) -> None:
    val = tmp_path / "val.csv"
    val.write_text(HEADER + "P01_01,2.0,3.0,0,3\nP01_01,2.0,3.0,99,3\nP01_01,1.0,1.5,0,3\nP01_01,0.2,0.5,0,3\n")
    split = plan_of(study, tmp_path, dataset_val=str(val)).validation[0]
    assert len(split.clips) == 1
    assert split.counts["unknown_class"] == 1 and split.counts["no_observation"] == 2


def test_problems_with_the_data_stop_before_any_work(study: Study, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "P01_01.npz").write_bytes(b"PK no zip")
    other = tmp_path / "other.csv"
    other.write_text(HEADER + "P99_01,2,3,0,3\nP01_01,2,3,0,3\n")
    early = tmp_path / "early.csv"
    early.write_text(HEADER + "P01_01,0.5,0.8,0,3\n")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"heatmap_base_path": str(empty)}, "train on zeros"),
        ({"heatmap_base_path": str(tmp_path / "none")}, "does not exist"),
        ({"heatmap_base_path": str(broken)}, "are broken"),  # never the same as missing
        ({"missing": "error"}, "have no heatmaps: P02_01"),
        ({"base_path": str(tmp_path / "none")}, "does not exist"),
        ({"base_path": str(empty)}, "3 of 3 annotated videos"),
        ({"dataset_val": str(other)}, "P99_01"),
        ({"dataset_val": str(early)}, "No validation clips"),
        ({"dataset_train": str(tmp_path / "none.csv")}, "Cannot read the annotations"),
    ]
    for data, message in cases:
        with pytest.raises(UsageError) as caught:
            plan_of(study, tmp_path, **data)
        assert message in str(caught.value), data
    assert plan_of(study, tmp_path, dataset_val=str(other), missing_videos="skip").validation[0].counts["video_missing"]
