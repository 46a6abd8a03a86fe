"""PyTorch's and zarr's files as heatmaps of other tools: all commands read the same maps, or refuse for one reason."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gazetools import HeatmapReader
from gazetools.io.pt_archive import PtArchive
from gazetools.layouts.base import FileMaps
from gazetools.layouts.registry import foreign_layout
from gazetools.schemas.errors import DataFileError, EnvironmentLacksError, GazetoolsError
from gazetools.schemas.foreign import ArrayChoice
from gazetools.validation import validate
from tests.heatmaps.test_same_answer import COMMANDS, MAPS, SQUARE, Folder
from tests.helpers.command_line import run_cli

T, H, W = MAPS.shape
TENSOR = torch.from_numpy(MAPS)
HALF = MAPS.astype(np.float16).astype(np.float32)
BFLOAT = TENSOR.bfloat16()


def _pt(value: Any, name: str = "v.pt") -> Callable[[Path], None]:
    return lambda root: torch.save(value, root / name)


class Runs:
    """Unpickled by the wrong reader, it writes a file."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("ran"),))


def _frames(root: Path) -> None:
    (root / "v").mkdir()
    for number in range(T):
        torch.save(TENSOR[number].clone(), root / "v" / f"frame_{number:06d}.pt")


def _script(root: Path) -> None:
    with zipfile.ZipFile(root / "v.pt", "w") as archive:
        archive.writestr("v/data.pkl", b"c__torch__.Model\nModel\n.")


READ: dict[str, Folder] = {
    "a tensor": Folder(_pt(TENSOR), MAPS),
    "in a dict": Folder(_pt({"maps": TENSOR, "fps": 30.0, "note": "x"}), MAPS),
    "in an OrderedDict in a dict": Folder(_pt({"gaze": OrderedDict(map=TENSOR[:, None])}), MAPS),
    ".pth of float16": Folder(_pt(TENSOR.half(), "v.pth"), HALF),
    "bfloat16, which numpy lacks": Folder(_pt(BFLOAT), BFLOAT.float().numpy()),
    "a part of a larger tensor": Folder(_pt(torch.cat([TENSOR + 1, TENSOR])[T:]), MAPS),
    "every second of a larger tensor": Folder(_pt(TENSOR.repeat_interleave(2, 0)[::2]), MAPS),
    "frames last, said so": Folder(_pt(TENSOR.permute(1, 2, 0).contiguous()), MAPS, {"axes": "HWT"}),
    "frames last in memory": Folder(_pt(TENSOR.permute(1, 2, 0).contiguous().permute(2, 0, 1)), MAPS),
    "two that fit, one named": Folder(_pt({"a": TENSOR + 1, "b": TENSOR}), MAPS, {"key": "b"}),
    "a parameter": Folder(_pt(torch.nn.Parameter(TENSOR)), MAPS),
    "one map": Folder(_pt(TENSOR[:1]), MAPS[:1]),
}
REFUSED: dict[str, Folder] = {
    "two that fit": Folder(_pt({"a": TENSOR, "b": TENSOR}), says=("a [12,9,16]", "--key NAME")),
    "square maps with another length last": Folder(_pt(torch.rand(16, 16, 40)), says=("--axes THW", "--axes HWT")),
    "code": Folder(_pt({"maps": TENSOR, "extra": Runs()}), says=("could run code",), code="format-not-read"),
    "a script": Folder(_script, says=("__torch__.Model", "could run code"), code="format-not-read"),
    "a list": Folder(_pt([TENSOR, TENSOR]), says=("neither a tensor nor a dict",), code="format-not-read"),
    "no tensor": Folder(_pt({"fps": 3}), says=("it holds no tensor",), code="format-not-read"),
    "a table of boxes": Folder(_pt(torch.rand(T, 4)), says=("[12, 4]",), code="unexpected-shape"),
    "before PyTorch 1.6": Folder(
        lambda root: (root / "v.pt").write_bytes(pickle.dumps(1)), says=("since 1.6",), code="format-not-read"
    ),
    "a tensor for each frame": Folder(_frames, says=("v has 12 frames in files such as frame_000000.pt",),
                                      code="format-not-read"),
    "two files of one video": Folder(
        lambda root: (_pt(TENSOR)(root), np.save(root / "v.npy", MAPS)), says=("v.pt", "v.npy"), code="duplicate-id"
    ),
}  # fmt: skip


