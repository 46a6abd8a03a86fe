"""A layout and normalisations that another package registers: packed, read, converted and validated by their names."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gazetools import HeatmapReader
from gazetools.heatmaps import normalise
from gazetools.heatmaps.normalise import NORMALISATIONS, Maps, Normalisation
from gazetools.io.arrays import AnyArray, ArrayHeader
from gazetools.io.atomic import atomic_path, sha256_of_file
from gazetools.layouts import registry
from gazetools.layouts.base import MEMBER_TYPES, DatasetLayout, MapStream, SideMembers, Written
from gazetools.schemas.dataset import INVERSE_MEMBERS, LAYOUT_NAMES, NORMALISATION_NAMES, SUM_TO_ONE
from gazetools.validation import validate
from tests.helpers.command_line import run_cli
from tests.helpers.stores import MadeVideo, make_video


class _Members:
    """A line of JSON with type and shape of each array, then their bytes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            stated = json.loads(file.readline())
            offset = file.tell()
        self._headers = {}
        for name, (dtype, shape) in stated.items():
            header = ArrayHeader(dtype=np.dtype(dtype), shape=tuple(shape), fortran_order=False, data_offset=offset)
            self._headers[name] = header
            offset += header.nbytes

    @property
    def names(self) -> list[str]:
        return list(self._headers)

    def layout(self, name: str) -> ArrayHeader:
        return self._headers[name]

    def load(self, name: str) -> AnyArray:
        header = self._headers[name]
        count = math.prod(header.shape)
        return np.fromfile(self.path, header.dtype, count=count, offset=header.data_offset).reshape(header.shape)

    def close(self) -> None:
        pass


class ToyLayout(DatasetLayout):
    """`<video_id>.toy`: no more than what the interface asks for."""

    suffix = ".toy"

    def write(self, path: Path, stream: MapStream) -> Written:
        headers = {"heatmap": (stream.dtype.str, stream.shape)}
        headers |= {name: (MEMBER_TYPES[name].str, stream.shape[:1]) for name in stream.member_names}
        with atomic_path(path) as temp:
            with temp.open("wb") as file:
                file.write(json.dumps(headers).encode() + b"\n")
                for block in stream.blocks:
                    file.write(block.tobytes())
                for array in stream.members().values():
                    file.write(array.tobytes())
            return Written(sha256=sha256_of_file(temp), bytes=temp.stat().st_size)

    def open_members(self, path: Path, *, required: bool) -> _Members:
        return _Members(path)

    def header(self, path: Path, members: SideMembers | None = None) -> tuple[ArrayHeader, str]:
        return (members or _Members(path)).layout("heatmap"), str(path)

    def readme(self, file: str) -> str:
        return f"Or parse {file} by hand."


class Halved(Normalisation):
    """x / (2 max(x))."""

    sentence, members, peak, promise = "each map scaled to the peak 0.5", INVERSE_MEMBERS, 0.5, "have the peak 0.5"

    def apply(self, maps: Maps, temperature: float) -> Maps:
        return maps / np.maximum(2 * maps.max(axis=(1, 2), keepdims=True), np.float32(1e-9))

    def inverse(self, maps: Maps, temperature: float) -> Any:
        return 2 * maps.max(axis=(1, 2)), np.zeros(len(maps), np.float32)


class Broken(Normalisation):
    """Says that maps sum to 1 and leaves them as they are."""

    total, promise = 1.0, "sum to 1"


@pytest.fixture
def registered() -> Iterator[None]:
    """The layout `toy` and the normalisations `toy2` and `toy3`, for one test."""
    registry.register("toy", ToyLayout())
    normalise.register("toy2", Halved())
    normalise.register("toy3", Broken())
    yield
    del registry.LAYOUTS["toy"], NORMALISATIONS["toy2"], NORMALISATIONS["toy3"]
    LAYOUT_NAMES.remove("toy")
    NORMALISATION_NAMES.remove("toy2")
    NORMALISATION_NAMES.remove("toy3")
    SUM_TO_ONE.remove("toy3")


@pytest.fixture
def made(tmp_path: Path) -> MadeVideo:
    return make_video(tmp_path / "store", "take/cam01", people={f: [1] for f in range(12) if f != 4})


