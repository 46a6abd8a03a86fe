"""Takes with several cameras: keystep annotations, folder layouts, views of video and heatmap, splits by take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gazetools.annotations.segments import read_segments
from gazetools.schemas.errors import DataFileError, UsageError
from gazetools.schemas.training import DataSettings
from gazetools.trainer.data.anchors import AnchorPlan, NamedAnchor
from gazetools.trainer.data.clips import ClipDataset, ClipOptions, Sample
from gazetools.trainer.data.maps.build import build_sources
from gazetools.trainer.data.survey import DataPlan, plan_data
from gazetools.trainer.data.videos import Takes, broken_links, find_videos
from gazetools.trainer.plan.selection import hold_out
from tests.helpers.videos import ArrayVideo

START = NamedAnchor(name="start", point=(1.0, 1.0))
ANCHORS = AnchorPlan(train=START, validation=(START,), rule="test")
CAMERAS = ("cam01", "cam02", "aria01_214-1", "aria01_1201-1")


def keysteps(path: Path, takes: dict[str, list[tuple[float, float, int]]]) -> Path:
    annotations = {
        f"uid-{name}": {
            "take_name": name,
            "segments": [
                {"start_time": a, "end_time": b, "step_unique_id": step, "step_name": "?", "is_essential": True}
                for a, b, step in segments
            ],
        }
        for name, segments in takes.items()
    }
    path.write_text(json.dumps({"annotations": annotations, "taxonomy": {}, "vocabulary": {}}))
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Ego-Exo4D's folders with empty videos: two takes, four cameras; takes.json names each take's best camera."""
    for take in ("site_cook_1", "site_cook_2"):
        folder = tmp_path / "takes" / take / "frame_aligned_videos" / "downscaled" / "448"
        folder.mkdir(parents=True)
        for camera in CAMERAS:
            (folder / f"{camera}.mp4").touch()
    cameras = [{"cam_id": "cam01", "is_ego": False}, {"cam_id": "cam02", "is_ego": False}]
    takes = [
        {"take_name": "site_cook_1", "best_exo": "cam02", "capture": {"cameras": cameras}},
        {"take_name": "site_cook_2", "best_exo": None, "capture": {"cameras": cameras}},
    ]
    (tmp_path / "takes.json").write_text(json.dumps(takes))
    keysteps(tmp_path / "train.json", {"site_cook_1": [(2.0, 4.0, 77), (5.0, 6.5, 12)]})
    keysteps(tmp_path / "val.json", {"site_cook_2": [(2.0, 4.0, 12)]})
    return tmp_path


def settings(root: Path, **data: Any) -> DataSettings:
    values: dict[str, Any] = {
        "base_path": str(root),
        "dataset_train": str(root / "train.json"),
        "dataset_val": str(root / "val.json"),
        "video_view": "cam01",
        **data,
    }
    return DataSettings(**values)


def plan(root: Path, **data: Any) -> DataPlan:
    return plan_data(settings(root, **data), ANCHORS)


def test_keysteps_are_one_action_per_segment_in_seconds_of_the_take(root: Path) -> None:
    first, second = read_segments(root / "train.json")
    assert (first.video_id, first.start_seconds, first.stop_seconds) == ("site_cook_1", 2.0, 4.0)
    assert (first.classes, second.classes, second.row) == ({"action": 77}, {"action": 12}, 2)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"annotation": {}}, "nearest key: annotation"),
        ([], "no keystep file"),
        ({"annotations": {"u": {"segments": []}}}, "no 'take_name'"),
        ({"annotations": {"u": {"take_name": "../x", "segments": []}}}, "not allowed"),
        ({"annotations": {"u": {"take_name": "t", "segments": 3}}}, "is no list"),
        ({"annotations": {"u": {"take_name": "t", "segments": [{"end_time": 2}]}}}, "segment 0: no 'start_time'"),
        (
            {"annotations": {"u": {"take_name": "t", "segments": [{"start_time": 2, "end_time": 1}]}}},
            "end_time 1.0 is before start_time 2.0",
        ),
        (
            {
                "annotations": {
                    "u": {"take_name": "t", "segments": [{"start_time": 1, "end_time": 2, "step_unique_id": "x"}]}
                }
            },
            "step_unique_id = 'x'",
        ),
        ({"annotations": {}}, "no segments"),
    ],
)
def test_broken_keystep_files_name_what_is_wrong(tmp_path: Path, document: Any, message: str) -> None:
    path = tmp_path / "k.json"
    path.write_text(json.dumps(document))
    with pytest.raises(DataFileError) as caught:
        read_segments(path)
    assert message in str(caught.value) and "k.json" in str(caught.value)


