"""Heatmap files that are damaged or made to do harm: refused in little memory by their name, never run, no crash."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gazetools import HeatmapReader
from gazetools.io.arrays import load_npy
from gazetools.io.npz import Npz
from gazetools.schemas.errors import DataFileError
from tests.heatmaps.conftest import MAPS

_STOLEN = "marker"


class _Evil:
    """Leaves a file behind when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (_STOLEN,)


def _npy(header: str, body: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    text = header.encode("latin1")
    length = struct.pack("<H" if version == b"\x01\x00" else "<I", len(text))
    return b"\x93NUMPY" + version + length + text + body


def _header(descr: str = "'<f2'", shape: str = "(2, 2, 2)", order: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n"


NPY_CORPUS = {
    "empty": b"",
    "no array": b"hello world, this is text",
    "cut in the header": _npy(_header())[:40],
    "58 TiB": _npy(_header(shape="(8000000, 1000000, 4)"), bytes(64)),
    "negative": _npy(_header(shape="(-1, 2, 2)"), bytes(64)),
    "huge negative pair": _npy(_header(shape="(-4, -4, 1)"), bytes(32)),
    "rank 70": _npy(_header(shape="(" + "1," * 70 + ")"), bytes(2)),
    "bool as size": _npy(_header(shape="(True, 2, 2)"), bytes(8)),
    "float as size": _npy(_header(shape="(2.0, 2, 2)"), bytes(16)),
    "objects": _npy(_header("'|O'"), pickle.dumps([_Evil()] * 8)),
    "structured": _npy(_header("[('a', '<f2')]"), bytes(16)),
    "complex": _npy(_header("'<c8'"), bytes(64)),
    "strings": _npy(_header("'<U4'"), bytes(128)),
    "times": _npy(_header("'<M8[s]'"), bytes(64)),
    "call in the header": _npy("__import__('os').mkdir('" + _STOLEN + "')\n", bytes(16)),
    "deep nesting": _npy("(" * 3000 + ")" * 1000, bytes(16)),
    "40 MB header": _npy(_header() + " " * 40_000_000, bytes(16), b"\x02\x00"),
    "version 3": _npy(_header(), bytes(16), b"\x03\x00"),
    "version 9": _npy(_header(), bytes(16), b"\x09\x00"),
    "truncated": _npy(_header(), bytes(15)),
    "too long": _npy(_header(), bytes(17)),
    "header length 0": b"\x93NUMPY\x01\x00\x00\x00",
    "digits": _npy(_header(shape="(" + "9" * 3000 + ", 2, 2)"), bytes(16)),
}


def _zip(*members: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, compress_type=method)
    return stream.getvalue()


GOOD = _npy(_header(), bytes(16))
_FLAT = _zip(("heatmap.npy", GOOD))


def _patched(data: bytes, pattern: bytes, offset: int, value: bytes) -> bytes:
    """Overwrite bytes at `offset` behind the last occurrence of `pattern`."""
    at = data.rindex(pattern) + offset
    return data[:at] + value + data[at + len(value) :]


NPZ_CORPUS = {
    "empty": b"",
    "no zip": b"PK\x03\x04 nothing",
    "empty zip": _zip(),
    "cut": _FLAT[:-10],
    "cut in the data": _FLAT[: len(_FLAT) // 2],
    "no arrays": _zip(("a.txt", b"hello")),
    "escape": _zip(("../../escape.npy", GOOD)),
    "absolute": _zip(("/etc/x.npy", GOOD)),
    "backslash": _zip(("a\\b.npy", GOOD)),
    "objects": _zip(("heatmap.npy", NPY_CORPUS["objects"])),
    "58 TiB": _zip(("heatmap.npy", NPY_CORPUS["58 TiB"])),
    "bzip2": _zip(("heatmap.npy", GOOD), method=zipfile.ZIP_BZIP2),
    "bomb": _zip(
        ("heatmap.npy", _npy(_header(shape="(150000, 32, 32)"), bytes(300 << 20))), method=zipfile.ZIP_DEFLATED
    ),
    "encrypted": _patched(_FLAT, b"PK\x01\x02", 8, b"\x01"),
    "sizes differ": _patched(_FLAT, b"PK\x01\x02", 24, b"\x01"),
    "offset beyond": _patched(_FLAT, b"PK\x01\x02", 42, b"\xff\xff\xff\x0f"),
    "huge directory": _patched(_FLAT, b"PK\x05\x06", 12, b"\xfe\xff\xff\xff"),
    "zip64 without record": _patched(_FLAT, b"PK\x05\x06", 12, b"\xff\xff\xff\xff"),
    "local header gone": b"XX" + _FLAT[2:],
    "flipped deflate": _patched(_zip(("heatmap.npy", GOOD), method=zipfile.ZIP_DEFLATED), b"heatmap.npy", -60, b"\x55"),
}


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, in which the marker of executed code would show."""
    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return tmp_path


def _refused_in_little_memory(work: Callable[[], Any], folder: Path) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(DataFileError) as caught:
            work()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 32 << 20, f"{peak} bytes were allocated to refuse this"
    assert not (folder / "cwd" / _STOLEN).exists(), "code from the file was run"
    assert str(folder) in str(caught.value), "the message names the file"


@pytest.mark.parametrize("name", NPY_CORPUS)
def test_hostile_npy_is_refused(nowhere: Path, name: str) -> None:
    (nowhere / "v.npy").write_bytes(NPY_CORPUS[name])
    _refused_in_little_memory(lambda: load_npy(nowhere / "v.npy"), nowhere)
    _refused_in_little_memory(lambda: HeatmapReader(nowhere, "v"), nowhere)


@pytest.mark.parametrize("name", NPZ_CORPUS)
def test_hostile_npz_is_refused(nowhere: Path, name: str) -> None:
    (nowhere / "v.npz").write_bytes(NPZ_CORPUS[name])
    _refused_in_little_memory(lambda: HeatmapReader(nowhere, "v"), nowhere)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_duplicate_members_are_refused(nowhere: Path) -> None:
    (nowhere / "v.npz").write_bytes(_zip(("heatmap.npy", GOOD), ("heatmap.npy", GOOD)))
    with pytest.raises(DataFileError, match="occurs twice"):
        HeatmapReader(nowhere, "v")


IDS = ["..", "../x", "/etc/passwd", "a/../../x", "", ".hidden", "a//b", "a\x00b", "a\\b", "x\u202ey", "a" * 300]


@pytest.mark.parametrize("video_id", IDS)
def test_ids_that_lead_out_are_refused(packed: Path, video_id: str) -> None:
    with pytest.raises(DataFileError):
        HeatmapReader(packed / "npz-float16", video_id, missing="zero")


def test_links_that_lead_out_are_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    np.savez(tmp_path / "outside.npz", x=MAPS)
    (tmp_path / "data" / "v.npz").symlink_to(tmp_path / "outside.npz")
    with pytest.raises(DataFileError, match="symbolic link"):
        HeatmapReader(tmp_path / "data", "v")


MANIFESTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "leads out": lambda m: m["videos"]["take/cam01"].update(file="../../etc/passwd.npz"),
    "another's file": lambda m: m["videos"]["take/cam01"].update(file="take/cam02.npz"),
    "other T": lambda m: m["videos"]["take/cam01"].update(T=13),
    "other dtype": lambda m: m["videos"]["take/cam01"].update(dtype="float32"),
    "unknown key": lambda m: m["videos"]["take/cam01"].update(extra=1),
    "no videos": lambda m: m.pop("videos"),
    "another format": lambda m: m.update(schema_name="other"),
    "of the future": lambda m: m.update(schema_version=2),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifests_that_lie_are_refused(packed: Path, tmp_path: Path, name: str) -> None:
    manifest = json.loads((packed / "npz-float16" / "manifest.json").read_text())
    MANIFESTS[name](manifest)
    (tmp_path / "take").mkdir()
    (tmp_path / "take" / "cam01.npz").write_bytes((packed / "npz-float16" / "take" / "cam01.npz").read_bytes())
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataFileError):
        HeatmapReader(tmp_path, "take/cam01")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_mutated_files_read_right_or_are_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Whatever single bytes change: a DataFileError or an array, never another exception, never much memory."""
    folder = tmp_path_factory.getbasetemp()
    method = data.draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
    content = bytearray(_zip(("heatmap.npy", _npy(_header(), bytes(range(16)))), method=method))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = folder / "mutant.npz"
    path.write_bytes(content)
    try:
        reader = HeatmapReader(folder, "mutant")
        maps = reader.read(list(range(min(len(reader), 4))))
        assert maps.dtype == np.float32
    except DataFileError as error:
        assert str(path) in str(error)


def test_a_file_that_is_cut_while_open_is_an_error_not_a_crash(tmp_path: Path) -> None:
    """A memory map would end the process with SIGBUS here."""
    np.savez(tmp_path / "v.npz", x=MAPS)
    reader = HeatmapReader(tmp_path, "v")
    os.truncate(tmp_path / "v.npz", 200)
    with pytest.raises(DataFileError, match="became shorter"):
        reader.read([8])


def test_a_replaced_file_does_not_disturb_an_open_reader(tmp_path: Path) -> None:
    np.savez(tmp_path / "v.npz", x=MAPS)
    reader = HeatmapReader(tmp_path, "v")
    np.savez(tmp_path / "new.npz", x=1 - MAPS)
    (tmp_path / "new.npz").replace(tmp_path / "v.npz")
    np.testing.assert_array_equal(reader.read([8]), MAPS[[8]].astype(np.float32))


def test_large_arrays_that_must_be_read_whole_are_capped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "v.npz", x=MAPS)
    monkeypatch.setattr("gazetools.io.arrays.MAX_LOADED_BYTES", 100)
    with Npz(tmp_path / "v.npz") as archive, pytest.raises(DataFileError, match="at most 100 are allowed"):
        archive.load("x")


def test_blocks_are_the_array(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "v.npz", x=MAPS)
    with Npz(tmp_path / "v.npz") as archive:
        blocks = list(archive.iter_blocks("x", 4))
    assert [len(block) for block in blocks] == [4, 4, 1]
    np.testing.assert_array_equal(np.concatenate(blocks), MAPS)
