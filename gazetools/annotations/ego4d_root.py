"""The folder that the `ego4d` downloader fills: where videos and gaze lie, and the command for what is not there."""

from __future__ import annotations

import fnmatch
from pathlib import Path

from gazetools.annotations.ego4d import read_ego4d_videos
from gazetools.schemas.video_id import check_video_id

_VIDEO_FOLDERS = ("full_scale", "video_540ss")


def ego4d_folder(root: Path) -> Path | None:
    """The folder that has `gaze/` and videos: `root` or `root/v2`, as the downloader leaves it; None otherwise."""
    for folder in (root, root / "v2"):
        if (folder / "gaze").is_dir() and any((folder / name).is_dir() for name in _VIDEO_FOLDERS):
            return folder
    return None


def ego4d_videos_with_gaze(folder: Path) -> list[tuple[str, Path | None, Path]]:
    """(video uid, video or None, gaze CSV) for every gaze file; the full-scale video before the 540-pixel one."""
    return [
        (uid := check_video_id(gaze.stem), _video(folder, uid), gaze)
        for gaze in sorted((folder / "gaze").glob("*.csv"))
    ]


def _video(folder: Path, uid: str) -> Path | None:
    videos = (folder / name / f"{uid}.mp4" for name in _VIDEO_FOLDERS)
    return next((video for video in videos if video.is_file()), None)


def download_command(root: Path, dataset: str, uid: str | None = None) -> str:
    """The official downloader's command for a data set (`full_scale`, `gaze`, `annotations`), of one video."""
    return f"ego4d --output_directory {root} --version v2 --datasets {dataset}" + (f" --video_uids {uid}" * bool(uid))


def missing_ego4d(root: Path, folder: Path, wanted: str | None = None) -> dict[str, list[tuple[str, str]]]:
    """What rendering the wearer's gaze lacks: video uid -> (file, download command).

    A gaze file without its video; a downloaded video that ego4d.json says has gaze, without the file; and ego4d.json
    itself, without which the second can't be told.

    Args:
        root: what was given to the downloader.
        folder: as from `ego4d_folder`.
        wanted: video uids or patterns separated by commas; None: all.

    Raises DataFileError where ego4d.json can't be read.
    """
    patterns = [part.strip() for part in (wanted or "*").split(",")]
    lacking: dict[str, list[tuple[str, str]]] = {}
    with_gaze = ego4d_videos_with_gaze(folder)
    for uid, video, _ in with_gaze:
        if video is None:
            lacking[uid] = [(str(folder / "full_scale" / f"{uid}.mp4"), download_command(root, "full_scale", uid))]
    listing = next((path for path in (folder / "ego4d.json", root / "ego4d.json") if path.is_file()), None)
    if listing is None:
        command = download_command(root, "gaze") + " --metadata"
        return _chosen(lacking, patterns) | {"ego4d.json": [(str(folder / "ego4d.json"), command)]}
    there = {uid for uid, _, _ in with_gaze}
    for entry in read_ego4d_videos(listing):
        if entry.has_gaze and entry.uid not in there and _video(folder, entry.uid) is not None:
            lacking[entry.uid] = [
                (str(folder / "gaze" / f"{entry.uid}.csv"), download_command(root, "gaze", entry.uid))
            ]
    return _chosen(lacking, patterns)


def _chosen(lacking: dict[str, list[tuple[str, str]]], patterns: list[str]) -> dict[str, list[tuple[str, str]]]:
    return {u: files for u, files in lacking.items() if any(fnmatch.fnmatchcase(u, pattern) for pattern in patterns)}
