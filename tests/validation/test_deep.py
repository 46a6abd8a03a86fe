"""`--deep`: what maps and frames show. Shifts are found with their k, flips and swaps by name, and good files pass."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import h5py
import numpy as np
import pytest

from gazetools import extract, open_store
from gazetools.packing import pack
from gazetools.schemas.errors import UsageError
from gazetools.schemas.findings import Finding
from gazetools.validation import validate
from gazetools.video import VideoReader
from tests.helpers.random_checkpoints import write_tiny_gazelle
from tests.validation.faults import edit_npz, edit_store

DEEP = 5


def _alarms(findings: list[Finding]) -> list[Finding]:
    return [f for f in findings if f.severity != "note"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, clip: Path, boxes: Path, tiny_model: Path) -> Path:
    """A store of `clip` (people 1 and 7, nobody in 5..9), datasets of it in all layouts, maps as another tool's."""
    root = tmp_path_factory.mktemp("deep")
    extract(clip, root / "store", heads=f"file:{boxes}", model=str(tiny_model))
    for name, options in DATASETS.items():
        pack(root / "store", root / name, **options)
    (root / "foreign").mkdir()
    with np.load(root / "one person" / "clip.npz") as packed:
        np.savez(root / "foreign" / "clip.npz", anything=packed["heatmap"][:, None])
    lines = [line for line in boxes.read_text().splitlines() if line.split(",")[1] != "7"]
    (root / "one.csv").write_text("\n".join(lines))
    return root


DATASETS: dict[str, dict[str, Any]] = {
    "one person": {"normalize": "max", "people": "1"},
    "sums": {"normalize": "sum", "dtype": "float32"},
    "uint8": {"normalize": "minmax", "dtype": "uint8", "people": "mean"},
    "softmax": {"normalize": "softmax", "temperature": 0.1, "dtype": "float32", "inout": "weight"},
    "hdf5 resized": {"layout": "hdf5", "size": "32x48"},
    "npy at 10 fps": {"layout": "npy", "fps": 10.0},
    "held": {"missing": "hold", "align": "native"},
}


@pytest.mark.parametrize("name", ["store", *DATASETS])
def test_what_the_model_made_is_recognised_however_it_was_packed(made: Path, tiny_model: Path, name: str) -> None:
    report = validate(made / name, deep=DEEP, model=tiny_model)
    assert _alarms(report.findings) == []
    assert not {"deep-skipped", "shift-not-identifiable"} & {f.code for f in report.findings}


def _on_maps(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[h5py.File], None]:
    def apply(file: h5py.File) -> None:
        file["rows/heatmap"][:] = change(file["rows/heatmap"][:])

    return apply


def _swap_people(maps: np.ndarray) -> np.ndarray:
    return maps.reshape(-1, 2, *maps.shape[1:])[:, ::-1].reshape(maps.shape)


def _shift_frames(maps: np.ndarray, k: int) -> np.ndarray:
    """Row i gets the map of the frame k further on; every frame with people has two."""
    return np.roll(maps, -2 * k, axis=0)


MAP_FAULTS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str, str]] = {
    # name: (what is done to the maps of the store, code, words of the message)
    "shifted by 1": (lambda m: _shift_frames(m, 1), "content-shifted", "k = +1 frames"),
    "shifted by -2": (lambda m: _shift_frames(m, -2), "content-shifted", "k = -2 frames"),
    "shifted by 5": (lambda m: _shift_frames(m, 5), "content-shifted", "k = +5 frames"),
    "mirrored": (lambda m: m[:, :, ::-1], "content-mirrored", "mirrored"),
    "flipped": (lambda m: m[:, ::-1], "content-flipped", "flipped"),
    "rotated by 180": (lambda m: m[:, ::-1, ::-1], "content-turned", "rotated by 180"),
    "rotated by 90": (lambda m: np.rot90(m, 1, axes=(1, 2)), "content-turned", "rotated by"),
    "transposed": (lambda m: m.swapaxes(1, 2), "content-turned", "transposed"),
    "people swapped": (_swap_people, "people-swapped", "other people"),
    "noise": (lambda m: np.random.default_rng(0).random(m.shape), "maps-differ", "other weights or other boxes"),
}


@pytest.mark.parametrize("name", MAP_FAULTS)
def test_wrong_maps_in_a_store(made: Path, tmp_path: Path, tiny_model: Path, name: str) -> None:
    change, code, words = MAP_FAULTS[name]
    store = Path(shutil.copytree(made / "store", tmp_path / "store"))
    edit_store(store, _on_maps(change))
    (found,) = _alarms(validate(store, deep=DEEP, model=tiny_model).findings)
    assert found.code == code
    assert words in found.message
    assert found.frames == [0, 13, 22, 31, 39], "spread over the frames with people"
    # without the model nothing in the file gives it away
    assert _alarms(validate(store, deep=DEEP).findings) == []


