"""Finding the video file of an id below `base_path`, in EPIC-KITCHENS', Ego-Exo4D's or any named folder layout."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from gazetools.schemas.errors import UsageError
from gazetools.schemas.video_id import path_of_id

SUFFIXES = (".mp4", ".MP4", ".mkv", ".MKV", ".mov", ".MOV", ".avi", ".webm", ".m4v", ".ts")

TAKE_FOLDERS = tuple(
    f"{root}{{take}}{folder}/"
    for root in ("", "takes/")
    for folder in ("", "/frame_aligned_videos/downscaled/448", "/frame_aligned_videos")
)
"""Where a take's cameras may lie: `<take>/`, and Ego-Exo4D's folders (the downscaled videos before the full ones)."""


def find_video(base_path: Path, video_id: str, file_format: int | str | None) -> Path | None:
    """The file of `video_id`, or None.

    The named layout comes first: file_format 0 = PXX/videos/PXX_YY.MP4, 1 = PXX/PXX_YY.MP4 (PXX = the id up to its
    first `_`), a text = a path with placeholders. Then `<video_id>`, and for `take/camera` Ego-Exo4D's folders.
    """
    for name in _names(video_id, file_format):
        for suffix in SUFFIXES:
            path = path_of_id(base_path, name, suffix)
            if path.is_file():
                return path
    return None


def _names(video_id: str, file_format: int | str | None) -> list[str]:
    take, slash, camera = video_id.partition("/")
    participant, underscore, _ = video_id.partition("_")
    names = []
    if isinstance(file_format, str):
        fields = {"video_id": video_id, "participant": participant, "take": take, "camera": camera or video_id}
        name = file_format
        for field, value in fields.items():
            name = name.replace(f"{{{field}}}", value)
        names.append(name)
    elif file_format is not None and underscore and not slash:
        names.append(f"{participant}/videos/{video_id}" if file_format == 0 else f"{participant}/{video_id}")
    names.append(video_id)
    if slash:
        names += [folder.format(take=take) + camera for folder in TAKE_FOLDERS]
    return names


def find_videos(base_path: Path, video_ids: Iterable[str], file_format: int | str | None) -> dict[str, Path]:
    """Id -> file for every id that has one; UsageError where `base_path` is no folder."""
    if not base_path.is_dir():
        raise UsageError(
            f"The video folder {base_path} does not exist.", hint="Set experiment.data.base_path to the videos' folder."
        )
    found = {video_id: find_video(base_path, video_id, file_format) for video_id in dict.fromkeys(video_ids)}
    return {video_id: path for video_id, path in found.items() if path is not None}
