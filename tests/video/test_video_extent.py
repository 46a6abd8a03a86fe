"""The end of a video from its last packets agrees with the frames that decode, whatever its container claims."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from gazetools.schemas.errors import VideoError
from gazetools.video import VideoReader
from gazetools.video.extent import packet_extent

MADE = sorted(p for p in (Path(__file__).parents[1] / "media" / "made").iterdir() if p.suffix not in {".json", ".md"})


@pytest.mark.parametrize("path", MADE, ids=lambda path: path.name)
def test_the_end_is_that_of_the_frames_that_decode(path: Path) -> None:
    """Within two frames; files with damaged ends may differ by what does not decode there, which a reader decides."""
    try:
        with VideoReader(path, threads=1) as reader:
            times, damage = reader.pts_seconds - reader.pts_seconds[0], reader.damage
    except VideoError:
        return
    found = packet_extent(path)
    if found is not None and not damage:
        period = max(found.period_seconds, 1 / 30)
        assert found.last_seconds == pytest.approx(times[-1], abs=2 * period + 1e-6)


def _write(path: Path, frames: int) -> Path:
    picture = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(25))
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.roll(picture, number, 1))))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("suffix", ["mkv", "avi", "ts", "mov", "mp4"])
def test_every_container_ends_where_it_ends(tmp_path: Path, suffix: str) -> None:
    found = packet_extent(_write(tmp_path / f"clip.{suffix}", 150))
    assert found is not None and found.end_seconds == pytest.approx(6.0, abs=0.05)


@pytest.mark.parametrize("suffix", ["mkv", "avi", "ts"])
def test_a_cut_file_ends_where_its_packets_end_not_where_its_header_says(tmp_path: Path, suffix: str) -> None:
    whole = _write(tmp_path / f"whole.{suffix}", 500)
    cut = tmp_path / f"cut.{suffix}"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    found = packet_extent(cut)
    assert found is None or 4.0 < found.last_seconds < 16.0


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video" * 50)
    with pytest.raises(VideoError, match="no video container"):
        packet_extent(tmp_path / "a.mp4")
