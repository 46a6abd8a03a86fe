"""The last step in the files that W&B keeps on this machine, of which a killed process leaves only a part.

Such a file has a header of 7 bytes and then records of protobuf in the format of LevelDB's logs
(github.com/google/leveldb, doc/log_format.md): blocks of 32 KiB, and parts of records with checksum, length and kind.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

_BLOCK_BYTES = 32 * 1024
_FILE_HEADER_BYTES = 7
_PART = struct.Struct("<IHB")  # checksum, length, kind
_WHOLE, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


def last_logged_step(folder: Path, run_id: str) -> int:
    """The highest step of the run `run_id` in any of its files below W&B's `folder`; -1 where there is none."""
    return max((_last_step(path) for path in folder.glob(f"*run-*-{run_id}/run-{run_id}.wandb")), default=-1)


def _last_step(path: Path) -> int:
    from wandb.proto.wandb_internal_pb2 import Record

    steps = [-1]
    for data in _records(path):
        record = Record.FromString(data)
        if record.WhichOneof("record_type") == "history":
            steps.append(record.history.step.num)
    return max(steps)


def _records(path: Path) -> Iterator[bytes]:
    """The whole records of a file; one whose end is missing is left out."""
    parts: list[bytes] = []
    with path.open("rb") as file:
        start = _FILE_HEADER_BYTES
        while block := file.read(_BLOCK_BYTES):
            for kind, data in _parts(block, start):
                if kind in (_WHOLE, _FIRST):
                    parts = []
                parts.append(data)
                if kind in (_WHOLE, _LAST):
                    yield b"".join(parts)
            start = 0


def _parts(block: bytes, start: int) -> Iterator[tuple[int, bytes]]:
    """Kind and data of each part in a block; the end of a block that has no room for a part is filled with zeros."""
    while start + _PART.size <= len(block):
        _, length, kind = _PART.unpack_from(block, start)
        start += _PART.size
        if kind not in (_WHOLE, _FIRST, _MIDDLE, _LAST) or start + length > len(block):
            return
        yield kind, block[start : start + length]
        start += length
