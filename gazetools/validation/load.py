"""Read one video's heatmaps to their end; what can't be read is a finding."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from pydantic import ValidationError

from gazetools.heatmaps.normalise import NORMALISATIONS
from gazetools.io.arrays import AnyArray, ArrayHeader, load_npy, npy_layout
from gazetools.io.atomic import sha256_of_file
from gazetools.io.npz import Npz
from gazetools.layouts.base import Layout, SideMembers, side_header, thw
from gazetools.layouts.npy import NpyFolder, numbered_frames, sha256_of_listing
from gazetools.layouts.registry import FOREIGN_LAYOUTS, layout_at
from gazetools.schemas.dataset import CONVERTED_FROM, INDEX_NPZ, MEMBERS
from gazetools.schemas.errors import DataFileError
from gazetools.schemas.provenance import Provenance
from gazetools.store import StoreReader, open_store
from gazetools.store.listing import read_sidecar
from gazetools.validation.load_origin import load_origin
from gazetools.validation.subject import MapStats, StoreColumns, Subject

_BLOCK_ROWS = 256
_SIDE_TYPES = {"valid": np.dtype(np.bool_), "inout": np.dtype(np.float32), "pts_seconds": np.dtype(np.float64)}


def load(subject: Subject) -> None:
    """Fill in the subject from its files."""
    if not subject.path.exists():
        subject.report("payload-missing", f"{subject.path} does not exist.")
        return
    try:
        if subject.kind == "store":
            _load_store(subject)
        elif isinstance(layout := layout_at(subject.path), NpyFolder):
            _load_folder(subject)
        else:
            _load_file(subject, layout)
    except (DataFileError, OSError) as error:
        subject.report("file-unreadable", str(error))
    load_origin(subject)


def _load_store(subject: Subject) -> None:
    if subject.sidecar is not None and _is_cut_off(subject, subject.sidecar):
        return
    try:
        store = open_store(subject.path)
    except DataFileError as error:
        subject.report(_code_of_broken_store(subject.path), str(error))
        return
    with store:
        subject.provenance = store.provenance
        subject.size_hw = store.heatmap_shape
        subject.inout = store.row_inout
        subject.columns = StoreColumns(
            frame_index=store.frames.index,
            frame_pts=store.frames.pts_seconds,
            row_frame=store.row_frame,
            row_track=store.row_track_id,
            row_box=store.row_box,
            row_prompt=store.row_prompt,
            tracks=store.tracks,
        )
        subject.fingerprint_index, subject.fingerprints = store.frames.fingerprint_index, store.frames.fingerprint
        subject.stats = MapStats.of(_store_blocks(store), 1.0)


def _is_cut_off(subject: Subject, path: Path) -> bool:
    """Compare id, size and sha256 with the sidecar. True where the payload's end is missing: HDF5 can't open it."""
    if not path.exists():
        subject.report("sidecar-missing", f"{subject.path} has no sidecar {path.name}.")
        return False
    try:
        sidecar = read_sidecar(path)
    except DataFileError as error:
        subject.report("sidecar-unreadable", error.message)
        return False
    size = subject.path.stat().st_size
    if sidecar.video_id != subject.video_id:
        subject.report("id-mismatch", f"{path} is of the video {sidecar.video_id!r}.")
    if size != sidecar.payload_bytes:
        subject.report("size-mismatch", f"{subject.path} has {size} bytes, its sidecar says {sidecar.payload_bytes}.")
        return size < sidecar.payload_bytes
    if sha256_of_file(subject.path) != sidecar.payload_sha256:
        subject.report("checksum-mismatch", f"The sha256 of {subject.path} is not its sidecar's.")
    return False


def _code_of_broken_store(path: Path) -> str:
    """Is it the provenance alone that keeps a store file from opening?"""
    try:
        with h5py.File(path, "r") as file:
            text = file.attrs.get("provenance")
    except (OSError, RuntimeError, ValueError, KeyError):
        return "file-unreadable"
    if text is None:
        return "provenance-missing"
    try:
        Provenance.model_validate_json(text)
    except (ValidationError, TypeError):
        return "provenance-unreadable"
    return "file-unreadable"


def _store_blocks(store: StoreReader) -> Iterator[AnyArray]:
    for start in range(0, len(store), _BLOCK_ROWS):
        yield store.read_heatmaps(start, min(start + _BLOCK_ROWS, len(store)))


def _compare_with_entry(subject: Subject, layout: Layout) -> None:
    if (entry := subject.entry) is None:
        return
    size = layout.bytes_at(subject.path)
    if size != entry.bytes:
        subject.report("size-mismatch", f"{subject.path} has {size} bytes, the manifest says {entry.bytes}.")
    elif layout.sha256(subject.path) != entry.sha256:
        subject.report("checksum-mismatch", f"The sha256 of {subject.path} is not the manifest's.")


def _compare_members(subject: Subject, names: list[str], *, in_order: bool) -> None:
    if subject.entry is None:
        return
    wanted = [*MEMBERS, *NORMALISATIONS[subject.entry.normalisation].members]
    if names != wanted if in_order else sorted(names) != sorted(wanted):
        subject.report("member-missing", f"{subject.path} has {names}, not {wanted}.")


def _load_file(subject: Subject, layout: Layout) -> None:
    if subject.entry is None and layout not in FOREIGN_LAYOUTS:
        raise DataFileError(f"{subject.path} is neither a store file nor in a manifest.")
    _compare_with_entry(subject, layout)
    with layout.members(subject.path, required=subject.entry is not None) as members:
        if members is not None:
            _compare_members(subject, members.names, in_order=layout.keeps_order)
        header, where = layout.header(subject.path, members)
        if _accepts(subject, header, where):
            blocks = layout.blocks(subject.path, _rows_per_block(header), members)
            subject.stats = MapStats.of(blocks, _scale(subject, header))
        if members is not None:
            _load_side(subject, members)


def _load_folder(subject: Subject) -> None:
    names = numbered_frames(subject.path)
    sums: dict[str, str] = {}
    index = subject.path / INDEX_NPZ
    if names:
        layout = npy_layout(subject.path / names[min(names)])
        if _accepts(subject, layout, str(subject.path / names[min(names)]), frames=max(names) + 1):
            missing = [number for number in range(max(names) + 1) if number not in names]
            if missing:
                subject.report(
                    "frame-file-missing", f"{len(missing)} of {max(names) + 1} frames have no file.", missing
                )
            blocks = _folder_blocks(subject, names, layout, sums)
            subject.stats = MapStats.of(blocks, _scale(subject, layout))
    elif subject.entry is not None and subject.entry.t:
        subject.report("payload-missing", f"{subject.path} holds no frames.")
    if subject.entry is not None and not index.exists():
        subject.report("member-missing", f"{index} does not exist.")
    if not index.exists():
        return
    with Npz(index) as archive:
        _load_side(subject, archive)
    sums[INDEX_NPZ] = sha256_of_file(index)
    if subject.entry is not None:
        odd = sorted(p.name for p in subject.path.iterdir() if p.name not in {*names.values(), INDEX_NPZ})
        if odd:
            subject.report("stray-file", f"{subject.path} holds {', '.join(odd[:5])} beside its frames.")
        if sha256_of_listing(sums.items()) != subject.entry.sha256:
            subject.report("checksum-mismatch", f"The sha256 over the files of {subject.path} is not the manifest's.")


def _folder_blocks(
    subject: Subject, names: dict[int, str], layout: ArrayHeader, sums: dict[str, str]
) -> Iterator[AnyArray]:
    """One block [1, H, W] per frame file; zeros stand for frames that are missing, damaged or unlike the others."""
    shape = thw(layout.shape, str(subject.path))[1:]
    unlike, broken = [], []
    for number in range(max(names) + 1):
        block = np.zeros((1, *shape), dtype=layout.dtype)
        if number in names:
            path = subject.path / names[number]
            try:
                sums[names[number]] = hashlib.sha256(path.read_bytes()).hexdigest()
                frame = load_npy(path)
                if frame.dtype == layout.dtype and thw(frame.shape, str(path)) == (1, *shape):
                    block = frame.reshape(1, *shape)
                else:
                    unlike.append(number)
            except DataFileError as error:
                broken.append((number, str(error)))
        yield block
    if unlike:
        subject.report(
            "frame-file-unlike", f"{len(unlike)} frames are not {layout.dtype} {list(shape)} like the first.", unlike
        )
    if broken:
        subject.report(
            "file-unreadable", f"{len(broken)} frames can't be read: {broken[0][1]}", [number for number, _ in broken]
        )


def _load_side(subject: Subject, archive: SideMembers) -> None:
    """The members next to the maps. In files of other tools they count where their names and types fit."""
    count = subject.count if subject.count is not None else (subject.entry.t if subject.entry else -1)
    for name, dtype in _SIDE_TYPES.items():
        layout = side_header(archive, name, strict=subject.entry is not None)
        if layout is not None and layout.dtype == dtype and layout.shape == (count,):
            values = archive.load(name)
            converted = subject.entry is not None and CONVERTED_FROM in subject.entry.provenance
            # other tools' maps may have no times: that they lack them is no fault of the conversion
            if not (converted and name == "pts_seconds" and np.isnan(values).all()):
                setattr(subject, name, values)
        elif subject.entry is not None:
            found = "missing" if layout is None else f"{layout.dtype} {list(layout.shape)}"
            subject.report("member-missing", f"{subject.path}: {name} is {found}; it must be {dtype} [{count}].")


def _accepts(subject: Subject, layout: ArrayHeader, where: str, *, frames: int | None = None) -> bool:
    """Are these maps? Also compares with the manifest's entry."""
    try:
        count, height, width = thw(layout.shape, where)
    except DataFileError as error:
        subject.report("unexpected-shape", error.message)
        return False
    count = count if frames is None else frames
    entry = subject.entry
    if entry is None or (entry.h, entry.w) == (height, width):
        subject.size_hw = (height, width)
    if entry is not None:
        stated, found = (entry.t, entry.h, entry.w, entry.dtype), (count, height, width, layout.dtype.name)
        if stated != found:
            subject.report("manifest-mismatch", f"{where} has T, H, W, dtype {found}, the manifest says {stated}.")
    elif layout.dtype.kind not in "fb" and layout.dtype != np.uint8:
        subject.report("unexpected-dtype", f"{where} is {layout.dtype}.")
        return False
    return True


def _scale(subject: Subject, layout: ArrayHeader) -> float:
    if subject.entry is not None:
        return subject.entry.scale
    return 1 / 255 if layout.dtype == np.uint8 else 1.0


def _rows_per_block(layout: ArrayHeader) -> int:
    row_bytes: Any = np.prod(layout.shape[1:], dtype=np.int64) * layout.dtype.itemsize
    return max(1, min(_BLOCK_ROWS, (8 << 20) // max(int(row_bytes), 1)))
