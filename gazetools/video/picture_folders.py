"""What to do with a picture, or a folder of them, that was given in the place of a video."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

from gazetools.io.picture_names import files_in, is_picture
from gazetools.schemas.errors import VideoError
from gazetools.schemas.video_id import shown_argument

_MOST_FOLDERS = 100


def about_pictures(path: Path) -> str | None:
    """For a picture, a folder of pictures or a folder of such folders: what it is and how it is read as a video.

    None where `path` is something else, or does not exist. Two folders deep is looked.
    """
    if path.is_file():
        return about_pictures(path.parent) if is_picture(path.name) else None
    folders = [path, *_folders(path)]
    folders += [below for folder in folders[1:] for below in _folders(folder)]
    for folder in folders:
        if names := _pictures(folder):
            several = (
                f"{len(names)} pictures ({names[0]} to {names[-1]})" if len(names) > 1 else f"the picture {names[0]}"
            )
            return (
                f"{folder} has {several}. A folder of numbered pictures is read as a video: name the folder, "
                f"{shown_argument(folder)}, and give --frame-rate RATE, the true number of pictures per second "
                "(such as 30000/1001), or --frame-times CSV."
            )
    return None


def _folders(path: Path) -> list[Path]:
    try:
        with os.scandir(path) as entries:
            found = itertools.islice(entries, _MOST_FOLDERS)
            return sorted(Path(entry.path) for entry in found if entry.is_dir() and entry.name[0] != ".")
    except OSError:
        return []


def _pictures(folder: Path) -> list[str]:
    try:
        return [name for name in files_in(folder) if is_picture(name)]
    except VideoError:
        return []
