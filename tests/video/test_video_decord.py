"""The decord back end: equal to PyAV where allowed, refused with the reason elsewhere, and never opened there."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from gazetools.schemas.errors import EnvironmentLacksError, VideoError
from gazetools.video import VideoReader
from tests.media.barcode import read_barcode
from tests.video.conftest import find_video, need_video

ALLOWED = [
    "h264_bframes.mp4",
    "h264_ntsc.mp4",
    "h264_variable_rate.mp4",
    "h264_variable_rate.mkv",
    "h264_late_start.mp4",
    "vp9.webm",
    "mpeg4.avi",
]
REFUSED = {
    "h264.ts": "hangs on MPEG-TS",
    "h264_open_gop.mp4": "open GOP",
    "h265_open_gop.mp4": "open GOP",
    "h265_video.mp4": "open GOP",
    "h264_edit_list.mp4": "edit list",
    "h264_bframes.avi": "no unique presentation times",
    "h264_10bits.mp4": "8-bit RGB of yuv420p10le",
    "av1_video.mkv": "may not decode av1",
}


class FakeDecord(ModuleType):
    """Stands in for decord; `count` frames at `times`, and notes whether it was asked to open a file."""

    def __init__(self, count: int = 90, times: Any = None) -> None:
        super().__init__("decord")
        self.opened = False
        self.__version__ = "fake"
        self.DECORDError = type("DECORDError", (Exception,), {})
        self.cpu = lambda number: number
        fake = self
        starts = np.arange(count) / 25 if times is None else times

        class Reader:
            def __init__(self, *_: object, **__: object) -> None:
                fake.opened = True

            def __len__(self) -> int:
                return count

            def get_frame_timestamp(self, _: object) -> Any:
                return np.stack([starts, starts + 0.04], axis=1)

            def get_batch(self, frames: list[int]) -> Any:
                raise fake.DECORDError("native trouble\nsecond line")

        self.VideoReader = Reader


@pytest.mark.parametrize("name", ALLOWED)
def test_equal_to_pyav_within_two_levels(made: Path, name: str) -> None:
    pytest.importorskip("decord", reason="decord is not installed: its wheels are for x86-64 only")
    with VideoReader(made / name) as exact, VideoReader(made / name, backend="decord") as reader:
        assert reader.info.decoder.startswith("decord ")
        assert reader.frame_count == exact.frame_count
        np.testing.assert_array_equal(reader.pts_seconds, exact.pts_seconds)
        numbers = []
        for ours, theirs in zip(exact.frames(), reader.frames(), strict=True):
            assert ours.index == theirs.index
            assert int(np.abs(ours.rgb.astype(int) - theirs.rgb).max()) <= 2
            numbers.append(read_barcode(theirs.rgb))
        assert numbers == list(range(reader.frame_count))
        for index in np.random.default_rng(2).integers(0, reader.frame_count, 20):
            assert read_barcode(reader.read([index])[0]) == index
        batch = np.random.default_rng(4).integers(0, reader.frame_count, 20)
        assert [read_barcode(rgb) for rgb in reader.read(batch)] == list(batch)


@pytest.mark.parametrize(("name", "reason"), REFUSED.items())
def test_refused_without_being_opened(name: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeDecord()
    monkeypatch.setitem(sys.modules, "decord", fake)
    path = find_video(name)
    assert path is not None
    with pytest.raises(VideoError, match=reason) as caught:
        VideoReader(path, backend="decord")
    assert not fake.opened
    assert "pyav" in str(caught.value.hint)


def test_damaged_files_are_not_given_to_decord(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeDecord()
    monkeypatch.setitem(sys.modules, "decord", fake)
    data = (made / "h264_bframes.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: int(len(data) * 0.8)])
    with pytest.raises(VideoError, match=r"may hang or abort on a damaged file.*truncated"):
        VideoReader(tmp_path / "cut.mp4", backend="decord")
    assert not fake.opened


@pytest.mark.parametrize(
    ("fake", "text"),
    [
        (FakeDecord(count=89), "counts 89 frames where 90 decode"),
        (FakeDecord(times=np.arange(90) / 24), "gives frame 1 the time 0.041667 s, not 0.040000 s"),
    ],
)
def test_a_lying_decord_is_caught(made: Path, monkeypatch: pytest.MonkeyPatch, fake: FakeDecord, text: str) -> None:
    monkeypatch.setitem(sys.modules, "decord", fake)
    with pytest.raises(VideoError, match=text):
        VideoReader(made / "h264_bframes.mp4", backend="decord")


def test_native_errors_become_one_line(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "decord", FakeDecord())
    with VideoReader(made / "h264_bframes.mp4", backend="decord") as reader:
        with pytest.raises(VideoError, match=r"decord cannot decode frames 3\.\.3: native trouble\.") as caught:
            reader.read([3])
        assert "second line" not in str(caught.value)


def test_missing_decord_names_the_command(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "decord", None)
    with pytest.raises(EnvironmentLacksError, match="pip install decord"):
        VideoReader(made / "h264_bframes.mp4", backend="decord")


def test_only_the_best_stream_is_given_to_decord() -> None:
    from gazetools.video.decord_source import reasons_against

    path = need_video("nasa_13013.mp4")
    with VideoReader(path, stream_index=0) as reader:
        assert reasons_against(path, reader.info, reader.frame_index) == ["it cannot choose stream 0"]
