"""Folders of other tools' heatmaps: every command reads the same maps of one folder, or refuses it for one reason."""

from __future__ import annotations

import io
import unicodedata
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from gazetools import HeatmapDataset, HeatmapReader
from gazetools.packing import convert
from gazetools.preview.rows import open_overlays
from gazetools.schemas.errors import GazetoolsError
from gazetools.schemas.findings import Finding
from gazetools.schemas.foreign import ArrayChoice
from gazetools.trainer.data.maps.dataset import DatasetMaps
from gazetools.validation import validate
from gazetools.validation.collection import collect
from gazetools.validation.deep.samples import read_rows
from gazetools.validation.load import load

Maps = npt.NDArray[np.float32]
T, H, W = 12, 9, 16
MAPS = np.random.default_rng(3).random((T, H, W)).astype(np.float32)
SQUARE = np.random.default_rng(4).random((T, 16, 16)).astype(np.float32)


@dataclass(frozen=True)
class Folder:
    """A folder with heatmaps of the video `v`, and what is right for it."""

    make: Callable[[Path], object]
    maps: Maps | None = None
    """The maps that every command must read; zeros where there is none. None: all must refuse it."""
    choice: dict[str, Any] = field(default_factory=dict)
    absent: tuple[int, ...] = ()
    """Rows that have no map."""
    says: tuple[str, ...] = ()
    """What the error must name."""
    code: str = "maps-ambiguous"
    """The error of validate."""


def _save(maps: npt.NDArray[Any], name: str = "frame_{:06d}.npy", first: int = 0) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        (root / "v").mkdir(exist_ok=True)
        for number, one in enumerate(maps, first):
            np.save(root / "v" / name.format(number), one)

    return make


def _findings(root: Path) -> list[Finding]:
    """What validate finds, apart from the note that no videos were given to compare with."""
    return [found for found in validate(root).findings if found.code != "videos-unstated"]


def _npz(*, compressed: bool = False, **arrays: Any) -> Callable[[Path], None]:
    write = np.savez_compressed if compressed else np.savez
    return lambda root: write(root / "v.npz", **arrays)


def _npy(array: npt.NDArray[Any]) -> Callable[[Path], None]:
    return lambda root: np.save(root / "v.npy", array)


def _both(*makers: Callable[[Path], object]) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        for one in makers:
            one(root)

    return make


def _remove(*numbers: int) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        for number in numbers:
            (root / "v" / f"frame_{number:06d}.npy").unlink()

    return make


def _in_hub_cache(root: Path) -> None:
    """As `huggingface_hub` lays out a download; `root` becomes a link to the snapshot, as users make them."""
    repository = root.parent / "datasets--someone--gaze"
    (repository / "blobs").mkdir(parents=True)
    snapshot = repository / "snapshots" / ("0" * 40) / "maps"
    snapshot.mkdir(parents=True)
    np.savez(root.parent / "made.npz", gaze=MAPS)
    (root.parent / "made.npz").rename(repository / "blobs" / ("a" * 64))
    (snapshot / "v.npz").symlink_to(f"../../../blobs/{'a' * 64}")
    root.rmdir()
    root.symlink_to(snapshot)


def _link_to(place: str) -> Callable[[Path], None]:
    """v.npz is a link to a file at `place`, relative to the folder."""

    def make(root: Path) -> None:
        target = root / place
        target.parent.mkdir(parents=True, exist_ok=True)
        np.savez(target.with_suffix(".npz"), gaze=MAPS)
        if target.suffix != ".npz":
            target.with_suffix(".npz").rename(target)
        (root / "v.npz").symlink_to(target)

    return make


def _rename(old: str, new: str) -> Callable[[Path], object]:
    return lambda root: (root / old).rename(root / new)


def _rename_all(old: str, new: str) -> Callable[[Path], object]:
    return lambda root: [path.rename(path.with_suffix(new)) for path in (root / "v").iterdir() if path.suffix == old]


