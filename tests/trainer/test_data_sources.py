"""Heatmaps from stores and gaze points: the right map at the right time, in/out, gaps, and what is refused."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gazetools.schemas.errors import DataFileError, UsageError
from gazetools.schemas.training import DataSettings
from gazetools.schemas.training_data import SOURCE_KINDS, GazePointSettings, HeatmapSourceSettings
from gazetools.trainer.data.anchors import resolve_anchors
from gazetools.trainer.data.clips import ClipDataset, ClipOptions, Sample
from gazetools.trainer.data.maps.base import (
    ClipFramesAsked,
    ClipHeatmaps,
    HeatmapSurvey,
    KnownMaps,
    WantedSource,
    survey_videos,
)
from gazetools.trainer.data.maps.build import SOURCES, build_sources, register
from gazetools.trainer.data.maps.dataset import DatasetMaps
from gazetools.trainer.data.maps.points import PointMaps, read_gaze_points, render_points, sigma_relative
from gazetools.trainer.data.maps.store import StoreMaps
from gazetools.trainer.data.survey import plan_data
from gazetools.trainer.plan.config import load_config
from tests.helpers.command_line import run_cli
from tests.helpers.stores import make_piece, make_provenance, make_store
from tests.trainer.conftest import Study


def asked(frames: list[int], *, end: float = 99.0, count: int = 30, rate: float = 30.0) -> ClipFramesAsked:
    return ClipFramesAsked(
        indices=np.array(frames), video_pts_seconds=np.arange(count) / rate, end_seconds=end, frame_hw=(48, 64)
    )


# Stores


def store_of(root: Path, *, stride: int = 1, count: int = 30) -> Path:
    """Every `stride`-th of `count` frames; two people, frame 6 without any."""
    frames = list(range(0, count, stride))
    rows = [(frame, track) for frame in frames for track in (1, 2) if frame != 6]
    provenance = make_provenance("v", frame_count=count)
    return make_store(root, "v", pieces=[make_piece(frames, rows)], provenance=provenance)


def raw(path: Path, frame: int) -> np.ndarray:
    from gazetools.store import open_store

    with open_store(path) as store:
        return store.rows(frame=frame).heatmap.astype(np.float32)


def source(root: Path, *, inout: Any = "keep", **settings: Any) -> StoreMaps:
    return StoreMaps(root, HeatmapSourceSettings(path=str(root), **settings), missing="zero", inout=inout)


@pytest.mark.parametrize(
    ("people", "expected"),
    [("max", lambda m: m.max(0)), ("mean", lambda m: m.mean(0)), ("wearer", lambda m: m[0]), ("2", lambda m: m[1])],
)
def test_store_maps_are_those_of_the_frame_and_people(tmp_path: Path, people: str, expected: Any) -> None:
    path = store_of(tmp_path)
    maps = source(tmp_path, people=people).maps_of("v", asked([3, 3, 9]))
    assert maps.invalid_frames == 0
    for got, frame in zip(maps.maps_thw, (3, 3, 9), strict=True):
        np.testing.assert_allclose(got, expected(raw(path, frame)), rtol=1e-6)


def test_store_frames_without_people_are_zero_and_counted(tmp_path: Path) -> None:
    store_of(tmp_path)
    maps = source(tmp_path).maps_of("v", asked([5, 6, 7]))
    assert maps.invalid_frames == 1 and not maps.maps_thw[1].any() and maps.maps_thw[[0, 2]].any()


def test_a_store_of_every_fourth_frame_shows_the_nearest_processed_one_before_the_end(tmp_path: Path) -> None:
    path = store_of(tmp_path, stride=4)
    maps = source(tmp_path).maps_of("v", asked([9, 11, 15], end=15.5 / 30)).maps_thw
    # 9 -> 8, 11 -> 12, 15 -> 16 would be nearest but lies after the end: 12
    for got, frame in zip(maps, (8, 12, 12), strict=True):
        np.testing.assert_allclose(got, raw(path, frame).max(0), rtol=1e-6)


def test_frames_far_from_any_processed_one_have_no_map(tmp_path: Path) -> None:
    provenance = make_provenance("v", frame_count=30)
    make_store(tmp_path, "v", pieces=[make_piece([0, 1, 2], [(0, 1), (1, 1), (2, 1)])], provenance=provenance)
    maps = source(tmp_path, people="1").maps_of("v", asked([2, 3, 20]))
    assert maps.invalid_frames == 1 and not maps.maps_thw[2].any()


def test_a_store_shows_the_head_boxes_of_the_same_people_and_frames(tmp_path: Path) -> None:
    """The control that tells gaze from where the head is: every cell has the share of it that a box covers."""
    piece = make_piece([0, 1], [(0, 1), (0, 2), (1, 1)])
    piece.rows.box_xyxy[:] = [[0.25, 0.5, 0.75, 1.0], [0.0, 0.0, 0.0625, 0.125], [0.5, 0.5, 0.51, 0.51]]
    piece.rows.inout[:] = [1.0, 0.0, 1.0]
    make_store(tmp_path, "v", pieces=[piece], provenance=make_provenance("v", frame_count=30))
    expected = np.zeros((2, 8, 8), dtype=np.float32)
    expected[0, 4:, 2:6], expected[0, 0, 0] = 1, 0.5
    expected[1, 4, 4] = 0.08**2  # smaller than a cell, and still there
    boxes = source(tmp_path, shows="head_box").maps_of("v", asked([0, 1])).maps_thw
    np.testing.assert_allclose(boxes, expected, atol=1e-6)
    gated = source(tmp_path, shows="head_box", inout="gate").maps_of("v", asked([0])).maps_thw
    assert gated[0, 0, 0] == 0 and gated[0, 4, 2] == 1


def test_only_stores_have_head_boxes(study: Study, tmp_path: Path) -> None:
    sources = {"head_box": {"path": str(study.heatmaps), "shows": "head_box"}}
    with pytest.raises(UsageError, match="is no store: only stores have them"):
        build_sources(load_config(study.config(tmp_path, heatmap_sources=sources)).experiment.data)


def test_store_inout_gates_and_weights_each_person(tmp_path: Path) -> None:
    piece = make_piece([0], [(0, 1), (0, 2)])
    piece.rows.inout[:] = [0.25, 0.75]
    path = make_store(tmp_path, "v", pieces=[piece], provenance=make_provenance("v", frame_count=30))
    first, second = raw(path, 0)
    gated = source(tmp_path, inout="gate").maps_of("v", asked([0])).maps_thw[0]
    np.testing.assert_allclose(gated, second, rtol=1e-6)
    weighted = source(tmp_path, inout="weight").maps_of("v", asked([0])).maps_thw[0]
    np.testing.assert_allclose(weighted, np.maximum(0.25 * first, 0.75 * second), rtol=1e-5)


def test_a_store_source_tells_missing_from_broken_and_can_be_pickled(tmp_path: Path) -> None:
    path = store_of(tmp_path)
    make_store(tmp_path, "w", provenance=make_provenance("w"))
    (tmp_path / "w.json").unlink()
    reader = source(tmp_path)
    survey = reader.survey(["v", "w", "x"])
    assert survey.present == {"v"} and survey.missing == ("x",)
    assert "sidecar" in survey.broken["w"]
    before = reader.maps_of("v", asked([4])).maps_thw
    after = pickle.loads(pickle.dumps(reader)).maps_of("v", asked([4])).maps_thw
    np.testing.assert_array_equal(before, after)
    nobody = source(tmp_path, people="9").survey(["v"])
    assert "has no person '9'" in nobody.broken["v"] and str(path) in nobody.broken["v"]


# Gaze points


def write_points(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def points_of(path: Path, *, inout: Any = "keep", **settings: Any) -> PointMaps:
    return PointMaps(path, GazePointSettings(**settings), missing="zero", inout=inout)


def test_points_become_blobs_where_they_lie(tmp_path: Path) -> None:
    path = write_points(tmp_path / "v.csv", "frame,x,y\n3,0.25,0.75\n4,0.9,0.1\n")
    maps = points_of(tmp_path).maps_of("v", asked([3, 4])).maps_thw
    for got, (x, y) in zip(maps, ((0.25, 0.75), (0.9, 0.1)), strict=True):
        row, column = np.unravel_index(int(got.argmax()), got.shape)
        assert abs((column + 0.5) / 64 - x) <= 1 / 64 and abs((row + 0.5) / 64 - y) <= 1 / 64
        assert 0.97 < got.max() <= 1
    # one file for many videos gives the same
    write_points(tmp_path / "all.csv", "y, x ,video_id,frame\n0.75,0.25,v,3\n0.1,0.9,v,4\n0.5,0.5,w,0\n")
    path.unlink()
    np.testing.assert_array_equal(points_of(tmp_path / "all.csv").maps_of("v", asked([3, 4])).maps_thw, maps)


def test_rendering_by_its_formula() -> None:
    xy, weights = np.array([[0.3, 0.6], [0.8, 0.2]]), np.array([1.0, 0.5])
    rendered = render_points(xy, weights, sigma_xy=(0.1, 0.05), size_hw=(5, 7))
    for row in range(5):
        for column in range(7):
            x, y = (column + 0.5) / 7, (row + 0.5) / 5
            terms = [
                w * math.exp(-((x - px) ** 2) / (2 * 0.1**2) - (y - py) ** 2 / (2 * 0.05**2))
                for (px, py), w in zip(xy, weights, strict=True)
            ]
            assert rendered[row, column] == pytest.approx(max(terms), rel=1e-5)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, (3 / 64, 3 / 64)),
        ({"sigma_pixels": 19.2}, (19.2 / 1920, 19.2 / 1080)),
        # 90 degrees over 1920 pixels: focal length 960; 2 degrees are 960 tan 2 = 33.52 pixels
        ({"sigma_degrees": 2, "horizontal_fov_degrees": 90}, (33.5240 / 1920, 33.5240 / 1080)),
    ],
)
def test_sigma_in_pixels_and_degrees(settings: dict[str, Any], expected: tuple[float, float]) -> None:
    assert sigma_relative(GazePointSettings(**settings), (1080, 1920)) == pytest.approx(expected, rel=1e-5)


def test_frames_between_points_take_the_nearest_one_within_the_gap_and_never_a_later_one(tmp_path: Path) -> None:
    """10 Hz gaze at 30 fps; the observation ends just before the point at 0.4 s."""
    rows = "".join(f"{k / 10},{k / 10},0.5\n" for k in range(6))
    write_points(tmp_path / "v.csv", "time_seconds,x,y\n" + rows)
    found = points_of(tmp_path).maps_of("v", asked([3, 4, 5, 11], end=0.4))
    columns = [(int(m.max(0).argmax()) + 0.5) / 64 for m in found.maps_thw]
    # 0.1 -> 0.1; 0.133 -> 0.1; 0.167 -> 0.2; 0.367 -> 0.4 is not yet there, 0.3 is 67 ms away: none
    assert columns[:3] == pytest.approx([0.1, 0.1, 0.2], abs=1 / 64)
    assert found.invalid_frames == 1 and not found.maps_thw[3].any()
    near = points_of(tmp_path, max_gap_sec=0.1).maps_of("v", asked([11], end=0.4)).maps_thw[0]
    assert (int(near.max(0).argmax()) + 0.5) / 64 == pytest.approx(0.3, abs=1 / 64)


def test_gaze_outside_the_frame_is_an_empty_map_but_no_missing_one(tmp_path: Path) -> None:
    write_points(tmp_path / "v.csv", "frame,x,y,inout\n0,1.2,0.5,\n1,0.5,0.5,0.3\n2,,,\n3,0.5,0.5,0.8\n")
    kept = points_of(tmp_path, max_gap_sec=1e-9).maps_of("v", asked([0, 1, 2, 3]))
    assert kept.invalid_frames == 1, "only the row without a point"
    assert [bool(m.any()) for m in kept.maps_thw] == [False, True, False, True]
    gated = points_of(tmp_path, inout="gate").maps_of("v", asked([1, 3])).maps_thw
    assert [bool(m.any()) for m in gated] == [False, True]
    weighted = points_of(tmp_path, inout="weight").maps_of("v", asked([1, 3])).maps_thw
    assert weighted[1].max() == pytest.approx(0.8 * kept.maps_thw[3].max(), rel=1e-5)


@pytest.mark.parametrize(
    ("text", "settings", "expected"),
    [
        # Ego-Exo4D's 2-D gaze: pixels of the upright picture
        ("frame_num,tracking_timestamp_us,x,y\n0,1,704,352\n", {"points_size": (1408, 1408)}, (0.5, 0.25)),
        # Ego4D's gaze, origin at the bottom left, one row of low confidence
        (
            "canonical_timestamp_s,confidence,norm_pos_x,norm_pos_y\n0.0,0.9,0.5,0.75\n0.0,0.1,0.0,0.0\n",
            {"y_axis": "up", "min_confidence": 0.6},
            (0.5, 0.25),
        ),
    ],
)
def test_gaze_files_of_the_field(tmp_path: Path, text: str, settings: Any, expected: tuple[float, float]) -> None:
    path = write_points(tmp_path / "v.csv", text)
    points = read_gaze_points(path, GazePointSettings(**settings))["v"]
    assert points.xy.tolist() == [list(expected)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("frame,x\n", r"lacks the column\(s\) y"),
        ("frames,x,y\n", "time_seconds"),
        ("frame,x,y\n0,a,0\n", "line 2"),
        ("frame,x,y\n0,900,400\n", "set points_size"),
        ("frame,x,y\n-1,0,0\n", "negative"),
        ("frame,x,y\n0,0\n", "2 fields"),
        ("video_id,frame,x,y\n../v,0,0,0\n", "line 2"),
    ],
)
def test_broken_gaze_files_are_named_with_the_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataFileError, match=message):
        read_gaze_points(write_points(tmp_path / "v.csv", text), GazePointSettings())


def test_points_beyond_the_video_are_refused(tmp_path: Path) -> None:
    write_points(tmp_path / "v.csv", "frame,x,y\n30,0.5,0.5\n")
    with pytest.raises(DataFileError, match="reach frame 30, its video has 30 frames"):
        points_of(tmp_path).maps_of("v", asked([1]))


# Choice of sources


def data(path: Path, **values: Any) -> DataSettings:
    return DataSettings(
        base_path="v",
        dataset_train="a.csv",
        dataset_val="a.csv",
        use_heatmap=True,
        heatmap_base_path=str(path),
        **values,
    )


def test_the_kind_of_a_source_is_told_from_its_files(tmp_path: Path) -> None:
    for name in ("dataset", "store", "points"):
        (tmp_path / name).mkdir()
    np.savez(tmp_path / "dataset" / "v.npz", heatmap=np.zeros((2, 4, 4), np.float32))
    store_of(tmp_path / "store")
    write_points(tmp_path / "points" / "v.csv", "frame,x,y\n")
    write_points(tmp_path / "all.csv", "video_id,frame,x,y\n")
    others = {
        "raw": HeatmapSourceSettings(path=str(tmp_path / "store"), inout="gate", missing="error"),
        "gaze": HeatmapSourceSettings(path=str(tmp_path / "points")),
        "one_file": HeatmapSourceSettings(path=str(tmp_path / "all.csv")),
    }
    sources = build_sources(data(tmp_path / "dataset", heatmap_sources=others, heatmap_inout="weight"))
    kinds = {name: type(one) for name, one in sources.items()}
    assert kinds == {"heatmap": DatasetMaps, "raw": StoreMaps, "gaze": PointMaps, "one_file": PointMaps}
    assert [(one.inout, one.missing) for one in sources.values()] == [  # type: ignore[attr-defined]
        ("weight", "zero"),
        ("gate", "error"),
        ("weight", "zero"),
        ("weight", "zero"),
    ]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"heatmap_base_path": "/nowhere"}, "does not exist"),
        ({"heatmap_sources": {"b": {"path": "/nowhere"}}}, "heatmap_sources.b.path"),
    ],
)
def test_sources_that_are_not_there_are_named_by_their_key(
    tmp_path: Path, values: dict[str, Any], message: str
) -> None:
    settings = data(tmp_path).model_copy(update={"heatmap_base_path": str(tmp_path)})
    settings = DataSettings(**{**settings.model_dump(), **values})
    with pytest.raises(UsageError, match=message):
        build_sources(settings)


def test_sigma_in_pixels_of_another_view_needs_that_views_size(tmp_path: Path) -> None:
    write_points(tmp_path / "all.csv", "video_id,frame,x,y\n")
    points = {"path": str(tmp_path / "all.csv"), "view": "cam02", "points": {"sigma_pixels": 20}}
    settings = data(tmp_path).model_copy(update={"heatmap_base_path": None})
    with pytest.raises(UsageError, match="points_size"):
        build_sources(DataSettings(**{**settings.model_dump(), "heatmap_sources": {"gaze": points}}))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"heatmap_sources": {"heatmap": {"path": "x"}}}, "no name for a source"),
        ({"heatmap_sources": {"a b": {"path": "x"}}}, "no name for a source"),
        ({"heatmap_sources": {"a": {"path": "x", "people": "boss"}}}, "track id"),
        ({"heatmap_sources": {"a": {"path": "x", "points": {"sigma_degrees": 1}}}}, "horizontal_fov_degrees"),
        (
            {"heatmap_sources": {"a": {"path": "x", "points": {"sigma_degrees": 1, "sigma_pixels": 1}}}},
            "contradict each other",
        ),
        ({"context_sec": (0, 1)}, "above 0"),
        ({"heatmap_random_resize_scale": (0.5, 1.5)}, "lies in"),
        ({"video_view": []}, "at least one camera"),
    ],
)
def test_settings_that_cannot_be_are_refused(tmp_path: Path, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        data(tmp_path, **values)


# A kind from outside


class CentreMaps:
    """Maps of ones for every video below a folder that has a file named after the source."""

    def __init__(self, wanted: WantedSource) -> None:
        self.missing = wanted.missing
        self.level = float((wanted.path / "level.txt").read_text())

    def survey(self, video_ids: Iterable[str]) -> HeatmapSurvey:
        return survey_videos(video_ids, lambda video_id: KnownMaps(content=None, has_inout=False))

    def maps_of(self, video_id: str, asked: ClipFramesAsked) -> ClipHeatmaps:
        return ClipHeatmaps(maps_thw=np.full((len(asked.indices), 8, 8), self.level, np.float32), invalid_frames=0)


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """The kind `centre`, known while a test runs, and a source of it."""
    (tmp_path / "centre").mkdir()
    (tmp_path / "centre" / "level.txt").write_text("0.25")
    register("centre", CentreMaps)
    yield {"path": str(tmp_path / "centre"), "kind": "centre"}
    SOURCE_KINDS.remove("centre")
    del SOURCES["centre"]


def test_a_source_from_outside_trains_from_the_command_line(
    tiny: dict[str, Any], tmp_path: Path, centre: dict[str, Any]
) -> None:
    values = tiny["experiment"]["data"]
    values |= {"heatmap_base_path": None, "heatmap_sources": {"toy": centre}}
    config = load_config(tiny)
    plan = plan_data(config.experiment.data, resolve_anchors(config))
    sources = build_sources(config.experiment.data)
    options = ClipOptions(training=False, seed=0)
    sample = ClipDataset(plan.train, config.experiment.data, plan.labels, options, heatmaps=sources)[0]
    assert isinstance(sample, Sample) and sample.heatmaps
    np.testing.assert_allclose(next(iter(sample.heatmaps.values())), 0.25, rtol=1e-6)
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps(tiny))
    done = run_cli("train", "--config", str(path), "experiment.optimization.num_epochs=1", "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "done"


def test_a_kind_that_nobody_registered_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="should be 'auto', 'dataset', 'store' or 'gaze_points'"):
        data(tmp_path, heatmap_sources={"toy": {"path": "x", "kind": "centre"}})
