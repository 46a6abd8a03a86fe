"""Video ids: the one name a video has in stores, datasets, head-box folders and annotations."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from pathlib import Path

from gazetools.schemas.errors import UsageError
from gazetools.schemas.excerpt import MAX_EXCERPT, excerpt
from gazetools.schemas.hub_cache import in_own_hub_cache


def check_video_id(video_id: str) -> str:
    """Return `video_id` in NFC, else raise UsageError: an id can't leave its root, be taken for an option, or hide."""
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
    if segment.startswith(("-", ".")):
        return "starts with '-' or '.'"
    if "\\" in segment:
        return "contains a backslash"
    # Cc control, Cf format (bidi overrides, zero width), Cs surrogate, Zl/Zp line and paragraph separators
    if any(unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for c in segment):
        return "contains a control or invisible formatting character"
    if len(segment.encode("utf-8")) > 200:
        return "is longer than 200 bytes"
    return None


def video_id_below(path: Path, root: Path) -> str:
    """The id of the video `path` found under the input folder `root`: its path below root without the suffix."""
    return check_video_id(path.relative_to(root).with_suffix("").as_posix())


def path_of_id(root: Path, video_id: str, suffix: str) -> Path:
    """`root/<video_id><suffix>`, proven to lie below `root`."""
    path = root / (check_video_id(video_id) + suffix)
    check_below(path, root, video_id)
    return path


def check_below(path: Path, root: Path, video_id: str) -> None:
    """Raise UsageError where `path`, a place of `video_id`, leaves `root` through a symbolic link.

    Links of a Hugging Face cache, which lead to the blobs of the same repository, are allowed.
    """
    target, inside = path.resolve(), root.resolve()
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
                hint="Pass their common parent folder, so that ids contain the folder names, or rename one.",
                video_id=video_id[:MAX_EXCERPT],
                paths=[str(other[1]), str(path)],
            )
