"""Video ids: the one name a video has in stores, datasets, head-box folders and annotations."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from pathlib import Path

from gazetools.schemas.dataset import MANIFEST_NAME, README_NAME
from gazetools.schemas.errors import UsageError
from gazetools.schemas.excerpt import MAX_EXCERPT, excerpt
from gazetools.schemas.hub_cache import in_own_hub_cache
from gazetools.schemas.store import REPORT_NAMES, SIDECAR_SUFFIX

OWN_NAMES = (*REPORT_NAMES, MANIFEST_NAME, README_NAME)
"""Files that gazetools itself writes at the top of stores and datasets, next to the files of videos."""
_RESERVED = {name.removesuffix(end).casefold(): name for name in OWN_NAMES for end in ("", SIDECAR_SUFFIX)}
"""Id in lower case -> the name that its sidecar (`.json`) or its folder of frames would take."""


def check_video_id(video_id: str) -> str:
    """Return `video_id` in NFC, else raise UsageError: an id can't leave its root or hide.

    A leading `-`, as one in 64 YouTube ids has, is allowed; `shown_argument` writes it for commands.
    """
    normalised = unicodedata.normalize("NFC", video_id)
    for segment in normalised.split("/"):
        if reason := _segment_fault(segment):
            raise UsageError(
                f"Video id {excerpt(video_id)} is not allowed: segment {excerpt(segment)} {reason}.",
                hint="Rename the file or folder; segments are plain names joined by '/'.",
                video_id=video_id[:MAX_EXCERPT],
            )
    return normalised


def _segment_fault(segment: str) -> str | None:
    if not segment:
        return "is empty"
    if segment.startswith("."):
        return "starts with '.'"
    if "\\" in segment:
        return "contains a backslash"
    # Cc control, Cf format (bidi overrides, zero width), Cs surrogate, Zl/Zp line and paragraph separators
    if any(unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for c in segment):
        return "contains a control or invisible formatting character"
    if len(segment.encode("utf-8")) > 200:
        return "is longer than 200 bytes"
    return None


def reserved_reason(video_id: str) -> str | None:
    """Why a new store can't have the video `video_id`: gazetools writes a file of that name; None: it can."""
    name = _RESERVED.get(unicodedata.normalize("NFC", video_id).casefold())
    if name is None:
        return None
    return f"The video id {video_id!r} is reserved: gazetools itself writes {name}. Rename the file."


def shown_argument(path: str | Path) -> str:
    """`path` for a command that a message prints: one that begins with `-` would be taken for an option."""
    return f"./{path}" if str(path).startswith("-") else str(path)


def place_of_id(root: Path, video_id: str, suffix: str) -> Path:
    """`root/<video_id><suffix>`, for reading; links in `root` are followed, because its owner made them.

    The id itself can't lead out of `root`: `..` and a leading `/` are refused.
    """
    return root / (check_video_id(video_id) + suffix)


def path_of_id(root: Path, video_id: str, suffix: str) -> Path:
    """`root/<video_id><suffix>`, proven to lie below `root` where it really lies: for files that are written."""
    path = root / (check_video_id(video_id) + suffix)
    check_below(path, root, video_id)
    return path


def check_below(path: Path, root: Path, video_id: str) -> None:
    """Raise UsageError where `path`, a place of `video_id`, leaves `root` through a symbolic link.

    Links of a Hugging Face cache, which lead to the blobs of the same repository, are allowed.
    """
    try:
        target, inside = path.resolve(), root.resolve()
    except (OSError, RuntimeError):  # Python below 3.13 raises the latter
        raise UsageError(f"Video id {video_id!r}: {path} is a link that leads to itself.") from None
    if not target.is_relative_to(inside) and not in_own_hub_cache(target, inside):
        raise UsageError(
            f"Video id {video_id!r} leads outside {root} (through a symbolic link) to {str(target)[:150]}.",
            hint="Put the file itself there (cp -L). Links of a Hugging Face cache to its own blobs are followed.",
        )


def refuse_duplicate_ids(pairs: Iterable[tuple[str, Path]]) -> None:
    """Raise UsageError naming both files if two inputs have one id, also when ids differ only in case."""
    seen: dict[str, tuple[str, Path]] = {}
    for video_id, path in pairs:
        other = seen.setdefault(video_id.casefold(), (video_id, path))
        if other[1] != path:
            same = "the same video id" if other[0] == video_id else "video ids that differ only in case"
            raise UsageError(
                f"Two inputs have {same}, {video_id!r}: {other[1]} and {path}.",
                hint=_way_out(other[1], path),
                video_id=video_id[:MAX_EXCERPT],
                paths=[str(other[1]), str(path)],
            )


def _way_out(one: Path, other: Path) -> str:
    """The next step for two files with one id."""
    if one.parent != other.parent:
        return "Pass their common parent folder, so that ids contain the folder names, or rename one."
    names = [unicodedata.normalize("NFC", path.name) for path in (one, other)]
    if names[0] == names[1]:
        return "The names look alike, but one is composed and one decomposed Unicode (NFC, NFD): remove or rename one."
    if one.suffix == other.suffix:
        return "Disks of macOS and Windows take such names for one file: rename one."
    files = " and ".join(dict.fromkeys(shown_argument(path) for path in (one, other)))
    return (
        f"Both lie in one folder: rename one, or pass the wanted one of {files} instead of the folder, or a pattern "
        f"such as '{shown_argument(one.parent / ('*' + one.suffix))}'."
    )
