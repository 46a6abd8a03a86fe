"""One take of Ego-Exo4D: its cameras, the places of its recordings, and the commands that download missing ones."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from gazetools.schemas.downloads import egoexo_command
from gazetools.schemas.errors import DataFileError
from gazetools.schemas.video_id import check_video_id

RGB_STREAM = "214-1"


@dataclass(frozen=True, kw_only=True)
class CameraVideo:
    """One camera of a take."""

    name: str
    """`cam01`, or the ego RGB stream's `aria01_214-1`; the last part of the video id."""
    camera_id: str
    """`cam01`, `aria01`: the name in calibrations and timesync.csv."""
    is_ego: bool
    path: Path | None
    """None where the video was not downloaded, or can't be named (see `problem`)."""
    problem: str | None = None
    """Reason in takes.json why this camera can't be used, such as a path that leads out of the take."""


@dataclass(frozen=True, kw_only=True)
class UnusableTake:
    """An entry of takes.json that can't be used; other takes stay usable."""

    item_id: str
    """Name of the entry in reports, such as `takes.json[3]`, since its take_name may be missing or be used twice."""
    name: str | None
    uid: str | None
    message: str
    """File, entry, reason and the next step."""


@dataclass(frozen=True, kw_only=True)
class Take:
    """One entry of takes.json."""

    name: str
    uid: str
    root: Path
    folder: Path
    capture_name: str
    capture_uid: str
    """Empty where takes.json has none."""
    timesync_start: int | None
    timesync_end: int | None
    cameras: tuple[CameraVideo, ...]
    arias: tuple[str, ...]
    """Camera ids of Aria glasses that takes.json lists for the take or its capture, sorted."""
    recorded_aria: str | None
    """The glasses whose VRS file takes.json gives as the take's own; None where it names none."""
    pseudo_cameras: int
    """Entries without a recording (`best_exo`, `relative_path: null`), which are left out."""
    is_dropped: bool
    """Left out by the dataset itself."""

    def video_id(self, camera: CameraVideo) -> str:
        """`take/camera`."""
        return check_video_id(f"{self.name}/{camera.name}")

    @property
    def calibration(self) -> Path:
        """gopro_calibs.csv"""
        return self.folder / "trajectory" / "gopro_calibs.csv"

    @property
    def trajectory(self) -> Path:
        """closed_loop_trajectory.csv"""
        return self.folder / "trajectory" / "closed_loop_trajectory.csv"

    @property
    def semidense_points(self) -> Path:
        """semidense_points.csv.gz"""
        return self.folder / "trajectory" / "semidense_points.csv.gz"

    @property
    def timesync(self) -> Path:
        """timesync.csv of the capture."""
        return self.root / "captures" / self.capture_name / "timesync.csv"

    def eye_gaze(self, *, flat: bool = False, kind: str = "auto") -> Path | None:
        """The eye-gaze CSV (`flat`: 2-D in the RGB picture), `personalized` before `general`; None: there is none."""
        kinds = ("personalized", "general") if kind == "auto" else (kind,)
        names = [f"{one}_eye_gaze{'_2d' * flat}.csv" for one in kinds]
        return next((path for name in names if (path := self.folder / "eye_gaze" / name).is_file()), None)

    def require(self, path: Path, part: str) -> Path:
        """`path`, or DataFileError with the command that downloads the part it belongs to."""
        if path.is_file():
            return path
        raise DataFileError(
            f"Take {self.name}: {path} is missing.", hint=f"Get it with: {self.download(part)}", path=str(path)
        )

    def download(self, *parts: str, options: str = "") -> str:
        """The official downloader's command for parts of this take and its capture, as in `egoexo_command`."""
        return egoexo_command(self.root, *parts, take_uids=[self.uid], capture_uids=[self.capture_uid], options=options)

    def missing(self, view: str = "exo", *, points: bool = False) -> list[tuple[str, str]]:
        """(file, download command) for everything absent that head boxes or gaze of `view` may need."""
        lacks = [
            (camera.name, self.download("takes", options=f"--views {view}"))
            for camera in self.cameras
            if camera.path is None and camera.problem is None and camera.is_ego == (view == "ego")
        ]
        files = [(self.timesync, "captures")]
        if view == "exo":
            files += [(self.calibration, "take_trajectory"), (self.trajectory, "take_trajectory")]
            files += [(self.semidense_points, "take_point_cloud")] * points
        lacks += [(str(path), self.download(part)) for path, part in files if not path.is_file()]
        if self.eye_gaze(flat=view == "ego") is None:
            names = f"{self.folder / 'eye_gaze'}/*_eye_gaze{'_2d' * (view == 'ego')}.csv"
            lacks.append((names, self.download("take_eye_gaze")))
        return lacks


def aria_of_vrs(relative_path: str | None) -> str | None:
    """`aria02` of `aria02.vrs` and `aria02_noimagestreams.vrs`; None for anything else."""
    match = re.fullmatch(r"(?:.*/)?(aria[^/_.]*)(?:_[^/]*)?\.vrs", relative_path or "")
    return match[1] if match else None
