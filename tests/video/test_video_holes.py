"""Holes amid a file: named with their place, and behind them everything that decodes is there at its own time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from gazetools.schemas.errors import VideoError
from gazetools.video import VideoReader
from gazetools.video.gaps import gap_remark
from gazetools.video.matroska import structure_fault
from tests.media.barcode import read_barcode
from tests.media.make_media import encode

RATE = 25
COUNT = 60


def clip(path: Path, codec: str = "libx264", **options: str) -> Path:
    encode(path, codec=codec, options=options, frames=COUNT, pix_fmt="yuvj420p" if codec == "mjpeg" else "yuv420p")
    return path


def packet_bytes(path: Path) -> list[tuple[int, int, bool]]:
    """(position, size, is keyframe) of each packet in decode order."""
    with av.open(str(path)) as container:
        return [(p.pos, p.size, p.is_keyframe) for p in container.demux(container.streams.video[0]) if p.size]


def with_hole(path: Path, start: int, stop: int, how: str) -> Path:
    data = bytearray(path.read_bytes())
    filling = {"zeros": bytes(stop - start), "garbage": np.random.default_rng(3).bytes(stop - start), "cut out": b""}
    data[start:stop] = filling[how]
    path.write_bytes(data)
    return path


def seen(reader: VideoReader) -> list[int]:
    """Numbers drawn in the frames that come, each of which has its own time."""
    numbers = []
    for frame in reader.frames():
        number = read_barcode(frame.rgb)
        assert round(frame.pts_seconds * RATE) == number
        numbers.append(number)
    return numbers


HOLES: dict[str, tuple[str, str, dict[str, str], range]] = {
    # file name, codec, options, packets whose bytes are destroyed
    "h264": ("a.mp4", "libx264", {"g": "12", "bf": "0"}, range(20, 22)),
    "h264 with B-frames": ("a.mp4", "libx264", {"g": "12", "bf": "2", "flags": "+cgop"}, range(26, 28)),
    "h264, a keyframe": ("a.mov", "libx264", {"g": "12", "bf": "0"}, range(24, 25)),
    "h265": ("a.mp4", "libx265", {"x265-params": "log-level=none:keyint=12:open-gop=0:bframes=0"}, range(30, 33)),
    "mjpeg": ("a.mov", "mjpeg", {}, range(10, 14)),
    "two holes": ("a.mkv", "mpeg4", {"g": "12", "bf": "0"}, range(40, 41)),
}


@pytest.mark.parametrize("case", HOLES)
def test_everything_behind_a_hole_comes_at_its_own_time(tmp_path: Path, case: str) -> None:
    name, codec, options, gone = HOLES[case]
    path = clip(tmp_path / name, codec, **options)
    places = packet_bytes(path)
    for number in gone:
        # inside of the packet: the container's own structure stays whole
        with_hole(path, places[number][0] + 12, places[number][0] + places[number][1], "zeros")
    if case == "two holes":
        with_hole(path, places[15][0] + 12, places[15][0] + places[15][1], "zeros")
    with VideoReader(path) as strict, pytest.raises(VideoError, match="cannot be decoded"):
        list(strict.frames())
    with VideoReader(path, allow_damaged=True) as reader:
        assert reader.frame_count == COUNT  # frames that are lost keep their numbers
        numbers = seen(reader)
        assert sorted({*numbers, *reader.lost_frames}) == list(range(COUNT))
        assert not set(numbers) & reader.lost_frames
        keys = [number for number, (_, _, key) in enumerate(places) if key]
        first = max(key for key in keys if key <= gone.start)
        following = min((key for key in keys if key > gone.stop - 1), default=COUNT)
        lost_here = {number for number in reader.lost_frames if number >= first - 3}
        assert lost_here
        assert lost_here <= set(range(first - 3, following + 1))
        digests = reader.luma_digests()
        assert len(digests) == COUNT
        with pytest.raises(VideoError, match="cannot be decoded"):
            reader.read(sorted(reader.lost_frames)[:1])


def test_exactly_what_does_not_decode_is_lost(tmp_path: Path) -> None:
    # pictures of a group are stored as I P B B: packets 26 and 27 are B-frames, 25 is shown after them
    path = clip(tmp_path / "a.mp4", g="12", bf="2", flags="+cgop")
    places = packet_bytes(path)
    for number in (26, 27, 40):
        with_hole(path, places[number][0] + 12, places[number][0] + places[number][1], "zeros")
    alone = set()
    for number in range(COUNT):
        try:
            with VideoReader(path) as reader:
                reader.read([number])
        except VideoError:
            alone.add(number)
    for wanted in (range(COUNT), range(0, COUNT, 3), range(25, 40)):
        with VideoReader(path, allow_damaged=True) as reader:
            assert {frame.index for frame in reader.frames(wanted)} == set(wanted) - alone
            assert reader.lost_frames == alone & set(wanted)


@pytest.mark.parametrize("how", ["zeros", "garbage", "cut out"])
def test_frames_lost_amid_matroska_are_told_with_their_place(tmp_path: Path, how: str) -> None:
    path = clip(tmp_path / "a.mkv", "mjpeg")
    places = packet_bytes(path)
    # from amid one frame to amid another; FFmpeg goes on at the next cluster without an error
    with_hole(path, places[20][0] - 3, places[30][0] + 40, how)
    with VideoReader(path, allow_damaged=True) as reader:
        (remark,) = reader.remarks
        assert remark.code == "video-frames-lost"
        gap = remark.frames[0]
        before, after = reader.pts_seconds[gap - 1], reader.pts_seconds[gap]
        assert f"no frames from {before:.3f} to {after:.3f} s (before frame {gap})" in remark.text
        assert before < 21 / RATE < 29 / RATE < after
        assert 20 <= len(seen(reader)) < COUNT - 9


def test_pictures_that_refer_to_lost_ones_are_not_handed_out(tmp_path: Path) -> None:
    path = clip(tmp_path / "a.mkv", "libx264", g="200", bf="0", **{"x264-params": "scenecut=0:keyint=200"})
    places = packet_bytes(path)
    # bytes are missing between two packets of one group of pictures, and the file is sound from the next packet on
    start, stop = places[20][0], places[30][0]
    with_hole(path, start, stop, "cut out")
    with VideoReader(path) as reader:
        if reader.frame_count < 30:
            assert reader.damage  # the reader of the container stopped at the hole
            return
        assert "packets are incomplete" in " ".join(reader.damage)
        with pytest.raises(VideoError, match="cannot be decoded"):
            list(reader.frames())
    with VideoReader(path, allow_damaged=True) as reader:
        assert set(seen(reader)) <= set(range(21))


def test_a_sound_matroska_file_has_no_fault(made: Path, tmp_path: Path) -> None:
    for path in [*sorted(made.glob("*.mkv")), *sorted(made.glob("*.webm"))]:
        assert structure_fault(path) is None, path.name
        with VideoReader(path) as reader:
            assert [remark.code for remark in reader.remarks if remark.code != "video-gaps"] == []
    padded = tmp_path / "padded.mkv"
    padded.write_bytes((made / "h264_variable_rate.mkv").read_bytes() + bytes(5000))
    assert structure_fault(padded) is None
    live = tmp_path / "live.mkv"
    encode(live, codec="mpeg4", frames=10, container_options={"live": "1"})
    assert structure_fault(live) is None  # sizes of segment and clusters are unknown


REGULAR = np.arange(40) / 25


@pytest.mark.parametrize(
    ("seconds", "fault", "code"),
    [
        (REGULAR, None, None),
        (np.delete(REGULAR, [20]), None, None),  # one dropped frame: many recorders do that
        (np.delete(REGULAR, range(20, 24)), None, "video-gaps"),
        (np.delete(REGULAR, [20]), "it lacks 5 bytes", "video-frames-lost"),
        (np.cumsum(np.random.default_rng(0).uniform(0.01, 0.2, 40)), None, None),  # variable rate
        (np.cumsum(np.random.default_rng(0).uniform(0.01, 0.2, 40)), "it lacks 5 bytes", "video-frames-lost"),
        (np.array([0.0, 9.0]), None, None),
        (REGULAR, "it lacks 5 bytes", None),
    ],
)
def test_gaps(seconds: np.ndarray[Any, Any], fault: str | None, code: str | None) -> None:
    remark = gap_remark(seconds, fault)
    assert (remark and remark.code) == code
    if code == "video-gaps":
        assert remark is not None
        assert remark.frames == (20,)
        assert "from 0.760 to 0.960 s (before frame 20), about 4 at its rate" in remark.text


def test_lost_transport_packets_are_left_out_where_that_is_allowed(made: Path, tmp_path: Path) -> None:
    data = (made / "h264.ts").read_bytes()
    packets = [data[at : at + 188] for at in range(0, len(data), 188)]
    del packets[len(packets) // 2]
    (tmp_path / "a.ts").write_bytes(b"".join(packets))
    with VideoReader(made / "h264.ts") as whole:
        time_of = dict(enumerate(whole.pts_seconds))
    with VideoReader(tmp_path / "a.ts", allow_damaged=True) as reader:
        assert any("packets are incomplete" in reason for reason in reader.damage)
        frames = [(read_barcode(frame.rgb), frame.pts_seconds) for frame in reader.frames()]
        assert all(time_of[number] == seconds for number, seconds in frames)
        assert 0 < len(reader.lost_frames) < reader.frame_count
        assert len(frames) + len(reader.lost_frames) == reader.frame_count