@pytest.mark.parametrize(
    ("view", "cameras"),
    [
        ("cam01", ["cam01"]),
        ("cam*", ["cam01", "cam02"]),
        ("exo", ["cam01", "cam02"]),
        ("ego", ["aria01_214-1"]),
        ("best_exo", ["cam02"]),
        (["best_exo", "cam02", "cam01"], ["cam02", "cam01"]),
    ],
)
def test_views_name_the_cameras_of_a_take(root: Path, view: Any, cameras: list[str]) -> None:
    named = plan(root, video_view=view, dataset_val=str(root / "train.json")).train.clips
    assert [clip.segment.video_id for clip in named[: len(cameras)]] == [f"site_cook_1/{c}" for c in cameras]
    assert len(named) == 2 * len(cameras)
    assert {clip.segment.group for clip in named} == {"site_cook_1"}


def test_a_head_mounted_gopro_is_no_exo_camera(root: Path) -> None:
    folder = root / "takes" / "site_cook_1" / "frame_aligned_videos"
    (folder / "gp05.mp4").touch()
    assert "gp05" in Takes(root / "nowhere", None).resolve("x", "gp05")
    assert "gp05" in Takes(root, None).resolve("site_cook_1", "exo")
    takes = json.loads((root / "takes.json").read_text())
    takes[0]["capture"]["cameras"].append({"cam_id": "gp05", "is_ego": True})
    (root / "takes.json").write_text(json.dumps(takes))
    assert Takes(root, None).resolve("site_cook_1", "exo") == ["cam01", "cam02"]


def test_what_is_wrong_with_views_is_told(root: Path) -> None:
    csv = root / "a.csv"
    csv.write_text("video_id,start_timestamp,stop_timestamp,action_class\nsite_cook_1/cam01,1,2,9\n")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"video_view": None}, "names none"),
        ({"dataset_train": str(csv), "dataset_val": str(csv)}, "name videos already"),
        ({"video_view": "gopro*"}, "have no camera gopro*"),
        ({"video_view": "cam09"}, "site_cook_1/cam09"),
        ({"takes_file": str(root / "none.json"), "video_view": "best_exo"}, "needs Ego-Exo4D's takes.json"),
        # site_cook_2 has no best_exo
        ({"video_view": "best_exo"}, "have no camera best_exo"),
        ({"base_path": str(root / "nowhere")}, "does not exist"),
    ]
    for data, message in cases:
        with pytest.raises(UsageError) as caught:
            plan(root, **data)
        assert message in str(caught.value), data


def test_a_keystep_of_no_length_is_left_out_and_counted(root: Path) -> None:
    keysteps(root / "train.json", {"site_cook_1": [(2.0, 4.0, 77), (4.5, 4.5, 12), (5.0, 6.5, 12)]})
    split = plan(root).train
    assert [clip.segment.start_seconds for clip in split.clips] == [2.0, 5.0]
    assert (split.counts["rows"], split.counts["empty_segment"]) == (3, 1)
    keysteps(root / "train.json", {"site_cook_1": [(4.5, 4.5, 12)]})
    with pytest.raises(UsageError, match="1 empty_segment"):
        plan(root)


def test_cameras_of_one_take_never_straddle_a_split(root: Path) -> None:
    header = "video_id,start_timestamp,stop_timestamp,action_class\n"
    for name, camera in (("t.csv", "cam01"), ("v.csv", "cam02")):
        (root / name).write_text(f"{header}site_cook_1/{camera},2,3,9\n")
    data = {"video_view": None, "dataset_train": str(root / "t.csv"), "dataset_val": str(root / "v.csv")}
    with pytest.raises(UsageError, match="Split the annotations by take"):
        plan(root, **data)
    # the same videos in both are a trial run, told in the summary
    both = plan(root, **{**data, "dataset_val": str(root / "t.csv")})
    assert both.summary()["videos_in_both_splits"] == 1


@pytest.mark.parametrize(
    ("video_id", "file_format", "path"),
    [
        ("t1/cam01", None, "t1/cam01.mp4"),
        ("t1/cam01", None, "takes/t1/frame_aligned_videos/cam01.mp4"),
        ("t1/cam01", "x/{camera}/{take}", "x/cam01/t1.mp4"),
        ("t1/cam01", "flat/{take}-{camera}", "flat/t1-cam01.MP4"),
        ("P01_02", "{participant}/deep/{video_id}", "P01/deep/P01_02.MP4"),
    ],
)
def test_folder_layouts(tmp_path: Path, video_id: str, file_format: Any, path: str) -> None:
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).touch()
    assert find_videos(tmp_path, [video_id], file_format) == {video_id: tmp_path / path}


