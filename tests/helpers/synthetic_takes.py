"""Synthetic Ego-Exo4D roots whose answers are known in closed form; no licensed bytes.

A wearer walks on a circle of 0.3 m in front of two or more exo cameras, facing a fixed point of the world, at which the
eyes look. So the pose at any time, the head's corners and the target's pixel follow from the few numbers below.

python -m tests.helpers.synthetic_takes ROOT      # writes the three takes that the tests use
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

GRAPH = "40084458-f219-16ca-0c3c-8bd94ee06e6c"
LENS = (1761.275757, 1761.275757, 1920.0, 1080.0, 0.036902, 0.057131, -0.057154, 0.018458)
CAMERA_T = np.array([1.691723, 0.545741, -0.116511])
CAMERA_Q = np.array([-0.437056, -0.661141, 0.501553, 0.346871])  # x, y, z, w
CENTRE = np.array([-0.28, -0.25, -0.45])  # of the walk; about 2.2 m in front of the first camera
TARGET = np.array([0.15, 0.35, -0.75])
RADIUS_M = 0.3
PERIOD_S = 6.0
CLOCK_US = 5_000_000  # device time of the take's first frame
T_DEVICE_CPF = np.array(
    [
        [-0.03186, -0.99863, -0.041521, 0.004953],
        [0.793353, 0.0, -0.608761, -0.049148],
        [0.607927, -0.052336, 0.792266, -0.049185],
    ]
)
EYES_M = 0.063


_COARSE = np.stack(np.meshgrid(np.linspace(-np.pi, np.pi, 25), np.linspace(-np.pi / 2, np.pi / 2, 13)), -1).reshape(
    -1, 2
)
_NEAR = np.stack(np.meshgrid(np.linspace(-1, 1, 9), np.linspace(-1, 1, 9)), -1).reshape(-1, 2)


def _rotation_z(angle: float) -> Floats:
    return np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1.0]])


def quaternion_to_matrix(q: Floats) -> Floats:
    """Convert through OpenCV's rotation vectors, independently of the code under test."""
    q = q / np.linalg.norm(q)
    angle = 2 * np.arctan2(np.linalg.norm(q[:3]), q[3])
    axis = q[:3] / max(float(np.linalg.norm(q[:3])), 1e-12)
    return cv2.Rodrigues(axis * angle)[0]


def matrix_to_quaternion(rotation: Floats) -> Floats:
    vector = cv2.Rodrigues(rotation)[0][:, 0]
    angle = float(np.linalg.norm(vector))
    axis = vector / angle if angle > 1e-12 else np.array([1.0, 0, 0])
    return np.array([*(axis * np.sin(angle / 2)), np.cos(angle / 2)])


def cpf_pose(seconds: float) -> tuple[Floats, Floats]:
    """(R, t) of T_world_cpf: on the circle, upright, facing the target with a slow sway of 0.2 rad."""
    angle = 2 * np.pi * seconds / PERIOD_S
    place = CENTRE + RADIUS_M * np.array([np.cos(angle), np.sin(angle), 0.05 * np.sin(2 * angle)])
    forward = (TARGET - place) * [1, 1, 0]
    forward = _rotation_z(0.2 * np.sin(3 * angle)) @ (forward / np.linalg.norm(forward))
    up = np.array([0.0, 0.0, 1.0])
    return np.stack([np.cross(up, forward), up, forward], axis=1), place


def device_pose(seconds: float) -> tuple[Floats, Floats]:
    """(R, t) of T_world_device = T_world_cpf * inverse(T_device_cpf), with the rotation made orthogonal."""
    u, _, vt = np.linalg.svd(T_DEVICE_CPF[:, :3])
    rotation_cpf, place = cpf_pose(seconds)
    rotation = rotation_cpf @ (u @ vt).T
    return rotation, place - rotation @ T_DEVICE_CPF[:, 3]