def _npz_frame(number: int, name: str = "frame_{:06d}.npz", **more: Any) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        (root / "v").mkdir(exist_ok=True)
        np.savez(root / "v" / name.format(number), heatmap=MAPS[number], **more)

    return make


def _zip(**members: Any) -> Callable[[Path], None]:
    """v.npz as a zip program writes it, with members that are no arrays."""

    def make(root: Path) -> None:
        with zipfile.ZipFile(root / "v.npz", "w") as archive:
            for name, value in members.items():
                data = io.BytesIO(value if isinstance(value, bytes) else b"")
                if not isinstance(value, bytes):
                    np.save(data, value)
                archive.writestr(f"{name}.npy", data.getvalue())

    return make


def _holes(maps: Maps, *rows: int) -> Maps:
    maps = maps.copy()
    maps[list(rows)] = 0
    return maps


_BESIDE = {"boxes": np.zeros((T, 4), np.float32), "frame_idx": np.arange(T), "fps": np.float64(24)}
_KEYPOINTS = np.random.default_rng(0).random((T, 17, 3)).astype(np.float32)

READ: dict[str, Folder] = {
    "boxes, indices, rate before the maps": Folder(_npz(**_BESIDE, gaze=MAPS), MAPS),
    "keypoints and a mean map": Folder(_npz(a=_KEYPOINTS, b=MAPS.mean(0), z=MAPS), MAPS),
    "labels of integers of the same shape": Folder(_npz(labels=np.zeros((T, H, W), np.int64), gaze=MAPS), MAPS),
    "pictures in colour": Folder(_npz(rgb=np.zeros((T, H, W, 3), np.uint8), gaze=MAPS), MAPS),
    "texts and objects": Folder(_npz(names=np.array(["a"] * T), info=np.array([{}], object), gaze=MAPS), MAPS),
    "small embeddings [T,4,4]": Folder(_npz(pose=np.zeros((T, 4, 4)), gaze=MAPS), MAPS),
    "two stacks, one named": Folder(_npz(depth=MAPS[::-1], gaze=MAPS), MAPS, {"key": "gaze"}),
    "one person of three": Folder(
        _npz(**{f"person_{k}": MAPS * (k / 3) for k in range(3)}), MAPS * np.float32(1 / 3), {"key": "person_1"}
    ),
    "one map [H,W] of one frame": Folder(_npz(heatmap=MAPS[0]), MAPS[:1]),
    "one square map [H,W]": Folder(_npz(x=SQUARE[0], boxes=np.zeros((1, 4))), SQUARE[:1]),
    "float64 [T,1,H,W], compressed": Folder(_npz(compressed=True, x=MAPS[:, None].astype(np.float64)), MAPS),
    "[T,H,W,1]": Folder(_npz(x=MAPS[..., None]), MAPS),
    "[1,T,H,W] with axes": Folder(_npz(x=MAPS[None]), MAPS, {"axes": "1thw"}),
    "[T,C,H,W] with axes": Folder(_npz(x=MAPS[:, None]), MAPS, {"axes": "TCHW"}),
    "[H,W,T] with axes": Folder(_npz(x=MAPS.transpose(1, 2, 0)), MAPS, {"axes": "HWT"}),
    "[H,W,T] square, compressed, with axes": Folder(
        _npz(compressed=True, x=np.ascontiguousarray(SQUARE.transpose(1, 2, 0))), SQUARE, {"axes": "HWT"}
    ),
    "[N,N,T] that is [T,H,W] with axes": Folder(_npz(x=np.concatenate([MAPS[:9, :, :]])), MAPS[:9], {"axes": "THW"}),
    "[T,W,H] with axes": Folder(_npz(x=MAPS.transpose(0, 2, 1)), MAPS, {"axes": "TWH"}),
    "[H,W,T] in an .npy with axes": Folder(_npy(np.ascontiguousarray(MAPS.transpose(1, 2, 0))), MAPS, {"axes": "HWT"}),
    "Fortran order": Folder(_npy(np.asfortranarray(MAPS)), MAPS),
    "narrow maps with axes": Folder(_npz(x=MAPS[:, :, :4]), MAPS[:, :, :4], {"axes": "THW"}),
    "bool": Folder(_npz(x=MAPS > 0.5), (MAPS > 0.5).astype(np.float32)),
    "uint8": Folder(_npz(x=(MAPS * 255).astype(np.uint8)), (MAPS * 255).astype(np.uint8) / np.float32(255)),
    "float16 .npy": Folder(_npy(MAPS.astype(np.float16)), MAPS.astype(np.float16).astype(np.float32)),
    "key is for the .npz files of a folder": Folder(_npy(MAPS), MAPS, {"key": "gaze"}),
    "plain numbers": Folder(_save(MAPS, "{}.npy"), MAPS),
    "frames [H,W,1]": Folder(_save(MAPS[..., None]), MAPS),
    "frames [W,H] with axes": Folder(_save(MAPS.transpose(0, 2, 1)), MAPS, {"axes": "WH"}),
    "numbers from 1, said so": Folder(_save(MAPS, first=1), MAPS, {"first_frame": 1}),
    "numbers from 1, which are indices": Folder(
        _save(MAPS[1:], first=1), _holes(MAPS, 0), {"first_frame": 0}, absent=(0,)
    ),
    "a cut from frame 500 on, said so": Folder(_save(MAPS, "img{}.npy", first=500), MAPS, {"first_frame": 500}),
    "gaps in numbers from 0": Folder(_both(_save(MAPS), _remove(4, 5)), _holes(MAPS, 4, 5), absent=(4, 5)),
    "gaps in numbers from 1, said so": Folder(
        _both(_save(MAPS, first=1), _remove(4)), _holes(MAPS, 3), {"first_frame": 1}, absent=(3,)
    ),
    "files that macOS leaves on other disks": Folder(
        _both(_save(MAPS), lambda r: (r / "v" / "._frame_000000.npy").write_bytes(b"Mac OS X")), MAPS
    ),
    "an .npz in upper case": Folder(_both(_npz(x=MAPS), _rename("v.npz", "v.NPZ")), MAPS),
    "frames in upper case": Folder(_both(_save(MAPS), _rename_all(".npy", ".NPY")), MAPS),
    "what macOS adds to archives": Folder(_zip(x=MAPS, **{"__MACOSX/._x": b"Mac OS X", "._x": b"Mac OS X"}), MAPS),
    "pictures next to the frames": Folder(
        _both(_save(MAPS), lambda r: [(r / "v" / f"frame_{k:06d}.png").write_bytes(b"\x89PNG") for k in range(T)]), MAPS
    ),
    "other names with numbers next to the frames": Folder(
        _both(_save(MAPS), lambda r: np.savez(r / "v" / "scores_77.npz", a=np.ones(3))), MAPS
    ),
    "a Hugging Face cache": Folder(_in_hub_cache, MAPS),
    "a link inside of the folder": Folder(_link_to("originals/w.bin"), MAPS),
    "our own file without its manifest": Folder(
        _npz(
            depth=MAPS[::-1],
            heatmap=MAPS,
            valid=np.ones(T, np.bool_),
            inout=np.ones(T, np.float32),
            pts_seconds=np.arange(T) / 25,
        ),
        MAPS,
    ),
}