def test_maps_of_other_weights(made: Path, clip: Path, boxes: Path, tmp_path: Path, tiny_model: Path) -> None:
    """A store that says it was made by `tiny_model` while other weights made its maps."""
    other = write_tiny_gazelle(tmp_path / "other.safetensors", seed=9)
    extract(clip, tmp_path / "other", heads=f"file:{boxes}", model=str(other))
    with open_store(tmp_path / "other" / "clip.h5") as store:
        maps = store.read_heatmaps(0, len(store))
    copy = Path(shutil.copytree(made / "store", tmp_path / "store"))
    edit_store(copy, _on_maps(lambda m: maps))
    (found,) = _alarms(validate(copy, deep=DEEP, model=tiny_model).findings)
    assert found.code == "maps-differ"
    # and the honest store of the other weights is not compared with this model's maps
    (found,) = _alarms(validate(tmp_path / "other", deep=DEEP, model=tiny_model).findings)
    assert found.code == "weights-differ"


def test_only_the_frames_that_are_wrong_are_named(made: Path, tmp_path: Path, tiny_model: Path) -> None:
    store = Path(shutil.copytree(made / "store", tmp_path / "store"))

    def spoil(file: h5py.File) -> None:
        late = np.flatnonzero(file["rows/frame"][:] >= 30)
        file["rows/heatmap"][late[0] :] = file["rows/heatmap"][late[0] :][:, :, ::-1]

    edit_store(store, spoil)
    (found,) = _alarms(validate(store, deep=10, model=tiny_model).findings)
    assert found.code == "content-mirrored"
    assert found.frames
    assert min(found.frames) >= 30


def test_a_shift_that_grows_is_named_as_drift(made: Path, tmp_path: Path, tiny_model: Path) -> None:
    store = Path(shutil.copytree(made / "store", tmp_path / "store"))

    def drift(maps: np.ndarray) -> np.ndarray:
        pairs = maps.reshape(-1, 2, *maps.shape[1:])
        count = len(pairs)
        taken = np.minimum((np.arange(count) * 1.25).astype(int), count - 1)
        return pairs[taken].reshape(maps.shape)

    edit_store(store, _on_maps(drift))
    # where taken is cut at the end the last frames repeat the last map: the clip's tail is drift's end, too
    found = _alarms(validate(store, deep=DEEP, model=tiny_model).findings)
    assert "content-drifts" in {f.code for f in found}
    assert "k = +" in next(f.message for f in found if f.code == "content-drifts")


DATASET_FAULTS: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray], str, str]] = {
    "shifted by 1": ("sums", lambda m: np.roll(m, -1, axis=0), "content-shifted", "k = +1 frames"),
    "shifted by -3": ("uint8", lambda m: np.roll(m, 3, axis=0), "content-shifted", "k = -3 frames"),
    "mirrored": ("softmax", lambda m: m[:, :, ::-1], "content-mirrored", "mirrored"),
    "flipped": ("one person", lambda m: m[:, ::-1], "content-flipped", "flipped"),
}


@pytest.mark.parametrize("name", DATASET_FAULTS)
def test_wrong_maps_in_a_dataset(made: Path, tmp_path: Path, tiny_model: Path, name: str) -> None:
    dataset, change, code, words = DATASET_FAULTS[name]
    copy = Path(shutil.copytree(made / dataset, tmp_path / "data"))
    edit_npz(copy, lambda a: a.update(heatmap=np.ascontiguousarray(change(a["heatmap"]))))
    found = [f for f in _alarms(validate(copy, deep=DEEP, model=tiny_model).findings) if f.code.startswith("content-")]
    assert [f.code for f in found] == [code]
    assert words in found[0].message


def test_another_persons_maps_in_a_dataset(made: Path, tmp_path: Path, tiny_model: Path) -> None:
    copy = Path(shutil.copytree(made / "one person", tmp_path / "data"))
    with open_store(made / "store" / "clip.h5") as store:
        frames, maps = store.heatmaps(7)

    def swap(arrays: dict[str, np.ndarray]) -> None:
        arrays["heatmap"][frames] = maps / maps.max(axis=(1, 2), keepdims=True)

    edit_npz(copy, swap)
    (found,) = _alarms(validate(copy, deep=DEEP, model=tiny_model).findings)
    assert found.code == "people-swapped"


