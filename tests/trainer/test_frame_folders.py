"""Folders of numbered pictures in place of videos: found, read exactly, sampled by name as JFAA does, errors named."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml

from gazetools.schemas.errors import DataFileError, UsageError, VideoError
from gazetools.schemas.picture_times import PictureTimes
from gazetools.trainer import train
from gazetools.trainer.data.clips import Sample
from gazetools.trainer.data.frame_folders import FrameFolders
from gazetools.trainer.data.sampling import NumberedClip, clip_frames_jfaa, clip_frames_vjepa2
from gazetools.trainer.plan.config import load_config
from gazetools.trainer.plan.settle import settle
from gazetools.video import VideoReader
from gazetools.video.frame_clock import read_rates
from gazetools.video.frame_folder import FrameFolder
from tests.helpers.command_line import run_cli
from tests.trainer.conftest import FRAMES, RATE, Study

TEMPLATE = "frame_{:06d}.png"
LAYOUTS = ("{v}", "{p}/{v}", "{p}/rgb_frames/{v}", "rgb_frames/{v}")


@pytest.fixture(scope="module")
def pictures(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study's videos as pictures without loss, each in another of the layouts, and the CSV of their rates."""
    root = tmp_path_factory.mktemp("pictures")
    for video_id, layout in zip(("P01_01", "P01_02", "P02_01"), LAYOUTS[1:], strict=True):
        folder = root / layout.format(v=video_id, p=video_id[:3])
        folder.mkdir(parents=True)
        reader = VideoReader(study.root / "videos" / f"{video_id}.mp4")
        for frame in reader.frames():
            cv2.imwrite(str(folder / TEMPLATE.format(frame.index + 1)), frame.rgb[..., ::-1])
    rows = "".join(f"{name},5.0,{RATE},64x48\n" for name in ("P01_01", "P01_02", "P02_01"))
    (root / "info.csv").write_text(f"video_id,duration,fps,resolution\n{rows}")
    return root


def with_pictures(values: dict[str, Any], pictures: Path, **more: Any) -> dict[str, Any]:
    values["experiment"]["data"] |= {
        "input_format": "frames", "base_path": str(pictures), "video_info_path": str(pictures / "info.csv"),
        "frame_template": TEMPLATE, **more,
    }  # fmt: skip
    return values


def shown(values: dict[str, Any]) -> list[Sample]:
    plan = settle(load_config(values), resume=True, dry_run=True)
    clips = plan.dataset(plan.data.train, training=True)
    found = [clips[place] for place in range(len(clips))]
    assert all(isinstance(one, Sample) for one in found), found
    return found  # type: ignore[return-value]


def test_pictures_show_what_the_video_shows(tiny: dict[str, Any], pictures: Path) -> None:
    """Same frames, same crops, same heatmaps: pictures are frames of the same times."""
    for left, right in zip(shown(tiny), shown(with_pictures(tiny, pictures)), strict=True):
        assert torch.equal(left.video, right.video) and left.video.std() > 0.1
        assert torch.equal(left.heatmaps["heatmap"], right.heatmaps["heatmap"])


def test_rates_of_a_run_and_of_its_folders(tiny: dict[str, Any], pictures: Path, tmp_path: Path) -> None:
    """`frame_rate`, `frame_times` and a file in each folder say what the CSV of video_info_path says."""
    expected = [one.video for one in shown(with_pictures(tiny, pictures))]
    root = tmp_path / "pictures"
    shutil.copytree(pictures, root)
    (tmp_path / "times").mkdir()
    for video_id in ("P01_01", "P01_02", "P02_01"):
        rows = "".join(f"{frame},{frame / RATE}\n" for frame in range(FRAMES))
        (tmp_path / "times" / f"{video_id}.csv").write_text(f"frame,seconds\n{rows}")
    none = {"video_info_path": None}
    for given in (
        {"frame_rate": RATE},
        {"frame_rate": str(root / "info.csv")},
        {"frame_times": str(tmp_path / "times")},
    ):
        found = [one.video for one in shown(with_pictures(tiny, root, **none, **given))]
        assert all(torch.equal(left, right) for left, right in zip(expected, found, strict=True)), given
        tiny["experiment"]["data"] |= {"frame_rate": None, "frame_times": None}
    for picture in list(root.rglob(TEMPLATE.format(1))):
        (picture.parent / "frame_rate.txt").write_text(str(RATE))
    found = [one.video for one in shown(with_pictures(tiny, root, **none))]
    assert all(torch.equal(left, right) for left, right in zip(expected, found, strict=True))