REFUSED: dict[str, Folder] = {
    "one .npz for each frame": Folder(
        _both(*(_npz_frame(k) for k in range(T))), says=("12 frames", "frame_000000.npz"), code="format-not-read"
    ),
    "one .npz for each frame, from 1 and with more": Folder(
        _both(*(_npz_frame(k, "{}.npz", box=np.zeros(4)) for k in range(1, 5))), says=("1.npz",), code="format-not-read"
    ),
    "frames in .npy and .npz": Folder(
        _both(_save(MAPS[:6]), *(_npz_frame(k) for k in range(6, T))),
        says=("6 frames", "frame_000006.npz", "6 in numbered .npy"),
        code="format-not-read",
    ),
    "frames in .npy and .pt": Folder(
        _both(_save(MAPS[:6]), lambda r: (r / "v" / "frame_000006.pt").write_bytes(b"PK")),
        says=("1 frames", "frame_000006.pt"),
        code="format-not-read",
    ),
    "no frames [0,H,W]": Folder(_npz(x=MAPS[:0]), says=("[0, 9, 16]", "length 0"), code="unexpected-shape"),
    "no frames [0,H,W] in an .npy": Folder(_npy(MAPS[:0]), says=("[0, 9, 16]",), code="unexpected-shape"),
    "no frames and boxes": Folder(
        _npz(x=MAPS[:0], boxes=np.ones((T, 4))), says=("[0,9,16]", "length 0"), code="unexpected-shape"
    ),
    "a structured array": Folder(
        _npz(x=np.zeros(T, [("map", "f4", (H, W)), ("t", "f8")])),
        says=("plain number", "numpy.stack"),
        code="file-unreadable",
    ),
    "a list of maps as objects": Folder(
        _npz(x=np.array([*MAPS, None], object)[:-1]), says=("object", "numpy.stack"), code="file-unreadable"
    ),
    "complex numbers": Folder(
        _npz(x=MAPS.astype(np.complex64)), says=("complex64", "numpy.stack"), code="file-unreadable"
    ),
    "people first [P,T,H,W]": Folder(
        _npz(x=np.stack([MAPS, MAPS])), says=("[2, 12, 9, 16]", "people"), code="unexpected-shape"
    ),
    "a number alone": Folder(_npz(fps=np.float64(24)), says=("fps has shape []",), code="unexpected-shape"),
    "two stacks": Folder(
        _npz(depth=MAPS, gaze=MAPS), says=("depth", "gaze", "[12,9,16]", "float32", "--key", "heatmap_key")
    ),
    "a name breaks no tie": Folder(_npz(heatmap=MAPS, depth=MAPS), says=("depth", "heatmap", "--key")),
    "one array for each person": Folder(_npz(p1=MAPS, p2=MAPS), says=("p1", "p2", "each person")),
    "one array for each frame": Folder(
        _npz(**{f"frame_{k:06d}": m for k, m in enumerate(MAPS)}), says=("frame_000000", "4 more", "numpy.stack")
    ),
    "savez(*maps)": Folder(
        _npz(**{f"arr_{k}": m for k, m in enumerate(MAPS[:3])}), says=("arr_0", "arr_2", "numpy.stack")
    ),
    "300 arrays": Folder(
        _npz(**{f"arr_{k}": MAPS[0] for k in range(300)}), says=("300 arrays", "numpy.stack"), code="file-unreadable"
    ),
    "a mask of the same shape": Folder(_npz(mask=MAPS > 0, gaze=MAPS), says=("mask", "bool", "gaze")),
    "[N,N,T]": Folder(
        _npz(x=SQUARE.transpose(1, 2, 0)), says=("[16, 16, 12]", "--axes HWT", "--axes THW", "heatmap_axes")
    ),
    "[N,N,T] in an .npy": Folder(_npy(SQUARE.transpose(1, 2, 0).copy()), says=("--axes HWT",)),
    "[N,N,T] that was named": Folder(
        _npz(x=SQUARE.transpose(1, 2, 0), y=MAPS), choice={"key": "x"}, says=("--axes HWT",)
    ),
    "[H,W,1]": Folder(_npz(x=MAPS[0][..., None]), says=("[9, 16, 1]", "--axes"), code="unexpected-shape"),
    "[1,T,H,W]": Folder(_npz(x=MAPS[None]), says=("[1, 12, 9, 16]", "--axes"), code="unexpected-shape"),
    "people [T,P,H,W]": Folder(
        _npz(x=np.stack([MAPS, MAPS], 1)), says=("[12, 2, 9, 16]", "people"), code="unexpected-shape"
    ),
    "only boxes": Folder(_npz(boxes=np.ones((T, 4), np.float32)), says=("[12, 4]",), code="unexpected-shape"),
    "only boxes in an .npy": Folder(_npy(np.ones((T, 4), np.float32)), says=("[12, 4]",), code="unexpected-shape"),
    "only boxes of people": Folder(
        _npz(boxes=np.ones((T, 2, 4), np.float32)), says=("[12, 2, 4]",), code="unexpected-shape"
    ),
    "only boxes of two people with scores": Folder(
        _npz(boxes=np.ones((T, 2, 6), np.float32)), says=("[12, 2, 6]",), code="unexpected-shape"
    ),
    "only keypoints": Folder(_npz(k=_KEYPOINTS), says=("[12, 17, 3]",), code="unexpected-shape"),
    "flattened maps": Folder(_npz(x=MAPS.reshape(T, -1)), says=("[12, 144]",), code="unexpected-shape"),
    "no arrays of numbers among several": Folder(
        _npz(a=np.array(["x"]), b=np.arange(T)), says=("no plain array", "[12] int64"), code="unexpected-shape"
    ),
    "a name that is not there": Folder(_npz(gaze=MAPS), choice={"key": "heat"}, says=("'heat'", "gaze")),
    "axes that do not fit": Folder(
        _npz(gaze=MAPS), choice={"axes": "T1HW"}, says=("[T,1,H,W]", "[12, 9, 16]"), code="unexpected-shape"
    ),
    "numbers from 1": Folder(
        _save(MAPS, first=1),
        says=("from 1 to 12", "--first-frame 1", "--first-frame 0", "heatmap_first_frame"),
        code="frame-file-missing",
    ),
    "numbers from 1 without padding": Folder(
        _save(MAPS, "{}.npy", first=1), says=("1.npy", "--first-frame 1"), code="frame-file-missing"
    ),
    "a cut from frame 500 on": Folder(_save(MAPS, first=500), says=("--first-frame 500",), code="frame-file-missing"),
    "numbers below the first frame": Folder(
        _save(MAPS), choice={"first_frame": 1}, says=("frame_000000", "--first-frame"), code="frame-file-missing"
    ),
    "frames of two people in one folder": Folder(
        _both(_save(MAPS[:3], "f_{:03d}_p00.npy"), _save(MAPS[:3], "f_{:03d}_p01.npy")),
        says=("f_000_p00.npy", "f_001_p00.npy", "same frame number 0", "each person"),
    ),
    "sizes in the names of frames": Folder(
        _save(MAPS, "f_{:03d}_16x9.npy"), says=("same frame number 9", "last number")
    ),
    "times as names": Folder(
        lambda r: [(r / "v").mkdir(), *(np.save(r / "v" / f"t{k / 25:.3f}.npy", m) for k, m in enumerate(MAPS))],
        says=("t0.000.npy", "times"),
    ),
    "frames of boxes": Folder(_save(np.ones((T, 12, 4))), says=("[12, 4]",), code="unexpected-shape"),
    "PyTorch's format": Folder(
        lambda r: (r / "v.pt").write_bytes(b"PK"), says=("v.pt", "PyTorch", "numpy.savez"), code="format-not-read"
    ),
    "a pickle": Folder(
        lambda r: (r / "v.pkl").write_bytes(b"\x80"), says=("pickled", "numpy.savez"), code="format-not-read"
    ),
    "two files of one video": Folder(_both(_npy(MAPS), _npz(x=MAPS)), says=("v.npy", "v.npz"), code="duplicate-id"),
    "a file and frames": Folder(
        _both(_save(MAPS), lambda r: np.save(r / "v" / "gaze.npy", MAPS)), says=("gaze.npy",), code="duplicate-id"
    ),
    "a link out of the folder": Folder(
        _link_to("../elsewhere/v.npz"), says=("symbolic link", "elsewhere"), code="link-outside"
    ),
    "a link to another cache's blobs": Folder(
        _link_to("../other/blobs/abc"), says=("symbolic link",), code="link-outside"
    ),
}


