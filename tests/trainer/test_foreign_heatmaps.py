"""Other tools' heatmaps in training: what the plan refuses and names, and the config keys that decide."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from gazetools.schemas.errors import UsageError
from gazetools.schemas.foreign import ArrayChoice
from gazetools.trainer.data.anchors import resolve_anchors
from gazetools.trainer.data.maps.base import ClipFramesAsked
from gazetools.trainer.data.maps.build import build_sources
from gazetools.trainer.data.survey import plan_data
from gazetools.trainer.plan.config import load_config
from gazetools.trainer.plan.ignored import ignored_keys
from gazetools.trainer.plan.readiness import readiness_findings
from tests.trainer.conftest import FRAMES, RATE, Study

MAPS = np.random.default_rng(1).random((FRAMES, 12, 16)).astype(np.float32)


def _first_map(study: Study, folder: Path, **data: Any) -> np.ndarray[Any, Any]:
    """The map of frame 0 of P01_01, after the plan accepted the folder."""
    config = load_config(study.config(folder.parent / "run", heatmap_base_path=str(folder), **data))
    assert plan_data(config.experiment.data, resolve_anchors(config)).survey is not None
    asked = ClipFramesAsked(
        indices=np.zeros(1, np.int64),
        video_pts_seconds=np.arange(FRAMES) / RATE,
        end_seconds=1.0,
        frame_hw=(48, 64),
    )
    return build_sources(config.experiment.data)["heatmap"].maps_of("P01_01", asked).maps_thw[0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "maps").mkdir()
    return tmp_path / "maps"


def test_two_stacks_are_named_and_a_key_decides(study: Study, folder: Path) -> None:
    np.savez(folder / "P01_01.npz", depth=MAPS[::-1], gaze=MAPS)
    with pytest.raises(UsageError) as caught:
        _first_map(study, folder)
    assert all(part in str(caught.value) for part in ("depth", "gaze", "[150,12,16]", "experiment.data.heatmap_key"))
    np.testing.assert_array_equal(_first_map(study, folder, heatmap_key="gaze"), MAPS[0])
    np.testing.assert_array_equal(_first_map(study, folder, heatmap_key="depth"), MAPS[-1])


def test_frames_from_1_are_not_shifted_by_the_tolerance_of_one_frame(study: Study, folder: Path) -> None:
    (folder / "P01_01").mkdir()
    for number, one in enumerate(MAPS, 1):
        np.save(folder / "P01_01" / f"{number:06d}.npy", one)
    with pytest.raises(UsageError, match=r"experiment\.data\.heatmap_first_frame"):
        _first_map(study, folder)
    np.testing.assert_array_equal(_first_map(study, folder, heatmap_first_frame=1), MAPS[0])


def test_frames_last_show_in_the_number_of_frames(study: Study, folder: Path) -> None:
    np.savez(folder / "P01_01.npz", x=np.ascontiguousarray(MAPS.transpose(1, 2, 0)))
    with pytest.raises(UsageError, match=r"150 frames, as many as its last axis has.*heatmap_axes"):
        _first_map(study, folder)
    np.testing.assert_array_equal(_first_map(study, folder, heatmap_axes="hwt"), MAPS[0])


def test_a_sources_own_keys_come_before_those_of_all(study: Study, folder: Path, tmp_path: Path) -> None:
    np.savez(folder / "P01_01.npz", depth=MAPS[::-1], gaze=MAPS)
    sources = {"own": {"path": str(folder), "key": "depth"}, "general": {"path": str(folder)}}
    config = load_config(study.config(tmp_path, heatmap_key="gaze", heatmap_base_path=None, heatmap_sources=sources))
    built = build_sources(config.experiment.data)
    asked = ClipFramesAsked(
        indices=np.zeros(1, np.int64), video_pts_seconds=np.arange(FRAMES) / RATE, end_seconds=1.0, frame_hw=(48, 64)
    )
    found = {name: source.maps_of("P01_01", asked).maps_thw[0] for name, source in built.items()}
    np.testing.assert_array_equal(found["own"], MAPS[-1])
    np.testing.assert_array_equal(found["general"], MAPS[0])


def test_validate_for_training_reads_with_the_same_choice(study: Study, folder: Path, tmp_path: Path) -> None:
    np.savez(folder / "P01_01.npz", depth=MAPS[::-1], gaze=MAPS)
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(study.config(tmp_path / "run")))
    codes = {f.code for f in readiness_findings(path, folder)}
    assert "training-data" in codes
    assert "training-data" not in {f.code for f in readiness_findings(path, folder, ArrayChoice(key="gaze"))}


def test_a_choice_without_effect_is_a_note(study: Study, tmp_path: Path) -> None:
    """Gaze points have no arrays; a store next to another tool's folder is read as it is."""
    (tmp_path / "gaze.csv").write_text("video_id,frame,x,y\nP01_01,0,0.5,0.5\n")
    points = load_config(study.config(tmp_path, heatmap_base_path=str(tmp_path / "gaze.csv"), heatmap_axes="THW"))
    reason = "only of other tools' heatmaps"
    assert ignored_keys(points, torch.device("cpu"))[reason] == ["experiment.data.heatmap_axes"]
    both = {"points": {"path": str(tmp_path / "gaze.csv"), "key": "x"}}
    config = load_config(study.config(tmp_path, heatmap_axes="THW", heatmap_sources=both))
    assert ignored_keys(config, torch.device("cpu"))[reason] == ["experiment.data.heatmap_sources.points.key"]
