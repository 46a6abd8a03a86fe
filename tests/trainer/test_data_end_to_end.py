"""A whole run on takes: keystep JSON, raw gaze and a dataset side by side, every augmentation, kept frame indexes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from gazetools.trainer import train
from tests.helpers.command_line import run_cli
from tests.trainer.conftest import Study


def test_keysteps_train_on_raw_gaze_with_every_augmentation(study: Study, tmp_path: Path) -> None:
    """Two takes; the second has no gaze points, which is counted, not hidden."""
    for take, video in (("site_1", "P01_01"), ("site_2", "P01_02")):
        (tmp_path / "videos" / take).mkdir(parents=True)
        shutil.copyfile(study.root / "videos" / f"{video}.mp4", tmp_path / "videos" / take / "cam01.mp4")
    segments = [{"start_time": 2.0 + 0.4 * k, "end_time": 4.0, "step_unique_id": 5 + k % 2} for k in range(3)]
    for name, takes in (("train", ("site_1", "site_2")), ("val", ("site_1",))):
        annotations = {take: {"take_name": take, "segments": segments} for take in takes}
        (tmp_path / f"{name}.json").write_text(json.dumps({"annotations": annotations}))
    gaze = tmp_path / "gaze" / "site_1"
    gaze.mkdir(parents=True)
    (gaze / "cam01.csv").write_text("frame,x,y\n" + "".join(f"{frame},0.4,0.6\n" for frame in range(150)))
    (tmp_path / "val.json").write_text((tmp_path / "train.json").read_text())
    config = study.config(
        tmp_path / "run",
        base_path=str(tmp_path / "videos"),
        dataset_train=str(tmp_path / "train.json"),
        dataset_val=str(tmp_path / "val.json"),
        video_view="cam*",
        heatmap_base_path=str(tmp_path / "gaze"),
        auto_augment=True,
        motion_shift=True,
        reprob=0.25,
        keep_unseen_classes=True,
    )
    config["experiment"]["optimization"]["num_epochs"] = 1
    result = train(config)
    assert result.status == "done"
    data = result.data["train"]
    assert data["rows"] == 6 and result.data["classes"] == {"action": 2}
    assert result.data["validation"]["start"]["heatmap_coverage"] == pytest.approx(0.5)
    missing = data["clips"] * (1 - data["heatmap_coverage"])
    assert result.metrics["train_heatmap_missing"] == pytest.approx(missing)
    assert result.metrics["train_unreadable"] == 0
    indexes = list((tmp_path / "run").rglob("frame_indexes/*.npz"))
    assert len(indexes) == 2, "one per video"


def test_data_settings_that_cannot_be_are_refused_by_the_command_with_the_key(study: Study, tmp_path: Path) -> None:
    import yaml

    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(study.config(tmp_path / "run")))
    for override, message in (
        ("experiment.data.heatmap_sources={gaze: {path: /nowhere}}", "heatmap_sources.gaze.path"),
        ("experiment.data.heatmap_sources={gaze: {pathh: x}}", "pathh"),
        ("experiment.data.file_format='{tke}/x'", "{take}"),
        ("experiment.data.video_view=ego", "video_view"),
    ):
        done = run_cli("train", "--config", str(file), "--dry-run", override)
        assert done.exit_code == 2, done.stderr
        assert message in done.stderr.replace("\n", " "), (override, done.stderr)
