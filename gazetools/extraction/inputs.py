"""Expand files, folders, globs, lists and Ego-Exo4D roots into videos with their ids."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gazetools.egoexo.takes import choose_cameras, choose_takes, is_egoexo_root, takes_command
from gazetools.egoexo.takes_file import TAKES_NAME
from gazetools.schemas.errors import UsageError
from gazetools.schemas.store import REPORT_NAMES
from gazetools.schemas.video_id import check_video_id, refuse_duplicate_ids, video_id_below

VIDEO_SUFFIXES = frozenset(
    ".3gp .avi .flv .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogv .ts .webm .wmv".split()  # noqa: SIM905
)
"""Suffixes of the files that are taken from folders; a file named by itself may have any suffix."""


@dataclass(frozen=True, kw_only=True)
class VideoItem:
    """One video to work on."""

    video_id: str
    path: Path
    problem: str | None = None
    """Reason why a data set's own list makes this video unusable, reported as a failed item; None: usable."""


def plan_inputs(
    inputs: Sequence[str | Path], *, takes: str | None = None, cameras: str | None = None, views: str = "exo"
) -> list[VideoItem]:
    """Videos of all inputs, sorted by id; unusable ones follow at the end, with a `problem`.

    The id of a file is its stem; below a folder (or the fixed part of a glob) it is the path without suffix.
    `@list.txt` names one input per line (`#` comments), relative to the working folder or, failing that, to the list.
    An Ego-Exo4D root (a folder with takes.json and takes/) gives the downloaded videos of `takes`, `cameras` and
    `views`, with the ids `take/camera`. UsageError: a missing path, no videos, ids that collide.
    """
    items: list[VideoItem] = []
    for one in inputs:
        if is_egoexo_root(Path(one).expanduser()):
            items += _from_egoexo(Path(one).expanduser(), takes=takes, cameras=cameras, views=views)
        elif takes or cameras:
            raise UsageError(
                f"--takes and --cameras choose from an Ego-Exo4D root, but {one} has no takes.json next to takes/.",
                hint="Pass the folder that `egoexo -o` filled, or leave these options out.",
            )
        else:
            items += _expand(str(one))
    unusable = list({item.video_id: item for item in items if item.problem is not None}.values())
    unique = {item.path.resolve(): item for item in items if item.problem is None}
    planned = sorted(unique.values(), key=lambda item: item.video_id)
    if not planned and not unusable:
        raise UsageError("No input video was given.", hint="Name files, folders, globs or @list.txt.")
    refuse_duplicate_ids((item.video_id, item.path) for item in planned)
    reserved = {Path(name).stem for name in REPORT_NAMES}
    if clash := next((item for item in planned if item.video_id in reserved), None):
        raise UsageError(f"The video id {clash.video_id!r} of {clash.path} is reserved.", hint="Rename the file.")
    return planned + unusable


def _from_egoexo(root: Path, *, takes: str | None, cameras: str | None, views: str) -> list[VideoItem]:
    chosen, unusable = choose_takes(root, takes)
    listing = root / TAKES_NAME
    items = [VideoItem(video_id=entry.item_id, path=listing, problem=entry.message) for entry in unusable]
    absent = []
    for take in chosen:
        wanted = choose_cameras(take, views=views, cameras=cameras)
        if not wanted and cameras is None:
            problem = f"{listing} lists no {views} video of it."
            items.append(VideoItem(video_id=take.name, path=listing, problem=problem))
        for camera in wanted:
            if camera.problem is not None:
                items.append(VideoItem(video_id=take.video_id(camera), path=listing, problem=f"{camera.problem}."))
            elif camera.path is None:
                absent.append(take.video_id(camera))
            else:
                items.append(VideoItem(video_id=take.video_id(camera), path=camera.path))
    if not items:
        command = takes_command(root, chosen, "downscaled_takes/448", views=views)
        lacking = f" ({len(absent)} are listed but not downloaded, such as {absent[0]})" if absent else ""
        raise UsageError(
            f"No {views} video of the chosen takes and cameras is in {root}{lacking}.",
            hint=f"Get them with: {command} (`takes` instead for full-size videos)",
        )
    return items


def _expand(text: str) -> Iterable[VideoItem]:
    if text.startswith("@"):
        return _from_list(Path(text[1:]))
    path = Path(text).expanduser()
    if path.is_dir():
        return _from_folder(path)
    if path.exists():
        return [VideoItem(video_id=check_video_id(path.stem), path=path)]
    if glob.has_magic(text):
        return _from_glob(text)
    raise UsageError(f"The input {text} does not exist.", hint="Check the path.", path=text)


def _from_folder(folder: Path) -> list[VideoItem]:
    found = [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in VIDEO_SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    if not found:
        raise UsageError(
            f"The folder {folder} has no videos.",
            hint=f"Suffixes looked for, at any depth: {' '.join(sorted(VIDEO_SUFFIXES))}.",
            path=str(folder),
        )
    return [VideoItem(video_id=video_id_below(path, folder), path=path) for path in found]


def _from_glob(pattern: str) -> list[VideoItem]:
    parts = Path(pattern).expanduser().parts
    fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    root = Path(*parts[:fixed]) if fixed else Path()
    found = sorted(path for path in root.glob(str(Path(*parts[fixed:]))) if path.is_file())
    if not found:
        raise UsageError(f"The pattern {pattern} matches no file.", hint="Check the path.", path=pattern)
    return [VideoItem(video_id=video_id_below(path, root), path=path) for path in found]


def _from_list(list_path: Path) -> list[VideoItem]:
    try:
        lines = list_path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"Cannot read the list {list_path}: {error}.", hint="Check the path after '@'.") from None
    entries = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    items: list[VideoItem] = []
    for entry in entries:
        near_list = list_path.parent / entry
        items += _expand(str(near_list) if not Path(entry).exists() and near_list.exists() else entry)
    if not items:
        raise UsageError(f"The list {list_path} names no input.", hint="Write one path per line.")
    return items
