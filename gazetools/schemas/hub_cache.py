"""The folders in which huggingface_hub keeps downloads: links in `snapshots/REVISION` to files in `blobs`."""

from __future__ import annotations

from pathlib import Path


def in_own_hub_cache(target: Path, root: Path) -> bool:
    """Whether `target` is a blob of the repository whose snapshot `root` is or lies in; both are resolved.

    A cache has `REPOSITORY/blobs/HASH` and, for each revision, `REPOSITORY/snapshots/REVISION/FILE` that links to it
    (docs/source/en/guides/manage-cache.md in huggingface/huggingface_hub).
    """
    for folder in (root, *root.parents):
        if folder.parent.name == "snapshots":
            return target.parent == folder.parent.parent / "blobs"
    return False
