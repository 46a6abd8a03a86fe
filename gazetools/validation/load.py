"""Read one video's heatmaps to their end; what can't be read is a finding."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from pydantic import ValidationError

from gazetools.io.arrays import AnyArray, ArrayHeader, iter_npy_blocks, load_npy, npy_layout
from gazetools.io.atomic import sha256_of_file
from gazetools.io.npz import Npz
from gazetools.layouts.base import StoredFrames, heatmap_member, side_layout, thw
from gazetools.layouts.hdf5 import Hdf5Members
from gazetools.layouts.locate import numbered_frames
from gazetools.layouts.writers import sha256_of_listing
from gazetools.schemas.dataset import CONVERTED_FROM, HEATMAP_MEMBER, INDEX_NPZ, INVERSE_MEMBERS, MEMBERS
from gazetools.schemas.errors import DataFileError
from gazetools.schemas.provenance import Provenance
from gazetools.schemas.store import STORE_SUFFIX
from gazetools.store import StoreReader, open_store
from gazetools.store.listing import read_sidecar
from gazetools.validation.load_origin import load_origin, load_stated_provenance
from gazetools.validation.subject import MapStats, StoreColumns, Subject

_BLOCK_ROWS = 256
_SIDE_TYPES = {"valid": np.dtype(np.bool_), "inout": np.dtype(np.float32), "pts_seconds": np.dtype(np.float64)}


def load(subject: Subject) -> None:
    """Fill in the subject from its files, the origin file and the manifest's provenance included."""
    if subject.path.exists():
        try:
            _load_maps(subject)
        except (DataFileError, OSError) as error:
            subject.report("file-unreadable", str(error))
        load_origin(subject)
    else:
        subject.report("payload-missing", f"{subject.path} does not exist.")
    load_stated_provenance(subject)


def _load_maps(subject: Subject) -> None:
    if subject.kind == "store":
        _load_store(subject)
    elif subject.path.is_dir():
        _load_folder(subject)
    elif subject.path.suffix == ".npy":
        _load_npy(subject)
    elif subject.path.suffix == STORE_SUFFIX:
        _load_hdf5(subject)
    else:
        _load_npz(subject)


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
    """Compare id, size and sha256 with the sidecar. True where the payload's end is missing: it can't be read."""
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
    """Tell a store file that only its provenance keeps from opening from one that is damaged."""
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


def _compare_bytes(subject: Subject) -> None:
    """Compare size and sha256 of a dataset's file with its manifest entry."""
    if (entry := subject.entry) is None:
        return
    size = subject.path.stat().st_size
    if size != entry.bytes:
        subject.report("size-mismatch", f"{subject.path} has {size} bytes, the manifest says {entry.bytes}.")
    elif sha256_of_file(subject.path) != entry.sha256:
        subject.report("checksum-mismatch", f"The sha256 of {subject.path} is not the manifest's.")


def _compare_members(subject: Subject, archive: Npz | Hdf5Members) -> None:
    """Compare the members of a dataset's file with those of its layout; HDF5 has no order of its own."""
    if (entry := subject.entry) is None:
        return
    wanted = [*MEMBERS, *(INVERSE_MEMBERS if entry.normalisation != "none" else ())]
    if archive.names != (wanted if isinstance(archive, Npz) else sorted(wanted)):
        subject.report("member-missing", f"{subject.path} has {archive.names}, not {wanted}.")


def _load_hdf5(subject: Subject) -> None:
    """An .h5 of a dataset."""
    if subject.entry is None:
        raise DataFileError(f"{subject.path} is neither a store file nor in a manifest.")
    _compare_bytes(subject)
    archive = Hdf5Members(subject.path)
    _compare_members(subject, archive)
    layout = archive.layout(HEATMAP_MEMBER)
    _keep_maps(subject, layout, f"{subject.path}:{HEATMAP_MEMBER}", _hdf5_blocks(subject.path, layout))
    _load_side(subject, archive)


def _hdf5_blocks(path: Path, layout: ArrayHeader) -> Iterator[AnyArray]:
    with closing(StoredFrames(path, layout, layout.data_offset)) as source:
        count, step = source.shape[0], _rows_per_block(layout)
        for start in range(0, count, step):
            yield source.read(np.arange(start, min(start + step, count)))


def _load_npz(subject: Subject) -> None:
    _compare_bytes(subject)
    with Npz(subject.path) as archive:
        member = heatmap_member(archive)
        _compare_members(subject, archive)
        layout = archive.layout(member)
        blocks = archive.iter_blocks(member, _rows_per_block(layout))
        _keep_maps(subject, layout, f"{subject.path}:{member}", blocks)
        _load_side(subject, archive)


def _load_npy(subject: Subject) -> None:
    layout = npy_layout(subject.path)
    blocks = iter_npy_blocks(subject.path, _rows_per_block(layout))
    if len(layout.shape) == 2:
        blocks = iter([load_npy(subject.path)[None]])
    _keep_maps(subject, layout, str(subject.path), blocks)