def test_downscaled_videos_are_taken_before_the_full_ones(root: Path) -> None:
    full = root / "takes" / "site_cook_1" / "frame_aligned_videos" / "cam01.mp4"
    full.touch()
    smaller = full.parent / "downscaled" / "448" / "cam01.mp4"
    assert find_videos(root, ["site_cook_1/cam01"], None) == {"site_cook_1/cam01": smaller}


@pytest.mark.parametrize("template", ["{takes}/x", "plain", "../{take}", "/abs/{take}", "{take", 2])
def test_layouts_that_cannot_be_are_refused(root: Path, template: Any) -> None:
    with pytest.raises(ValueError, match="file_format"):
        settings(root, file_format=template)


# Another view's heatmaps


def exo_dataset(root: Path, maps: np.ndarray, *, pts: np.ndarray | None = None, **data: Any) -> ClipDataset:
    """Ego clips of site_cook_1 with the maps of cam02."""
    folder = root / "maps" / "site_cook_1"
    folder.mkdir(parents=True, exist_ok=True)
    times = {} if pts is None else {"pts_seconds": pts}
    np.savez(folder / "cam02.npz", heatmap=maps, **times)
    chosen = settings(
        root,
        dataset_val=str(root / "train.json"),
        video_view="ego",
        use_heatmap=True,
        heatmap_base_path=str(root / "maps"),
        heatmap_view="best_exo",
        frames_per_clip=4,
        frames_per_second=4,
        resolution=32,
        **data,
    )
    made = plan_data(chosen, ANCHORS)
    assert made.train.clips[0].heatmap_ids == {"heatmap": "site_cook_1/cam02"}
    return ClipDataset(
        made.train,
        chosen,
        made.labels,
        ClipOptions(training=True, seed=0),
        heatmaps=build_sources(chosen),
        reader=lambda path: ArrayVideo(np.zeros((150, 48, 64, 3), np.uint8)),  # type: ignore[arg-type, return-value]
    )


def test_another_views_maps_are_matched_by_take_time_and_shown_whole(root: Path) -> None:
    """cam02 runs at 15 fps and its container's clock starts at 3 s; the clip ends at 1 s of the take."""
    levels = np.arange(75, dtype=np.float32)[:, None, None].repeat(8, 1).repeat(8, 2) / 100
    levels[:, :, 4:] += 0.001  # left and right differ: the ego frames' random flips and crops must not move the map
    dataset = exo_dataset(root, levels, pts=3.0 + np.arange(75) / 15)
    for epoch in range(6):
        dataset.epoch = epoch
        sample = dataset[0]
        assert isinstance(sample, Sample) and "heatmap" in sample.heatmaps
        # frames at 0, 0.233, 0.5 and 0.733 s of the take; of two rows equally near rounding decides
        rows = np.round(sample.heatmaps["heatmap"][:, 0, 0].numpy() * 100).astype(int).tolist()
        assert rows[0] == 0 and rows[1] in (3, 4) and rows[2] in (7, 8) and rows[3] == 11
        assert sample.heatmaps["heatmap"][1, 0, 0] < sample.heatmaps["heatmap"][1, 0, -1], "not mirrored"


def test_nothing_of_another_view_at_or_after_the_end_enters(root: Path) -> None:
    pts = np.arange(75) / 15
    maps = np.random.default_rng(0).random((75, 8, 8)).astype(np.float32)
    spoilt = maps.copy()
    spoilt[15:] = 0.5  # 1.0 s and later
    first, second = (exo_dataset(root, m, pts=pts)[0] for m in (maps, spoilt))
    spoilt[14] = 0.5
    third = exo_dataset(root, spoilt, pts=pts)[0]
    assert isinstance(first, Sample) and isinstance(second, Sample) and isinstance(third, Sample)
    assert "heatmap" in first.heatmaps and "heatmap" in second.heatmaps and "heatmap" in third.heatmaps
    assert (first.heatmaps["heatmap"] == second.heatmaps["heatmap"]).all()
    assert (first.heatmaps["heatmap"] == third.heatmaps["heatmap"]).all(), (
        "0.933 s is nearest to none of 0, 0.25, 0.5, 0.75 s"
    )


def test_another_views_maps_may_have_a_crop_of_their_own(root: Path) -> None:
    maps = np.random.default_rng(0).random((150, 8, 8)).astype(np.float32)
    dataset = exo_dataset(root, maps, heatmap_random_resize_scale=(0.2, 0.5))
    first = dataset[0]
    dataset.epoch = 1
    second = dataset[0]
    assert isinstance(first, Sample) and isinstance(second, Sample)
    assert "heatmap" in first.heatmaps and "heatmap" in second.heatmaps
    assert not (first.heatmaps["heatmap"] == second.heatmaps["heatmap"]).all()


