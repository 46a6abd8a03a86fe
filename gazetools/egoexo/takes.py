"""The takes of an Ego-Exo4D root, and which of them and of their cameras are wanted."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from gazetools.egoexo.take import CameraVideo, Take, UnusableTake
from gazetools.egoexo.takes_file import TAKES_NAME, read_takes_file
from gazetools.schemas.base import nearest_name
from gazetools.schemas.downloads import egoexo_command
from gazetools.schemas.errors import UsageError


def is_egoexo_root(path: Path) -> bool:
    """Whether `path` is a folder as the `egoexo` downloader leaves it."""
    try:
        return (path / TAKES_NAME).is_file() and (path / "takes").is_dir()
    except OSError:  # a path that is too long, or not to be read; whoever opens it says so
        return False


def take_of_video(video: Path) -> Take:
    """The take that the file `ROOT/takes/<take>/...` belongs to; UsageError where it lies in no Ego-Exo4D root."""
    for folder in video.absolute().parents:
        root = folder.parent.parent
        if folder.parent.name == "takes" and is_egoexo_root(root):
            takes, unusable = read_takes(root)
            if found := {take.folder.name: take for take in takes}.get(folder.name):
                return found
            if reasons := [entry.message for entry in unusable if entry.name == folder.name]:
                raise UsageError(reasons[0])
            raise UsageError(
                f"The take {folder.name} is not in {root / TAKES_NAME}.",
                hint=f"Get the current file with: {egoexo_command(root, 'metadata')}",
            )
    raise UsageError(
        f"{video} does not lie in an Ego-Exo4D root (ROOT/takes.json, ROOT/takes/<take>/...).",
        hint="Pass the folder that `egoexo -o ROOT` filled, or a video in it.",
    )


def read_takes(root: Path) -> tuple[tuple[Take, ...], tuple[UnusableTake, ...]]:
    """(takes of takes.json by name, dropped ones too; entries that can't be used); UsageError: it can't be read."""
    path = root / TAKES_NAME
    if not path.is_file():
        raise UsageError(f"{path} does not exist.", hint=f"Get it with: {egoexo_command(root, 'metadata')}")
    stamp = path.stat()
    return _read(root.absolute(), stamp.st_mtime_ns, stamp.st_size)


@lru_cache(maxsize=2)
def _read(root: Path, _mtime_ns: int, _size: int) -> tuple[tuple[Take, ...], tuple[UnusableTake, ...]]:
    return read_takes_file(root)


def choose_takes(root: Path, wanted: str | None) -> tuple[list[Take], list[UnusableTake]]:
    """The takes to work on (those with a folder and not dropped, or those named) and the entries to report instead.

    `wanted`: take names, uids or patterns such as `*_cooking_*`, separated by commas; None: all that are there.
    Raises UsageError for a name that takes.json does not have, with the nearest, and where nothing is left.
    """
    takes, unusable = read_takes(root)
    if wanted is None:
        chosen = [take for take in takes if not take.is_dropped and take.folder.is_dir()]
        if not chosen and not unusable:
            parts = ("captures", "take_trajectory", "take_eye_gaze", "downscaled_takes/448")
            command = egoexo_command(root, *parts, take_uids=["TAKE_UID"], capture_uids=["CAPTURE_UID"])
            raise UsageError(
                f"{root} lists {len(takes)} takes but has the folder of none.",
                hint=f"Get some with: {command} (both uids are in {TAKES_NAME})",
            )
        return chosen, list(unusable)
    chosen, left_out = [], []
    for pattern in _parts(wanted):
        found = [take for take in takes if pattern == take.uid or fnmatch.fnmatchcase(take.name, pattern)]
        bad = [one for one in unusable if pattern == one.uid or fnmatch.fnmatchcase(one.name or "", pattern)]
        if not found and not bad:
            near = nearest_name(pattern, [take.name for take in takes])
            raise UsageError(
                f"No take {pattern!r} in {root / TAKES_NAME}." + (f" Did you mean {near!r}?" if near else ""),
                hint="--takes takes names, uids and patterns separated by commas.",
            )
        chosen += [take for take in found if take not in chosen]
        left_out += [one for one in bad if one not in left_out]
    return chosen, left_out


def takes_command(root: Path, takes: Sequence[Take], part: str, *, views: str) -> str:
    """The command that fetches a part of some takes; of more than five takes the first five are named."""
    uids = [take.uid for take in takes[:5]] or ["TAKE_UID"]
    return egoexo_command(root, part, take_uids=uids, options=f"--views {' '.join(_parts(views))}")


def choose_cameras(take: Take, *, views: str = "exo", cameras: str | None = None) -> list[CameraVideo]:
    """The take's cameras of the views (`exo,ego`: both), also those with a `problem`; `cameras`: names or patterns."""
    wanted = [camera for camera in take.cameras if ("ego" if camera.is_ego else "exo") in _parts(views)]
    patterns = ["*"] if cameras is None else _parts(cameras)
    return [c for c in wanted if any(fnmatch.fnmatchcase(name, p) for name in (c.name, c.camera_id) for p in patterns)]


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