def _by_reader(root: Path, choice: ArrayChoice) -> tuple[Maps, list[bool]]:
    with HeatmapReader(root, "v", missing="error", choice=choice) as reader:
        valid = reader.valid.tolist()
    with HeatmapReader(root, "v", missing="zero", choice=choice) as reader:
        return reader.read(range(len(reader))), valid


def _by_dataset(root: Path, choice: ArrayChoice) -> tuple[Maps, list[bool]]:
    clips = HeatmapDataset(root, frames=1, missing="zero", choice=choice)
    assert clips.video_ids == ["v"]
    items = [clips[i] for i in range(len(clips))]
    return np.concatenate([one["heatmap"].numpy() for one in items]), [bool(one["valid"]) for one in items]


def _by_convert(root: Path, choice: ArrayChoice) -> tuple[Maps, list[bool]]:
    output = root.parent / "converted"
    report = convert(root, output, choice=choice, dtype="float32")
    for item in report.failed:
        raise GazetoolsError(str(item.reason))
    with HeatmapReader(output, "v") as reader:
        maps, valid = reader.read(range(len(reader))), reader.valid.tolist()
    assert bool(report.items[0].warnings) == (not all(valid)), "rows without a map are named"
    return maps, valid


def _by_preview(root: Path, choice: ArrayChoice) -> tuple[Maps, list[bool]]:
    with open_overlays(root, "v", choice) as source:
        rows, found = source.frames(), []
        for row in range(max(rows) + 1):
            people = source.people(row)
            found.append(people[0].heatmap if people else None)
    size = next(one.shape for one in found if one is not None)
    return np.stack([np.zeros(size, np.float32) if one is None else one for one in found]), [
        row in rows for row in range(len(found))
    ]