@dataclass(frozen=True, kw_only=True)
class Camera:
    """An exo camera: the sample row of the formats, turned about the vertical axis through the walk's centre."""

    name: str
    turn: float = 0.0
    quality: str = "1"
    width: int = 480
    height: int = 270
    frames: int | None = None
    """Number of frames; None: as many as the take has."""
    graph_uid: str = GRAPH

    @property
    def rotation(self) -> Floats:
        return _rotation_z(self.turn) @ quaternion_to_matrix(CAMERA_Q)

    @property
    def translation(self) -> Floats:
        return _rotation_z(self.turn) @ (CAMERA_T - CENTRE) + CENTRE

    def pixels(self, points_world: Floats) -> Floats:
        """Pixels [N, 2] of the small video by OpenCV, an independent reference; points must be in front of it."""
        camera = (points_world - self.translation) @ self.rotation
        assert (camera[:, 2] > 0).all()
        fx, fy, cx, cy, *k = LENS
        matrix = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
        uv = cv2.fisheye.projectPoints(camera.reshape(-1, 1, 3), np.zeros(3), np.zeros(3), matrix, np.array(k))[0]
        scale = np.array([self.width / 3840, self.height / 2160])
        return (uv[:, 0] + 0.5) * scale - 0.5

    def head_box(self, seconds: float) -> Floats:
        """Pixels xmin, ymin, xmax, ymax of the head's silhouette, not cut at the picture's edge.

        The head is an ellipsoid of 0.18 x 0.26 x 0.22 m. Its extreme points are searched on its surface, in grids of
        two angles that close in on them; the code under test finds the outline in closed form instead.
        """
        return _head_box(self, seconds)


@cache
def _head_box(camera: Camera, seconds: float) -> Floats:
    rotation, place = cpf_pose(seconds)
    sign, axis = np.array([1, 1, -1, -1]), np.array([0, 1, 0, 1])  # lowest u and v, highest u and v

    def pixels(angles: Floats) -> Floats:
        """Wanted coordinate [4, P], with its sign, of places [4, P, 2] on the surface."""
        a, b = np.moveaxis(angles, -1, 0)
        ball = np.stack([np.cos(b) * np.cos(a), np.cos(b) * np.sin(a), np.sin(b)], axis=-1)
        points = (ball * [0.09, 0.13, 0.11] + [0, 0, -0.095]) @ rotation.T + place
        uv = camera.pixels(points.reshape(-1, 3)).reshape(*angles.shape)
        return sign[:, None] * uv[np.arange(4), :, axis]

    reach, places = 0.28, np.tile(_COARSE, (4, 1, 1))
    for _ in range(6):
        values = pixels(places)
        best = places[np.arange(4), values.argmin(axis=1)]
        places, reach = best[:, None] + reach * _NEAR, reach / 4
    return sign * values.min(axis=1)


@dataclass(frozen=True, kw_only=True)
class SyntheticTake:
    """Properties of one take to write."""

    name: str
    uid: str
    cameras: tuple[Camera, ...] = (Camera(name="cam01"), Camera(name="cam02", turn=0.9))
    frames: int = 90
    eye_gaze: str | None = "depth"
    """`depth` (older file), `vergence` (newer) or None."""
    ego_video: bool = False
    ego_pose: bool = False
    start_row: int = 7
    empty_cells: tuple[int, ...] = (11, 40, 41)
    """Frames whose timesync cell is empty."""
    gaze_target: tuple[float, float, float] = field(default=tuple(TARGET))  # type: ignore[arg-type]

    @property
    def capture(self) -> str:
        return self.name.rsplit("_", 1)[0]

    @property
    def capture_uid(self) -> str:
        return f"cccccccc{self.uid[8:]}"

    def seconds(self, frame: int) -> float:
        """Time of a frame since the take's first, on the trajectory's 1 kHz clock."""
        return round(frame * 1000 / 30) / 1000

    def target_pixel(self, camera: Camera) -> Floats:
        return camera.pixels(np.array([self.gaze_target]))[0]


TAKES = (
    SyntheticTake(
        name="lab_cooking_01_2",
        uid="11111111-aaaa-4000-8000-000000000001",
        cameras=(
            Camera(name="cam01"),
            Camera(name="cam02", turn=0.9),
            Camera(name="cam03", turn=-0.5, width=270, height=480),  # portrait video of a landscape calibration
            Camera(name="cam04", turn=0.4, quality="0"),
            Camera(name="cam05", turn=-0.9, frames=88),
        ),
        ego_video=True,
        ego_pose=True,
    ),
    SyntheticTake(
        name="lab_cooking_02_4", uid="11111111-aaaa-4000-8000-000000000002", eye_gaze="vergence", empty_cells=()
    ),
    SyntheticTake(name="site_music_07_1", uid="11111111-aaaa-4000-8000-000000000003", eye_gaze=None),
)


