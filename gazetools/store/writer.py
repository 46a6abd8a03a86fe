"""Assemble a store file from pieces and commit it: payload first, sidecar with its sha256 last."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from gazetools.io.atomic import atomic_path, sha256_of_file
from gazetools.io.json_files import write_json_atomic
from gazetools.io.raw_file import ErrorHidingFile
from gazetools.schemas.provenance import Provenance
from gazetools.schemas.store import EXTRA_GROUP, SIDECAR_SUFFIX, STORE_SUFFIX, Piece, Sidecar
from gazetools.schemas.video_id import path_of_id
from gazetools.store.columns import FINGERPRINTS, FRAMES, ROWS, TRACKS, ContentSizes

_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class StoreContent:
    """The content of a store file."""

    provenance: Provenance
    pieces: Sequence[Callable[[], Piece]]
    """One loader per piece, in frame order; each is called twice (sizes first, then data)."""
    track_roles: dict[int, str]
    """Track id -> `wearer` or `other`, for every id in the rows."""
    heatmap_shape: tuple[int, int]
    """(H, W) of every heatmap."""
    tokens_shape: tuple[int, int, int] | None = None
    """(G, G, C) of the scene tokens in the pieces' rows; None: they have none."""
    extras: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    """Further columns, one entry per row; `StoreReader.extra(name)` reads them."""
    outline: Sequence[Callable[[], Piece]] | None = None
    """The same pieces with any heatmaps of the right shape, for the first pass; where drawing costs time."""


def write_store(root: Path, video_id: str, content: StoreContent) -> Sidecar:
    """Write `root/<video_id>.h5` and then its sidecar; memory is bounded by one piece.

    Raises FaultError where a write fails (nothing new has a final name), ValueError for pieces out of order or rows
    with a track that has no role.
    """
    return fill_store(root, video_id, content).commit()


def fill_store(root: Path, video_id: str, content: StoreContent) -> FilledStore:
    """`write_store` up to the commit, which another thread may do, since it hardly holds Python's lock."""
    payload = path_of_id(root, video_id, STORE_SUFFIX)
    counts = _Counts(content)
    with ExitStack() as cleanup:
        temp = cleanup.enter_context(atomic_path(payload))
        shim = ErrorHidingFile(temp)
        try:
            with h5py.File(shim, "w", libver=("v110", "v110")) as file:
                _fill(file, content, counts)
            shim.raise_error()
        finally:
            shim.close()
        sidecar = {
            "video_id": video_id,
            "payload": payload.name,
            "options_key": content.provenance.options_key,
            "frames": counts.frames,
            "rows": counts.rows,
            "tracks": len(content.track_roles),
            "frames_without_people": counts.frames_without_people,
            "tool_version": content.provenance.tool_version,
        }
        pending = cleanup.pop_all()
    return FilledStore(temp, path_of_id(root, video_id, SIDECAR_SUFFIX), sidecar, pending)


class FilledStore:
    """A payload that is written and closed under its temporary name, ready to be committed."""

    def __init__(self, temp: Path, sidecar_path: Path, sidecar: dict[str, Any], pending: ExitStack) -> None:
        self._temp, self._sidecar_path, self._sidecar, self._pending = temp, sidecar_path, sidecar, pending

    def commit(self) -> Sidecar:
        """Hash, fsync and rename the payload, then write the sidecar; errors as `write_store`. Call it once."""
        with self._pending:
            size, digest = self._temp.stat().st_size, sha256_of_file(self._temp)
        sidecar = Sidecar(**self._sidecar, payload_bytes=size, payload_sha256=digest)
        write_json_atomic(self._sidecar_path, sidecar.model_dump())
        return sidecar

    def discard(self) -> None:
        """Remove the temporary file instead."""
        self._temp.unlink(missing_ok=True)


class _Counts:
    """Sizes of the whole store, from a first pass over the pieces that also checks their order."""

    def __init__(self, content: StoreContent) -> None:
        self.frames = self.rows = self.fingerprints = self.frames_without_people = 0
        last_frame = -1
        for load in content.outline or content.pieces:
            piece = load()
            index = piece.frame_index
            if len(index) and (index[0] <= last_frame or (np.diff(index) <= 0).any()):
                raise ValueError(f"pieces out of frame order: {index[0]} follows {last_frame}")
            last_frame = int(index[-1]) if len(index) else last_frame
            if unknown := set(np.unique(piece.rows.track_id).tolist()) - set(content.track_roles):
                raise ValueError(f"rows with tracks {sorted(unknown)} that have no role")
            self.frames += len(index)
            self.rows += len(piece.rows)
            self.fingerprints += len(piece.fingerprint)
            self.frames_without_people += int((~np.isin(index, piece.rows.frame)).sum())


def _fill(file: h5py.File, content: StoreContent, counts: _Counts) -> None:
    file.attrs["provenance"] = content.provenance.to_text()
    sizes = ContentSizes(
        frames=counts.frames,
        rows=counts.rows,
        fingerprints=counts.fingerprints,
        heatmap_shape=content.heatmap_shape,
        tokens_shape=content.tokens_shape,
    )
    blocks = {}
    for each in sizes.columns():
        column, chunks = each.column, each.chunks
        checked = chunks is not None  # fletcher32 (chunked only) finds a flipped bit on read
        dataset = file.create_dataset(column.dataset, each.shape, column.dtype, chunks=chunks, fletcher32=checked)
        blocks[column.name] = _Blocks(dataset)
    for load in content.pieces:
        piece = load()
        for column in ROWS:
            blocks[column.name].append(getattr(piece.rows, column.name))
        if content.tokens_shape is not None:
            assert piece.rows.tokens is not None, "every piece of a store with tokens has some"
            blocks["tokens"].append(piece.rows.tokens)
        for column in (*FRAMES, *FINGERPRINTS):
            blocks[column.name].append(getattr(piece, column.name))
    for waiting in blocks.values():
        waiting.flush()
    ids, roles = TRACKS
    known = sorted(content.track_roles)
    file.create_dataset(ids.dataset, data=np.array(known, dtype=ids.dtype))
    names = [content.track_roles[track] for track in known]
    file.create_dataset(roles.dataset, data=names, dtype=h5py.string_dtype(), shape=(len(known),))
    for name, values in content.extras.items():
        if len(values) != counts.rows:
            raise ValueError(f"the extra column {name} has {len(values)} entries for {counts.rows} rows")
        chunks = (min(4096, counts.rows), *values.shape[1:]) if counts.rows else None
        file.create_dataset(f"{EXTRA_GROUP}/{name}", data=values, chunks=chunks, fletcher32=counts.rows > 0)


class _Blocks:
    """Appends to a dataset in blocks of at least `_BLOCK_BYTES`: thousands of tiny writes cost more than their data."""

    def __init__(self, dataset: h5py.Dataset) -> None:
        self._dataset = dataset
        self._waiting: list[npt.NDArray[Any]] = []
        self._waiting_bytes = self._written = 0

    def append(self, values: npt.NDArray[Any]) -> None:
        self._waiting.append(values)
        self._waiting_bytes += values.nbytes
        if self._waiting_bytes >= _BLOCK_BYTES:
            self.flush()

    def flush(self) -> None:
        if not self._waiting:
            return
        values = self._waiting[0] if len(self._waiting) == 1 else np.concatenate(self._waiting)
        self._dataset[self._written : self._written + len(values)] = values
        self._written += len(values)
        self._waiting, self._waiting_bytes = [], 0