def _load_folder(subject: Subject) -> None:
    """A folder of numbered .npy frames; in a dataset with index.npz next to them."""
    names = numbered_frames(subject.path)
    lines: list[str] = []
    index = subject.path / INDEX_NPZ
    if names:
        first = subject.path / names[min(names)]
        layout = npy_layout(first)
        blocks = _folder_blocks(subject, names, layout, lines)
        _keep_maps(subject, layout, str(first), blocks, frames=max(names) + 1)
    elif subject.entry is not None and subject.entry.t:
        subject.report("payload-missing", f"{subject.path} holds no frames.")
    if subject.entry is not None and not index.exists():
        subject.report("member-missing", f"{index} does not exist.")
    if not index.exists():
        return
    with Npz(index) as archive:
        _load_side(subject, archive)
    lines.append(f"{INDEX_NPZ} {sha256_of_file(index)}")
    if subject.entry is not None:
        odd = sorted(p.name for p in subject.path.iterdir() if p.name not in {*names.values(), INDEX_NPZ})
        if odd:
            subject.report("stray-file", f"{subject.path} holds {', '.join(odd[:5])} beside its frames.")
        if sha256_of_listing(lines) != subject.entry.sha256:
            subject.report("checksum-mismatch", f"The sha256 over the files of {subject.path} is not the manifest's.")


def _folder_blocks(
    subject: Subject, names: dict[int, str], layout: ArrayHeader, lines: list[str]
) -> Iterator[AnyArray]:
    """One block [1, H, W] per frame file; zeros stand for frames that are missing, damaged or unlike the others.

    Such frames are reported, and the line `NAME SHA256` of each file is added to `lines`.
    """
    shape, count = thw(layout.shape, str(subject.path))[1:], max(names) + 1
    if missing := [number for number in range(count) if number not in names]:
        subject.report("frame-file-missing", f"{len(missing)} of {count} frames have no file.", missing)
    unlike, broken = [], []
    for number in range(count):
        block = np.zeros((1, *shape), dtype=layout.dtype)
        if number in names:
            path = subject.path / names[number]
            try:
                lines.append(f"{names[number]} {hashlib.sha256(path.read_bytes()).hexdigest()}")
                frame = load_npy(path)
                if frame.dtype == layout.dtype and thw(frame.shape, str(path)) == (1, *shape):
                    block = frame.reshape(1, *shape)
                else:
                    unlike.append(number)
            except DataFileError as error:
                broken.append((number, str(error)))
        yield block
    if unlike:
        message = f"{len(unlike)} frames are not {layout.dtype} {list(shape)} like the first."
        subject.report("frame-file-unlike", message, unlike)
    if broken:
        subject.report("file-unreadable", f"{len(broken)} frames can't be read: {broken[0][1]}", [n for n, _ in broken])


def _load_side(subject: Subject, archive: Npz | Hdf5Members) -> None:
    """Read valid, inout and pts_seconds. In files of other tools they count where their names and types fit."""
    count = subject.count if subject.count is not None else (subject.entry.t if subject.entry else -1)
    for name, dtype in _SIDE_TYPES.items():
        layout = side_layout(archive, name, strict=subject.entry is not None)
        if layout is not None and layout.dtype == dtype and layout.shape == (count,):
            values = archive.load(name)
            converted = subject.entry is not None and CONVERTED_FROM in subject.entry.provenance
            # maps of other tools may have no times, which is no fault of their conversion
            if not (converted and name == "pts_seconds" and np.isnan(values).all()):
                setattr(subject, name, values)
        elif subject.entry is not None:
            found = "missing" if layout is None else f"{layout.dtype} {list(layout.shape)}"
            subject.report("member-missing", f"{archive.path}: {name} is {found}; it must be {dtype} [{count}].")


def _keep_maps(
    subject: Subject, layout: ArrayHeader, where: str, blocks: Iterator[AnyArray], *, frames: int | None = None
) -> None:
    """Compare the header with the manifest's entry; where these are maps, read `blocks` into `stats`.

    `frames` is T of a folder of frames, whose header is that of one frame.
    """
    try:
        count, height, width = thw(layout.shape, where)
    except DataFileError as error:
        subject.report("unexpected-shape", error.message)
        return
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
        return
    scale = entry.scale if entry is not None else 1 / 255 if layout.dtype == np.uint8 else 1.0
    subject.stats = MapStats.of(blocks, scale)


def _rows_per_block(layout: ArrayHeader) -> int:
    """At most 256 maps and 8 MiB."""
    row_bytes: Any = np.prod(layout.shape[1:], dtype=np.int64) * layout.dtype.itemsize
    return max(1, min(_BLOCK_ROWS, (8 << 20) // max(int(row_bytes), 1)))