def write_root(root: Path, takes: Sequence[SyntheticTake] = TAKES, *, draw: bool = True) -> Path:
    """Write `takes.json`, captures, takes with their videos, keysteps (the second take is validation) and EgoPose."""
    root.mkdir(parents=True, exist_ok=True)
    for take in takes:
        folder = root / "takes" / take.name
        _write_timesync(root / "captures" / take.capture, take)
        _write_trajectory(folder / "trajectory", take)
        if take.eye_gaze:
            _write_gaze(folder / "eye_gaze", take)
        for camera in take.cameras:
            path = folder / "frame_aligned_videos" / f"{camera.name}.mp4"
            _write_video(path, take, camera, draw=draw)
        if take.ego_video:
            ego = Camera(name="aria01_214-1", width=176, height=176)
            _write_video(folder / "frame_aligned_videos" / "aria01_214-1.mp4", take, ego, draw=False)
        if take.ego_pose:
            _write_ego_pose(root / "annotations" / "ego_pose" / "train" / "body" / "annotation", take)
    _write_json(root / "takes.json", [_take_entry(take) for take in takes])
    validation = takes[1:2]
    _write_json(root / "annotations" / "keystep_train.json", keysteps([t for t in takes if t not in validation]))
    _write_json(root / "annotations" / "keystep_val.json", keysteps(validation, first=1))
    return root


def keysteps(takes: Sequence[SyntheticTake], *, first: int = 0) -> dict[str, Any]:
    """Two segments per take with unknown fields; of three classes, one occurs only in takes of odd number."""
    names = {11: "Cut the apple", 12: "Wash hands", 30: "Plate the food"}
    annotations = {}
    for number, take in enumerate(takes, start=first):
        end = take.frames / 30
        chosen = [11, 12 if number % 2 == 0 else 30]
        segments = [
            {
                "start_time": round(end * (0.1 + 0.45 * i), 3),
                "end_time": round(end * (0.45 + 0.45 * i), 3),
                "step_unique_id": chosen[i],
                "step_name": names[chosen[i]],
                "is_essential": True,
            }
            for i in range(2)
        ]
        annotations[take.uid] = {"take_name": take.name, "scenario": "Cooking", "segments": segments}
    taxonomy = {"Cooking": {str(key): {"unique_id": key, "name": name} for key, name in names.items()}}
    return {"version": "synthetic", "annotations": annotations, "taxonomy": taxonomy, "vocabulary": {}}


def _take_entry(take: SyntheticTake) -> dict[str, Any]:
    def stream(camera_id: str, number: str, path: str | None) -> dict[str, Any]:
        return {"cam_id": camera_id, "stream_id": number, "readable_stream_id": number, "relative_path": path}

    videos: dict[str, Any] = {
        camera.name: {"0": stream(camera.name, "0", f"frame_aligned_videos/{camera.name}.mp4")}
        for camera in take.cameras
    }
    videos["aria01"] = {
        "rgb": stream("aria01", "214-1", "frame_aligned_videos/aria01_214-1.mp4"),
        "slam-left": stream("aria01", "1201-1", "frame_aligned_videos/aria01_1201-1.mp4"),
    }
    videos["best_exo"] = {"0": stream("best_exo", "0", None)}
    listed = [{"cam_id": camera.name, "is_ego": False} for camera in take.cameras]
    return {
        "take_uid": take.uid,
        "take_name": take.name,
        "root_dir": f"takes/{take.name}",
        "is_dropped": False,
        "timesync_start_idx": take.start_row,
        "timesync_end_idx": take.start_row + take.frames,
        "best_exo": "cam01",
        "vrs_relative_path": "aria01.vrs",
        "capture": {
            "capture_name": take.capture,
            "capture_uid": take.capture_uid,
            "cameras": [*listed, {"cam_id": "aria01", "is_ego": True}],
        },
        "frame_aligned_videos": videos,
    }