def zarr_cases() -> tuple[dict[str, Folder], dict[str, Folder]]:
    """What is read and what is refused of zarr stores; both are empty without the package."""
    zarr = pytest.importorskip("zarr", reason="the extra [zarr] is not installed: pip install -e '.[zarr]'")
    from zarr.storage import ZipStore

    def store(root: Path, name: str) -> Any:
        return ZipStore(root / name, mode="w") if name.endswith(".zip") else root / name

    def array(maps: np.ndarray[Any, Any], version: int, name: str = "v.zarr", **how: Any) -> Callable[[Path], None]:
        def make(root: Path) -> None:
            place = store(root, name)
            how.setdefault("chunks", (5, *maps.shape[1:]))
            one = zarr.create_array(place, shape=maps.shape, dtype=maps.dtype, zarr_format=version, **how)
            one[:] = maps
            if name.endswith(".zip"):
                place.close()

        return make

    def group(version: int, **arrays: np.ndarray[Any, Any]) -> Callable[[Path], None]:
        def make(root: Path) -> None:
            top = zarr.open_group(root / "v.zarr", mode="w", zarr_format=version)
            for name, maps in arrays.items():
                top.create_array(name, shape=maps.shape, dtype=maps.dtype, chunks=maps.shape)[:] = maps

        return make

    def empty(root: Path) -> None:
        zarr.create_array(root / "v.zarr", shape=MAPS.shape, dtype="f4", chunks=(5, H, W))

    def pickled(root: Path) -> None:
        array(MAPS, 2)(root)
        place = root / "v.zarr" / ".zarray"
        facts = json.loads(place.read_text()) | {"compressor": {"id": "pickle", "protocol": 5}}
        place.write_text(json.dumps(facts))
        for chunk in (root / "v.zarr").glob("?.0.0"):
            chunk.write_bytes(pickle.dumps(Runs()))

    def base64(root: Path) -> None:
        array(MAPS, 2)(root)
        place = root / "v.zarr" / ".zarray"
        place.write_text(json.dumps(json.loads(place.read_text()) | {"compressor": {"id": "base64"}}))

    def cut(root: Path) -> None:
        array(MAPS, 3)(root)
        chunk = root / "v.zarr" / "c" / "1" / "0" / "0"
        chunk.write_bytes(chunk.read_bytes()[:-20])

    turned = np.ascontiguousarray(MAPS.transpose(1, 2, 0))
    read = {
        "version 2": Folder(array(MAPS, 2), MAPS),
        "version 3": Folder(array(MAPS, 3), MAPS),
        "version 2 in a .zip": Folder(array(MAPS, 2, "v.zarr.zip"), MAPS),
        "version 3 in a .zip": Folder(array(MAPS, 3, "v.zarr.zip"), MAPS),
        "chunks inside of shards": Folder(array(MAPS, 3, chunks=(2, H, W), shards=(6, H, W)), MAPS),
        "chunks that cut the maps": Folder(array(MAPS, 3, chunks=(5, 4, 7)), MAPS),
        "float16, big-endian": Folder(array(MAPS.astype(">f2"), 2), HALF),
        "a group with boxes": Folder(group(3, boxes=np.ones((T, 4), np.float32), gaze=MAPS), MAPS),
        "a group of two, one named": Folder(group(2, a=SQUARE, b=SQUARE + 1), SQUARE, {"key": "a"}),
        "frames last, said so": Folder(array(turned, 2), MAPS, {"axes": "HWT"}),
        "axes named as they lie": Folder(array(MAPS, 3, dimension_names=("time", "y", "x")), MAPS),
    }
    refused = {
        "a group of two": Folder(group(2, a=SQUARE, b=SQUARE), says=("a [12,16,16]", "--key NAME")),
        "axes named otherwise": Folder(
            array(turned, 3, dimension_names=("y", "x", "time")), says=("names its axes y, x, time", "--axes ORDER")
        ),
        "no chunk": Folder(empty, says=("not one chunk",), code="file-unreadable"),
        "chunks of pickles": Folder(pickled, says=("cannot be opened", "pickle"), code="file-unreadable"),
        "a codec that is not on the list": Folder(
            base64, says=("by the codecs base64", "could run code"), code="format-not-read"
        ),
        "a cut chunk": Folder(cut, says=("damaged chunks in 5..9",), code="file-unreadable"),
        "no store": Folder(
            lambda root: (root / "v.zarr").mkdir(), says=("cannot be opened as a zarr store",), code="file-unreadable"
        ),
    }  # fmt: skip
    return read, refused


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "maps").mkdir()
    return tmp_path / "maps"


