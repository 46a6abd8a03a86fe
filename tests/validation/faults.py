"""Ways to spoil good files, and to make their checksums agree again, so that deeper checks are reached."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from gazetools.schemas.dataset import summarised

Arrays = dict[str, np.ndarray]


def rewrite_json(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Load, change in place, write back."""
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def edit_store(root: Path, change: Callable[[h5py.File], None], video_id: str = "clip") -> None:
    """Change a store file and have its sidecar vouch for the result."""
    payload = root / f"{video_id}.h5"
    with h5py.File(payload, "r+") as file:
        change(file)
    data = payload.read_bytes()
    rewrite_json(
        root / f"{video_id}.json",
        lambda s: s.update(payload_bytes=len(data), payload_sha256=hashlib.sha256(data).hexdigest()),
    )


def edit_provenance(root: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the provenance text of the store `clip`."""

    def apply(file: h5py.File) -> None:
        value = json.loads(file.attrs["provenance"])
        change(value)
        file.attrs["provenance"] = json.dumps(value)

    edit_store(root, apply)


def edit_npz(root: Path, change: Callable[[Arrays], Any], video_id: str = "clip") -> None:
    """Change the arrays of a packed .npz (in place, or by returning others); the manifest vouches for the result."""
    path = root / f"{video_id}.npz"
    with np.load(path) as archive:
        arrays = {name: archive[name].copy() for name in archive.files}
    result = change(arrays)
    np.savez(path, **(result if isinstance(result, dict) else arrays))
    vouch(root, video_id)


def vouch(root: Path, video_id: str = "clip") -> None:
    """Put the size and sha256 of the .npz as it is into the manifest."""
    data = (root / f"{video_id}.npz").read_bytes()
    edit_entry(root, lambda e: e.update(bytes=len(data), sha256=hashlib.sha256(data).hexdigest()), video_id)


def edit_entry(root: Path, change: Callable[[dict[str, Any]], None], video_id: str = "clip") -> None:
    """Change a manifest entry."""
    rewrite_json(root / "manifest.json", lambda m: change(m["videos"][video_id]))


def put(name: str, index: Any, value: Any) -> Callable[[Any], None]:
    """`file[name][index] = value`, for h5 files and dicts of arrays."""

    def apply(arrays: Any) -> None:
        arrays[name][index] = value

    return apply


def flip_bit(path: Path, position: float = 0.5) -> None:
    """Flip one bit at a relative position."""
    data = bytearray(path.read_bytes())
    data[int(position * (len(data) - 1))] ^= 4
    path.write_bytes(data)


def cut(path: Path, keep: float = 0.7) -> None:
    """Truncate."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])


def edit_origin(root: Path, change: Callable[[dict[str, Any]], None], video_id: str = "clip") -> None:
    """Change an origin file and have the manifest vouch for it, its summary of the provenance included."""
    path = root / f"{video_id}.origin.json"
    rewrite_json(path, change)
    origin = json.loads(path.read_text())
    edit_entry(
        root,
        lambda e: e.update(
            origin_sha256=hashlib.sha256(path.read_bytes()).hexdigest(), provenance=summarised(origin["provenance"])
        ),
        video_id,
    )
