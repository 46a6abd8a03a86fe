"""AVI files with empty chunks, pictures that are not coded, packed B-frames: whole, and at the clock of the chunks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gazetools.schemas.errors import VideoError
from gazetools.video import VideoReader
from gazetools.video.mpeg4 import uncoded_test
from tests.helpers.avi import EMPTY, RATE, coded, uncoded_picture, write_avi
from tests.media.barcode import read_barcode

CODECS: dict[str, tuple[str, dict[str, str]]] = {
    "mjpeg": ("mjpeg", {}),
    "mpeg4": ("mpeg4", {"g": "4", "bf": "0"}),
    "mpeg4 with B-frames": ("mpeg4", {"bf": "2"}),
    "h264": ("libx264", {"g": "4", "bf": "0"}),
    "h264 with B-frames": ("libx264", {"g": "8", "bf": "2"}),
}
LAYOUTS = {
    "start": "..01234567",
    "end": "01234567.",
    "two at the end": "01234567..",
    "two in a row": "012..34567",
    "several": "0.123.4567.",
    "none": "01234567",
}
"""Chunk of each place: the number of a coded one, `.` for an empty one."""


def laid_out(layout: str, chunks: list[bytes], empty: bytes = EMPTY) -> list[bytes]:
    return [empty if sign == "." else chunks[int(sign)] for sign in layout]


def places(layout: str) -> list[int]:
    return [place for place, sign in enumerate(layout) if sign != "."]


def chunk_times(reader: VideoReader) -> list[int]:
    """Times in chunks, which must be exact."""
    times = reader.pts_seconds * RATE
    np.testing.assert_allclose(times, np.round(times), atol=1e-9)
    return [int(time) for time in np.round(times)]


@pytest.mark.parametrize("index", [True, False], ids=["index", "no index"])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
@pytest.mark.parametrize("codec", CODECS)
def test_empty_chunks_are_dropped_frames(tmp_path: Path, codec: str, layout: str, index: bool) -> None:
    name, options = CODECS[codec]
    header, chunks = coded(name, 8, **options)
    path = write_avi(tmp_path / "a.avi", header, laid_out(layout, chunks), keys=[0], index=index)
    with VideoReader(path) as reader:
        assert chunk_times(reader) == places(layout)
        assert [read_barcode(frame.rgb) for frame in reader.frames()] == list(range(8))
        assert reader.damage == ()
        assert [remark.code for remark in reader.remarks] == ["video-empty-chunks"] * ("." in layout)
        for remark in reader.remarks:
            assert f"{layout.count('.')} of its {len(layout)} chunks" in remark.text


def test_empty_chunks_in_later_gigabytes(tmp_path: Path) -> None:
    header, chunks = coded("mjpeg", 8)
    path = write_avi(tmp_path / "a.avi", header, laid_out("012.3", chunks), laid_out("4..567", chunks))
    with VideoReader(path) as reader:
        assert chunk_times(reader) == [0, 1, 2, 4, 5, 8, 9, 10]
        assert reader.damage == ()
    cut = tmp_path / "cut.avi"
    cut.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.8)])
    with VideoReader(cut) as reader:
        assert "the container lists 11 frames" in reader.damage[0]


@pytest.mark.parametrize("share", [0.5, 0.7, 0.9])
def test_a_cut_file_with_empty_chunks_stays_refused(tmp_path: Path, share: float) -> None:
    header, chunks = coded("mjpeg", 8)
    whole = write_avi(tmp_path / "a.avi", header, laid_out("01.23..4567", chunks)).read_bytes()
    movie = whole.index(b"movi")
    (tmp_path / "cut.avi").write_bytes(whole[: movie + int((len(whole) - movie) * share)])
    with VideoReader(tmp_path / "cut.avi") as reader:
        lost = "1 of 8 packets are incomplete" if share == 0.9 else "truncated: the container lists 11 frames"
        assert lost in reader.damage[0]


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_pictures_that_are_not_coded_are_dropped_frames(tmp_path: Path, layout: str) -> None:
    header, chunks = coded("mpeg4", 8, g="4", bf="0")
    laid = [uncoded_picture(place) if sign == "." else chunks[int(sign)] for place, sign in enumerate(layout)]
    if layout[0] == ".":
        laid = laid[2:]  # a stream begins with its headers
        layout = layout[2:]
    with VideoReader(write_avi(tmp_path / "a.avi", header, laid, keys=[0])) as reader:
        assert chunk_times(reader) == places(layout)
        assert [read_barcode(frame.rgb) for frame in reader.frames()] == list(range(8))
        assert (reader.damage, reader.packet_count, reader.hidden_packet_count) == ((), 8, 0)
        assert len(reader.remarks) == int("." in layout)


def test_small_pictures_are_coded(tmp_path: Path) -> None:
    # every P picture of a still scene is smaller than the limit of FFmpeg, and is a picture
    _, chunks = coded("mpeg4", 2, g="9", bf="0")
    is_uncoded = uncoded_test(chunks[0])
    assert is_uncoded is not None
    assert is_uncoded(uncoded_picture(7))
    still = b"\x00\x00\x01\xb6" + int("0101" + "00111" + "1" + "1" + "0" * 13, 2).to_bytes(3, "big")
    assert not is_uncoded(still)
    assert not is_uncoded(b"\x00\x00\x01\xb6")
    assert uncoded_test(b"no headers") is None


@pytest.mark.parametrize("empty", [False, True])
def test_packed_b_frames(tmp_path: Path, empty: bool) -> None:
    """DivX's packed bitstream: two pictures in one chunk, one that is not coded in the next."""
    header, chunks = coded("mpeg4", 12, g="6", bf="1")
    start = chunks[0].index(b"\x00\x00\x01\xb2")
    end = chunks[0].index(b"\x00\x00\x01", start + 4)
    pictures = [chunks[0][:start] + b"\x00\x00\x01\xb2DivX503b1393p" + chunks[0][end:], *chunks[1:]]
    kinds = "".join("IPBS"[picture[picture.index(b"\x00\x00\x01\xb6") + 4] >> 6] for picture in pictures)
    packed: list[bytes] = []
    for place, kind in enumerate(kinds):
        following = pictures[place + 1] if kinds[place + 1 : place + 2] == "B" else b""
        packed.append(uncoded_picture(place) if kind == "B" else pictures[place] + following)
    assert "B" in kinds
    if empty:
        packed.insert(5, EMPTY)
    with VideoReader(write_avi(tmp_path / "a.avi", header, packed, keys=[0])) as reader:
        assert [read_barcode(frame.rgb) for frame in reader.frames()] == list(range(12))
        assert chunk_times(reader) == [place for place in range(12 + empty) if not (empty and place == 5)]
        assert reader.damage == ()


def test_a_chunk_that_is_lost_is_still_an_error(tmp_path: Path) -> None:
    header, chunks = coded("mpeg4", 8, g="4", bf="0")
    chunks[2] = bytes(len(chunks[2]))
    path = write_avi(tmp_path / "a.avi", header, chunks, keys=[0, 4])
    with VideoReader(path) as reader, pytest.raises(VideoError, match="cannot be decoded"):
        list(reader.frames())
