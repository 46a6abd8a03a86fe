"""Finding the video file of an id below `base_path`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from gazetools.schemas.errors import UsageError
from gazetools.schemas.video_id import path_of_id

SUFFIXES = (".mp4", ".MP4", ".mkv", ".MKV", ".mov", ".MOV", ".avi", ".webm", ".m4v", ".ts")


def find_video(base_path: Path, video_id: str, file_format: int | None) -> Path | None:
    """The file of `video_id`, or None.

    EPIC-KITCHENS' layouts come first: file_format 0 = PXX/videos/PXX_YY.MP4, 1 = PXX/PXX_YY.MP4 (PXX = the id up to
    its first `_`); then `<video_id>` with any known suffix.
    """
    names = [video_id]
    participant, underscore, _ = video_id.partition("_")
    if file_format is not None and underscore and "/" not in video_id:
        names.insert(0, f"{participant}/videos/{video_id}" if file_format == 0 else f"{participant}/{video_id}")
    for name in names:
        for suffix in SUFFIXES:
            path = path_of_id(base_path, name, suffix)
            if path.is_file():
                return path
    return None


def find_videos(base_path: Path, video_ids: Iterable[str], file_format: int | None) -> dict[str, Path]:
    """Id -> file for every id that has one; UsageError where `base_path` is no folder."""
    if not base_path.is_dir():
        raise UsageError(
            f"The video folder {base_path} does not exist.", hint="Set experiment.data.base_path to the videos' folder."
        )
    found = {video_id: find_video(base_path, video_id, file_format) for video_id in dict.fromkeys(video_ids)}
    return {video_id: path for video_id, path in found.items() if path is not None}
