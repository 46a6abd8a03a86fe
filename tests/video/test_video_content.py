"""Every frame read is the very frame asked for: barcodes in the pixels, and bit-equality with plain decoding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from gazetools.schemas.errors import FrameRangeError, UsageError, VideoError
from gazetools.video import VideoReader
from tests.media.barcode import draw_barcode, read_barcode

FILES = {
    "h264_bframes.mp4": "B-frames, closed GOPs",
    "h264_open_gop.mp4": "leading pictures; references before the keyframe are named",
    "h264_ntsc.mp4": "30000/1001 per second",
    "h264_variable_rate.mp4": "frame numbers are not times",
    "h264_variable_rate.mkv": "the same in Matroska",
    "h264_late_start.mp4": "empty edit before the first frame",
    "h264_late_start.mkv": "open GOP and a start at 10 s",
    "h264.ts": "seeking in MPEG-TS is a guess",
    "h264_open_gop.ts": "open GOP in MPEG-TS",
    "h265_open_gop.mp4": "x265's default GOP",
    "h265_open_gop.mkv": "x265's default GOP in Matroska",
    "h265_open_gop.ts": "x265's default GOP in MPEG-TS",
    "vp9.webm": "invisible alternate reference frames",
    "mpeg4.avi": "no presentation times in the container, no B-frames",
    "mpeg4_bframes.avi": "no presentation times, B-frames: counted by decoding",
    "h264_bframes.avi": "H.264 with B-frames in AVI: counted by decoding",
}
FIRST_NUMBER = {"h264_edit_list.mp4": 22}
ALL = [*FILES, *FIRST_NUMBER]
Decode = Callable[[Path], npt.NDArray[np.uint8]]


def test_the_barcode_reads_back_and_notices_damage() -> None:
    assert [read_barcode(draw_barcode(number)) for number in (0, 1, 63, 64, 4095)] == [0, 1, 63, 64, 4095]
    assert read_barcode(np.full((64, 96, 3), 128, np.uint8)) == -1


@pytest.mark.parametrize("name", ALL)
def test_every_way_of_reading_gives_the_frame_asked_for(made: Path, name: str) -> None:
    first = FIRST_NUMBER.get(name, 0)
    random = np.random.default_rng(7)
    with VideoReader(made / name) as reader:
        count = reader.frame_count
        for index in random.integers(0, count, 43):
            assert read_barcode(reader.read([index])[0]) == first + index
        batch = random.integers(0, count, 20)
        assert [read_barcode(rgb) for rgb in reader.read(batch)] == [first + index for index in batch]
        assert [read_barcode(frame.rgb) for frame in reader.frames()] == list(range(first, first + count))
        for stride in (2, 3, 7, 19):
            wanted = range(0, count, stride)
            frames = list(reader.frames(wanted))
            assert [frame.index for frame in frames] == list(wanted)
            assert [read_barcode(frame.rgb) for frame in frames] == [first + index for index in wanted]
            assert [frame.pts_seconds for frame in frames] == [reader.pts_seconds[index] for index in wanted]
        for index in (*range(count), *reversed(range(count))):
            assert read_barcode(reader.read([index])[0]) == first + index


@pytest.mark.parametrize("name", ["h264_bframes.mp4", "h264_open_gop.mp4", "h264_edit_list.mp4", "h265_open_gop.mp4"])
@pytest.mark.parametrize("threads", [1, 3])
def test_sparse_reading_is_bit_equal_to_decoding_everything(
    made: Path, decode_plainly: Decode, name: str, threads: int
) -> None:
    truth = decode_plainly(made / name)
    with VideoReader(made / name, threads=threads) as reader:
        assert len(truth) == reader.frame_count
        for start in range(0, len(truth), 5):
            wanted = list(range(start, len(truth), 4))
            np.testing.assert_array_equal(reader.read(wanted), truth[wanted])
        for index in np.random.default_rng(3).permutation(len(truth)):
            np.testing.assert_array_equal(reader.read([index])[0], truth[index])


def test_skipping_really_skips_and_changes_nothing(
    made: Path, decode_plainly: Decode, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made / "h264_bframes.mp4"
    delivered: list[int] = []
    with VideoReader(path) as reader:
        from gazetools.video.session import DecodeSession

        accept = DecodeSession._accept

        def counting(self: DecodeSession, arrived: list[object], **options: int) -> None:
            delivered.append(len(arrived))
            accept(self, arrived, **options)  # type: ignore[arg-type]

        assert reader.frame_count == 90
        monkeypatch.setattr(DecodeSession, "_accept", counting)
        frames = list(reader.frames(range(0, 90, 30)))
    np.testing.assert_array_equal(np.stack([frame.rgb for frame in frames]), decode_plainly(path)[::30])
    # Frames 0..60 need 61 packets at least; with pictures nobody refers to skipped, far fewer come out.
    assert sum(delivered) < 45


def test_order_repeats_and_shape_of_read(made: Path) -> None:
    with VideoReader(made / "h264_bframes.mp4") as reader:
        wanted = [40, 3, 40, 89, 0, 3]
        batch = reader.read(wanted)
        assert batch.shape == (6, 64, 96, 3)
        assert batch.dtype == np.uint8
        assert [read_barcode(rgb) for rgb in batch] == wanted
        assert reader.read([]).shape == (0, 64, 96, 3)
        assert [read_barcode(rgb) for rgb in reader.read(np.array([5, 4], np.int32))] == [5, 4]


@pytest.mark.parametrize(
    ("indices", "error", "text"),
    [
        ([90], FrameRangeError, "frame index 90 is outside 0..89"),
        ([3, -1], FrameRangeError, "frame index -1 is outside 0..89"),
        ([2**40], FrameRangeError, "outside 0..89"),
        ([1.5], UsageError, "whole numbers"),
        ([[1, 2]], UsageError, "flat list"),
    ],
)
def test_wrong_indices_are_named_and_the_reader_goes_on(
    made: Path, indices: list[int], error: type[Exception], text: str
) -> None:
    with VideoReader(made / "h264_bframes.mp4") as reader:
        with pytest.raises(error, match=text):
            reader.read(indices)
        assert read_barcode(reader.read([10])[0]) == 10


def test_frames_goes_forward_only(made: Path) -> None:
    with VideoReader(made / "h264_bframes.mp4") as reader:
        with pytest.raises(UsageError, match="index 4 follows 4"):
            reader.frames([1, 4, 4])
        with pytest.raises(FrameRangeError):
            reader.frames([1, 400])


def test_leaving_early_and_mixing_calls_keeps_the_reader_right(made: Path) -> None:
    with VideoReader(made / "h265_open_gop.mp4") as reader:
        for frame in reader.frames():
            if frame.index == 33:
                break
        assert read_barcode(reader.read([2])[0]) == 2
        walk = reader.frames()
        seen = [read_barcode(next(walk).rgb) for _ in range(25)]
        assert seen == list(range(25))
        walk.close()
        assert [read_barcode(rgb) for rgb in reader.read([69, 25, 26])] == [69, 25, 26]


def test_yielded_pixels_stay_what_they_were(made: Path) -> None:
    with VideoReader(made / "h264_bframes.mp4") as reader:
        kept = [frame.rgb for frame in reader.frames()]
    assert [read_barcode(rgb) for rgb in kept] == list(range(90))


def test_a_closed_reader_says_so(made: Path) -> None:
    reader = VideoReader(made / "h264_bframes.mp4")
    assert reader.frame_count == 90
    reader.close()
    reader.close()
    with pytest.raises(VideoError, match="is closed"):
        reader.read([0])


def test_unknown_backend(made: Path) -> None:
    with pytest.raises(UsageError, match="'opencv'; there are: pyav, decord"):
        VideoReader(made / "h264_bframes.mp4", backend="opencv")
