"""Ground-truth heatmaps against the closed form of the synthetic takes, policies for unknown depth, and bad input."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gazetools.annotations.ego4d import read_wearer_gaze
from gazetools.egoexo.eye_gaze import DepthQuality, read_eye_gaze, vergence_to_gaze
from gazetools.egoexo.gaze_2d import read_gaze_2d
from gazetools.groundtruth import groundtruth
from gazetools.groundtruth.render import SIGMA, SIZE, blobs, cells_of, render_segments
from gazetools.metrics.gaze import target_heatmap
from gazetools.schemas.errors import FaultError, UsageError
from gazetools.schemas.store import Prompt
from gazetools.store import open_store
from gazetools.store.writer import FilledStore
from gazetools.validation import validate
from tests.helpers.clips import write_clip
from tests.helpers.command_line import run_cli
from tests.helpers.synthetic_takes import GRAPH, LENS, TAKES, cpf_pose

TAKE = TAKES[0]
EDIT = Callable[[Path, Callable[[list[list[str]]], None]], None]
GAZE = f"takes/{TAKE.name}/eye_gaze/general_eye_gaze.csv"


def _cam01(root: Path, store: Path, **settings: object) -> dict[str, float]:
    report = groundtruth(root, store, takes=TAKE.name, cameras="cam01", **settings)
    assert [item.status for item in report.items] == ["done"], report.items[0].reason
    return report.items[0].counts


@pytest.mark.parametrize("take", TAKES[:2], ids=["depth", "vergence"])
def test_the_peak_is_the_projected_target_in_every_frame_that_has_a_sample(
    egoexo_root: Path, tmp_path: Path, take: object
) -> None:
    """Gaze has 10 Hz: in frames 0, 3, 6, ... its age is 0 and ray and pose meet exactly in the target."""
    report = groundtruth(egoexo_root, tmp_path, takes=take.name, cameras="cam01,cam02")  # type: ignore[attr-defined]
    assert [item.status for item in report.items] == ["done", "done"]
    for camera in take.cameras[:2]:  # type: ignore[attr-defined]
        u, v = take.target_pixel(camera)  # type: ignore[attr-defined]
        cell = (int(v / 270 * 64), int(u / 480 * 64))
        with open_store(tmp_path / take.name / f"{camera.name}.h5", verify_checksum=True) as store:  # type: ignore[attr-defined]
            rows = store.rows()
            exact = np.flatnonzero(rows.frame % 3 == 0)
            peaks = [np.unravel_index(int(m.argmax()), m.shape) for m in rows.heatmap[exact]]
            assert {(int(r), int(c)) for r, c in peaks} == {cell}
            assert float(rows.heatmap[exact].max(axis=(1, 2)).min()) == 1.0
            target = store.extra("target_xy")
            assert target is not None
            # also between the samples: the ray is that of the sample's own pose, so the head's motion moves no target
            np.testing.assert_allclose(target * [480, 270], np.tile([u, v], (len(target), 1)), atol=1e-3)
            quality, age = store.extra("depth_quality"), store.extra("sample_age_seconds")
            assert quality is not None and (quality == DepthQuality.MEASURED).all()
            assert age is not None and np.abs(age[exact]).max() < 1e-6 and np.abs(age).max() <= 0.0334
            assert (rows.inout == 1).all() and (rows.prompt == Prompt.GIVEN).all()
            assert store.tracks == {1: "wearer"}
            assert store.provenance.model.name == "groundtruth"
            assert set(store.provenance.model.weights_sha256) == {"gopro_calibs", "trajectory", "timesync", "eye_gaze"}


def test_the_store_passes_validation_and_is_not_made_twice(egoexo_root: Path, tmp_path: Path) -> None:
    _cam01(egoexo_root, tmp_path)
    groundtruth(egoexo_root, tmp_path, takes=TAKES[1].name, cameras="cam02")  # another take: other recordings
    report = validate(tmp_path)
    assert report.exit_code == 0, report.findings
    again = groundtruth(egoexo_root, tmp_path, takes=TAKE.name, cameras="cam01")
    assert again.items[0].status == "complete"
    other = groundtruth(egoexo_root, tmp_path, takes=TAKE.name, cameras="cam01", unknown_depth="fixed")
    assert other.items[0].status == "failed"
    assert "--overwrite" in str(other.items[0].reason)


def test_a_commit_that_fails_beside_the_next_video_stops_the_run(
    egoexo_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full when the first file is hashed and renamed: exit 4, nothing half-written, nothing left over."""
    commit, calls = FilledStore.commit, []

    def full(filled: FilledStore) -> object:
        calls.append(filled)
        if len(calls) == 1:
            filled.discard()
            raise FaultError("No space left on device.")
        return commit(filled)

    monkeypatch.setattr(FilledStore, "commit", full)
    with pytest.raises(FaultError, match="No space"):
        groundtruth(egoexo_root, tmp_path, takes=TAKES[1].name, stride=30)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    monkeypatch.undo()
    report = groundtruth(egoexo_root, tmp_path, takes=TAKES[1].name, stride=30)  # the same command ends it
    assert [item.status for item in report.items] == ["done", "done"]


