"""Find videos for every command: files, folders (also of frames), globs and `@list.txt` become videos with ids."""

from __future__ import annotations

import fnmatch
import glob
import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gazetools.io.delimited import encoding_of
from gazetools.io.find_files import (
    FileLookup,
    SearchNotes,
    composed,
    existing_path,
    names_in,
    printable,
    same_names,
    target_of,
    walk,
)
from gazetools.io.picture_names import are_frames, holds_pictures, is_picture
from gazetools.schemas.errors import UsageError
from gazetools.schemas.excerpt import excerpt
from gazetools.schemas.video import VIDEO_SUFFIXES
from gazetools.schemas.video_id import check_video_id

_LONGEST_ENTRY = 4096
"""Characters of a path that systems take."""


@dataclass(frozen=True, kw_only=True)
class VideoFile:
    """A file or a folder of frames that was given or found, with the id that it has there."""

    video_id: str
    """In NFC; where `problem` is set, the name as it can be printed."""
    path: Path
    problem: str | None = None
    """Why the file's name can't be an id; None: it can."""


def find_videos(given: str | Path, notes: SearchNotes) -> list[VideoFile]:
    """The videos of one input: a file, a folder (at any depth), a glob or `@list.txt`, sorted by path.

    The id of a file is its stem; below a folder (or the fixed part of a glob) it is the path without suffix. A folder
    of numbered pictures without video files is one video; its id is its name, or its path below the input. A list
    names one input per line (`#` comments), relative to the working folder or, failing that, to the list. `notes`
    receives what is left out. UsageError for an input that does not exist or has no video.
    """
    return _find(str(given), notes, ())


def _find(text: str, notes: SearchNotes, lists: tuple[Path, ...]) -> list[VideoFile]:
    if text.startswith("@"):
        return _from_list(Path(text[1:]).expanduser(), notes, lists)
    try:
        path = existing_path(Path(text).expanduser())
        if path.is_dir():
            return _from_folder(path, notes)
        if path.exists():
            return [_named(path, path.stem)]
        broken_link = target_of(path)
    except OSError as error:
        what = f"Cannot open the input {excerpt(text)}: {error.strerror}."
        raise UsageError(what, hint="Check the path and its permissions.") from None
    if broken_link:
        raise UsageError(f"The input is a broken link: {text}{broken_link}.", hint="Mend or remove the link.")
    if glob.has_magic(text):
        return _from_glob(text, notes)
    raise UsageError(f"The input {printable(text)} does not exist.", hint="Check the path.", path=printable(text))


def merged(groups: Iterable[list[VideoFile]], notes: SearchNotes) -> list[VideoFile]:
    """The videos of several inputs; a file that several inputs name counts once, with the id of the last one."""
    files: dict[str, list[VideoFile]] = {}
    for group in groups:
        own: dict[str, list[VideoFile]] = {}
        for video in group:
            own.setdefault(os.path.realpath(video.path), []).append(video)
        for real in sorted(own.keys() & files.keys()):
            lost = {video.video_id for video in files[real]} - {video.video_id for video in own[real]}
            notes.repeated += [(video_id, own[real][0].video_id, real) for video_id in sorted(lost)]
        files |= own
    return [video for found in files.values() for video in found]


def list_videos(root: Path, notes: SearchNotes) -> list[VideoFile]:
    """The videos of a file or folder as `find_videos` has them; none is no error."""
    if root.is_file():
        return [_named(root, root.stem)]
    found = _of_folder(root, notes)
    return found if found or not holds_pictures(root) else [_frames(root, root)]


def lookup_videos(root: Path) -> FileLookup:
    """Videos below `root` by id, for callers that know which ids they want; no folder is listed in vain."""
    return FileLookup(root, VIDEO_SUFFIXES)


def is_video_name(name: str) -> bool:
    """Whether the suffix is one of a video, in any letter case."""
    return Path(name).suffix.lower() in VIDEO_SUFFIXES


def preference(path: Path) -> int:
    """Rank of the suffix among files of one id, lowest first, as `lookup_videos` has it; other suffixes last."""
    suffix = path.suffix.lower()
    return VIDEO_SUFFIXES.index(suffix) if suffix in VIDEO_SUFFIXES else len(VIDEO_SUFFIXES)


def _named(path: Path, name: str) -> VideoFile:
    try:
        return VideoFile(video_id=check_video_id(name), path=path)
    except UsageError as error:
        return VideoFile(video_id=printable(name), path=path, problem=printable(str(error)))


def _below(path: Path, root: Path) -> VideoFile:
    return _named(path, path.relative_to(root).with_suffix("").as_posix())


def _of_folder(folder: Path, notes: SearchNotes) -> list[VideoFile]:
    """The videos below `folder`; a folder without video files whose pictures have one numbering is one video.

    Pictures in `folder` itself are not noted where nothing is found: the folder is then taken for a video.
    """
    found: list[VideoFile] = []
    own: list[Path] = []
    for parent, group in itertools.groupby(walk(folder, notes), key=lambda path: path.parent):
        files = list(group)
        videos = [path for path in files if is_video_name(path.name)]
        found += [_below(path, folder) for path in videos]
        if not videos and are_frames(path.name for path in files):
            found.append(_frames(parent, folder))
            continue
        for path in files:
            if is_picture(path.name) and parent == folder:
                own.append(path)
            elif not is_video_name(path.name):
                notes.leave_out("pictures" if is_picture(path.name) else "suffix", path)
    if found:
        for path in own:
            notes.leave_out("pictures", path)
    return _noting_twins(sorted(found, key=lambda video: video.path), notes)


