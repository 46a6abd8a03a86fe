"""Broken, cut, empty and foreign files: one clear error or honest frames, never a wrong frame, a hang or noise."""

from __future__ import annotations

import os
import subprocess
import sys
import wave
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest

from gazetools.schemas.errors import ExitCode, VideoError
from gazetools.video import VideoReader
from tests.media.barcode import draw_barcode, read_barcode

Places = Callable[[Path], list[tuple[int, int, bool]]]
Decode = Callable[[Path], npt.NDArray[np.uint8]]
COUNT = 90  # frames of h264_bframes.mp4; keyframes at packets 0, 15, 30, 45, 60, 75


def with_hole(source: Path, target: Path, places: list[tuple[int, int, bool]], packet: int) -> Path:
    """A copy of `source` with the packet's bytes zeroed."""
    data = bytearray(source.read_bytes())
    position, size, _ = places[packet]
    data[position : position + size] = bytes(size)
    target.write_bytes(data)
    return target


def not_videos(folder: Path) -> dict[str, tuple[Path, str]]:
    """Name -> (path, text that the error must contain)."""
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text.txt").write_text("hello world\n" * 200)
    (folder / "labels.json").write_text('{"frames": [1, 2, 3], "note": "not a video"}')
    (folder / "garbage.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    (folder / "list.m3u8").write_text("#EXTM3U\n#EXTINF:10,\nhttp://192.0.2.1/a.ts\n#EXT-X-ENDLIST\n")
    (folder / "list.ffconcat").write_text("ffconcat version 1.0\nfile other.mp4\n")
    (folder / "image.ppm").write_bytes(b"P6 8 8 255\n" + bytes(192))
    (folder / "folder.mp4").mkdir()
    os.mkfifo(folder / "pipe.mp4")
    with wave.open(str(folder / "sound.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(16000))
    nothing = "no video container was recognised"
    return {
        "empty": (folder / "empty.mp4", "is empty (0 bytes)"),
        "text": (folder / "text.txt", nothing),
        "json": (folder / "labels.json", nothing),
        "garbage": (folder / "garbage.mp4", nothing),
        "playlist": (folder / "list.m3u8", nothing),
        "concat script": (folder / "list.ffconcat", nothing),
        "still image": (folder / "image.ppm", nothing),
        "folder": (folder / "folder.mp4", "is a folder"),
        "pipe": (folder / "pipe.mp4", "device, pipe or socket"),
        "missing": (folder / "missing.mp4", "No such file"),
        "audio": (folder / "sound.wav", "it holds audio"),
        "NUL in the name": (Path("a\0b.mp4"), "null"),
    }


def test_not_videos_give_one_clear_error_each(tmp_path: Path) -> None:
    for name, (path, text) in not_videos(tmp_path).items():
        with pytest.raises(VideoError) as caught:
            VideoReader(path)
        assert text in str(caught.value), name
        assert caught.value.exit_code == ExitCode.USAGE
        assert caught.value.hint, name


def test_mp4_without_its_index_cannot_be_opened(made: Path, tmp_path: Path) -> None:
    whole = (made / "h264_ntsc.mp4").read_bytes()  # the moov box is at its end
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(VideoError, match="cannot be opened as a video"):
        VideoReader(tmp_path / "cut.mp4")


def test_wrong_stream_is_named(made: Path) -> None:
    with pytest.raises(VideoError, match=r"stream 5 is not a video stream.*video streams: \[0\]"):
        VideoReader(made / "h264_bframes.mp4", stream_index=5)


def test_streams_without_times_are_refused(made: Path) -> None:
    with VideoReader(made / "raw.h264") as reader, pytest.raises(VideoError, match="carry no ascending times"):
        _ = reader.frame_count


@pytest.mark.parametrize("kept_packets", [3, 40, 61, 75, 76, 89])
@pytest.mark.parametrize("cut_inside", [False, True])
def test_truncated_mp4_counts_what_decodes(
    made: Path, tmp_path: Path, packet_places: Places, decode_plainly: Decode, kept_packets: int, cut_inside: bool
) -> None:
    source = made / "h264_bframes.mp4"
    truth = decode_plainly(source)
    position, size, _ = packet_places(source)[kept_packets]
    path = tmp_path / "cut.mp4"
    path.write_bytes(source.read_bytes()[: position + (size // 2 if cut_inside else 0)])
    with VideoReader(path) as reader:
        assert reader.info.declared_frame_count == COUNT
        expected = "1 of 90 packets are incomplete" if kept_packets == 89 and cut_inside else "the container lists 90"
        assert expected in reader.damage[0]
        assert 0 < reader.frame_count <= kept_packets
        # Only pictures whose references are cut off may be missing: 3 B-frames and one half packet.
        assert reader.frame_count >= kept_packets - 1
        times = np.round(reader.pts_seconds * 25).astype(int)
        np.testing.assert_array_equal(reader.read(range(reader.frame_count)), truth[times])
        with pytest.raises(IndexError, match="truncated"):
            reader.read([reader.frame_count])
        assert read_barcode(reader.read([2])[0]) == times[2]
        assert reader.count_by_decoding() == reader.frame_count


@pytest.mark.parametrize("name", ["h264_variable_rate.mkv", "h265_open_gop.mkv"])
def test_truncated_matroska_is_noticed_by_its_duration(made: Path, tmp_path: Path, name: str) -> None:
    data = (made / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(len(data) * 0.6)])
    with VideoReader(tmp_path / name) as reader:
        assert any("the stream ends at" in reason for reason in reader.damage)
        with VideoReader(made / name) as whole:
            number_at = {seconds: number for number, seconds in enumerate(whole.pts_seconds)}
        # In decode order a later P-frame may be there while B-frames before it are cut off.
        assert [read_barcode(frame.rgb) for frame in reader.frames()] == [number_at[s] for s in reader.pts_seconds]


CUT_AT_A_PACKET = {
    # container without a list of packets: (codec, share of the packets that is left, words)
    ".flv": ("flv", 0.5, "the stream ends at 2.000 s"),
    ".mxf": ("mpeg2video", 0.5, "the stream ends at 2.000 s"),
    ".wmv": ("wmv2", 0.9, "the file lacks"),
    ".webm": ("libvpx", 0.9, "the file lacks"),
    ".mkv": ("mjpeg", 1 / 50, "the file lacks"),
}


def _written(path: Path, codec: str) -> list[int]:
    """Write 50 frames, 2 s; the place of each packet in the file."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.bit_rate = 4_000_000  # more than one packet of ASF
        for number in range(50):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(draw_barcode(number), format="rgb24")))
        out.mux(stream.encode(None))
    with av.open(str(path)) as made:
        return [packet.pos for packet in made.demux(video=0) if packet.size]


@pytest.mark.parametrize("suffix", CUT_AT_A_PACKET)
def test_a_file_cut_between_two_packets_is_not_whole(tmp_path: Path, suffix: str) -> None:
    codec, share, words = CUT_AT_A_PACKET[suffix]
    path = tmp_path / f"a{suffix}"
    places = _written(path, codec)
    with VideoReader(path) as reader:
        assert (reader.damage, reader.frame_count) == ((), 50)
    path.write_bytes(path.read_bytes()[: places[int(share * 50)]])
    with VideoReader(path) as reader:
        assert words in reader.damage[0]
        assert len(list(reader.frames())) == reader.frame_count < 50


@pytest.mark.parametrize("suffix", [".flv", ".mxf"])
def test_longer_sound_is_no_missing_picture(tmp_path: Path, suffix: str) -> None:
    with av.open(str(tmp_path / f"a{suffix}"), "w") as out:
        video = out.add_stream("flv" if suffix == ".flv" else "mpeg2video", rate=25)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        audio = out.add_stream("pcm_s16le", rate=44100 if suffix == ".flv" else 48000, layout="mono")
        for number in range(25):
            out.mux(video.encode(av.VideoFrame.from_ndarray(draw_barcode(number), format="rgb24")))
        out.mux(video.encode(None))
        for number in range(30):  # 3 s
            sound = av.AudioFrame.from_ndarray(np.zeros((1, audio.rate // 10), np.int16), format="s16", layout="mono")
            sound.pts, sound.sample_rate = number * (audio.rate // 10), audio.rate
            out.mux(audio.encode(sound))
        out.mux(audio.encode(None))
    with VideoReader(tmp_path / f"a{suffix}") as reader:
        assert (reader.damage, reader.frame_count) == ((), 25)


@pytest.mark.parametrize("packet", [20, 30, 31, 44, 47])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_hole_raises_and_every_other_frame_stays_right(
    made: Path, tmp_path: Path, packet_places: Places, decode_plainly: Decode, packet: int, threads: int
) -> None:
    source = made / "h264_bframes.mp4"
    truth = decode_plainly(source)
    path = with_hole(source, tmp_path / "hole.mp4", packet_places(source), packet)
    with VideoReader(path, threads=threads) as reader:
        assert reader.frame_count == COUNT
        failed = []
        for index in np.random.default_rng(1).permutation(COUNT):
            try:
                np.testing.assert_array_equal(reader.read([index])[0], truth[index])
            except VideoError as error:
                assert f"frame {index} of 90 cannot be decoded" in str(error)
                assert error.details["frame_index"] == index
                failed.append(int(index))
        # Closed GOPs of 15 frames: damage stays in one, and frames decoded before it are still delivered.
        gop = range(packet // 15 * 15, packet // 15 * 15 + 15)
        assert failed
        assert set(failed) <= set(gop)
        assert len(failed) <= 15 - (packet - gop.start) + 1
        with pytest.raises(VideoError, match=f"frame {min(failed)} of 90 cannot"):
            reader.count_by_decoding()
        got = []
        with pytest.raises(VideoError, match=f"frame {min(failed)} of 90 cannot"):
            for frame in reader.frames():
                np.testing.assert_array_equal(frame.rgb, truth[frame.index])
                got.append(frame.index)
        assert got == list(range(min(failed)))
        batch = [index for index in range(COUNT) if index not in failed]
        np.testing.assert_array_equal(reader.read(batch), truth[batch])


def test_a_broken_tail_is_not_counted(made: Path, tmp_path: Path, packet_places: Places) -> None:
    source = made / "h264_bframes.mp4"
    path = with_hole(source, tmp_path / "tail.mp4", packet_places(source), 80)
    with VideoReader(path) as reader:
        assert 75 < reader.frame_count < COUNT
        assert any("at the end cannot be decoded" in reason for reason in reader.damage)
        numbers = [read_barcode(frame.rgb) for frame in reader.frames()]
        assert numbers == [round(seconds * 25) for seconds in reader.pts_seconds]
        assert reader.count_by_decoding() == reader.frame_count


@pytest.mark.parametrize("name", ["h265_open_gop.ts", "h264.ts"])
def test_a_stream_cut_at_its_start_counts_from_the_first_decodable_frame(made: Path, tmp_path: Path, name: str) -> None:
    data = (made / name).read_bytes()
    packets = [data[at : at + 188] for at in range(0, len(data), 188)]
    # Keep the tables (PAT, SDT, PMT by their packet ids) and cut the first part of the pictures.
    tables = [packet for packet in packets[:6] if (packet[1] & 0x1F) << 8 | packet[2] in (0, 17, 4096)]
    path = tmp_path / name
    path.write_bytes(b"".join(tables + packets[len(packets) // 3 :]))
    with VideoReader(path) as reader:
        numbers = [read_barcode(frame.rgb) for frame in reader.frames()]
        assert numbers == list(range(numbers[0], 60))
        assert numbers[0] > 5
        assert len(numbers) == reader.frame_count == reader.count_by_decoding()
        for index in (reader.frame_count - 1, 0, reader.frame_count // 2):
            assert read_barcode(reader.read([index])[0]) == numbers[index]


@pytest.mark.parametrize("seed", range(12))
def test_overwritten_pictures_are_all_there_or_told(
    made: Path, tmp_path: Path, packet_places: Places, seed: int
) -> None:
    random = np.random.default_rng(seed)
    data = bytearray((made / "h264_bframes.mp4").read_bytes())
    first_picture = packet_places(made / "h264_bframes.mp4")[0][0]
    start = int(random.integers(first_picture, len(data) - 600))
    data[start : start + 600] = random.bytes(600)
    path = tmp_path / "mutant.mp4"
    path.write_bytes(data)
    try:
        with VideoReader(path) as reader:
            frames = {frame.index: read_barcode(frame.rgb) for frame in reader.frames()}
            assert reader.damage or len(frames) == COUNT
    except VideoError as error:
        assert str(error)


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a fresh interpreter that is killed after 60 s: a hang fails the test."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_leaving_early_ends_promptly_and_errors_make_no_noise(
    made: Path, tmp_path: Path, packet_places: Places
) -> None:
    hole = with_hole(
        made / "h264_bframes.mp4", tmp_path / "hole.mp4", packet_places(made / "h264_bframes.mp4"), packet=31
    )
    code = """
import sys
from gazetools.schemas.errors import VideoError
from gazetools.video import VideoReader
for path in sys.argv[1:]:
    for _ in range(5):
        reader = VideoReader(path, threads=4)
        for frame in reader.frames():
            if frame.index == 3:
                break
        try:
            reader.count_by_decoding()
        except VideoError as error:
            print("error")
        walk = reader.frames()
        next(walk)
        del reader
print("end")
"""
    result = run_python(code, str(made / "h265_open_gop.mp4"), str(hole))
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert result.stdout.split() == ["error"] * 5 + ["end"]


def test_a_change_of_size_is_named(made: Path) -> None:
    with VideoReader(made / "h264_bframes.mp4") as reader:
        # As if the first frame had been wider than the later ones.
        reader._file.info = replace(reader.info, width=128)
        with pytest.raises(VideoError, match="frame 4 is 96x64 pixels, the first frame 128x64"):
            reader.read([4])


def test_ts_joined_with_a_break_is_loud(made: Path, tmp_path: Path) -> None:
    # Packets lost in MPEG-TS show as a jump of the continuity counter; the picture there is not handed out.
    data = (made / "h264.ts").read_bytes()
    packets = [data[at : at + 188] for at in range(0, len(data), 188)]
    del packets[40]
    (tmp_path / "lost.ts").write_bytes(b"".join(packets))
    with VideoReader(tmp_path / "lost.ts") as reader:
        assert any("packets are incomplete" in reason for reason in reader.damage)
        with pytest.raises(VideoError, match="cannot be decoded"):
            list(reader.frames())
        assert read_barcode(reader.read([0])[0]) == 0