def _blank_depth(rows: list[list[str]]) -> None:
    for row in rows[1:]:
        row[3] = ""


def test_without_depth_the_epipolar_segment_is_drawn(broken_root: Path, edit_csv: EDIT, tmp_path: Path) -> None:
    edit_csv(broken_root / GAZE, _blank_depth)
    counts = _cam01(broken_root, tmp_path)
    assert counts["depth_unknown"] == 87
    camera = TAKE.cameras[0]
    with open_store(tmp_path / TAKE.name / "cam01.h5") as store:
        heatmap = store.rows(frame=0).heatmap[0]
        u, v = TAKE.target_pixel(camera)
        assert heatmap[int(v / 270 * 64), int(u / 480 * 64)] > 0.8  # the target lies on the segment
        _rotation, eyes = cpf_pose(0.0)
        direction = np.array(TAKE.gaze_target) - eyes
        on_ray = [eyes + direction / np.linalg.norm(direction) * depth for depth in (0.4, 0.8, 1.5)]
        for u, v in camera.pixels(np.array(on_ray)):
            assert heatmap[int(v / 270 * 64), int(u / 480 * 64)] > 0.8
        assert float((heatmap > 0.5).mean()) < 0.25  # a strip, not everything
        target = store.extra("target_xy")
        assert target is not None and np.isnan(target).all()  # a segment is no point


@pytest.mark.parametrize(("policy", "rows"), [("skip", 0), ("fixed", 87)])
def test_other_policies_for_unknown_depth(
    broken_root: Path, edit_csv: EDIT, tmp_path: Path, policy: str, rows: int
) -> None:
    edit_csv(broken_root / GAZE, _blank_depth)
    counts = _cam01(broken_root, tmp_path, unknown_depth=policy, fixed_depth_m=0.8)
    with open_store(tmp_path / TAKE.name / "cam01.h5") as store:
        assert len(store) == rows
        if rows:
            assert counts["depth_fixed"] == rows
            _rotation, eyes = cpf_pose(0.0)
            direction = np.array(TAKE.gaze_target) - eyes
            point = eyes + 0.8 * direction / np.linalg.norm(direction)
            target = store.extra("target_xy")
            assert target is not None
            expected = TAKE.cameras[0].pixels(point[None])[0] / [480, 270]
            np.testing.assert_allclose(target[0], expected, atol=1e-5)  # never the eyes themselves


def test_points_give_the_depth_that_eye_tracking_lacks(broken_root: Path, edit_csv: EDIT, tmp_path: Path) -> None:
    edit_csv(broken_root / GAZE, _blank_depth)
    with pytest.raises(AssertionError, match="take_point_cloud"):  # no points file: the command that gets it
        _cam01(broken_root, tmp_path / "none", unknown_depth="points")
    lines = ["uid,graph_uid,px_world,py_world,pz_world,inv_dist_std,dist_std"]
    x, y, z = TAKE.gaze_target
    lines += [f"1,{GRAPH},{x},{y},{z},0.001,0.01", f"2,another,{x - 0.2},{y},{z},0.001,0.01", f"3,{GRAPH},5,5,5,9,9"]
    points = broken_root / "takes" / TAKE.name / "trajectory" / "semidense_points.csv.gz"
    points.write_bytes(gzip.compress("\n".join(lines).encode()))
    counts = _cam01(broken_root, tmp_path / "points", unknown_depth="points")
    assert counts["depth_points"] > 80
    with open_store(tmp_path / "points" / TAKE.name / "cam01.h5") as store:
        target, quality = store.extra("target_xy"), store.extra("depth_quality")
        assert target is not None and quality is not None and quality[0] == DepthQuality.POINTS
        np.testing.assert_allclose(target[0] * [480, 270], TAKE.target_pixel(TAKE.cameras[0]), atol=1e-3)