def _by_train(root: Path, choice: ArrayChoice) -> tuple[Maps, list[bool]]:
    source = DatasetMaps(root, choice=choice)
    survey = source.survey(["v"])
    for reason in survey.broken.values():
        raise GazetoolsError(reason)
    assert survey.present == {"v"}
    reader = source._open("v", "zero")
    return reader.read(range(len(reader))), reader.valid.tolist()


def _by_deep(root: Path, choice: ArrayChoice) -> tuple[Maps, list[bool]]:
    """What `validate` loads, and what it compares with a model."""
    (subject,) = collect(root, choice).subjects
    load(subject)
    if subject.stats is None:
        raise GazetoolsError(" ".join(found.message for found in subject.findings))
    valid = np.ones(len(subject.stats), np.bool_)
    for found in subject.findings:
        if found.code == "frame-file-missing":
            valid[found.frames] = False
    maps = np.zeros((len(valid), *(subject.size_hw or ())), np.float32)
    rows = np.flatnonzero(valid).tolist()
    maps[rows] = read_rows(subject, rows)
    np.testing.assert_allclose(subject.stats.total, maps.sum((1, 2), dtype=np.float64), rtol=1e-5)
    np.testing.assert_array_equal(subject.stats.high, maps.max((1, 2)))
    return maps, valid.tolist()


