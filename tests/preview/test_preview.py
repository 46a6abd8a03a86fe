"""Pictures show the maps where they are, and nothing where there are none."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from gazetools.preview.encode import write_overlay_video
from gazetools.preview.overlay import PersonOverlay, draw_overlay, peak_xy
from gazetools.progress import NoProgress
from gazetools.video import VideoReader
from tests.helpers.command_line import run_cli
from tests.helpers.stores import make_piece, make_store


def _dot(row: int, column: int) -> np.ndarray:
    heatmap = np.zeros((8, 16), np.float32)
    heatmap[row, column] = 0.3  # scaled to its own maximum for the eye
    return heatmap


def test_the_brightest_place_is_the_maps_peak() -> None:
    grey = np.full((80, 160, 3), 100, np.uint8)
    person = PersonOverlay(track_id=1, heatmap=_dot(6, 12), box_xyxy=None, inout=None)
    assert peak_xy(person.heatmap) == (12.5 / 16, 6.5 / 8)
    change = np.abs(draw_overlay(grey, [person]).astype(int) - 100).sum(axis=2)
    row, column = np.unravel_index(int(cv2.blur(change.astype(np.float32), (9, 9)).argmax()), change.shape)
    assert abs(row - 65) <= 6
    assert abs(column - 125) <= 6
    assert change[:40, :80].max() == 0


def test_a_zero_map_changes_nothing() -> None:
    grey = np.full((80, 160, 3), 100, np.uint8)
    person = PersonOverlay(track_id=None, heatmap=np.zeros((8, 16), np.float32), box_xyxy=None, inout=None)
    np.testing.assert_array_equal(draw_overlay(grey, [person]), grey)


def _plates(picture: np.ndarray) -> np.ndarray:
    """bool [H, W]: the dark ground of labels."""
    return (picture == 20).all(axis=2)


@pytest.mark.parametrize(
    "second_box",
    [
        (0.42, 0.5, 0.6, 0.8),  # on one line with the first label: moved above it
        (0.45, 0.53, 0.6, 0.8),  # a little lower
        (0.4, 0.5, 0.6, 0.8),  # in the same place
        (0.4, 0.02, 0.6, 0.3),  # at the upper edge, where nothing is covered
    ],
)
@pytest.mark.parametrize("top", [0.5, 0.0])
def test_a_label_never_covers_another(top: float, second_box: tuple[float, ...]) -> None:
    grey = np.full((200, 400, 3), 100, np.uint8)
    first, second = (
        PersonOverlay(track_id=track, heatmap=np.zeros((8, 16), np.float32), box_xyxy=np.array(box), inout=0.5)
        for track, box in ((1, (0.4, top, 0.6, 0.9)), (2, second_box))
    )
    both = _plates(draw_overlay(grey, [first, second])).sum()
    singly = [_plates(draw_overlay(grey, [one])).sum() for one in (first, second)]
    assert both == pytest.approx(sum(singly), rel=0.15), "the lines of a box may cross a label, a label may not"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    frames = list(range(40))
    make_store(tmp_path / "store", pieces=[make_piece(frames, [(f, 1) for f in frames])], roles={1: "other"})
    return tmp_path / "store"


def test_a_contact_sheet_has_its_tiles(clip: Path, store: Path, tmp_path: Path) -> None:
    done = run_cli("preview", str(clip), "--heatmaps", str(store), "-o", str(tmp_path / "o.png"), "--frames", "5")
    assert done.exit_code == 0, done.stderr
    picture = cv2.imread(str(tmp_path / "o.png"))
    assert picture is not None
    assert picture.shape == (2 * 64, 3 * 96, 3)
    assert picture[64:, 2 * 96 :].max() == 0  # the sixth tile is empty
    assert picture[:64, :96].max() > 0


def test_an_overlay_video_has_every_frame(clip: Path, store: Path, tmp_path: Path) -> None:
    done = run_cli("preview", str(clip), "--heatmaps", str(store / "clip.h5"), "-o", str(tmp_path / "o.mp4"))
    assert done.exit_code == 0, done.stderr
    with VideoReader(tmp_path / "o.mp4") as reader:
        assert reader.frame_count == 40
        assert (reader.info.width, reader.info.height) == (96, 64)


def test_an_overlay_video_keeps_times_and_colours(tmp_path: Path) -> None:
    times, colour = [0.2, 0.3, 0.35, 0.9, 1.0], (200, 40, 90)
    with av.open(str(tmp_path / "in.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "4"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for seconds in times:
            frame = av.VideoFrame.from_ndarray(np.full((64, 96, 3), colour, np.uint8), format="rgb24")
            frame.pts, frame.time_base = round(1000 * seconds), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with VideoReader(tmp_path / "in.mp4") as reader:
        write_overlay_video(reader, lambda frame: frame.rgb, tmp_path / "out.mp4", NoProgress())
        given = reader.read([0])[0, 30, 40].astype(int)
    with VideoReader(tmp_path / "out.mp4") as reader:
        np.testing.assert_allclose(reader.pts_seconds, np.array(times) - times[0], atol=1e-3)
        assert (reader.info.colour_matrix, reader.info.colour_matrix_source) == ("bt709", "tagged")
        assert np.abs(reader.read([3])[0, 30, 40].astype(int) - given).max() <= 4  # what 8-bit YCbCr can tell apart


WRONG = [
    (["--heatmaps", "{store}", "-o", "{tmp}/o.gif"], "must end in .png"),
    (["--heatmaps", "{tmp}/none", "-o", "{tmp}/o.png"], "do not exist"),
    (["--heatmaps", "{store}", "-o", "{tmp}/o.png", "--id", "other"], "other"),
]


@pytest.mark.parametrize(("arguments", "words"), WRONG, ids=[words for _, words in WRONG])
def test_wrong_use_is_2(clip: Path, store: Path, tmp_path: Path, arguments: list[str], words: str) -> None:
    done = run_cli("preview", str(clip), *(a.format(store=store, tmp=tmp_path) for a in arguments))
    assert done.exit_code == 2, done.stderr
    assert words in done.stderr
    assert not (tmp_path / "o.png").exists()


def _with_sound(path: Path, *, codec: str, container_format: str) -> Path:
    """40 frames of video at 30 fps and 1.5 s of a rising tone."""
    with av.open(str(path), "w", format=container_format) as container:
        video = container.add_stream("libx264", rate=30)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        audio = container.add_stream(codec, rate=48000, layout="mono")
        for index in range(40):
            picture = np.full((64, 96, 3), index * 5, np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode(None))
        seconds = np.arange(72000) / 48000
        tone = (8000 * np.sin(2 * np.pi * (200 + 300 * seconds) * seconds)).astype(np.int16)[None]
        sound = av.AudioFrame.from_ndarray(tone, format="s16", layout="mono")
        sound.sample_rate, sound.pts = 48000, 0
        resampler = av.AudioResampler(format=audio.format, layout="mono", rate=48000, frame_size=audio.frame_size or 0)
        for frame in [*resampler.resample(sound), *resampler.resample(None)]:
            container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
    return path


def _sound_packets(path: Path) -> list[tuple[float, bytes]]:
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return []
        stream = container.streams.audio[0]
        return [
            (round(float(packet.pts * packet.time_base), 3), bytes(packet))
            for packet in container.demux(stream)
            if packet.pts is not None
        ]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_the_sound_is_kept_as_it_is(store: Path, tmp_path: Path, suffix: str) -> None:
    clip = _with_sound(tmp_path / "clip.mp4", codec="aac", container_format="mp4")
    output = tmp_path / f"o{suffix}"
    done = run_cli("preview", str(clip), "--heatmaps", str(store / "clip.h5"), "-o", str(output))
    assert done.exit_code == 0, done.stderr
    theirs = [(time, data) for time, data in _sound_packets(clip) if time >= 0]  # aac begins before the picture
    ours = [(time, data) for time, data in _sound_packets(output) if time >= 0]
    assert len(theirs) > 60
    assert [data for _, data in ours] == [data for _, data in theirs]
    assert max(abs(a - b) for (a, _), (b, _) in zip(ours, theirs, strict=True)) < 0.002
    with VideoReader(output) as reader:
        assert reader.frame_count == 40


def test_sound_that_the_container_cannot_hold_is_left_out_and_said(store: Path, tmp_path: Path) -> None:
    clip = _with_sound(tmp_path / "clip.avi", codec="pcm_mulaw", container_format="avi")
    done = run_cli("preview", str(clip), "--heatmaps", str(store / "clip.h5"), "-o", str(tmp_path / "o.mp4"))
    assert done.exit_code == 0, done.stderr
    assert "the sound (pcm_mulaw) can't be kept" in " ".join(done.stderr.split())
    assert _sound_packets(tmp_path / "o.mp4") == []
    with VideoReader(tmp_path / "o.mp4") as reader:
        assert reader.frame_count == 40