def _frames(path: Path, root: Path) -> VideoFile:
    """The folder of pictures `path` as a video; its id is its path below `root`, or its own name."""
    return _named(path, path.resolve().name if path == root else path.relative_to(root).as_posix())


def _from_folder(folder: Path, notes: SearchNotes) -> list[VideoFile]:
    found = _of_folder(folder, notes)
    if not found and holds_pictures(folder):  # what keeps them from being a video is said when they are opened
        return [_frames(folder, folder)]
    if not found:
        faults = "; ".join(notes.faults())
        raise UsageError(
            f"The folder {folder} has no videos" + (f" ({faults})." if faults else "."),
            hint=f"Suffixes looked for, at any depth and in any letter case: {' '.join(sorted(VIDEO_SUFFIXES))}.",
            path=str(folder),
        )
    return found


def _from_glob(pattern: str, notes: SearchNotes) -> list[VideoFile]:
    parts = Path(pattern).expanduser().parts
    fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    root = existing_path(Path(*parts[:fixed])) if fixed else Path()
    suffix = Path(parts[-1]).suffix
    any_suffix = not glob.has_magic(parts[-1]) or (suffix != "" and not glob.has_magic(suffix))
    found = []
    for path in sorted(set(_matches(root, parts[fixed:], notes))):
        if any_suffix or path.is_dir() or is_video_name(path.name):
            found.append(path)
        else:
            notes.leave_out("suffix", path)
    if not found:
        raise UsageError(
            f"The pattern {pattern} matches no file" + (" with the suffix of a video." if not any_suffix else "."),
            hint="Check the path; upper and lower case count in patterns.",
            path=pattern,
        )
    return _noting_twins([(_frames if path.is_dir() else _below)(path, root) for path in found], notes)


def _matches(folder: Path, parts: tuple[str, ...], notes: SearchNotes) -> Iterator[Path]:
    """Files below `folder` whose names match `parts` one by one; `**` stands for any number of folders."""
    first, rest = parts[0], parts[1:]
    if first == "**":
        wanted = rest or ("*",)
        for path in walk(folder, notes):
            names = path.relative_to(folder).parts
            if any(_fits(names[start:], wanted) for start in range(len(names))):
                yield path
        return
    try:
        listed = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        notes.leave_out("unreadable", folder, f" ({error.strerror})")
        return
    for name in listed:
        path = folder / name
        if not _fits((name,), (first,)):
            continue
        if name.startswith(".") and not first.startswith("."):
            notes.leave_out("hidden", path)
        elif path.is_dir():
            if not rest and are_frames(names_in(path)):
                yield path
            yield from _matches(path, rest, notes) if rest else ()
        elif path.is_file() and not rest:
            yield path
        elif path.is_symlink() and not path.exists():
            notes.leave_out("broken-link", path, target_of(path))


def _fits(names: tuple[str, ...], patterns: tuple[str, ...]) -> bool:
    """Whether the names match the patterns one by one; a further `**` stands for any number of names."""
    if not patterns:
        return not names
    if patterns[0] == "**":
        return any(_fits(names[start:], patterns[1:] or ("*",)) for start in range(len(names)))
    if not names or not _fits(names[1:], patterns[1:]):
        return False
    return same_names(names[0], patterns[0]) or fnmatch.fnmatchcase(composed(names[0]), composed(patterns[0]))


def _from_list(list_path: Path, notes: SearchNotes, lists: tuple[Path, ...]) -> list[VideoFile]:
    real = Path(os.path.realpath(list_path))
    if real in lists:
        raise UsageError(f"The list {list_path} names itself.", hint="Remove that line.")
    lines = _lines_of(list_path)
    entries = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not entries:
        raise UsageError(f"The list {list_path} names no input.", hint="Write one path per line.")
    return merged((_find(_near(list_path, entry), notes, (*lists, real)) for entry in entries), notes)


def _lines_of(list_path: Path) -> list[str]:
    """The lines of a list in UTF-8 or UTF-16; bytes that are no text stay those of the names of files."""
    try:
        data = list_path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"Cannot read the list {list_path}: {error.strerror}.", hint="Check the path after '@'."
        ) from None
    text = data.decode(encoding_of(data[:4096]), errors="surrogateescape")
    if "\0" in text or max(map(len, text.splitlines()), default=0) > _LONGEST_ENTRY:
        raise UsageError(f"{list_path} is no list of paths.", hint="Write a text with one path per line after '@'.")
    return text.splitlines()


def _near(list_path: Path, entry: str) -> str:
    """`entry` of a list as an input: relative to the working folder or, failing that, to the list."""
    if entry[:1] == entry[-1:] in {'"', "'"} and not Path(entry).exists():
        entry = entry[1:-1]  # as shells and spreadsheets write paths
    mark, name = ("@", entry[1:]) if entry.startswith("@") else ("", entry)
    next_to = existing_path(list_path.parent / name)
    return mark + str(next_to) if not existing_path(Path(name)).exists() and next_to.exists() else entry


def _noting_twins(found: list[VideoFile], notes: SearchNotes) -> list[VideoFile]:
    """`found`; files that links give two ids are noted."""
    first: dict[str, str] = {}
    for video in found:
        real = os.path.realpath(video.path)
        if (other := first.setdefault(real, video.video_id)) != video.video_id:
            notes.twins.append((other, video.video_id, real))
    return found