COMMANDS = {
    "reader": _by_reader,
    "torch dataset": _by_dataset,
    "convert": _by_convert,
    "preview": _by_preview,
    "train": _by_train,
    "validate": _by_deep,
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "maps").mkdir()
    return tmp_path / "maps"


@pytest.mark.parametrize("name", READ)
def test_every_command_reads_the_same_maps(root: Path, name: str) -> None:
    folder = READ[name]
    folder.make(root)
    assert folder.maps is not None
    for command, read in COMMANDS.items():
        maps, valid = read(root, ArrayChoice(**folder.choice))
        np.testing.assert_allclose(maps, folder.maps, rtol=1e-6, atol=1e-7, err_msg=command)
        assert np.flatnonzero(~np.array(valid)).tolist() == list(folder.absent), command
    findings = validate(root, **folder.choice).findings
    assert {f.code for f in findings if f.severity == "error"} == ({"frame-file-missing"} if folder.absent else set())
    assert "zero-maps" not in {f.code for f in findings}, "a frame without a file has no map, not one of zeros"


@pytest.mark.parametrize("name", REFUSED)
def test_every_command_refuses_it_for_the_same_reason(root: Path, name: str) -> None:
    folder = REFUSED[name]
    folder.make(root)
    choice = ArrayChoice(**folder.choice)
    for command, read in COMMANDS.items():
        if command == "validate" and folder.code == "duplicate-id":
            continue  # reads the first and names both, below
        with pytest.raises(GazetoolsError) as caught:
            read(root, choice)
        text = str(caught.value)
        assert [part for part in folder.says if part not in text] == [], f"{command}: {text}"
        assert len(text) < 900, command
    errors = [f for f in validate(root, **folder.choice).findings if f.severity == "error"]
    assert folder.code in {f.code for f in errors}, errors
    assert not (root.parent / "converted" / "v.npz").exists()