def _codes(root: Path) -> list[str]:
    """Codes of errors and warnings; the videos are nowhere, so that nothing is compared with them."""
    codes = [found.code for found in validate(root).findings if found.severity != "note"]
    return [code for code in codes if code != "videos-not-compared"]


def _pack(tmp_path: Path, name: str, *options: str) -> list[str]:
    done = run_cli("pack", str(tmp_path / "store"), "-o", str(tmp_path / name), "--json", *options)
    assert done.exit_code == 0, done.stderr
    return [item["status"] for item in json.loads(done.stdout)["items"]]


@pytest.mark.usefixtures("registered")
def test_packed_read_and_validated_by_their_names(tmp_path: Path, made: MadeVideo) -> None:
    options = ("--layout", "toy", "--normalize", "toy2", "--dtype", "float32")
    assert _pack(tmp_path, "data", *options) == ["packed"]
    assert _pack(tmp_path, "data", *options) == ["unchanged"]
    assert (tmp_path / "data" / "take" / "cam01.toy").is_file()
    readme = (tmp_path / "data" / "README.md").read_text()
    assert "each map scaled to the peak 0.5" in readme
    assert "Or parse take/cam01.toy by hand." in readme
    reader = HeatmapReader(tmp_path / "data", "take/cam01")
    assert np.flatnonzero(~reader.valid).tolist() == [4]
    raw = np.stack([made.maps[f, 1].astype(np.float32) for f in (7, 0)])
    np.testing.assert_allclose(reader.read([7, 0]), raw / raw.max(axis=(1, 2), keepdims=True) / 2, rtol=1e-6)
    scale = _Members(tmp_path / "data" / "take" / "cam01.toy").load("norm_scale")
    np.testing.assert_allclose(reader.read([7, 0]) * scale[[7, 0], None, None], raw, rtol=1e-6)
    assert _codes(tmp_path / "data") == []


@pytest.mark.usefixtures("registered")
def test_converted_both_ways(tmp_path: Path, made: MadeVideo) -> None:
    """The bytes are those that pack would have written."""
    for layout in ("npz", "toy"):
        _pack(tmp_path, layout, "--layout", layout, "--normalize", "toy2")
    for source, layout in (("npz", "toy"), ("toy", "npz")):
        target = tmp_path / f"new {layout}"
        done = run_cli("convert", str(tmp_path / source), "-o", str(target), "--layout", layout)
        assert done.exit_code == 0, done.stderr
        suffix = registry.LAYOUTS[layout].suffix
        for name in (f"take/cam01{suffix}", "manifest.json", "README.md"):
            assert (target / name).read_bytes() == (tmp_path / layout / name).read_bytes()


@pytest.mark.usefixtures("registered")
def test_validate_holds_a_normalisation_to_its_promise(tmp_path: Path, made: MadeVideo) -> None:
    _pack(tmp_path, "data", "--layout", "toy", "--normalize", "toy3")
    assert _codes(tmp_path / "data") == ["normalisation-off"]
    done = run_cli(
        "pack", str(tmp_path / "store"), "-o", str(tmp_path / "x"), "--normalize", "toy3", "--dtype", "uint8"
    )
    assert done.exit_code == 2
    assert "maps that sum to 1" in done.stderr


@pytest.mark.usefixtures("registered")
def test_a_damaged_file_of_the_layout_is_found(tmp_path: Path, made: MadeVideo) -> None:
    _pack(tmp_path, "data", "--layout", "toy")
    path = tmp_path / "data" / "take" / "cam01.toy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert "checksum-mismatch" in _codes(tmp_path / "data")


def test_settings_and_tables_have_the_same_names() -> None:
    assert list(LAYOUT_NAMES) == list(registry.LAYOUTS)
    assert list(NORMALISATION_NAMES) == list(NORMALISATIONS)
    assert {name for name, rule in NORMALISATIONS.items() if rule.total == 1} == SUM_TO_ONE
    assert run_cli("pack", "x", "-o", "y", "--layout", "toy").exit_code == 2


def test_a_taken_name_or_suffix_is_refused() -> None:
    class Again(ToyLayout):
        suffix = ".npz"

    with pytest.raises(ValueError, match=r"suffix '\.npz' is taken"):
        registry.register("mine", Again())
    with pytest.raises(ValueError, match="'npz' is taken"):
        registry.register("npz", ToyLayout())
    with pytest.raises(ValueError, match="'max' is taken"):
        normalise.register("max", Halved())