def _write_timesync(folder: Path, take: SyntheticTake) -> None:
    """Trajectory rows, also before and after the take."""
    path = folder / "timesync.csv"
    assert not path.exists(), "give takes different captures: one timesync.csv has the rows of one take here"
    rows = []
    for row in range(take.start_row + take.frames + 5):
        frame = row - take.start_row
        stamp = (CLOCK_US + round(take.seconds(frame) * 1_000_000)) * 1000
        cell = "" if frame in take.empty_cells else str(stamp)
        rows.append([str(row), f" {cell}", *(str(row) for _ in take.cameras), str(stamp + 5_000_000)])
    header = ["aria01_214-1_frame_number", " aria01_214-1_capture_timestamp_ns"]
    header += [f"{camera.name}_frame_number" for camera in take.cameras] + ["aria01_1201-1_capture_timestamp_ns"]
    _write_csv(path, header, rows)


@cache
def _pose_cells(millisecond: int) -> tuple[str, ...]:
    """The walk repeats itself, so a long take costs no more than its period."""
    rotation, place = device_pose(millisecond / 1000)
    return tuple(f"{value:.9f}" for value in (*place, *matrix_to_quaternion(rotation)))


def _write_trajectory(folder: Path, take: SyntheticTake) -> None:
    header = ["graph_uid", "tracking_timestamp_us", "utc_timestamp_ns"]
    header += [f"{name}_world_device" for name in ("tx", "ty", "tz", "qx", "qy", "qz", "qw")]
    header += [f"device_linear_velocity_{axis}_device" for axis in "xyz"]
    header += [f"angular_velocity_{axis}_device" for axis in "xyz"] + [f"gravity_{axis}_world" for axis in "xyz"]
    header += ["quality_score", "geo_available"]
    header += [f"{name}_ecef_device" for name in ("tx", "ty", "tz", "qx", "qy", "qz", "qw")]
    rest = ["0.100000"] * 6 + ["0.000000", "0.000000", "-9.810000", "1.0", "0", *["0.000000000"] * 6, "1.000000000"]
    rows = []
    for millisecond in range(-100, round(take.frames * 1000 / 30) + 100):
        numbers = _pose_cells(millisecond % round(PERIOD_S * 1000))
        rows.append([GRAPH, str(CLOCK_US + millisecond * 1000), "1700000000000000000", *numbers, *rest])
    _write_csv(folder / "closed_loop_trajectory.csv", header, rows)
    header = ["cam_uid", "graph_uid", *(f"{name}_world_cam" for name in ("tx", "ty", "tz", "qx", "qy", "qz", "qw"))]
    header += ["image_width", "image_height", "intrinsics_type", *(f"intrinsics_{n}" for n in range(8))]
    header += ["start_frame_idx", "end_frame_idx", "quality"]
    rows = []
    for camera in take.cameras:
        pose = [f"{value:.9f}" for value in (*camera.translation, *matrix_to_quaternion(camera.rotation))]
        lens = [f"{value:.6f}" for value in LENS]
        size = ["3840", "2160", "KANNALABRANDTK3"]
        rows.append([f" {camera.name}", camera.graph_uid, *pose, *size, *lens, "-1", "-1", camera.quality])
    _write_csv(folder / "gopro_calibs.csv", header, rows)


def gaze_angles(take: SyntheticTake, seconds: float) -> tuple[float, float, float, float, float]:
    """(yaw, pitch, depth, left yaw, right yaw) towards the target at a time, from the middle between the eyes."""
    rotation, place = cpf_pose(seconds)
    x, y, z = (np.array(take.gaze_target) - place) @ rotation
    depth = float(np.sqrt(x * x + y * y + z * z))
    yaws = [float(np.arctan((x + shift) / z)) for shift in (0, -EYES_M / 2, EYES_M / 2)]
    return yaws[0], float(np.arctan(y / z)), depth, yaws[1], yaws[2]


