"""gopro_calibs.csv: the exo cameras that can be trusted, and a reason for each that can't."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gazetools.egoexo.geometry import Fisheye, StaticCamera, rotation_from_quaternion
from gazetools.io.tables import Table, read_table
from gazetools.schemas.errors import DataFileError, UsageError
from gazetools.schemas.excerpt import excerpt

_POSE = tuple(f"{name}_world_cam" for name in ("tx", "ty", "tz", "qx", "qy", "qz", "qw"))
_LENS = tuple(f"intrinsics_{number}" for number in range(8))
_TYPE = "KANNALABRANDTK3"


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The cameras of one take."""

    path: Path
    cameras: dict[str, StaticCamera]
    """Good ones, by camera id."""
    refused: dict[str, str]
    """Camera id -> why it can't be used."""

    def camera(self, camera_id: str) -> StaticCamera:
        """The camera, or DataFileError with the reason why it can't be used."""
        if camera_id in self.cameras:
            return self.cameras[camera_id]
        reason = self.refused.get(camera_id, f"it is not listed (listed: {', '.join(sorted(self.cameras)) or 'none'})")
        raise DataFileError(
            f"{self.path}: camera {camera_id} can't be used: {reason}.",
            hint="Leave this camera out; its geometry can't be trusted.",
            path=str(self.path),
        )


def read_calibration(path: Path) -> Calibration:
    """Read the file; a camera without a good row of the whole video is in `refused`. DataFileError: no such file."""
    table = read_table(
        path,
        required=("cam_uid", "graph_uid", *_POSE, "image_width", "image_height", "intrinsics_type", *_LENS, "quality"),
        optional=("start_frame_idx", "end_frame_idx"),
    )
    names = table.columns["cam_uid"]
    cameras, refused = {}, {}
    for row, name in enumerate(names):
        try:
            if names.count(name) > 1:
                raise DataFileError(f"it has {names.count(name)} rows, so that its place is ambiguous")
            cameras[name] = _camera(table, row)
        except UsageError as error:
            refused[name] = error.message.rstrip(".")
    return Calibration(path=path, cameras=cameras, refused=refused)


def _camera(table: Table, row: int) -> StaticCamera:
    """The camera of a row; UsageError with the reason why it can't be used."""
    quality = table.columns["quality"][row]
    if quality not in ("1", "1.0"):
        meaning = {"0": "bad", "0.0": "bad", "-1": "unknown", "-1.0": "unknown"}.get(quality, "not a known value")
        raise DataFileError(f"its quality is {quality or 'empty'} ({meaning}), only 1 is used")
    if (kind := table.columns["intrinsics_type"][row].upper()) != _TYPE:
        raise DataFileError(f"its intrinsics_type is {kind or 'empty'}, only {_TYPE} is known")
    for name in ("start_frame_idx", "end_frame_idx"):
        if name in table and table.columns[name][row] not in ("-1", "-1.0", ""):
            raise DataFileError(f"its {name} is {table.columns[name][row]}: it holds for a part of the video only")
    pose = [_cell(table, name, row) for name in _POSE]
    fx, fy, cx, cy, k1, k2, k3, k4 = (_cell(table, name, row) for name in _LENS)
    width, height = (_cell(table, name, row) for name in ("image_width", "image_height"))
    for name, value in {"intrinsics_0": fx, "intrinsics_1": fy, "image_width": width, "image_height": height}.items():
        if value <= 0:
            raise table.error(row, name, f"{value:g}: focal lengths and the picture's size must be > 0")
    return StaticCamera(
        name=table.columns["cam_uid"][row],
        graph_uid=table.columns["graph_uid"][row],
        rotation=rotation_from_quaternion(pose[3:]),
        translation=np.array(pose[:3]),
        lens=Fisheye(fx=fx, fy=fy, cx=cx, cy=cy, k=(k1, k2, k3, k4), width=int(width), height=int(height)),
    )


def _cell(table: Table, name: str, row: int) -> float:
    cell = table.columns[name][row]
    try:
        value = float(cell)
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise table.error(row, name, f"{excerpt(cell)} is not a number")
    return value