def test_folders_that_are_links_out_are_named(tmp_path: Path) -> None:
    """They are not followed; without a word their videos would just be missing."""
    (tmp_path / "disk" / "P01").mkdir(parents=True)
    np.savez(tmp_path / "disk" / "P01" / "v.npz", gaze=MAPS)
    (tmp_path / "maps").mkdir()
    np.savez(tmp_path / "maps" / "here.npz", gaze=MAPS)
    (tmp_path / "maps" / "P01").symlink_to(tmp_path / "disk" / "P01")
    (tmp_path / "clips").mkdir()
    (tmp_path / "maps" / "videos").symlink_to(tmp_path / "clips")
    (found,) = [f for f in validate(tmp_path / "maps").findings if f.severity == "error"]
    assert (found.code, found.video_id) == ("link-outside", "P01")
    items = {item.video_id: item for item in convert(tmp_path / "maps", tmp_path / "data").items}
    assert {name: item.status for name, item in items.items()} == {"P01": "failed", "here": "packed"}
    assert "symbolic link" in str(items["P01"].reason)
    with pytest.raises(GazetoolsError, match="symbolic link"):
        HeatmapReader(tmp_path / "maps", "P01/v")


@pytest.mark.parametrize("given", ["NFC", "NFD"])
@pytest.mark.parametrize("written", ["NFC", "NFD"])
def test_names_as_macos_writes_them(root: Path, written: Any, given: Any) -> None:
    np.savez(root / (unicodedata.normalize(written, "Küche") + ".npz"), gaze=MAPS)
    (root / unicodedata.normalize(written, "Gärten")).mkdir()
    for number, one in enumerate(MAPS):
        np.save(root / unicodedata.normalize(written, "Gärten") / f"{number}.npy", one)
    for name in ("Küche", "Gärten"):
        with HeatmapReader(root, unicodedata.normalize(given, name)) as reader:
            np.testing.assert_array_equal(reader.read([3])[0], MAPS[3])
    ids = [item.video_id for item in convert(root, root.parent / "data").items]
    assert ids == [unicodedata.normalize("NFC", name) for name in ("Gärten", "Küche")]
    assert {s.video_id for s in collect(root, ArrayChoice()).subjects} == set(ids)


