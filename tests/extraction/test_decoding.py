"""The decoding process: the same frames as in this process, and hangs, crashes and leaks that cost one video."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from gazetools.extraction.decoding.child_reader import ChildReader
from gazetools.extraction.decoding.decoder import Decoder, DecodeSettings, ReadAhead
from gazetools.schemas.errors import VideoError
from gazetools.video import VideoReader
from tests.extraction.fake_readers import BAD_FRAME
from tests.helpers.clips import write_clip

FAKES = "tests.extraction.fake_readers"


def _read_all(reader: ChildReader, wanted: np.ndarray, *, hold: int) -> list[tuple[int, float, np.ndarray]]:
    """Copies of the frames, holding `hold` of them at a time as the batches do."""
    got, held = [], []
    for frame in reader.frames(wanted):
        held.append(frame)
        if len(held) == hold:
            got += [(f.index, f.pts_seconds, f.rgb.copy()) for f in held]
            for f in held:
                reader.release(f)
            held.clear()
    return got + [(f.index, f.pts_seconds, f.rgb.copy()) for f in held]


@pytest.mark.parametrize("hold", [1, 4])
def test_frames_are_those_of_the_reader_in_this_process(clip: Path, hold: int) -> None:
    with VideoReader(clip) as own, Decoder() as decoder:
        for wanted in (np.arange(40), np.arange(3, 40, 7), np.array([39])):
            with decoder.open(clip, batch_size=hold) as reader:
                assert reader.info == own.info
                assert (reader.frame_count, reader.counted_by, reader.damage) == (40, own.counted_by, own.damage)
                np.testing.assert_array_equal(reader.pts_seconds, own.pts_seconds)
                got = _read_all(reader, wanted, hold=hold)
            assert [index for index, _, _ in got] == wanted.tolist()
            np.testing.assert_array_equal(np.stack([rgb for _, _, rgb in got]), own.read(wanted))
            assert [pts for _, pts, _ in got] == own.pts_seconds[wanted].tolist()


def test_one_process_serves_videos_of_different_sizes(clip: Path, tmp_path: Path) -> None:
    large = write_clip(tmp_path / "large.mp4", frames=5, width=160, height=96)
    with Decoder() as decoder:
        for path in (clip, large, clip):
            with decoder.open(path, batch_size=2) as reader, VideoReader(path) as own:
                got = _read_all(reader, np.arange(5), hold=2)
                np.testing.assert_array_equal(np.stack([rgb for _, _, rgb in got]), own.read(range(5)))
        assert decoder.deaths == 0


def test_a_reader_left_early_does_not_disturb_the_next_video(clip: Path) -> None:
    with Decoder() as decoder:
        with decoder.open(clip, batch_size=2) as reader:
            next(reader.frames(np.arange(40)))
        with decoder.open(clip, batch_size=2) as reader:
            assert [index for index, _, _ in _read_all(reader, np.arange(40), hold=2)] == list(range(40))


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "is empty"), (b"no video " * 100, "cannot be opened as a video"), (None, "Cannot open the video")],
)
def test_the_childs_errors_are_the_readers_errors(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "bad.mp4"
    if content is not None:
        path.write_bytes(content)
    with Decoder() as decoder:
        with pytest.raises(VideoError, match=words):
            decoder.open(path, batch_size=2)
        assert decoder.deaths == 0  # a broken file is no reason to restart the process


FATAL = [
    ("CrashingReader", "was killed by SIGSEGV", "at frame 6"),
    ("CrashingWhileOpening", "was killed by SIGSEGV", "while opening it"),
    ("HangingReader", "gave no answer in", "at frame 6"),
    ("HangingWithTheLock", "gave no answer in", "at frame 6"),
    ("LeakingReader", "ran out of memory", "at frame"),
    ("ExitingReader", "exited with code 3", "at frame 6"),
]


@pytest.mark.parametrize(("name", "words", "where"), FATAL, ids=[name for name, _, _ in FATAL])
def test_a_decoder_that_dies_is_tried_again_and_costs_its_video_only(
    clip: Path, tmp_path: Path, name: str, words: str, where: str
) -> None:
    settings = DecodeSettings(
        reader=f"{FAKES}:{name}",
        timeout_seconds=1.5 if "Hanging" in name else 60,
        memory_bytes=(3 << 30) if name == "LeakingReader" else None,
    )
    with Decoder(settings) as decoder:
        with pytest.raises(VideoError, match=words) as caught, decoder.open(clip, batch_size=2) as reader:
            _read_all(reader, np.arange(40), hold=2)
        assert where in str(caught.value)
        assert "3 attempts" in str(caught.value)
        assert decoder.deaths == 3
        good = tmp_path / "good.mp4"
        good.write_bytes(clip.read_bytes())
        with decoder.open(good, batch_size=2) as reader:  # the fakes misbehave on `clip.mp4` alone
            assert len(_read_all(reader, np.arange(40), hold=2)) == 40


def test_after_one_crash_the_frames_go_on_where_they_stopped(clip: Path, tmp_path: Path) -> None:
    """The fake crashes at frame 6 as long as it can remove a file: once."""
    once = tmp_path / "once.mp4"
    once.write_bytes(clip.read_bytes())
    (tmp_path / "crash").touch()
    with Decoder(DecodeSettings(reader=f"{FAKES}:CrashingOnce")) as decoder:
        with decoder.open(once, batch_size=2) as reader:
            got = _read_all(reader, np.arange(40), hold=2)
        assert decoder.deaths == 1
    with VideoReader(clip) as own:
        np.testing.assert_array_equal(np.stack([rgb for _, _, rgb in got]), own.read(range(40)))


_DRIVER = """
import sys, time
from pathlib import Path
from gazetools.extraction.decoding.decoder import Decoder
decoder = Decoder()
decoder.open(Path(sys.argv[1]), batch_size=2)
print(decoder._present._process.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's: needs Linux")
def test_the_decoding_process_dies_with_its_parent(clip: Path) -> None:
    driver = subprocess.Popen([sys.executable, "-c", _DRIVER, str(clip)], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    child = int(driver.stdout.readline())
    os.kill(child, 0)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    driver.stdout.close()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        stat = Path(f"/proc/{child}/stat")
        if not stat.exists() or stat.read_text().rsplit(")", 1)[1].split()[0] == "Z":
            return
        time.sleep(0.02)
    pytest.fail(f"the decoding process {child} outlived its parent")


def _hashes(reader: ChildReader) -> list[str]:
    found = []
    for frame in reader.frames(np.arange(reader.frame_count)):
        found.append(hashlib.sha256(frame.rgb.tobytes()).hexdigest())
        reader.release(frame)
    return found


AHEAD = [
    (["next"], 0, "a right guess"),
    (["other"], 0, "a wrong guess"),
    (["other", "next"], 0, "a guess that was changed"),
    (["broken", "next"], 0, "a guess that can't be opened, changed"),
    (["next", "kill"], 1, "the process that opened it was killed"),
]


@pytest.mark.parametrize(("guesses", "deaths", "_why"), AHEAD, ids=[why for *_, why in AHEAD])
def test_a_video_opened_ahead_is_the_same_video(
    clip: Path, tmp_path: Path, guesses: list[str], deaths: int, _why: str
) -> None:
    following = write_clip(tmp_path / "next.mp4", frames=20, width=64, height=48)
    write_clip(tmp_path / "other.mp4", frames=5)
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    with Decoder() as decoder:
        with decoder.open(following, batch_size=2) as reader:
            expected = _hashes(reader)
        with decoder.open(clip, batch_size=2) as reader:
            frames = reader.frames(np.arange(40))
            reader.release(next(frames))
            for guess in guesses:
                if guess == "kill":
                    assert decoder._next is not None
                    assert decoder._next._process is not None
                    decoder._next._process.kill()
                    decoder._next._process.wait()
                else:
                    decoder.open_ahead(tmp_path / f"{guess}.mp4")
            for frame in frames:
                reader.release(frame)
        with decoder.open(following, batch_size=2) as reader:
            assert _hashes(reader) == expected
            assert reader.info.path == str(following)
        assert decoder.deaths == deaths


def test_a_broken_video_opened_ahead_fails_when_its_turn_comes(clip: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    with Decoder() as decoder:
        decoder.open_ahead(broken)
        with decoder.open(clip, batch_size=2) as reader:
            assert reader.frame_count == 40
        with pytest.raises(VideoError, match=r"broken\.mp4"):
            decoder.open(broken, batch_size=2)
        assert decoder.deaths == 0


READ_AHEAD = [
    # what is read ahead, what is then asked for
    (ReadAhead(frames=4), np.arange(20), "as expected: every frame"),
    (ReadAhead(frames=4, stride=3), np.arange(0, 20, 3), "as expected: a stride"),
    (ReadAhead(frames=4, start=0.25, end=0.5), np.arange(8, 15), "as expected: a range of times"),
    (ReadAhead(frames=100), np.arange(20), "all of a short video"),
    (ReadAhead(frames=4), np.arange(10, 20), "pieces of an earlier run are there: later frames"),
    (ReadAhead(frames=4), np.arange(0, 20, 2), "others in between"),
    (ReadAhead(frames=4, start=99.0), np.arange(20), "no frame is expected"),
]


@pytest.mark.parametrize(("ahead", "wanted", "_why"), READ_AHEAD, ids=[why for *_, why in READ_AHEAD])
def test_frames_read_ahead_are_those_that_are_asked_for(
    clip: Path, tmp_path: Path, ahead: ReadAhead, wanted: np.ndarray, _why: str
) -> None:
    following = write_clip(tmp_path / "next.mp4", frames=20, width=64, height=48)
    with VideoReader(following) as own:
        expected = own.read(wanted)
    with Decoder() as decoder:
        with decoder.open(clip, batch_size=2):
            decoder.open_ahead(following, ahead)
        with decoder.open(following, batch_size=2) as reader:
            time.sleep(0.2)  # enough for it to have read ahead, not needed for the result
            for _ in range(2):  # the second time nothing is ready
                got = _read_all(reader, wanted, hold=2)
                assert [index for index, _, _ in got] == wanted.tolist()
                np.testing.assert_array_equal(np.stack([rgb for _, _, rgb in got]), expected)
        assert decoder.deaths == 0


@pytest.mark.parametrize(
    ("reader_class", "words"),
    [("CrashingReader", "SIGSEGV"), ("HangingReader", "no answer"), ("LeakingReader", "ran out of memory")],
)
def test_a_video_that_kills_the_decoder_while_it_is_read_ahead_fails_when_its_turn_comes(
    tmp_path: Path, reader_class: str, words: str
) -> None:
    before, bad = write_clip(tmp_path / "before.mp4", frames=9), write_clip(tmp_path / "clip.mp4")
    settings = DecodeSettings(timeout_seconds=2.0, memory_bytes=4 << 30, reader=f"{FAKES}:{reader_class}")
    with Decoder(settings) as decoder:
        with decoder.open(before, batch_size=2) as reader:
            decoder.open_ahead(bad, ReadAhead(frames=16))
            for frame in reader.frames(np.arange(9)):
                reader.release(frame)
        with pytest.raises(VideoError, match=words), decoder.open(bad, batch_size=2) as reader:
            for frame in reader.frames(np.arange(40)):
                assert frame.index < BAD_FRAME
                reader.release(frame)
        with decoder.open(before, batch_size=2) as reader:
            assert reader.frame_count == 9
