"""The pictures of a folder of frames in the order of their numbers, by their names alone."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gazetools.schemas.errors import VideoError
from gazetools.schemas.excerpt import excerpt_of_names
from gazetools.schemas.picture_times import RATE_FILE, TIMES_FILE

PICTURE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"))
STATEMENTS = (RATE_FILE, TIMES_FILE)
_LONGEST_NUMBER = 18
_DIGITS = re.compile(r"(\d+)")


def is_picture(name: str) -> bool:
    """Whether the file's name is that of a still picture."""
    return Path(name).suffix.lower() in PICTURE_SUFFIXES


@dataclass(frozen=True, kw_only=True)
class PictureList:
    """The pictures of a folder that are the frames of a video, in their order."""

    folder: Path
    names: tuple[str, ...]
    numbers: tuple[int, ...]
    """The number in each name, ascending; empty where a CSV gives the order."""
    pattern: str
    """`frame_%010d.jpg`; empty where a CSV gives the order."""
    others: tuple[str, ...] = ()
    """Files of the folder that are no frames."""

    @property
    def missing(self) -> int:
        """How many numbers between the first and the last one no picture has."""
        return self.numbers[-1] - self.numbers[0] + 1 - len(self.numbers) if self.numbers else 0


def files_in(folder: Path) -> list[str]:
    """Names of the folder's visible files, sorted. Raises VideoError where it can't be read."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if entry.name[0] != "." and not entry.is_dir())
    except OSError as error:
        what = f"Cannot read the folder {folder}: {error.strerror}."
        raise VideoError(what, hint="Check the path and its permissions.", path=str(folder)) from None


def holds_pictures(folder: Path) -> bool:
    """Whether at least one visible picture lies directly in `folder`; False where it can't be read."""
    try:
        with os.scandir(folder) as entries:
            return any(is_picture(entry.name) and entry.name[0] != "." for entry in entries)
    except OSError:
        return False


def are_frames(names: Iterable[str]) -> bool:
    """Whether the files of a folder are the frames of one video: one numbering, or a statement of their times."""
    listed = list(names)
    pictures = [name for name in listed if is_picture(name)]
    if pictures and any(name in STATEMENTS for name in listed):
        return True
    return len(_numberings(pictures)) == 1


def numbered_pictures(folder: Path, *, template: Callable[[int], str] | None = None) -> PictureList:
    """The pictures of `folder` in the order of the one number that changes in their names.

    Zero padding may differ, numbers may be missing. With `template`, only the pictures count that it names.
    Raises VideoError where there are no pictures, where they have several numberings, or a number twice.
    """
    files = files_in(folder)
    pictures = [name for name in files if is_picture(name)]
    if not pictures:
        raise VideoError(f"{folder} holds no pictures.", hint=_WANTED, path=str(folder))
    if template is not None:
        chosen = {number: [name] for name in pictures for number in _numbers_in(name) if template(number) == name}
        pattern = template(1)
    else:
        pattern, chosen = _one_numbering(folder, pictures)
    if not chosen:
        raise VideoError(f"{folder}: none of its {len(pictures)} pictures is named like {pattern}.", path=str(folder))
    if twice := next((names for names in chosen.values() if len(names) > 1), None):
        raise VideoError(
            f"{folder}: {twice[0]} and {twice[1]} have one number.", hint="Remove one of them.", path=str(folder)
        )
    numbers = sorted(chosen)
    names = tuple(chosen[number][0] for number in numbers)
    taken = {*names, *STATEMENTS}
    return PictureList(
        folder=folder,
        names=names,
        numbers=tuple(numbers),
        pattern=pattern,
        others=tuple(name for name in files if name not in taken),
    )


_WANTED = "Frames are named with their number, such as frame_0000000001.jpg."
Numbering = dict[int, list[str]]
"""Number -> the names that have it."""


def _one_numbering(folder: Path, pictures: Sequence[str]) -> tuple[str, Numbering]:
    """Pattern and numbers of the one numbering; VideoError where there is none or another one."""
    found = _numberings(pictures, least=min(2, len(pictures)))
    if len(found) == 1:
        return next(iter(found.items()))
    if not found:
        raise VideoError(
            f"{folder} has {len(pictures)} pictures ({excerpt_of_names(list(pictures), 100)}), and no number in their "
            "names counts them.",
            hint=f"{_WANTED} Otherwise give --frame-times a CSV with name and seconds.",
            path=str(folder),
        )
    parts = [f"{pattern} ({sum(map(len, group.values()))})" for pattern, group in list(found.items())[:5]]
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    raise VideoError(
        f"{folder} has pictures of {len(found)} numberings: {', '.join(parts)}{more}; one folder is one video.",
        hint="Put each into a folder of its own (links do), or give --frame-times a CSV with name and seconds.",
        path=str(folder),
    )


def _numberings(pictures: Iterable[str], least: int = 2) -> dict[str, Numbering]:
    """Pattern such as `frame_%06d.jpg` -> number -> names, for all forms of names that `least` pictures have.

    Names of one form are equal but for their digits. They are counted by the number that changes; where several
    change, by the last one, and each combination of the others is a numbering.
    """
    forms: dict[tuple[str, ...], list[list[str]]] = defaultdict(list)
    for name in pictures:
        suffix = Path(name).suffix
        *parts, end = _DIGITS.split(name.removesuffix(suffix))
        if parts:
            form = (*parts[::2], end + suffix.lower())
            forms[form].append([name, *parts[1::2]])
    found: dict[str, Numbering] = {}
    for texts, rows in forms.items():
        if len(rows) < least:
            continue
        last = max((at for at in range(1, len(texts)) if len({row[at] for row in rows}) > 1), default=len(texts) - 1)
        groups: dict[tuple[str, ...], list[list[str]]] = defaultdict(list)
        for row in rows:
            if len(row[last]) <= _LONGEST_NUMBER:
                others = (*row[1:last], *row[last + 1 :])
                groups[others].append(row)
        for others, group in groups.items():
            digits = [*others[: last - 1], _printf([row[last] for row in group]), *others[last - 1 :], ""]
            pattern = "".join(text + digit for text, digit in zip(texts, digits, strict=True))
            numbering: Numbering = defaultdict(list)
            for row in group:
                numbering[int(row[last])].append(row[0])
            found[pattern] = dict(numbering)
    return found


def _printf(digits: Sequence[str]) -> str:
    """`%06d` for numbers that are padded to one length, else `%d`."""
    padded = any(len(text) > 1 and text[0] == "0" for text in digits)
    return f"%0{len(digits[0])}d" if padded and len(set(map(len, digits))) == 1 else "%d"


def _numbers_in(name: str) -> list[int]:
    return [int(digits) for digits in _DIGITS.findall(name) if len(digits) <= _LONGEST_NUMBER]
