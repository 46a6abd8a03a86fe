"""What a training learns from: ground truth in stores, frames of videos, kitchens, persons."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

import gazetools
from gazetools.progress import NoProgress
from gazetools.schemas.errors import UsageError
from gazetools.schemas.finetune_data import GazeStoreSource, LabelSource, SceneSource
from gazetools.trainer.finetune.run import finetune
from gazetools.trainer.finetune.sources import read_sources
from tests.finetune.conftest import Configure
from tests.helpers.true_gaze import store_true_gaze


@pytest.fixture(scope="module")
def truth(clip: Path, boxes: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ground truth of two takes, one of them with two cameras: person 1 looks at (0.25, 0.75), the other outside."""
    folder = tmp_path_factory.mktemp("takes")
    for video in ("first/cam0", "first/cam1", "second/cam0"):
        for kind, source, suffix in (("videos", clip, "mp4"), ("heads", boxes, "csv"), ("gaze", None, "csv")):
            path = folder / kind / f"{video}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            if source is not None:
                shutil.copy(source, path)
                continue
            with path.open("w", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(("frame", "track_id", "x", "y", "inout"))
                writer.writerows(
                    (f, t, *((0.25, 0.75, 1) if t == 1 else (-1, -1, 0))) for f in range(40) for t in (1, 7)
                )
    gazetools.extract(folder / "videos", folder / "store", model=str(tiny_model), heads=f"file:{folder / 'heads'}")
    store_true_gaze(folder, folder / "store", folder / "truth")
    return folder / "truth"


def test_ground_truth_is_read_by_frame_and_person(truth: Path, tmp_path: Path) -> None:
    source = GazeStoreSource(kind="store", path=str(truth), every=10)
    found = read_sources([source], scenes=tmp_path, least_pixels=2, taught=None, progress=NoProgress())
    first = [head for head in found.heads if "first/cam0" in head.row]
    # People are in frames 0 to 4 and 10 to 39; every 10th of these frames is 0, 15, 25, 35.
    assert sorted({head.place.frame for head in first}) == [0, 15, 25, 35] and len(first) == 8
    inside = [head for head in first if head.inside]
    assert len(inside) == 4 and {head.gaze_shares for head in inside} == {((0.25, 0.75),)}
    assert {head.video for head in found.heads} == {"first", "second"}, "cameras of a take are one group"


def test_a_training_on_ground_truth_holds_whole_takes_out(truth: Path, configure: Configure) -> None:
    data = {"train": [{"kind": "store", "path": str(truth), "every": 8}], "held_out": 0.5, "workers": 0}
    config = configure("run", {"data": data})
    result = finetune(config)
    assert result.status == "done" and result.data["train"]["videos"] == result.data["held_out"]["videos"] == 1
    (truth.parent / "videos/second/cam0.mp4").rename(truth.parent / "away.mp4")
    try:
        with pytest.raises(UsageError, match=r"All .* heads are of one video"):
            finetune({**config, "folder": config["folder"] + "2"}, dry_run=True)
        data |= {"held_out": 0}
        dry = finetune(configure("three", {"data": data}), dry_run=True)
    finally:
        (truth.parent / "away.mp4").rename(truth.parent / "videos/second/cam0.mp4")
    assert dry.data["train"]["left_out"] == {"video_not_usable": 1} and int(dry.exit_code) == 1
    assert "second/cam0" in dry.data["train"]["left_out_examples"]["video_not_usable"]


def test_clicked_points_in_videos_show_exactly_their_frame(clip: Path, tmp_path: Path) -> None:
    from gazetools.trainer.finetune.pictures import Pictures
    from gazetools.video import VideoReader

    labels = tmp_path / "clicks.csv"
    columns = "video,frame,xmin,ymin,xmax,ymax,gaze_x,gaze_y"
    videos = tmp_path / "videos"
    videos.mkdir()
    shutil.copy(clip, videos)
    (videos / "cut.mp4").write_bytes(clip.read_bytes()[:500])
    where = "0.1,0.1,0.4,0.6,0.5,0.5"
    labels.write_text(
        "\n".join([columns, *(f"{name},{where}" for name in ("clip,7", "gone,7", "clip,40", "cut,0")), ""])
    )
    source = LabelSource(path=str(labels), images=str(videos))
    found = read_sources([source], scenes=tmp_path, least_pixels=2, taught=None, progress=NoProgress())
    assert [head.place.frame for head in found.heads] == [7]
    assert found.left_out == {"video_missing": 1, "frame_missing": 1, "video_not_readable": 1}
    assert found.examples["frame_missing"].endswith("line 4"), "the clip has frames 0 to 39"
    with VideoReader(clip) as reader:
        assert (Pictures().read(found.heads[0].place) == reader.read([7])[0]).all()


def test_kitchens_are_drawn_once_and_a_larger_count_contains_a_smaller_one(tmp_path: Path) -> None:
    few, more = (SceneSource(kind="scenes", seed=5, count=count) for count in (2, 3))
    first = read_sources([few], scenes=tmp_path, least_pixels=2, taught=None, progress=NoProgress())
    drawn = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.jpg")}
    second = read_sources([more], scenes=tmp_path, least_pixels=2, taught=None, progress=NoProgress())
    assert len(drawn) == 2 and second.heads[: len(first.heads)] == first.heads
    assert {path: path.stat().st_mtime_ns for path in drawn} == drawn


def test_persons_are_held_out_over_all_videos(configure: Configure, gaze_labels: Path) -> None:
    """Each video has the persons 0 and 1: one of them is learnt from, the other measured."""
    config = configure("run", {"data": {"group": "person", "held_out": 0.5}})
    result = finetune(config, dry_run=True)
    assert (result.data["train"]["heads"], result.data["held_out"]["heads"]) == (18, 18)


@pytest.mark.slow
@pytest.mark.skipif("not __import__('importlib').util.find_spec('wandb')", reason=(
    "the extras [wandb] and [tensorboard] are not installed: pip install -e '.[wandb,tensorboard]'"))  # fmt: skip
def test_wandb_and_tensorboard_have_every_line_once(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.helpers.services import tensorboard_points, wandb_files

    monkeypatch.setenv("WANDB_MODE", "offline")
    config = configure("run", {"wandb": {"enable": True, "project": "gaze"}, "tensorboard": True})
    finetune(config)
    folder = Path(config["folder"])
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    expected = [(line["step"], pytest.approx(line["train_loss"], rel=1e-5)) for line in lines]
    assert tensorboard_points(folder)["train_loss"] == expected
    assert tensorboard_points(folder)["val_l2"][-1][0] == lines[-1]["step"] == 6
    assert wandb_files(folder).exit_codes == [0]