FOREIGN_FAULTS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], list[str]]] = {
    "good": (lambda m: m, []),
    "on another scale": (lambda m: m * 0.3, []),
    "shifted by 4": (lambda m: np.roll(m, -4, axis=0), ["content-shifted", "k = +4 frames"]),
    "transposed": (lambda m: m.swapaxes(2, 3), ["content-turned", "transposed"]),
}


@pytest.mark.parametrize("name", FOREIGN_FAULTS)
def test_heatmaps_of_others_need_model_and_boxes(
    made: Path, tmp_path: Path, clip: Path, tiny_model: Path, name: str
) -> None:
    change, expected = FOREIGN_FAULTS[name]
    with np.load(made / "foreign" / "clip.npz") as archive:
        maps = change(archive["anything"])
    (tmp_path / "maps").mkdir()
    np.savez(tmp_path / "maps" / "clip.npz", x=maps)
    arguments: dict[str, Any] = {"videos": clip, "deep": DEEP, "model": tiny_model}
    report = validate(tmp_path / "maps", heads=f"file:{made / 'one.csv'}", **arguments)
    found = [f for f in _alarms(report.findings) if f.code not in ("zero-maps", "frozen-maps")]
    assert [f.code for f in found] == expected[:1]
    if expected:
        assert expected[1] in found[0].message
    without = validate(tmp_path / "maps", **arguments)
    assert "--heads" in next(f.message for f in without.findings if f.code == "deep-skipped")


# ---- fingerprints: no model


def _write(path: Path, frames: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "12"})
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode(None))
    return path


VIDEO_FAULTS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str | None, str]] = {
    "encoded anew": (lambda f: f, None, ""),
    "three frames cut off the beginning": (lambda f: f[3:], "content-shifted", "k = -3 frames"),
    "two frames put in front": (lambda f: np.concatenate([f[:1], f[:1], f]), "content-shifted", "k = +2 frames"),
    "mirrored": (lambda f: f[:, :, ::-1], "content-mirrored", "mirrored"),
    "upside down": (lambda f: f[:, ::-1, ::-1], "content-turned", "rotated by 180"),
    "another video": (lambda f: 255 - f, "video-differs", "not of this video"),
}


@pytest.mark.parametrize("name", VIDEO_FAULTS)
def test_fingerprints_tell_videos_apart(made: Path, tmp_path: Path, clip: Path, name: str) -> None:
    """Looked at without --deep, too, as soon as the video is not the recorded file; in a dataset as in a store."""
    change, code, words = VIDEO_FAULTS[name]
    with VideoReader(clip) as reader:
        _write(tmp_path / "videos" / "clip.mp4", change(reader.read(range(40))))
    for root in (made / "store", made / "one person"):
        for deep in (None, DEEP):
            findings = validate(root, videos=tmp_path / "videos", deep=deep).findings
            content = [f for f in _alarms(findings) if f.code.startswith(("content-", "video-differs"))]
            assert [f.code for f in content] == ([code] if code else [])
            assert "video-changed" in {f.code for f in findings}
            if code:
                assert words in content[0].message


def test_a_still_scene_is_said_to_be_still(tmp_path: Path, tiny_model: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    video = _write(tmp_path / "still.mp4", np.repeat(picture[None], 12, axis=0))
    extract(video, tmp_path / "store", heads="whole", model=str(tiny_model))
    for model in (None, tiny_model):
        report = validate(tmp_path / "store", deep=3, model=model)
        assert _alarms(report.findings) == []
        assert "shift-not-identifiable" in {f.code for f in report.findings}


USAGE: dict[str, tuple[dict[str, Any], str]] = {
    "model without deep": ({"model": "x"}, "--model means something with --deep only"),
    "no frames": ({"deep": 0}, "--deep 0 is no number of frames"),
    "weights without a model": ({"deep": 3, "checkpoint": "x.pt"}, "need --model"),
    "unknown boxes": ({"deep": 3, "heads": "boxes.csv"}, "must be file:PATH or whole"),
    "no such boxes": ({"deep": 3, "heads": "file:none/boxes.csv"}, "none/boxes.csv do not exist"),
    "no such model": ({"deep": 3, "model": "nowhere.safetensors"}, "nowhere.safetensors does not exist"),
}


@pytest.mark.parametrize("case", USAGE)
def test_contradicting_options_are_refused(made: Path, case: str) -> None:
    options, message = USAGE[case]
    with pytest.raises(UsageError, match=message):
        validate(made / "store", **options)


def test_without_the_video_the_check_says_that_it_was_left_out(made: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    report = validate(made / "store", videos=tmp_path / "empty", deep=DEEP)
    assert [f.code for f in _alarms(report.findings)] == ["video-missing"]