def test_a_take_is_held_out_with_all_its_cameras(root: Path) -> None:
    for camera in CAMERAS[:2]:
        video = root / "takes" / "site_cook_3" / "frame_aligned_videos" / "downscaled" / "448" / f"{camera}.mp4"
        video.parent.mkdir(parents=True, exist_ok=True)
        video.touch()
    keysteps(root / "train.json", {take: [(2.0, 4.0, 77), (5.0, 6.5, 12)] for take in ("site_cook_1", "site_cook_3")})
    train = plan(root, video_view=["cam01", "cam02"]).train
    for seed in range(5):
        rest, selecting = hold_out(train, 0.25, seed=seed)
        assert selecting is not None
        takes = [{clip.segment.group for clip in part.clips} for part in (rest, selecting)]
        assert len(takes[0]) == len(takes[1]) == 1 and takes[0] != takes[1]
        assert len(rest.clips) == len(selecting.clips) == 4, "two cameras of two steps"
    with pytest.raises(UsageError, match="1 video"):
        hold_out(
            plan(root, dataset_train=str(root / "val.json"), dataset_val=str(root / "train.json")).train, 0.5, seed=0
        )


def test_of_several_files_of_one_id_one_is_read_and_it_is_said(tmp_path: Path) -> None:
    for name in ("P01.MOV", "P01.mp4", "P02.mkv"):
        (tmp_path / name).touch()
    notes: list[str] = []
    found = find_videos(tmp_path, ["P01", "P02", "P03"], None, notes)
    assert {video_id: path.name for video_id, path in found.items()} == {"P01": "P01.mp4", "P02": "P02.mkv"}
    (text,) = notes
    assert "'P01'" in text and "not P01.MOV" in text


def test_a_video_behind_a_broken_link_is_named(tmp_path: Path) -> None:
    (tmp_path / "P01_01.mp4").symlink_to("nowhere.mp4")
    assert "P01_01.mp4 -> nowhere.mp4" in broken_links(tmp_path, ["P01_01", "P02"], 0)
    assert broken_links(tmp_path, ["P02"], None) == ""


NFD, NFC = "Ku\u0308che", "K\u00fcche"


@pytest.mark.parametrize("written", [NFD, NFC], ids=["written NFD", "written NFC"])
@pytest.mark.parametrize("on_disk", [NFD, NFC], ids=["on disk NFD", "on disk NFC"])
@pytest.mark.parametrize(
    "file_format", [None, f"{NFD}/{{video_id}}", f"{NFC}/{{video_id}}"], ids=["none", "NFD", "NFC"]
)
def test_annotated_names_match_files_in_either_form(
    tmp_path: Path, written: str, on_disk: str, file_format: str | None
) -> None:
    path = tmp_path / (f"{on_disk}/{on_disk}.Mov" if file_format else f"{on_disk}.Mov")
    path.parent.mkdir(exist_ok=True)
    path.touch()
    csv = tmp_path / "a.csv"
    csv.write_text(
        f"video_id,start_timestamp,stop_timestamp,action_class\n{written},1,2,9\n-{written},1,2,9\n", encoding="utf-8"
    )
    ids = [segment.video_id for segment in read_segments(csv)]
    assert ids == [NFC, f"-{NFC}"]
    assert find_videos(tmp_path, ids, file_format) == {NFC: path}


def test_folders_of_links_are_folders_of_videos(tmp_path: Path) -> None:
    (tmp_path / "disk" / "P01").mkdir(parents=True)
    (tmp_path / "disk" / "P01" / "P01_01.MTS").touch()
    (tmp_path / "disk" / "blob").touch()
    (tmp_path / "videos" / "P02" / "videos").mkdir(parents=True)
    (tmp_path / "videos" / "P01").symlink_to("../disk/P01")
    (tmp_path / "videos" / "P02" / "videos" / "P02_01.mp4").symlink_to("../../../disk/blob")
    found = find_videos(tmp_path / "videos", ["P01/P01_01", "P02_01"], 0)
    assert [path.name for path in found.values()] == ["P01_01.MTS", "P02_01.mp4"]
    assert list(find_videos(tmp_path / "videos", ["P01_01"], 1)) == ["P01_01"]


@pytest.mark.parametrize("file_format", ["../disk/{video_id}", "/etc/{video_id}", "a/../../disk/{video_id}"])
def test_a_path_in_the_config_cannot_lead_out(tmp_path: Path, file_format: str) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "v.mp4").touch()
    (tmp_path / "videos").mkdir()
    with pytest.raises(UsageError, match="not allowed"):
        find_videos(tmp_path / "videos", ["v"], file_format)