def test_targets_outside_the_picture_are_empty_maps_with_inout_zero(
    broken_root: Path, edit_csv: EDIT, tmp_path: Path
) -> None:
    def look_down_steeply(rows: list[list[str]]) -> None:
        for row in rows[1:]:
            row[2], row[3] = "-1.4", "5.0"

    edit_csv(broken_root / GAZE, look_down_steeply)
    counts = _cam01(broken_root, tmp_path)
    assert counts["outside"] == 87
    with open_store(tmp_path / TAKE.name / "cam01.h5") as store:
        rows = store.rows()
        assert not rows.heatmap.any()
        assert not rows.inout.any()
    assert "zero-maps" not in {finding.code for finding in validate(tmp_path).findings}


def _at(column: int, value: str, rows_from: int = 1, rows_to: int | None = None) -> Callable[[list[list[str]]], None]:
    def change(rows: list[list[str]]) -> None:
        for row in rows[rows_from:rows_to]:
            row[column] = value

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_at(1, "12.5"), "line 2, column yaw_rads_cpf.*are these degrees"),
        (_at(2, "up"), "column pitch_rads_cpf: 'up' is not a number"),
        (lambda rows: [row.__setitem__(0, row[0] + "000") for row in rows[1:]], "another unit"),
        (_at(0, "x"), "'x' is not a whole number"),
        (lambda rows: rows[0].__setitem__(1, "yaw"), "neither yaw_rads_cpf nor left_yaw_rads_cpf"),
    ],
)
def test_broken_eye_gaze_is_named_and_costs_its_take_only(
    broken_root: Path, edit_csv: EDIT, tmp_path: Path, change: Callable[[list[list[str]]], None], says: str
) -> None:
    edit_csv(broken_root / GAZE, change)
    done = run_cli("groundtruth", str(broken_root), "-o", str(tmp_path), "--cameras", "cam01", "--json")
    items = {item["video_id"]: item for item in json.loads(done.stdout)["items"]}
    assert done.exit_code == 1
    import re

    assert re.search(says, items[f"{TAKE.name}/cam01"]["reason"])
    assert items["lab_cooking_02_4/cam01"]["status"] == "done"
    assert "take_eye_gaze" in items["site_music_07_1/cam01"]["reason"]


def test_lost_gaze_and_old_samples_have_no_row(broken_root: Path, edit_csv: EDIT, tmp_path: Path) -> None:
    def change(rows: list[list[str]]) -> None:
        for row in rows[3:5]:
            row[1] = "nan"  # samples at 0.1 and 0.2 s: frames 2 to 7
        del rows[12:18]  # samples from 1.0 s to 1.5 s: frames 29 to 46 lie more than 60 ms from 0.9 s and 1.6 s

    edit_csv(broken_root / GAZE, change)
    counts = _cam01(broken_root, tmp_path)
    assert counts["frames_gaze_lost"] == 6
    assert counts["frames_no_gaze_sample"] == 18 - 2  # frames 40 and 41 have no time at all
    assert counts["frames_no_pose"] == 3


@pytest.mark.parametrize(
    ("left", "right", "depth", "counted"),
    [
        (0.05, 0.12, 0.914486, None),
        (0.8015, 0.7737, math.nan, "diverging"),  # a real row, which prints depth_m 1.598
        (0.050, 0.060, math.nan, "small_vergence"),  # 0.57 degrees
        (0.0, 0.0137, 4.69, None),  # 0.785 degrees
    ],
)
def test_depth_guardrails(tmp_path: Path, left: float, right: float, depth: float, counted: str | None) -> None:
    path = tmp_path / "general_eye_gaze.csv"
    header = "depth_m, right_yaw_rads_cpf ,left_yaw_rads_cpf,pitch_rads_cpf,tracking_timestamp_us,extra"
    path.write_text(f"{header}\n1.598, {right},{left} ,-0.2,1000,x\n")
    gaze = read_eye_gaze(path)
    np.testing.assert_allclose(gaze.depth_m, [depth], rtol=2e-2 if depth > 1 else 1e-5)
    counts = {name: count for name, count in gaze.counts.items() if count and name != "rows"}
    assert counts == ({} if counted is None else {counted: 1})


@pytest.mark.parametrize("cell", ["0", "", "nan", "-1", "7.5"])
def test_depths_of_the_older_file_that_mean_nothing(tmp_path: Path, cell: str) -> None:
    path = tmp_path / "general_eye_gaze.csv"
    path.write_text(f"tracking_timestamp_us,yaw_rads_cpf,pitch_rads_cpf,depth_m\n1000,0.1,0.1,{cell}\n")
    assert np.isnan(read_eye_gaze(path).depth_m).all()


