"""Repeated pictures, packets without frames, maps lying on their side, and one video under two ids."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from gazetools.packing import pack
from gazetools.schemas.findings import Finding
from gazetools.validation import validate
from gazetools.video import VideoReader
from tests.helpers.stores import make_video

MEDIA = Path(__file__).parents[1] / "media" / "made"


def _write(path: Path, shown: Sequence[int], *, rate: int = 30, pixels: str = "yuv420p", width: int = 96) -> Path:
    """Losslessly the noise pictures of the numbers `shown`, in this order; the same number gives the same picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=Fraction(rate))
        stream.width, stream.height, stream.pix_fmt = width, 48, pixels
        for number in shown:
            picture = np.random.default_rng(number).integers(0, 256, (48, width, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def _maps(path: Path, shape: tuple[int, ...], seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, x=np.random.default_rng(seed).random(shape, dtype=np.float32))


def _found(code: str, root: Path, **options: Any) -> list[Finding]:
    return [f for f in validate(root, **options).findings if f.code == code]


REPEATS: dict[str, tuple[list[int], list[int], str]] = {
    # pictures shown: frames that repeat the one before, what the message says
    "stalled": ([0, 1, 2, 3, 3, 3, 3, 4, 5], [4, 5, 6], "3 of 9 frames repeat the previous picture, up to 4 in a row"),
    "once": ([0, 1, 1, 2], [2], "up to 2 in a row."),
    "25 fps made 30": (
        [k for five in range(6) for k in (*range(5 * five, 5 * five + 5), 5 * five + 4)],
        [5, 11, 17, 23, 29, 35],
        "each 6th is one, as where 25.00 fps were made 30.00",
    ),
    "a picture comes again later": ([0, 1, 2, 0, 1, 2], [], ""),
}


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv422p10le", "bgr0"])
@pytest.mark.parametrize("name", REPEATS)
def test_repeated_pictures_are_named(tmp_path: Path, name: str, pixels: str) -> None:
    """In planar 8 and 10 bit and in packed RGB; the width leaves padding behind each line."""
    shown, frames, message = REPEATS[name]
    _write(tmp_path / "videos" / "clip.mkv", shown, pixels=pixels, width=90)
    _maps(tmp_path / "maps" / "clip.npz", (len(shown), 4, 5))
    found = _found("video-frames-repeated", tmp_path / "maps", videos=tmp_path / "videos")
    assert [f.frames for f in found] == ([frames] if frames else [])
    if found:
        assert message in found[0].message
        assert found[0].severity == "note"


def test_packets_that_an_edit_list_hides_are_counted(tmp_path: Path) -> None:
    video = MEDIA / "h264_edit_list.mp4"
    with VideoReader(video) as reader:
        shown, hidden, packets = reader.frame_count, reader.hidden_packet_count, reader.packet_count
    assert packets == shown + hidden
    assert hidden > 0
    _maps(tmp_path / "maps" / "h264_edit_list.npz", (shown, 4, 5))
    (found,) = _found("video-packets-differ", tmp_path / "maps", videos=video)
    assert f"has {packets} packets, {shown} frames decode: {hidden} are hidden by an edit list." in found.message


def test_packets_that_give_no_frame_are_counted(tmp_path: Path) -> None:
    """A video without its first keyframe: what comes before the next one can't be decoded."""
    video = tmp_path / "cut.ts"
    with av.open(str(MEDIA / "h264.ts")) as source, av.open(str(video), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(source.streams.video[0])):
            if number and packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    with VideoReader(video) as reader:
        lost = reader.packet_count - reader.frame_count
    assert lost > 0
    _maps(tmp_path / "maps" / "cut.npz", (5, 4, 5))
    (found,) = _found("video-packets-differ", tmp_path / "maps", videos=video)
    assert f"{lost} give no frame" in found.message


SHAPES: dict[tuple[int, int, int], bool] = {
    # T, H, W of maps for frames of 96x48 (WxH): lying on their side
    (4, 48, 96): False,
    (4, 32, 64): False,
    (4, 64, 32): True,
    (4, 33, 17): True,
    (4, 64, 64): False,
    (4, 24, 32): False,
    (4, 32, 24): False,
}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_maps_on_their_side_are_seen_beside_the_video(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    _write(tmp_path / "videos" / "clip.mkv", range(4))
    _maps(tmp_path / "maps" / "clip.npz", shape)
    found = _found("maps-transposed", tmp_path / "maps", videos=tmp_path / "videos")
    assert bool(found) is SHAPES[shape]
    assert not _found("maps-transposed", tmp_path / "maps"), "nothing to compare with"


def test_one_video_on_its_side_is_seen_beside_the_others(tmp_path: Path) -> None:
    for number, shape in enumerate([(4, 6, 8), (4, 6, 8), (4, 8, 6), (4, 5, 5)]):
        _maps(tmp_path / f"v{number}.npz", shape, seed=number)
    found = {(f.code, f.video_id) for f in validate(tmp_path).findings}
    assert found == {("maps-transposed", "v2"), ("mixed-sizes", "v3"), ("videos-unstated", None)}


def test_a_store_on_its_side_is_seen_by_its_model(tmp_path: Path) -> None:
    video = make_video(tmp_path / "store", size_hw=(8, 10)).video_id
    assert not _found("maps-transposed", tmp_path / "store")
    from tests.validation.faults import edit_provenance

    edit_provenance(tmp_path / "store", lambda p: p["model"].update(out_size=[10, 8]))
    assert [f.video_id for f in _found("maps-transposed", tmp_path / "store")] == [video]


@pytest.mark.parametrize("kind", ["store", "data"])
def test_one_video_under_two_ids(tmp_path: Path, kind: str) -> None:
    """The same file (by its sha256) was extracted twice; another stream of a file is another video."""
    for name, changes in {"a": {}, "b": {}, "c": {"sha256": "a" * 64}, "d": {"stream_index": 1}}.items():
        make_video(tmp_path / "store", name, video={"sha256": "f" * 64, **changes})
    pack(tmp_path / "store", tmp_path / "data")
    (found,) = _found("duplicate-video", tmp_path / kind)
    assert found.video_id == "b"
    assert "the same video as 'a'" in found.message


def test_copies_of_other_tools_maps_and_videos(tmp_path: Path) -> None:
    """Maps copied to another id; other maps of a video that was copied; equal maps of nothing are no copies."""
    maps, videos = tmp_path / "maps", tmp_path / "videos"
    for seed, name in enumerate(("a", "b", "c")):
        _maps(maps / f"{name}.npz", (6, 4, 5), seed=seed)
        _write(videos / f"{name}.mkv", range(10 * seed, 10 * seed + 6))
    assert not _found("duplicate-video", maps, videos=videos)
    shutil.copy(maps / "a.npz", maps / "z.npz")
    (found,) = _found("duplicate-video", maps)
    assert (found.video_id, "the same maps as 'a'" in found.message) == ("z", True)
    (maps / "z.npz").unlink()
    _write(videos / "c.mkv", range(6))
    (found,) = _found("duplicate-video", maps, videos=videos)
    assert (found.video_id, "the same video as 'a'" in found.message) == ("c", True)
    for name in ("d", "e"):
        np.savez(maps / f"{name}.npz", x=np.zeros((6, 4, 5), np.float32))
    assert not _found("duplicate-video", maps)
