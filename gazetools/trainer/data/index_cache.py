"""Frame indexes of videos on disk, so that workers, epochs and runs open a video without reading all of it."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gazetools._version import __version__
from gazetools.io.atomic import atomic_path
from gazetools.io.npz import Npz
from gazetools.schemas.errors import DataFileError
from gazetools.schemas.video import Remark
from gazetools.store.lock import BusyError, locked

if TYPE_CHECKING:
    from gazetools.video import VideoReader
    from gazetools.video.index import FrameIndex

_PACKET_ARRAYS = ("pts", "dts", "size", "key", "discard", "corrupt")
_INDEX_ARRAYS = ("pts", "packet_of_frame", "frame_of_packet", "key_packets", "key_of_frame")
_PACKET_FACTS = ("listed", "promised_end_seconds", "stopped", "empty_chunks", "uncoded")
_INDEX_FACTS = ("ordinal", "frames_have_pts", "preroll")
_SLOTS = "slots"
"""Present where the packets' own times are guesses."""
_FACTS = "facts"
_WAIT_SECONDS = 600.0  # an hour of video is read in seconds from a disk, in minutes over a slow network


def open_indexed(path: Path, cache: Path | None, *, threads: int, save: bool = True) -> VideoReader:
    """The exact reader of `path`; its index comes from `cache` where it was built before from the same file.

    The key of an index is the file's path, size and modification time, its stream, and the versions of decoder and
    package; a damaged entry is built again. Without `save` a new index stays in memory. Of several processes that need
    the same index, also of several machines, one makes it; the others wait for it.
    Raises VideoError as VideoReader does, FaultError for a full disk.
    """
    from gazetools.video import VideoReader

    reader = VideoReader(path, threads=threads)
    if cache is None:
        return reader
    status, info = path.stat(), reader.info
    facts = [str(path.resolve()), status.st_size, status.st_mtime_ns, info.stream_index, info.decoder, __version__]
    place = cache / f"{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:40]}.npz"
    if _adopted(reader, place) or not save:
        return reader
    # One that waited longer builds its own: the holder may hang on a broken file.
    with suppress(BusyError), locked(cache, place.name, wait_seconds=_WAIT_SECONDS):
        if not _adopted(reader, place):
            save_index(place, reader.frame_index)
    return reader


def _adopted(reader: VideoReader, place: Path) -> bool:
    """Whether a whole index lies at `place`, which the reader then uses."""
    with suppress(DataFileError):
        if place.exists():
            reader.adopt_index(load_index(place))
            return True
    return False


def save_index(path: Path, index: FrameIndex) -> None:
    """Write an index as arrays and one JSON text of its scalar facts."""
    facts: dict[str, Any] = {name: getattr(index.packets, name) for name in _PACKET_FACTS}
    facts |= {name: getattr(index, name) for name in _INDEX_FACTS}
    facts |= {"ignored_pts": sorted(index.ignored_pts), "damage": list(index.damage)}
    facts["remarks"] = [asdict(remark) for remark in index.remarks]
    arrays: dict[str, Any] = {f"packet_{name}": getattr(index.packets, name) for name in _PACKET_ARRAYS}
    arrays |= {name: getattr(index, name) for name in _INDEX_ARRAYS}
    if index.slots is not None:
        arrays[_SLOTS] = index.slots
    arrays[_FACTS] = np.frombuffer(json.dumps(facts).encode(), dtype=np.uint8)
    with atomic_path(path) as temp, temp.open("wb") as file:
        np.savez(file, **arrays)


def load_index(path: Path) -> FrameIndex:
    """Read what `save_index` wrote; DataFileError for a damaged file."""
    from gazetools.video.index import FrameIndex, PacketTable

    with Npz(path) as archive:
        arrays = {name: archive.load(name) for name in archive.names}
    try:
        facts = json.loads(arrays[_FACTS].tobytes().decode())
        of_packets: dict[str, Any] = {name: arrays[f"packet_{name}"] for name in _PACKET_ARRAYS}
        of_packets |= {name: facts[name] for name in _PACKET_FACTS}
        of_index: dict[str, Any] = {name: arrays[name] for name in _INDEX_ARRAYS}
        of_index |= {name: facts[name] for name in _INDEX_FACTS}
        return FrameIndex(
            packets=PacketTable(**of_packets),
            **of_index,
            ignored_pts=frozenset(facts["ignored_pts"]),
            damage=tuple(facts["damage"]),
            slots=arrays.get(_SLOTS),
            remarks=tuple(Remark(**{**one, "frames": tuple(one["frames"])}) for one in facts["remarks"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise DataFileError(f"{path} is no frame index: {error}.") from error
