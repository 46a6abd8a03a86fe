"""What is trained on: coverage, what is left out with its count, and problems that stop before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gazetools.schemas.errors import UsageError
from gazetools.trainer.data.anchors import resolve_anchors
from gazetools.trainer.data.survey import plan_data
from gazetools.trainer.plan.config import load_config
from tests.trainer.conftest import HEADER, Study


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
