"""Folders of pictures given for a video: recognised, and the command that makes a video of them without loss."""

from __future__ import annotations

import itertools
import os
import re
import shlex
from collections import Counter
from pathlib import Path

PICTURE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"))
_MOST_ENTRIES = 200_000
_NUMBERED = re.compile(r"(.*?)(\d+)(\.\w+)")


def is_picture(path: Path) -> bool:
    """Whether the file's name is that of a still picture."""
    return path.suffix.lower() in PICTURE_SUFFIXES


def about_pictures(path: Path) -> str | None:
    """For a picture, a folder of pictures or a folder of such folders: what it is and how a video is made of it.

    None where `path` is something else, or does not exist. Two folders deep is looked.
    """
    if path.is_file():
        return about_pictures(path.parent) if is_picture(path) else None
    folders = [path, *_folders(path)]
    folders += [below for folder in folders[1:] for below in _folders(folder)]
    for folder in folders:
        if names := _pictures(folder):
            return _text(folder, names)
    return None


def _folders(path: Path) -> list[Path]:
    try:
        with os.scandir(path) as entries:
            return sorted(Path(e.path) for e in itertools.islice(entries, 100) if e.is_dir() and e.name[0] != ".")
    except OSError:
        return []


def _pictures(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            names = [e.name for e in itertools.islice(entries, _MOST_ENTRIES) if e.name[0] != "."]
    except OSError:
        return []
    return sorted(name for name in names if is_picture(Path(name)))


def _text(folder: Path, names: list[str]) -> str:
    several = f"{len(names)} pictures ({names[0]} to {names[-1]})" if len(names) > 1 else f"the picture {names[0]}"
    source, remark = _source(folder, names)
    output = shlex.quote(f"{folder.name or 'video'}.mp4")
    return (
        f"{folder} has {several}; folders of frames are read by `train` alone. Make a video of them, without loss: "
        f"ffmpeg -framerate RATE {source} -c:v libx264rgb -crf 0 {output}. RATE is the true number of pictures per "
        f"second (such as 30000/1001): all times are counted by it.{remark}"
    )


def _source(folder: Path, names: list[str]) -> tuple[str, str]:
    """ffmpeg's options for the pictures, and what has to be known of their numbers."""
    found = [match for name in names if (match := _NUMBERED.fullmatch(name))]
    kinds = Counter((match[1], match[3], len(match[2]) if match[2][0] == "0" else 0) for match in found)
    if len(found) == len(names) and len({kind[:2] for kind in kinds}) == 1:
        numbers = sorted(int(match[2]) for match in found)
        prefix, suffix, _ = next(iter(kinds))
        width = max(len(match[2]) for match in found) if any(kind[2] for kind in kinds) else 0
        pattern = f"{prefix.replace('%', '%%')}%{f'0{width}' if width else ''}d{suffix}"
        source = f"-start_number {numbers[0]} -i {shlex.quote(str(folder / pattern))}"
        missing = numbers[-1] - numbers[0] + 1 - len(numbers)
        if not missing:
            first = f" Number {numbers[0]} becomes frame 0." if numbers[0] else ""
            return source, first
        gap = next(low for low, high in itertools.pairwise(numbers) if high > low + 1)
        remark = f" {missing} numbers are missing, the first after {gap}: later pictures become earlier frames."
        return _glob(folder, suffix), remark
    return _glob(folder, Path(names[0]).suffix), " They are taken in the order of their names."


def _glob(folder: Path, suffix: str) -> str:
    return f"-pattern_type glob -i {shlex.quote(str(folder / f'*{suffix}'))}"