def test_maps_are_gazelles_target_maps() -> None:
    for x, y in ((0.0, 0.0), (0.5, 0.25), (0.999, 0.999), (0.03, 0.97)):
        ours = blobs()[cells_of(np.array([x, y]))]
        np.testing.assert_allclose(ours, target_heatmap(x, y, height=SIZE, width=SIZE), atol=5e-4)
    assert not blobs()[cells_of(np.array([1.0, 0.5]))].any()
    assert not blobs()[cells_of(np.array([np.nan, 0.5]))].any()


def test_a_segment_has_the_highest_blob_of_its_cells_at_every_place() -> None:
    """Random cells, the picture's corners, a cell twice, maps without any, over more than one batch."""
    rng = np.random.default_rng(5)
    lists = [rng.integers(0, SIZE * SIZE, rng.integers(0, 30)) for _ in range(70)]
    lists[3] = np.array([5, 5, 2000])
    lists[4] = np.array([0, 63, 64 * 63, 64 * 64 - 1])
    owner = np.repeat(np.arange(70), [len(cells) for cells in lists])
    maps = render_segments(owner, np.concatenate(lists), 70)
    for cells, drawn in zip(lists, maps, strict=True):
        np.testing.assert_array_equal(drawn, np.maximum.reduce(blobs()[[*cells, -1]], axis=0))
    assert render_segments(np.zeros(0, np.int64), np.zeros(0, np.int64), 0).shape == (0, SIZE, SIZE)


def test_ego_view_of_egoexo(broken_root: Path, tmp_path: Path) -> None:
    report = groundtruth(broken_root, tmp_path, takes=TAKE.name, view="ego")
    assert [(item.video_id, item.status) for item in report.items] == [(f"{TAKE.name}/aria01_214-1", "done")]
    with open_store(tmp_path / TAKE.name / "aria01_214-1.h5") as store:
        target = store.extra("target_xy")
        assert target is not None
        expected = [(704 + 300 * np.sin(frame / 30)) / 1408 for frame in (0, 3, 6)]
        np.testing.assert_allclose(target[[0, 3, 6], 0], expected, atol=1e-5)
        np.testing.assert_allclose(target[:, 1], 500.5 / 1408, atol=1e-5)
    flat = broken_root / "takes" / TAKE.name / "eye_gaze" / "general_eye_gaze_2d.csv"
    flat.write_text("frame_num,tracking_timestamp_us,x,y\n0,5000000,1600.0,300\n")
    failed = groundtruth(broken_root, tmp_path / "b", takes=TAKE.name, view="ego").items[0]
    assert "2.05" in str(failed.reason)


def test_two_d_gaze_without_times_uses_each_row_three_times_and_drops_the_first(tmp_path: Path) -> None:
    path = tmp_path / "general_eye_gaze_2d.csv"
    path.write_text("frame_number, x,y\n0,10,1\n3,20,2\n6,30,\n")
    uv = read_gaze_2d(path).of_frames(9, None)
    np.testing.assert_array_equal(uv[:, 0], [10, 10, 20, 20, 20, 30, 30, 30, np.nan])
    np.testing.assert_array_equal(uv[:, 1], [1, 1, 2, 2, 2, np.nan, np.nan, np.nan, np.nan])


def _ego4d(root: Path) -> Path:
    write_clip(root / "v2" / "full_scale" / "uid-1.mp4", frames=12, width=64, height=64)
    rows = ["component_idx,canonical_timestamp_s, confidence,norm_pos_x,norm_pos_y,base_data"]
    for frame in range(12):
        for shift, x in ((-0.004, 0.25), (0.004, 0.27), (0.01, 0.26)):
            rows.append(f"0,{max(frame / 30 + shift, 0):.4f},0.9,{x},0.75,")
        rows.append(f"0,{frame / 30:.4f},{0.1 if frame != 5 else ''},0.9,0.1,")
    (root / "v2" / "gaze").mkdir(parents=True)
    (root / "v2" / "gaze" / "uid-1.csv").write_text("\n".join(rows) + "\n")
    (root / "v2" / "gaze" / "uid-2.csv").write_text(rows[0] + "\n")
    return root


