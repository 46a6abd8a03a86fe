"""Commands of the official downloaders of Ego-Exo4D (`egoexo`) and Ego4D (`ego4d`), as messages print them.

Both come with the package `ego4d`. `egoexo` keeps an entry of a part only if the entry's uid is among `--uids`
(`ego4d.internal.download.cli._manifest_ok`): a capture's uid for `captures`, a take's for its recordings, a name for
metadata ("takes") and annotations ("keystep"), which `--uids` would therefore always filter out.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

_PARTS_WITHOUT_UID = ("metadata", "annotations")
_PARTS_BY_CAPTURE = ("captures",)
_EGO4D_VIDEOS = ("full_scale", "video_540ss", "clips")
"""Data sets that `--video_uids` chooses from; for all others `ego4d` prints an error and ignores it."""


def egoexo_command(
    root: str | Path,
    *parts: str,
    take_uids: Sequence[str] = (),
    capture_uids: Sequence[str] = (),
    options: str = "",
) -> str:
    """The command that fetches `parts` into `root`; two commands, joined by `&&`, where one would filter a part out.

    Args:
        root: the folder given to `-o`.
        parts: parts of the dataset (docs.ego-exo4d-data.org/download).
        take_uids: takes to fetch; none: all.
        capture_uids: captures to fetch; none: all.
        options: further options, such as `--views exo`.

    >>> egoexo_command("egoexo", "captures", "take_eye_gaze", take_uids=["T"], capture_uids=["C"])
    'egoexo -o egoexo --parts captures take_eye_gaze --uids C T'
    >>> egoexo_command("egoexo", "metadata", "takes", take_uids=["T"])
    'egoexo -o egoexo --parts metadata && egoexo -o egoexo --parts takes --uids T'
    """
    chosen: dict[str, Sequence[str]] = {part: _uids_of(part, take_uids, capture_uids) for part in parts}
    commands = []
    for group in ([p for p in parts if not chosen[p]], [p for p in parts if chosen[p]]):
        if group:
            uids = list(dict.fromkeys(uid for part in group for uid in chosen[part]))
            words = [shlex.quote(str(root)), "--parts", *group, *(["--uids", *map(shlex.quote, uids)] if uids else [])]
            commands.append(" ".join(["egoexo -o", *words, *([options] if options else [])]))
    return " && ".join(commands)


def _uids_of(part: str, take_uids: Sequence[str], capture_uids: Sequence[str]) -> Sequence[str]:
    if part in _PARTS_WITHOUT_UID:
        return ()
    if part in _PARTS_BY_CAPTURE:  # small: all captures' files rather than none
        return [uid for uid in capture_uids if uid]
    return [uid or "TAKE_UID" for uid in take_uids]  # never all takes for want of one's uid


def ego4d_command(root: str | Path, *datasets: str, video_uid: str | None = None) -> str:
    """The command that fetches Ego4D's `datasets` into `root`; without any, ego4d.json.

    Args:
        root: the folder given to `--output_directory`.
        datasets: such as `full_scale`, `gaze`, `annotations`.
        video_uid: the one video to fetch. Gaze and annotations come for all videos: the downloader can't choose.

    >>> ego4d_command("ego4d", "gaze", video_uid="v1")
    'ego4d --output_directory ego4d --version v2 --datasets gaze'
    """
    chosen = video_uid is not None and all(name in _EGO4D_VIDEOS for name in datasets)
    words = ["ego4d --output_directory", shlex.quote(str(root)), "--version v2"]
    words += ["--datasets", *datasets] if datasets else ["--metadata"]
    return " ".join([*words, *(["--video_uids", shlex.quote(str(video_uid))] if chosen else [])])
