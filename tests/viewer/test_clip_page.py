"""An exported page: what is in it, what its policy lets run, and which clips are refused."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from gazetools.schemas.errors import UsageError
from gazetools.schemas.view import ViewOptions
from gazetools.viewer import export_clip
from tests.helpers.command_line import run_cli
from tests.helpers.stores import make_video
from tests.helpers.viewing import store_numbered, write_numbered_video
from tests.media.barcode import read_barcode


def test_the_page_holds_its_frames_and_only_its_own_script_may_run(numbered: Path, tmp_path: Path) -> None:
    output = tmp_path / "clip.html"
    flags = ["--video", "clip", "--export", str(output), "--start", "0.5", "--stop", "0.9", "--json"]
    done = run_cli("view", str(numbered / "store"), "--compare", str(numbered / "store"), *flags)
    assert json.loads(done.stdout) == {"output": str(output), "frames": 12}, done.stderr
    text = output.read_text()
    scripts = re.findall(r"<script([^>]*)>(.*?)</script>", text, re.DOTALL)
    assert [attributes for attributes, _ in scripts] == [' type="application/json" id="data"', ""]
    wanted = base64.b64encode(hashlib.sha256(scripts[1][1].encode()).digest()).decode()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    assert f"script-src 'sha256-{wanted}'" in policy and policy.startswith("default-src 'none'")
    assert "unsafe" not in policy and not re.search(r"(src|href)=[\"']?(http|//|\.)|\bimport\b ", text)
    data = json.loads(scripts[0][1])
    pictures = [base64.b64decode(frame["picture"].split(",")[1]) for frame in data["frames"]]
    decoded = [cv2.imdecode(np.frombuffer(one, np.uint8), cv2.IMREAD_COLOR) for one in pictures]
    assert [read_barcode(picture) for picture in decoded] == list(range(15, 27))
    for source in data["sources"]:
        for frame, rows in enumerate(source["rows"], 15):
            assert [row["track"] for row in rows] == ([] if frame % 10 == 9 else [1, 2])
            for row in rows[:1]:
                assert np.frombuffer(base64.b64decode(row["map"]), np.uint8).argmax() == frame


def test_names_are_text_in_the_page(tmp_path: Path) -> None:
    name = "x<script>alert(1)<!--"
    make_video(tmp_path / "store", name, frame_count=3)
    assert export_clip(tmp_path / "store", ViewOptions(video=name, export=tmp_path / "a.html")) == 3, "without a video"
    text = (tmp_path / "a.html").read_text()
    assert name not in text and text.count("<script") == 2 and "x&lt;script&gt;" in text


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"stop": 0.001, "start": 0.0005}, "No frame lies between 0.0005 and 0.001 s; the video is 1.30 s long"),
        ({"export": "clip.txt"}, "must end in .html"),
        ({"video": "nobody"}, "has no heatmaps of the video 'nobody'"),
        ({"video": "../clip"}, "not allowed"),
    ],
)
def test_clips_that_cannot_be_exported(numbered: Path, tmp_path: Path, changed: dict[str, object], words: str) -> None:
    settings = {"video": "clip", "export": tmp_path / "clip.html", **changed}
    with pytest.raises(UsageError, match=re.escape(words)):
        export_clip(numbered / "store", ViewOptions(**settings))  # type: ignore[arg-type]
    assert not (tmp_path / "clip.html").exists()


def test_long_clips_are_refused_before_anything_is_written(
    tmp_path: Path, numbered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ViewOptions(video="clip", export=tmp_path / "clip.html")
    monkeypatch.setattr("gazetools.viewer.clip_page._MOST_BYTES", 50_000)
    with pytest.raises(UsageError, match=r"more than 0 MB: .* frames are too many. Give a smaller --stop"):
        export_clip(numbered / "store", options)
    monkeypatch.setattr("gazetools.viewer.clip_page._MOST_FRAMES", 20)
    with pytest.raises(UsageError, match="The clip has 40 frames, a page holds at most 20"):
        export_clip(numbered / "store", options)
    assert not list(tmp_path.glob("*.html"))


def test_the_settings_of_an_export_go_together() -> None:
    for flags, words in (
        (["--start", "3"], "--start is for an exported page; give --export too"),
        (["--export", "clip.html"], "--export needs --video"),
        (["--export", "clip.html", "--video", "x", "--start", "3", "--stop", "3"], "--stop must be above --start"),
    ):
        done = run_cli("view", "store", *flags)
        assert (done.exit_code, words in done.stderr) == (2, True), done.stderr


def test_a_clip_begins_at_the_first_frame_of_a_late_video(tmp_path: Path) -> None:
    video = write_numbered_video(tmp_path / "late.mp4", frames=20, start_seconds=3.0)
    store_numbered(tmp_path / "store", video, frames=20)
    options = ViewOptions(video="late", export=tmp_path / "clip.html", stop=0.2)
    assert export_clip(tmp_path / "store", options) == 6
    data = json.loads(re.findall(r'id="data">(.*?)</script>', (tmp_path / "clip.html").read_text())[0])
    assert (data["first"], data["frames"][0]["seconds"]) == (0, 0.0)