def test_a_hub_cache_of_a_packed_dataset(tmp_path: Path) -> None:
    """Also with a manifest: every file is a link into `blobs`."""
    np.savez(tmp_path / "v.npz", gaze=MAPS)
    convert(tmp_path, tmp_path.parent / f"{tmp_path.name}-data")
    data = tmp_path.parent / f"{tmp_path.name}-data"
    repository = tmp_path / "hub" / "datasets--a--b"
    (repository / "snapshots" / "rev").mkdir(parents=True)
    (repository / "blobs").mkdir()
    for number, path in enumerate(sorted(p for p in data.rglob("*") if p.is_file())):
        (repository / "blobs" / f"{number}").write_bytes(path.read_bytes())
        (repository / "snapshots" / "rev" / path.relative_to(data)).symlink_to(f"../../blobs/{number}")
    snapshot = repository / "snapshots" / "rev"
    assert _findings(snapshot) == []
    assert [i.status for i in convert(snapshot, tmp_path / "npy", layout="npy").items] == ["packed"]
    for root in (snapshot, tmp_path / "npy"):
        np.testing.assert_array_equal(HeatmapReader(root, "v").read(range(T)), MAPS)


def test_frames_directly_in_the_folder_that_is_given(tmp_path: Path) -> None:
    """Their id is the folder's name, for every command."""
    _save(MAPS)(tmp_path)
    with HeatmapReader(tmp_path / "v", "v") as reader:
        np.testing.assert_array_equal(reader.read(range(T)), MAPS)
    assert [s.video_id for s in collect(tmp_path / "v", ArrayChoice()).subjects] == ["v"]
    assert [item.video_id for item in convert(tmp_path / "v", tmp_path / "data").items] == ["v"]


def test_a_stray_checkpoint_among_maps_is_named_but_no_fault(root: Path) -> None:
    np.savez(root / "v.npz", gaze=MAPS)
    (root / "model.pt").write_bytes(b"PK")
    (found,) = _findings(root)
    assert (found.code, found.severity) == ("file-not-read", "note")
    assert "model.pt" in found.message
    assert convert(root, root.parent / "data").exit_code == 0


def test_masks_of_0_and_1_in_uint8_are_a_warning(root: Path) -> None:
    """255 is 1.0 in uint8, so that such a mask is nearly black; bool is what it says."""
    np.savez(root / "v.npz", mask=(MAPS > 0.5).astype(np.uint8))
    (found,) = _findings(root)
    assert (found.code, found.severity) == ("scale-unknown", "warning")
    assert "uint8" in found.message
    np.savez(root / "v.npz", mask=MAPS > 0.5)
    assert _findings(root) == []
    np.savez(root / "v.npz", mask=np.linspace(0, 2, MAPS.size).astype(np.uint8).reshape(MAPS.shape))
    assert "scale-unknown" not in {f.code for f in validate(root).findings}


def test_which_array_was_read_is_a_note_and_in_the_provenance(root: Path) -> None:
    np.savez(root / "v.npz", boxes=np.zeros((T, 4)), gaze=MAPS, valid=np.ones(T, np.bool_))
    (found,) = _findings(root)
    assert (found.code, found.severity) == ("array-chosen", "note")
    assert "v.npz:gaze is read" in found.message
    assert "not read: boxes [12,4] float64" in found.message
    convert(root, root.parent / "data")
    text = (root.parent / "data" / "manifest.json").read_text()
    assert '"array": "gaze"' in text
    assert '"axes": "THW"' in text


def test_convert_again_with_another_array_packs_again(root: Path) -> None:
    np.savez(root / "v.npz", depth=MAPS[::-1], gaze=MAPS)
    for key, status in (("depth", "packed"), ("depth", "unchanged"), ("gaze", "packed")):
        report = convert(root, root.parent / "data", choice=ArrayChoice(key=key))
        assert [item.status for item in report.items] == [status], key
    np.testing.assert_array_equal(HeatmapReader(root.parent / "data", "v").read([0])[0], MAPS[0])


def test_a_damaged_array_is_never_passed_over_for_another_one(root: Path) -> None:
    np.savez(root / "v.npz", gaze=MAPS, depth=MAPS[::-1])
    path = root / "v.npz"
    path.write_bytes(path.read_bytes().replace(b"(12, 9, 16)", b"(12, 9, 17)", 1))
    with pytest.raises(GazetoolsError, match="is truncated"):
        HeatmapReader(root, "v", choice=ArrayChoice())
