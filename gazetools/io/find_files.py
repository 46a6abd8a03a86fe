"""Find files below a folder: links are followed, names are compared in NFC, what is left out is counted and named."""

from __future__ import annotations

import errno
import os
import stat
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gazetools.schemas.left_out import LeftOutFiles
from gazetools.schemas.video_id import check_video_id

_SHOWN = 3
"""Names of each reason in a line of talk."""
_KEPT = 20
"""Names of each reason in a report."""
_LONGEST_NAME = 80
Reason = Literal["suffix", "pictures", "hidden", "broken-link", "loop", "again", "unreadable", "special"]
_WORDS: dict[Reason, str] = {
    "suffix": "without the suffix of a video",
    "pictures": "picture(s) that are not frames of one video in a folder of their own",
    "hidden": "hidden (the name begins with a dot)",
    "broken-link": "broken link(s)",
    "loop": "link(s) to a folder that contains the link",
    "again": "link(s) to a folder that other links have led to",
    "unreadable": "that can't be read",
    "special": "neither file nor folder",
}


@dataclass(kw_only=True)
class _Group:
    count: int
    names: list[str]


class SearchNotes:
    """What searches for files left out, by reason: all counted, the first ones named; and files found twice."""

    def __init__(self) -> None:
        self.groups: dict[Reason, _Group] = {}
        self.twins: list[tuple[str, str, str]] = []
        """(id, other id, real path) of files that links give two ids."""
        self.repeated: list[tuple[str, str, str]] = []
        """(id that is not used, id, real path) of files that two inputs name."""

    def leave_out(self, reason: Reason, path: Path, detail: str = "") -> None:
        """Count `path`, a file or folder that the search does not take."""
        group = self.groups.setdefault(reason, _Group(count=0, names=[]))
        group.count += 1
        if len(group.names) < _KEPT:
            group.names.append(printable(str(path)) + detail)

    def report(self) -> list[LeftOutFiles]:
        """What was left out, for a report file."""
        groups = self.groups.items()
        return [LeftOutFiles(reason=reason, count=group.count, first=group.names) for reason, group in groups]

    def lines(self) -> list[str]:
        """Sentences for the user, one about all that was left out, one for each of the first files with two ids."""
        lines = []
        if self.groups:
            parts = [f"{group.count} {_WORDS[reason]}: {_named(group)}" for reason, group in self.groups.items()]
            lines.append(f"not taken for videos: {'; '.join(parts)}")
        lines += [f"{one} and {other} are links to one file, {path}" for one, other, path in self.twins[:_SHOWN]]
        if len(self.twins) > _SHOWN:
            lines.append(f"{len(self.twins) - _SHOWN} more files have two ids through links")
        lines += [f"{path} is named by two inputs: it is {new}, not {old}" for old, new, path in self.repeated[:_SHOWN]]
        if len(self.repeated) > _SHOWN:
            lines.append(f"{len(self.repeated) - _SHOWN} more files are named by two inputs with different ids")
        return lines

    def faults(self) -> list[str]:
        """As `lines`, only about what is probably a mistake: broken links, loops and folders that can't be read."""
        odd = {reason: group for reason, group in self.groups.items() if reason not in ("suffix", "pictures", "hidden")}
        return [f"{group.count} {_WORDS[reason]}: {_named(group)}" for reason, group in odd.items()]


def _named(group: _Group) -> str:
    names = [name if len(name) <= _LONGEST_NAME else f"...{name[3 - _LONGEST_NAME :]}" for name in group.names[:_SHOWN]]
    return ", ".join(names) + (", ..." if group.count > _SHOWN else "")


