"""Read one video's heatmaps to their end, and where they come from; what can't be read is a finding."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
from pydantic import ValidationError

from gazetools.heatmaps.normalise import NORMALISATIONS
from gazetools.heatmaps.values import scale_of
from gazetools.io.arrays import AnyArray, ArrayHeader, load_npy
from gazetools.io.atomic import sha256_of_file
from gazetools.io.json_files import read_json
from gazetools.io.npz import Npz
from gazetools.layouts.base import MEMBER_TYPES, Layout, SideMembers, side_header, thw
from gazetools.layouts.npy import NpyFolder, sha256_of_listing
from gazetools.schemas.base import explain_validation_error
from gazetools.schemas.dataset import CONVERTED_FROM, INDEX_NPZ, MAX_ORIGIN_BYTES, MEMBERS, Origin, summarised
from gazetools.schemas.errors import DataFileError
from gazetools.schemas.provenance import Provenance
from gazetools.store import open_store
from gazetools.store.listing import read_sidecar
from gazetools.validation.reading import layout_of, leads_out, report_choice
from gazetools.validation.subject import MapStats, StoreColumns, Subject

_BLOCK_ROWS = 256


def load(subject: Subject) -> None:
    """Fill in the subject from its files, the origin file and the manifest's provenance included."""
    if subject.path.exists():
        try:
            if subject.kind == "store":
                _load_store(subject)
            elif leads_out(subject):
                return
            elif isinstance(layout := layout_of(subject), NpyFolder):
                _load_folder(subject, layout)
            else:
                _load_file(subject, layout)
        except (DataFileError, OSError) as error:
            details = error.details if isinstance(error, DataFileError) else {}
            subject.report(details.get("finding", "file-unreadable"), str(error), details.get("frames"))
        _load_origin(subject)
    else:
        subject.report("payload-missing", f"{subject.path} does not exist.")
    _load_stated_provenance(subject)


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
        starts = range(0, len(store), _BLOCK_ROWS)
        blocks = (store.read_heatmaps(start, min(start + _BLOCK_ROWS, len(store))) for start in starts)
        subject.stats = MapStats.of(blocks, 1.0)
        if store.tokens_shape is not None:
            parts = (store.read_tokens(start, min(start + _BLOCK_ROWS, len(store))) for start in starts)
            bad = [~np.isfinite(part).all(axis=(1, 2, 3)) for part in parts]
            subject.bad_tokens = np.concatenate([np.zeros(0, np.bool_), *bad])


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