def _is_read(root: Path, folder: Folder, where: str) -> None:
    folder.make(root)
    for command, read in COMMANDS.items():
        maps, valid = read(root, ArrayChoice(**folder.choice))
        np.testing.assert_allclose(maps, folder.maps, rtol=1e-6, atol=1e-7, err_msg=f"{where}: {command}")
        assert all(valid), (where, command)
    assert not [f for f in validate(root, **folder.choice).findings if f.severity == "error"], where


def _is_refused(root: Path, folder: Folder, where: str) -> None:
    folder.make(root)
    for command, read in COMMANDS.items():
        if command == "validate" and folder.code == "duplicate-id":
            continue  # reads the first and names both
        with pytest.raises(GazetoolsError) as caught:
            read(root, ArrayChoice(**folder.choice))
        text = str(caught.value)
        assert [part for part in folder.says if part not in text] == [], f"{where}: {command}: {text}"
    errors = [f for f in validate(root, **folder.choice).findings if f.severity == "error"]
    assert folder.code in {f.code for f in errors}, (where, errors)
    assert not (root.parent / "ran").exists(), "nothing in the file was run"


@pytest.mark.parametrize("name", READ)
def test_every_command_reads_the_same_tensors(root: Path, name: str) -> None:
    _is_read(root, READ[name], name)


@pytest.mark.parametrize("name", REFUSED)
def test_every_command_refuses_a_pytorch_file_for_one_reason(root: Path, name: str) -> None:
    _is_refused(root, REFUSED[name], name)


@pytest.mark.slow
@pytest.mark.parametrize("is_read", [True, False], ids=["read", "refused"])
def test_every_command_on_zarr_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_read: bool) -> None:
    cases = zarr_cases()[0 if is_read else 1]
    for number, (name, folder) in enumerate(cases.items()):
        place = tmp_path / str(number) / "maps"
        place.mkdir(parents=True)
        monkeypatch.chdir(place.parent)
        (_is_read if is_read else _is_refused)(place, folder, name)


def test_a_contiguous_tensor_is_read_by_position_and_not_as_a_whole(root: Path) -> None:
    """Other parts of the file may be damaged: only the wanted maps are read."""
    _pt(TENSOR)(root)
    layout = foreign_layout(root / "v.pt", ArrayChoice())
    with layout.open(root / "v.pt") as maps:
        assert isinstance(maps, FileMaps)
        np.testing.assert_array_equal(maps.read(np.array([3, 9])), MAPS[[3, 9]])
    with zipfile.ZipFile(root / "v.pt") as archive:
        assert archive.read("v/data/0")[3 * H * W * 4 :][:16] == MAPS[3].tobytes()[:16]


def test_a_tensor_that_states_more_than_its_file_has(root: Path) -> None:
    """An expanded tensor (stride 0) of 4 bytes could ask for any amount of memory."""
    _pt(torch.zeros(1).expand(1 << 20, 64, 64))(root)
    with pytest.raises(DataFileError, match=r"more numbers than its storage|must be read whole"):
        PtArchive(root / "v.pt").load("")


def test_without_zarr_the_extra_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "v.zarr").mkdir()
    monkeypatch.setitem(__import__("sys").modules, "zarr", None)
    with pytest.raises(EnvironmentLacksError, match=r"pip install 'gazetools\[zarr\]'"):
        HeatmapReader(root, "v")
    done = run_cli("validate", str(root))
    assert done.exit_code == 3 and "gazetools[zarr]" in done.stderr