def test_ego4d_gaze_is_the_median_of_confident_samples(tmp_path: Path) -> None:
    root = _ego4d(tmp_path / "ego4d")
    report = groundtruth(root, tmp_path / "store", view="ego")
    items = {item.video_id: item for item in report.items}
    assert items["uid-1"].status == "done"
    assert "--datasets full_scale --video_uids uid-2" in str(items["uid-2"].reason)
    with open_store(tmp_path / "store" / "uid-1.h5") as store:
        target = store.extra("target_xy")
        assert target is not None
        np.testing.assert_allclose(target, np.tile([0.26, 0.25], (12, 1)), atol=1e-6)  # y from the bottom, turned
    upright = read_wearer_gaze(root / "v2" / "gaze" / "uid-1.csv", 12, origin="top-left")
    np.testing.assert_allclose(upright.xy[3], (0.26, 0.75))
    with pytest.raises(UsageError, match="third-person"):
        groundtruth(root, tmp_path / "store2")


def test_a_folder_that_is_neither(tmp_path: Path) -> None:
    done = run_cli("groundtruth", str(tmp_path), "-o", str(tmp_path / "store"))
    assert done.exit_code == 2
    assert "neither an Ego-Exo4D root" in done.stderr


def test_what_is_missing_is_listed_with_its_command(broken_root: Path, tmp_path: Path) -> None:
    (broken_root / "takes" / TAKE.name / "frame_aligned_videos" / "cam02.mp4").unlink()
    (broken_root / "captures" / TAKE.capture / "timesync.csv").unlink()
    done = run_cli("groundtruth", str(broken_root), "-o", str(tmp_path / "store"), "--dry-run", "--json")
    missing = json.loads(done.stdout)["missing"]
    assert done.exit_code == 1
    assert [Path(name).name for name, _ in missing[TAKE.name]] == ["cam02", "timesync.csv"]
    uids = [command.partition("--uids ")[2].split()[0] for _, command in missing[TAKE.name]]
    assert uids == [TAKE.uid, TAKE.capture_uid]
    assert "take_eye_gaze" in missing["site_music_07_1"][0][1]
    assert set(missing) == {TAKE.name, "site_music_07_1"}
    assert not (tmp_path / "store").exists()


def test_the_pages_sizes_of_a_blob_follow_from_sigma_and_the_lens() -> None:
    """docs/egoexo4d.md: sigma as an angle at the camera and in centimetres at several distances."""
    page = (Path(__file__).parents[2] / "docs" / "egoexo4d.md").read_text()
    share = [SIGMA / SIZE * side / LENS[0] for side in (3840, 2160)]
    degrees = [f"{math.degrees(math.atan(one)):.1f}" for one in share]
    assert f"{degrees[0]} degrees horizontally and {degrees[1]}\ndegrees vertically" in page
    for metres in (2, 3, 4, 6):
        assert f"| {metres} m | {100 * metres * share[0]:.0f} cm | {100 * metres * share[1]:.0f} cm |" in page


def test_the_ray_has_the_pose_of_its_sample_and_borrows_only_where_there_is_none(
    broken_root: Path, edit_csv: EDIT, tmp_path: Path
) -> None:
    """The trajectory begins 10 ms after the sample at 0 s, so that its ray in frame 1 (33 ms) has that frame's pose."""

    def late(rows: list[list[str]]) -> None:
        del rows[1 : 1 + 100 + 10]

    edit_csv(broken_root / "takes" / TAKE.name / "trajectory" / "closed_loop_trajectory.csv", late)
    counts = _cam01(broken_root, tmp_path)
    assert counts["rays_of_frame_pose"] == 1
    with open_store(tmp_path / TAKE.name / "cam01.h5") as store:
        target, frames = store.extra("target_xy"), store.rows().frame
        assert target is not None
        off = np.abs(target * [480, 270] - TAKE.target_pixel(TAKE.cameras[0])).max(axis=1)
        assert frames[0] == 1  # frame 0 has no pose
        assert off[frames > 1].max() < 1e-3 < off[0] < 20


def test_the_synthetic_vergence_file_obeys_the_rule_of_real_files(egoexo_root: Path) -> None:
    """depth_m is the distance at which the rays meet, without its sign, cut at 4 m; diverging eyes too."""
    path = egoexo_root / f"takes/{TAKES[1].name}/eye_gaze/general_eye_gaze.csv"
    table = np.genfromtxt(path, delimiter=",", names=True, dtype=float)
    left, right, pitch = (table[f"{name}_rads_cpf"] for name in ("left_yaw", "right_yaw", "pitch"))
    _, depth = vergence_to_gaze(left, right, pitch)
    np.testing.assert_allclose(table["depth_m"], np.minimum(np.abs(depth), 4), atol=1e-6)
    assert (left > right).any() and (left < right).any()
    assert read_eye_gaze(path).counts["diverging"] == 1  # its printed depth is not believed