@pytest.mark.slow
def test_a_whole_run_on_pictures(tiny: dict[str, Any], pictures: Path, tmp_path: Path) -> None:
    """Trained from the command line, with a cache of features and loader processes."""
    values = with_pictures(tiny, pictures, num_workers=1, feature_cache={"folder": str(tmp_path / "cache")})
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(values))
    done = run_cli("train", "--config", str(path), "experiment.optimization.num_epochs=1", "--json")
    assert done.exit_code == 0, done.stderr
    assert list((tmp_path / "cache").rglob("*.safetensors"))
    planned = run_cli("train", "--config", str(path), f"folder={tmp_path / 'other'}", "--dry-run", "--json")
    assert planned.exit_code == 0 and json.loads(planned.stdout)["decoding"]["clips"] > 0


@pytest.mark.parametrize("layout", LAYOUTS)
def test_where_a_video_s_folder_may_be(tiny: dict[str, Any], pictures: Path, tmp_path: Path, layout: str) -> None:
    place = tmp_path / layout.format(v="P01_01", p="P01")
    shutil.copytree(pictures / "P01" / "P01_01", place)
    shutil.copy(pictures / "info.csv", tmp_path)
    data = load_config(with_pictures(tiny, tmp_path)).experiment.data
    folders = FrameFolders.of(data)
    assert folders is not None and folders.find(["P01_01", "P09_01"]) == {"P01_01": place}
    opened = folders.open(place)
    assert (opened.frame_count, opened.rate, opened.info.width) == (FRAMES, RATE, 64)


def test_an_id_with_folders_in_it(pictures: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    shutil.copytree(pictures / "P01" / "P01_01", tmp_path / "day" / "cam01")
    (tmp_path / "info.csv").write_text("video_id,fps,num_frames\nday/cam01,15,120\ncam01,99,1\n")
    folders = FrameFolders.of(load_config(with_pictures(tiny, tmp_path)).experiment.data)
    assert folders is not None
    opened = folders.open(folders.find(["day/cam01"])["day/cam01"])
    assert (opened.rate, opened.frame_count) == (15, 120)


# Sampling


def released_indices(
    start: int, stop: int, fps: float, clip: int, wanted: float, tau: float, point: float, count: int
) -> list[int]:
    """JFAA's rule, written out by hand: whole steps of a rounded length, ending before the anchor; clipped."""
    step = max(1, round(fps / wanted))
    anchor = math.trunc(start * point + (1 - point) * stop - round(tau * fps))
    return [min(max(anchor - (clip - k) * step, 0), count - 1) for k in range(clip)]


@pytest.mark.parametrize(
    ("fps", "step", "step_of_vjepa2"),
    [
        (29.97, 4, 3),  # 3.75
        (59.94005994005994, 7, 7),  # 7.49
        (50.0, 6, 6),  # 6.25
        (60.0, 8, 7),  # 7.5 goes to the even 8
        (20.0, 2, 2),  # 2.5 goes to the even 2
        (24.0, 3, 3),
    ],
)
@pytest.mark.parametrize(("start", "stop"), [(900, 960), (40, 300), (2000, 2300)])
def test_frames_are_chosen_as_jfaa_does(fps: float, step: int, step_of_vjepa2: int, start: int, stop: int) -> None:
    for tau, point in ((1.0, 1.0), (0.3, 0.0), (1.75, 0.25)):
        clip = NumberedClip(
            start_frame=start, stop_frame=stop, video_fps=fps, frames_per_clip=32, frames_per_second=8,
            anticipation_seconds=tau, point=point,
        )  # fmt: skip
        found = clip_frames_jfaa(clip, frame_count=1000)
        assert found.frame_indices.tolist() == released_indices(start, stop, fps, 32, 8, tau, point, 1000)
        assert found.frame_indices.min() >= 0 and found.frame_indices.max() <= 999
        upstream = clip_frames_vjepa2(clip).frame_indices
        if upstream.min() > 0:
            assert set(np.diff(upstream)) == {step_of_vjepa2}
            if found.frame_indices.max() < 999:
                assert set(np.diff(found.frame_indices)) == {step}


def test_the_rule_is_chosen_by_name(tiny: dict[str, Any], pictures: Path, tmp_path: Path) -> None:
    """At 30 per second asked for 4, 7.5 pictures per frame: every eighth as JFAA, every seventh as V-JEPA 2."""
    rows = "narration_id,video_id,start_frame,stop_frame,start_timestamp,stop_timestamp,verb_class,noun_class\n"
    (tmp_path / "epic.csv").write_text(rows + "a,P01_01,90,105,00:00:03,00:00:03.5,0,3\n")
    values = with_pictures(
        tiny, pictures, dataset_train=str(tmp_path / "epic.csv"), dataset_val=str(tmp_path / "epic.csv"),
        train_anticipation_time_sec=[1.0, 1.0],
    )  # fmt: skip
    seen = {}
    for compat in ("jfaa", "vjepa2"):
        plan = settle(load_config(values, [f"compat={compat}"]), resume=True, dry_run=True)
        clips = plan.dataset(plan.data.train, training=True)
        seen[compat] = clips.observer.observe(clips.split.clips[0], clips.facts_of(0), epoch=0).asked.indices.tolist()
    assert seen == {"jfaa": [28, 36, 44, 52], "vjepa2": [32, 39, 46, 53]}


# Bad input


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"video_info_path": None}, "needs experiment.data.video_info_path"),
    ({"frame_template": "frame.jpg"}, "must be a file name with one number"),
    ({"frame_template": "../{:d}.jpg"}, "must be a file name with one number"),
    ({"frame_template": "{:d}/{:d}.jpg"}, "must be a file name with one number"),
    ({"frame_index_offset": -1}, "must be at least 0"),
    ({"input_format": "pictures"}, "'video' or 'frames'"),
    ({"video_view": "ego"}, "has no cameras of takes"),
    ({"video_info_path": "/nowhere.csv"}, "/nowhere.csv does not exist"),
    ({"frame_rate": 30}, "give one of them"),
    (
        {"input_format": "video", "video_info_path": None, "frame_rate": 30},
        "is for experiment.data.input_format: frames",
    ),
]