def printable(text: str) -> str:
    """`text` with escapes for what can't be written as UTF-8 or would break a line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def same_names(one: str, other: str) -> bool:
    """Whether two names are equal in NFC; macOS writes decomposed names (NFD), keyboards composed ones."""
    return one == other or composed(one) == composed(other)


def composed(name: str) -> str:
    """`name` in NFC."""
    return unicodedata.normalize("NFC", name)


def names_in(folder: Path) -> list[str]:
    """Names of the folder's entries, sorted; none where it can't be read."""
    try:
        return sorted(path.name for path in folder.iterdir())
    except OSError:
        return []


def target_of(path: Path) -> str:
    """` -> TARGET` for a link; empty for others."""
    return f" -> {path.readlink()}" if path.is_symlink() else ""


def existing_path(path: Path) -> Path:
    """`path`, or where it does not exist the path whose names equal its names in NFC; `path` where there is none."""
    if str(path).isascii() or path.exists():
        return path
    found = Path(path.anchor)
    for part in path.parts[bool(path.anchor) :]:
        step = found / part
        if not os.path.lexists(step):
            alike = [name for name in names_in(found) if same_names(name, part)]
            if len(alike) != 1:
                return path
            step = found / alike[0]
        found = step
    return found


@dataclass(frozen=True)
class _Folder:
    path: Path
    above: frozenset[tuple[int, int]]
    """(device, inode) of the folder and of all that contain it, on the way there and where it really lies."""
    links: int
    """Links on the way from the root."""


def walk(root: Path, notes: SearchNotes, *, broken_links: bool = False) -> Iterator[Path]:
    """Every file below `root`, also through links to files and folders; `notes` receives everything else.

    With `broken_links` a link that leads nowhere counts as a file.

    A link to a folder that contains the link is a loop and not followed. A folder behind two or more links is entered
    once, so that links between folders can't multiply the files.
    """
    entered: set[tuple[int, int]] = set()
    waiting = [_Folder(root, _containing(root), 0)]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder.path) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except FileNotFoundError:  # a worker has removed it since it was listed
            continue
        except OSError as error:
            notes.leave_out("unreadable", folder.path, f" ({error.strerror})")
            continue
        inner: list[_Folder] = []
        for entry in listed:
            path = folder.path / entry.name
            if entry.name.startswith("."):
                notes.leave_out("hidden", path)
            elif (kind := _kind(entry)) == "file" or (broken_links and kind == "broken-link"):
                yield path
            elif kind != "folder":
                notes.leave_out(kind, path, target_of(path))
            elif (reason := _enter(entry, folder, inner, entered)) is not None:
                notes.leave_out(reason, path, target_of(path))
        waiting += reversed(inner)


def files_with(root: Path, *suffixes: str) -> Iterator[Path]:
    """The files below `root` with one of `suffixes`, in any letter case, as `walk` finds them; broken links too."""
    return (path for path in walk(root, SearchNotes(), broken_links=True) if path.name.lower().endswith(suffixes))


def _kind(entry: os.DirEntry[str]) -> Literal["file", "folder", "broken-link", "loop", "unreadable", "special"]:
    try:
        mode = entry.stat().st_mode if entry.is_symlink() else 0
        if stat.S_ISDIR(mode) if mode else entry.is_dir():
            return "folder"
        return "file" if (stat.S_ISREG(mode) if mode else entry.is_file()) else "special"
    except OSError as error:
        if error.errno == errno.ELOOP:
            return "loop"
        return "broken-link" if isinstance(error, FileNotFoundError) and entry.is_symlink() else "unreadable"


def _enter(
    entry: os.DirEntry[str], folder: _Folder, inner: list[_Folder], entered: set[tuple[int, int]]
) -> Literal["loop", "again", "unreadable"] | None:
    """Add the folder `entry` to `inner`; the reason where it is not entered."""
    path, links = folder.path / entry.name, folder.links + entry.is_symlink()
    try:
        facts = entry.stat()
    except OSError:
        return "unreadable"
    identity = facts.st_dev, facts.st_ino
    if identity in folder.above:
        return "loop"
    if links > 1 and identity in entered:
        return "again"
    entered.add(identity)
    real = _containing(path) if entry.is_symlink() else {identity}
    inner.append(_Folder(path, folder.above | real, links))
    return None


def _containing(folder: Path) -> frozenset[tuple[int, int]]:
    """(device, inode) of the folder where it really lies and of its parents."""
    real = Path(os.path.realpath(folder))
    found = []
    for one in (real, *real.parents):
        try:
            facts = one.stat()
        except OSError:
            continue
        found.append((facts.st_dev, facts.st_ino))
    return frozenset(found)


class FileLookup:
    """Files below `root` by their path without suffix: suffixes in any letter case, names in NFC or NFD, also by links.

    A folder is listed once, when it is first needed.
    """

    def __init__(self, root: Path, suffixes: Iterable[str]) -> None:
        self.root = root
        self._suffixes = tuple(suffixes)
        self._folders: dict[Path, dict[str, list[str]]] = {}

    def find(self, name: str) -> Path | None:
        """The file `name`, with the first of the suffixes that there is; None: there is none.

        UsageError for a name that can't be a video id, such as one with `..`.
        """
        return next(iter(self.find_all(name)), None)

    def find_all(self, name: str) -> list[Path]:
        """Every file `name`, in the order of the suffixes; names in NFC before those in NFD."""
        return [path for path in self._named(name) if path.is_file()]

    def broken_link(self, name: str) -> Path | None:
        """The link that has the name of the file but leads nowhere; None: there is none."""
        return next((path for path in self._named(name) if path.is_symlink() and not path.exists()), None)

    def _named(self, name: str) -> Iterator[Path]:
        *folders, stem = check_video_id(name).split("/")
        places = [self.root]
        for part in folders:
            places = [place / one for place in places for one in self._names(place).get(part, ())]
        for suffix in self._suffixes:
            for place in places:
                yield from (place / one for one in self._names(place).get(stem + suffix, ()))

    def _names(self, folder: Path) -> dict[str, list[str]]:
        """Name in NFC, with a known suffix in lower case -> names as they are; empty where there is no folder."""
        if folder not in self._folders:
            names: dict[str, list[str]] = {}
            for name in sorted(names_in(folder), key=lambda name: (name != composed(name), name)):
                whole = composed(name)
                for suffix in ("", *self._suffixes):
                    if whole.lower().endswith(suffix):
                        names.setdefault(whole[: len(whole) - len(suffix)] + suffix, []).append(name)
            self._folders[folder] = {known: list(dict.fromkeys(found)) for known, found in names.items()}
        return self._folders[folder]