def _write_gaze(folder: Path, take: SyntheticTake) -> None:
    rows, flat = [], []
    for sample in range(-1, take.frames // 3 + 2):
        seconds = sample / 10
        yaw, pitch, depth, left, right = gaze_angles(take, seconds)
        stamp = str(CLOCK_US + round(seconds * 1_000_000))
        if take.eye_gaze == "depth":
            rows.append([stamp, *(f"{value:.9f}" for value in (yaw, pitch, depth)), "0", "0", "0", "0"])
        else:
            if sample == take.frames // 3 + 1:  # after the last frame: eyes that diverge, as real files have too
                left, right = right, left
            # released files give the distance at which the eyes' rays meet, without its sign and cut at 4 m
            span, mean = np.tan(right) - np.tan(left), (np.tan(right) + np.tan(left)) / 2
            depth = min(abs(EYES_M / span * float(np.hypot(np.hypot(mean, np.tan(pitch)), 1))), 4.0)
            rows.append([stamp, *(f"{value:.9f}" for value in (left, right, pitch)), f"{depth:.9f}", "s"])
        flat.append([str(max(sample, 0) * 3), stamp, f"{704 + 300 * np.sin(seconds):.3f}", "500.5"])
    header = ["tracking_timestamp_us", "yaw_rads_cpf", "pitch_rads_cpf", "depth_m"]
    header += [f"{name}_rads_cpf" for name in ("yaw_low", "pitch_low", "yaw_high", "pitch_high")]
    if take.eye_gaze == "vergence":
        header = ["tracking_timestamp_us", "left_yaw_rads_cpf", "right_yaw_rads_cpf", "pitch_rads_cpf", "depth_m"]
        header += ["session_uid"]
    _write_csv(folder / "general_eye_gaze.csv", header, rows)
    _write_csv(folder / "general_eye_gaze_2d.csv", ["frame_num", "tracking_timestamp_us", "x", "y"], flat)


def _write_ego_pose(folder: Path, take: SyntheticTake) -> None:
    joints = {"nose": (0, -0.03, 0), "left-eye": (0.03, 0, 0), "right-eye": (-0.03, 0, 0), "left-ear": (0.08, 0, -0.1)}
    content: dict[str, Any] = {}
    for frame in range(2, take.frames, 9):
        rotation, place = cpf_pose(take.seconds(frame))
        points = {name: rotation @ np.array(at) + place for name, at in joints.items()}
        content[str(frame)] = [
            {
                "metadata": {"take_uid": take.uid, "take_name": take.name, "frame_number": frame},
                "annotation2D": {},
                "annotation3D": {
                    name: {**dict(zip("xyz", point.tolist(), strict=True)), "num_views_for_3d": 3}
                    for name, point in points.items()
                },
            }
        ]
    _write_json(folder / f"{take.uid}.json", content)


def _write_video(path: Path, take: SyntheticTake, camera: Camera, *, draw: bool) -> None:
    """A head and its target on a grey ramp; without `draw` the ramp alone, the same in all cameras."""
    path.parent.mkdir(parents=True, exist_ok=True)
    alike = [other for other in take.cameras if (other.width, other.height) == (camera.width, camera.height)]
    if not draw and alike and alike[0] is not camera and camera.frames == alike[0].frames:
        shutil.copyfile(path.with_stem(alike[0].name), path)
        return
    shade = zlib.crc32(take.uid.encode()) % 60  # no two takes have equal pictures
    ramp = np.linspace(60 + shade, 140 + shade, camera.width).astype(np.uint8)
    ramp = ramp[None, :, None].repeat(camera.height, 0).repeat(3, 2)
    with av.open(str(path), "w", format="mp4") as container:
        options = {"preset": "ultrafast", "crf": "28", "g": "30"}
        stream = container.add_stream("libx264", rate=Fraction(30), options=options)
        stream.width, stream.height, stream.pix_fmt = camera.width, camera.height, "yuv420p"
        for frame in range(camera.frames or take.frames):
            picture = ramp.copy()
            if draw:
                box = camera.head_box(take.seconds(frame)).round().astype(int).tolist()
                middle = ((box[0] + box[2]) // 2, (box[1] + box[3]) // 2)
                axes = ((box[2] - box[0]) // 2, (box[3] - box[1]) // 2)
                cv2.ellipse(picture, middle, axes, 0, 0, 360, (200, 160, 130), -1)
                cv2.circle(picture, tuple(take.target_pixel(camera).round().astype(int).tolist()), 5, (220, 30, 30), -1)
            picture[:4, :: max(1, 8 - frame % 8)] = frame * 7 % 256
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def _write_csv(path: Path, header: list[str], rows: list[list[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def _write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    arguments = parser.parse_args()
    write_root(arguments.root)


if __name__ == "__main__":
    main()
