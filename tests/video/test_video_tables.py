"""Count, times and order of frames against ffprobe's tables, for every committed and every shared video."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest

from gazetools.video import VideoReader
from tests.video.conftest import MEDIA, need_video

NO_TIMES_IN_FFPROBE = {"h264_bframes.avi", "mpeg4_bframes.avi", "raw.h264"}
"""Their frames carry no pts (AVI with B-frames, raw stream); test_video_damage and test_video_content have them."""
REFUSED = {"rotated_45.mp4", "mirrored.mp4"}
TABLES = sorted(p for p in (MEDIA / "tables").glob("*.json") if p.stem not in NO_TIMES_IN_FFPROBE | REFUSED)
CASES = [(table, int(stream)) for table in TABLES for stream in json.loads(table.read_text())["streams"]]


@pytest.mark.parametrize(("table_path", "stream_index"), CASES, ids=lambda value: getattr(value, "stem", str(value)))
def test_count_times_size_and_rate_are_those_of_ffprobe(table_path: Path, stream_index: int) -> None:
    path = need_video(table_path.stem)
    table = json.loads(table_path.read_text())["streams"][str(stream_index)]
    with VideoReader(path, stream_index=stream_index) as reader:
        assert reader.damage == ()
        assert reader.frame_count == len(table["pts_time"])
        # ffprobe prints microseconds; the order is that of its list.
        assert [f"{seconds:.6f}" for seconds in reader.pts_seconds] == table["pts_time"]
        assert reader.info.codec == table["codec"]
        assert reader.info.rate == Fraction(table["rate"])
        assert reader.info.rate.denominator == Fraction(table["rate"]).denominator
        size = (reader.info.width, reader.info.height)
        upright = size if reader.info.rotation_degrees in (0, 180) else size[::-1]
        assert upright == (table["coded_width"], table["coded_height"])
        assert reader.count_by_decoding() == reader.frame_count


def test_best_stream_is_ffmpegs_choice() -> None:
    path = need_video("nasa_13013.mp4")
    with VideoReader(path) as reader:
        # Its streams 0 (325 frames) and 3 (390 frames) are both video; FFmpeg's best is the second.
        assert (reader.info.stream_index, reader.frame_count) == (3, 390)
        assert reader.info.rate == Fraction(30000, 1001)


def test_non_zero_start_is_kept(made: Path) -> None:
    with VideoReader(made / "h264_late_start.mkv") as reader:
        assert reader.pts_seconds[0] == pytest.approx(10.04, abs=1e-9)
    with VideoReader(made / "h264_late_start.mp4") as reader:
        assert reader.pts_seconds[0] == 10.0


def test_edit_list_hides_frames(made: Path) -> None:
    with VideoReader(made / "h264_edit_list.mp4") as reader:
        # 62 frames were written, the first 22 are cut by the edit list: the container still declares 62.
        assert (reader.info.declared_frame_count, reader.frame_count) == (62, 40)
        assert reader.pts_seconds[0] == 0.0


def test_info_states_decoder_and_container(made: Path) -> None:
    with VideoReader(made / "h264_bframes.mp4") as reader:
        assert reader.info.decoder.startswith("pyav ")
        assert "libavcodec" in reader.info.decoder
        assert "mp4" in reader.info.container
        assert reader.info.size_bytes == (made / "h264_bframes.mp4").stat().st_size
        assert reader.info.time_base == Fraction(1, 12800)
        assert reader.counted_by == "index"