@pytest.mark.parametrize(("data", "message"), WRONG, ids=[text for _, text in WRONG])
def test_wrong_settings(tiny: dict[str, Any], pictures: Path, data: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        settle(load_config(with_pictures(tiny, pictures, **data)), resume=True, dry_run=True)
    assert message in str(caught.value)


def test_what_is_not_there_is_named(tiny: dict[str, Any], pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "rates.csv").write_text("video_id,fps\nP01_01,30\nP01_02,30\n")
    with pytest.raises(UsageError, match=r"no fps for 1 of 3 videos, such as 'P02_01'"):
        train(with_pictures(tiny, pictures, video_info_path=str(tmp_path / "rates.csv")))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"3 of 3 .* no folder of pictures .*Tried: P01_01, P01/P01_01, P01/rgb_fr"):
        train(with_pictures(tiny, tmp_path / "empty", video_info_path=str(pictures / "info.csv")))
    (tmp_path / "rates.csv").write_text("video_id,fps\nP01_01,0\n")
    with pytest.raises(DataFileError, match="line 2: fps '0'"):
        read_rates(tmp_path / "rates.csv")


def test_broken_folders(pictures: Path, tmp_path: Path) -> None:
    folder = tmp_path / "P01_01"
    shutil.copytree(pictures / "P01" / "P01_01", folder)

    def opened(*, offset: int = 1, promised_count: int | None = None, path: Path = folder) -> FrameFolder:
        rates = tmp_path / "rates.csv"
        rates.write_text(f"video_id,fps,num_frames\n{path.name},{RATE},{promised_count or ''}\n")
        times = PictureTimes(frame_rate=str(rates))
        return FrameFolders(base_path=tmp_path, template=TEMPLATE, offset=offset, times=times).open(path)

    with pytest.raises(VideoError, match=r"picture frame_000000\.png is not there, although 150 are counted"):
        opened(offset=0)
    with pytest.raises(VideoError, match=r"picture frame_000200\.png is not there, although 200 are promised"):
        opened(promised_count=200)
    (folder / TEMPLATE.format(11)).write_bytes(b"no picture")
    (folder / TEMPLATE.format(21)).unlink()
    cv2.imwrite(str(folder / TEMPLATE.format(31)), np.zeros((8, 8, 3), np.uint8))
    (folder / "Thumbs.db").write_bytes(b"")
    reader = opened(promised_count=150)
    for index, message in (
        (10, "cannot be read"),
        (20, "is not there"),
        (30, "is 8x8 pixels, the first picture 64x48"),
    ):
        with pytest.raises(VideoError, match=message):
            next(iter(reader.frames(np.array([index]))))
    assert next(iter(reader.frames(np.array([11])))).pts_seconds == pytest.approx(11 / RATE)
    (tmp_path / "none").mkdir()
    with pytest.raises(VideoError, match="holds no pictures"):
        opened(path=tmp_path / "none")


def test_a_missing_picture_costs_its_clips_only(tiny: dict[str, Any], pictures: Path, tmp_path: Path) -> None:
    shutil.copytree(pictures, tmp_path / "all")
    for number in range(40, 80):
        (tmp_path / "all" / "P01" / "P01_01" / TEMPLATE.format(number)).write_bytes(b"")
    values = with_pictures(tiny, tmp_path / "all", max_unreadable_clips=2)
    result = train(values, overrides=["experiment.optimization.num_epochs=1"])
    assert result.status == "done" and 0 < result.metrics["train_unreadable"] <= 2
