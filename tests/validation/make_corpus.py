"""Writes tests/validation/corpus: small hostile files as crashes, bombs and escapes were once made of.

python tests/validation/make_corpus.py
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
from pathlib import Path

import h5py
import numpy as np

CORPUS = Path(__file__).parent / "corpus"


def _npy(header: str, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    text = header.encode("latin1")
    size = struct.pack("<H", len(text)) if version[0] == 1 else struct.pack("<I", len(text))
    return b"\x93NUMPY" + version + size + text + data


def _good_npy() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.full((2, 3, 4), 0.5, np.float16))
    return stream.getvalue()


def _zip(members: list[tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, compress_type=method)
    return stream.getvalue()


def _lying_zip() -> bytes:
    """A directory that says 2 GiB of a stored member of 200 bytes."""
    data = bytearray(_zip([("x.npy", _good_npy())]))
    place = data.rfind(b"PK\x01\x02")
    struct.pack_into("<II", data, place + 20, 0x7FFFFFFF, 0x7FFFFFFF)
    return bytes(data)


def _bomb() -> bytes:
    """48 KiB that claim 4 GiB: a deflated run of zeros, its size overwritten."""
    data = bytearray(_zip([("x.npy", _npy(_header("<f4", "(1024, 1024, 12)"), bytes(48 << 20)))], zipfile.ZIP_DEFLATED))
    place = data.rfind(b"PK\x01\x02")
    struct.pack_into("<I", data, place + 24, 0xFFFFFFF0)
    return bytes(data)


def _header(descr: str, shape: str, order: str = "False") -> str:
    return f"{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n"


def files() -> dict[str, bytes]:
    """Name -> bytes."""
    good = _good_npy()
    arrays = {
        "empty.npy": b"",
        "magic_only.npy": b"\x93NUMPY",
        "huge_shape.npy": _npy(_header("<f4", "(1099511627776, 64, 64)")),
        "overflowing_shape.npy": _npy(_header("<f8", "(4611686018427387904, 4, 4)")),
        "negative_shape.npy": _npy(_header("<f4", "(-1, 8, 8)"), bytes(256)),
        "call_in_header.npy": _npy("{'descr': __import__('os').system('touch pwned'), 'shape': (1,)}\n"),
        "objects.npy": _npy(_header("|O", "(1,)"), b"\x80\x04cos\nsystem\n(S'touch pwned'\ntR."),
        "structured.npy": _npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }\n", bytes(8)),
        "long_header.npy": _npy(" " * 70000, version=b"\x02\x00"),
        "deep_header.npy": _npy("(" * 3000),
        "version_9.npy": _npy(_header("<f4", "(1, 1, 1)"), bytes(4), version=b"\x09\x00"),
        "cut.npy": good[:-5],
        "longer.npy": good + b"more",
        "empty.npz": b"",
        "no_members.npz": _zip([]),
        "escape.npz": _zip([("../../escape.npy", good)]),
        "absolute.npz": _zip([("/tmp/absolute.npy", good)]),
        "no_array.npz": _zip([("x.txt", b"hello")]),
        "twice.npz": _zip([("x.npy", good), ("x.npy", good)]),
        "objects.npz": _zip([("x.npy", _npy(_header("|O", "(1,)"), b"\x80\x04N."))]),
        "lying_directory.npz": _lying_zip(),
        "bomb.npz": _bomb(),
        "cut.npz": _zip([("x.npy", good)])[:-30],
        "bzip2.npz": _zip([("x.npy", good)], zipfile.ZIP_BZIP2),
    }
    jsons: dict[str, bytes] = {
        "nested": b"[" * 20000,
        "nan": b'{"schema_name": "gazetools.dataset", "schema_version": NaN}',
        "twice": b'{"schema_name": "a", "schema_name": "gazetools.dataset"}',
        "long_number": b'{"schema_version": ' + b"9" * 5000 + b"}",
        "not_utf8": b'{"a": "\xff\xfe"}',
        "list": b"[]",
        "videos_a_list": json.dumps({"schema_name": "gazetools.dataset", "schema_version": 1, "videos": []}).encode(),
        "id_escapes": json.dumps(
            {
                "schema_name": "gazetools.dataset",
                "schema_version": 1,
                "tool_version": "0",
                "layout": "npz",
                "options": {},
                "videos": {"../../etc/passwd": {"file": "../../etc/passwd"}, "-rf": {}, "/etc/passwd": None},
            }
        ).encode(),
    }
    return {**arrays, **{f"{name}.manifest": data for name, data in jsons.items()}, "store_link.h5": _store_link()}


def _store_link() -> bytes:
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file["rows/heatmap"] = h5py.ExternalLink("/etc/passwd", "x")
        file["rows/frame"] = h5py.SoftLink("/rows")
        file.attrs["provenance"] = "{}"
    return stream.getvalue()


if __name__ == "__main__":
    CORPUS.mkdir(exist_ok=True)
    for name, data in files().items():
        (CORPUS / name).write_bytes(data)