def _load_file(subject: Subject, layout: Layout) -> None:
    """The maps of one file of a dataset or of another tool, and the members next to them."""
    entry = subject.entry
    if entry is not None and (size := layout.bytes_at(subject.path)) != entry.bytes:
        subject.report("size-mismatch", f"{subject.path} has {size} bytes, the manifest says {entry.bytes}.")
    elif entry is not None and layout.sha256(subject.path) != entry.sha256:
        subject.report("checksum-mismatch", f"The sha256 of {subject.path} is not the manifest's.")
    with layout.members(subject.path, required=entry is not None) as members:
        if entry is not None and members is not None:
            wanted = [*MEMBERS, *NORMALISATIONS[entry.normalisation].members]
            if members.names != wanted if layout.keeps_order else sorted(members.names) != sorted(wanted):
                subject.report("member-missing", f"{subject.path} has {members.names}, not {wanted}.")
        header, where = layout.header(subject.path, members)
        row_bytes = math.prod(header.shape[1:]) * header.dtype.itemsize
        rows = max(1, min(_BLOCK_ROWS, (8 << 20) // max(row_bytes, 1)))
        _keep_maps(subject, header, where, layout.blocks(subject.path, rows, members))
        if members is not None:
            _load_side(subject, members, subject.path)
            report_choice(subject, layout, header, where, members)


def _load_folder(subject: Subject, layout: NpyFolder) -> None:
    """A folder of numbered .npy frames; in a dataset with index.npz next to them."""
    names = layout.frames(subject.path)
    sums: dict[str, str] = {}
    index = subject.path / INDEX_NPZ
    if names:
        first = subject.path / names[min(names)]
        header = layout.header(subject.path)[0]
        blocks = _folder_blocks(subject, names, header, sums, layout)
        _keep_maps(subject, header, str(first), blocks, frames=max(names) + 1)
        if subject.entry is None:  # frames without a file have no map, as every reader of such folders says
            subject.valid = np.isin(np.arange(max(names) + 1), list(names))
    elif subject.entry is not None and subject.entry.t:
        subject.report("payload-missing", f"{subject.path} holds no frames.")
    if not index.exists():
        if subject.entry is not None:
            subject.report("member-missing", f"{index} does not exist.")
        return
    with Npz(index) as archive:
        _load_side(subject, archive, index)
    sums[INDEX_NPZ] = sha256_of_file(index)
    if subject.entry is not None:
        odd = sorted(p.name for p in subject.path.iterdir() if p.name not in {*names.values(), INDEX_NPZ})
        if odd:
            subject.report("stray-file", f"{subject.path} holds {', '.join(odd[:5])} in addition to its frames.")
        if sha256_of_listing(sums.items()) != subject.entry.sha256:
            subject.report("checksum-mismatch", f"The sha256 over the files of {subject.path} is not the manifest's.")


def _folder_blocks(
    subject: Subject, names: dict[int, str], header: ArrayHeader, sums: dict[str, str], layout: NpyFolder
) -> Iterator[AnyArray]:
    """One block [1, H, W] per frame, zeros where its file is bad, which is reported; adds each sha256 to `sums`.

    `header` is that of the first frame with the shape (1, H, W).
    """
    shape, count = header.shape[1:], max(names) + 1
    if missing := [number for number in range(count) if number not in names]:
        subject.report("frame-file-missing", f"{len(missing)} of {count} frames have no file.", missing)
    unlike, broken = [], []
    for number in range(count):
        block = np.zeros((1, *shape), dtype=header.dtype)
        if number in names:
            path = subject.path / names[number]
            try:
                sums[names[number]] = hashlib.sha256(path.read_bytes()).hexdigest()
                frame = load_npy(path)
                order = layout.order_of(frame.shape, str(path))
                if frame.dtype == header.dtype and order.thw(frame.shape) == (1, *shape):
                    block = order.arranged(frame)
                else:
                    unlike.append(number)
            except DataFileError as error:
                if error.details.get("finding") == "unexpected-shape":
                    unlike.append(number)
                else:
                    broken.append((number, str(error)))
        yield block
    if unlike:
        message = f"{len(unlike)} frames are not {header.dtype} {list(shape)} like the first."
        subject.report("frame-file-unlike", message, unlike)
    if broken:
        subject.report("file-unreadable", f"{len(broken)} frames can't be read: {broken[0][1]}", [n for n, _ in broken])


def _load_side(subject: Subject, members: SideMembers, where: Path) -> None:
    """Read valid, inout and pts_seconds. In files of other tools they count where their names and types fit."""
    count = subject.count if subject.count is not None else (subject.entry.t if subject.entry else -1)
    for name in ("valid", "inout", "pts_seconds"):
        header, dtype = side_header(members, name, strict=subject.entry is not None), MEMBER_TYPES[name]
        if header is not None and header.dtype == dtype and header.shape == (count,):
            values = members.load(name)
            converted = subject.entry is not None and CONVERTED_FROM in subject.entry.provenance
            # maps of other tools may have no times, which is no fault of their conversion
            if not (converted and name == "pts_seconds" and np.isnan(values).all()):
                setattr(subject, name, values)
        elif subject.entry is not None:
            found = "missing" if header is None else f"{header.dtype} {list(header.shape)}"
            subject.report("member-missing", f"{where}: {name} is {found}; it must be {dtype} [{count}].")


def _keep_maps(
    subject: Subject, header: ArrayHeader, where: str, blocks: Iterator[AnyArray], *, frames: int | None = None
) -> None:
    """Compare the header (of one frame where `frames` is T) with the entry, then read `blocks` into `stats`."""
    try:
        count, height, width = thw(header.shape, where)
    except DataFileError as error:
        subject.report("unexpected-shape", error.message)
        return
    count = count if frames is None else frames
    entry = subject.entry
    if entry is None or (entry.h, entry.w) == (height, width):
        subject.size_hw = (height, width)
    if entry is not None:
        stated, found = (entry.t, entry.h, entry.w, entry.dtype), (count, height, width, header.dtype.name)
        if stated != found:
            subject.report("manifest-mismatch", f"{where} has T, H, W, dtype {found}, the manifest says {stated}.")
    elif header.dtype.kind not in "fb" and header.dtype != np.uint8:
        subject.report("unexpected-dtype", f"{where} is {header.dtype}.")
        return
    subject.stats = MapStats.of(blocks, scale_of(header.dtype, where) if entry is None else entry.scale)


def _load_origin(subject: Subject) -> None:
    """Read the origin file of a packed video: provenance, frame fingerprints, head boxes of sampled rows."""
    entry, path = subject.entry, subject.sidecar
    if entry is None or entry.origin_sha256 is None or path is None:
        return
    if not path.exists():
        subject.report("origin-missing", f"{path} does not exist.")
        return
    try:
        origin = Origin.model_validate(read_json(path, max_bytes=MAX_ORIGIN_BYTES))
        subject.fingerprints = origin.thumbnails()
        subject.provenance = Provenance.model_validate(origin.provenance) if "video" in origin.provenance else None
    except (DataFileError, ValueError) as error:  # pydantic's ValidationError is a ValueError
        subject.report("provenance-unreadable", f"{path}: {' '.join(str(error).split())[:300]}")
        return
    subject.fingerprint_index = np.array(origin.fingerprint_index, dtype=np.int64)
    subject.samples = origin.rows
    if origin.video_id != subject.video_id:
        subject.report("id-mismatch", f"{path} is of the video {origin.video_id!r}.")
    if sha256_of_file(path) != entry.origin_sha256:
        subject.report("checksum-mismatch", f"The sha256 of {path} is not the manifest's.")
    elif summarised(origin.provenance) != entry.provenance:
        subject.report("manifest-mismatch", f"The provenance in the manifest is not that of {path}.")


def _load_stated_provenance(subject: Subject) -> None:
    """Read the provenance in a manifest without origin files; maps that were converted have none."""
    entry = subject.entry
    if entry is None or not entry.provenance or entry.origin_sha256 is not None or CONVERTED_FROM in entry.provenance:
        return
    try:
        subject.provenance = Provenance.model_validate(entry.provenance)
    except ValidationError as error:
        problems = "; ".join(explain_validation_error(error, Provenance))
        subject.report("provenance-unreadable", f"The provenance in the manifest: {problems}.")
