"""Wrong inputs of every command: the exit code, and a message with the value, the rule and the next step.

`{}` in a command is a folder with `v/a.mp4`, `store`, `ds`, `frames/a/*.jpg`, `text.txt`, `empty/` and some CSV files.
"""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from gazetools import extract, pack
from gazetools.preview.rows import open_overlays
from tests.helpers.clips import write_clip
from tests.helpers.command_line import run_cli

TIMES = "video_id,start_timestamp,stop_timestamp"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("place")
    write_clip(root / "v" / "a.mp4", frames=12)
    extract(root / "v", root / "store", model="centre-prior", device="cpu")
    pack(root / "store", root / "ds")
    (root / "empty").mkdir()
    (root / "text.txt").write_text("hello\n")
    (root / "empty.csv").write_text("")
    (root / "header.csv").write_text(f"{TIMES}\n")
    (root / "other.csv").write_text("video,start_time,end_time\na,0.1,0.2\n")
    (root / "order.csv").write_text(f"{TIMES}\na,0.3,0.1\na,-1,0.2\na,nan,0.2\n")
    numbered = [root / "frames" / "a" / f"frame_{number:06d}.jpg" for number in range(10)]
    numbered += [root / "named" / f"{name}.png" for name in ("left", "right")]
    for number, path in enumerate(numbered):
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((48, 64, 3), 9 * number, np.uint8))
    return root


WRONG = {
    # two options that exclude or need each other: both flags, as they are typed
    "extract {}/v -o {}/x --fps 5 --stride 2": (2, ["--fps (5) and --stride (2) exclude each other"]),
    "extract {}/v -o {}/x --start 5 --end 2": (2, ["--start (5) must be before --end (2)"]),
    "extract {}/v -o {}/x --detect-every 3": (2, ["--detect-every 3 leaves frames", "--fill-gaps to at least 2"]),
    "groundtruth {}/v -o {}/x --fps 3 --stride 3": (2, ["--fps (3) and --stride (3) exclude each other"]),
    "heads {}/v/a.mp4 -o {}/b.csv --low-score 0.9 --score 0.3": (
        2,
        ["--low-score (0.9) must not exceed --score (0.3)"],
    ),
    "pack {}/store -o {}/x --dtype uint8 --normalize sum": (2, ["--dtype uint8 and --normalize sum exclude"]),
    "pack {}/store -o {}/x --resize-on-load --size 32x32": (2, ["--resize-on-load needs --size video"]),
    "extract {}/v -o {}/x --slurm partition=x": (2, ["--slurm partition=x needs --engine slurm"]),
    "validate {}/ds --model centre-prior": (2, ["--model means something with --deep only", "Add --deep 8"]),
    # values out of range, of another kind, or misspelt
    "extract {}/v -o {}/x --fps nan": (2, ["'fps' = nan", "a finite number", "Correct --fps"]),
    "extract {}/v -o {}/x --start inf": (2, ["'start' = inf", "a finite number"]),
    "extract {}/v -o {}/x --batch-size many": (2, ["'batch_size' = 'many': must be a whole number or 'auto'"]),
    "extract {}/v -o {}/x --batch-size 0": (2, ["'batch_size' = 0: must be at least 1, or auto"]),
    "groundtruth {}/v -o {}/x --fixed-depth -1": (2, ["must be above 0", "Correct --fixed-depth"]),
    "pack {}/store -o {}/x --size 64": (2, ["must be HEIGHTxWIDTH such as 64x64, or video"]),
    "pack {}/store -o {}/x --normalize maxx": (2, ["'maxx'", "'minmax' or 'softmax'"]),
    "validate {}/ds --deep x": (2, ["it must be a whole number", "'x'"]),
    "doctor --what": (2, ["No such option: --what. See: gazetools doctor --help"]),
    # models: what there is, and what runs without weights
    "extract {}/v -o {}/x --model centre_prior": (
        2,
        ["did you mean centre-prior?", "gazelle_tiny (small", "centre-prior (a"],
    ),
    "extract {}/v -o {}/x --model nope.safetensors": (2, ["does not exist", "gazelle_tiny (small", "centre-prior (a"]),
    "extract {}/v -o {}/x --model {}/v": (2, ["is a folder", "gazelle_tiny"]),
    "evaluate model:centre-prior --truth {}/store": (2, ["is a store", "Extract the videos with this model"]),
    # a folder for a file, a file for a folder, the wrong kind, the input as output
    "heads {}/v -o {}/b.csv": (2, ["v is a folder, not a video file"]),
    "heads {}/text.txt -o {}/b.csv": (2, ["cannot be opened as a video"]),
    "heads {}/v/a.mp4 -o {}/v/a.mp4": (2, ["does not end in .csv", "-o a.csv"]),
    "heads {}/v/a.mp4 -o {}/empty": (2, ["is a folder", "-o a.csv"]),
    "preview {}/v/a.mp4 --heatmaps {}/store -o {}/v/a.mp4": (2, ["is the video itself"]),
    "preview {}/nope.mp4 --heatmaps {}/store -o {}/p.png": (2, ["Cannot open the video", "nope.mp4"]),
    "pack {}/ds -o {}/x": (2, ["is a packed dataset (manifest.json), not a store", "gazetools convert"]),
    "pack {}/store -o {}/text.txt": (2, ["text.txt is a file"]),
    "convert {}/store -o {}/x": (2, ["It is a store", "gazetools pack"]),
    "validate {}/ds --html {}/empty": (2, ["--html", "is a folder", "report.html"]),
    "evaluate {}/store --truth {}/store --html {}/empty": (2, ["--html", "is a folder"]),
    "evaluate {}/store --truth {}/empty": (2, ["neither store files (.h5) nor", "gazetools groundtruth"]),
    "validate {}/ds --for-training {}/text.txt": (2, ["must hold a mapping", "holds text", "key: value"]),
    # folders of pictures, whose times nothing states
    "extract {}/frames -o {}/x": (2, ["a folder of pictures, and nothing says when", "Give --frame-rate RATE"]),
    "extract {}/frames/a/*.jpg -o {}/x": (2, ["10 picture(s), and no video", "name the folder", "--frame-rate RATE"]),
    "extract {}/frames/a/frame_000003.jpg -o {}/x": (2, ["1 picture(s), and no video", "--frame-times CSV"]),
    "extract {}/named -o {}/x": (2, ["nothing says when they were taken", "frame_rate.txt"]),
    "heads {}/frames/a -o {}/b.csv": (2, ["nothing says when they were taken", "--frame-rate RATE"]),
    "preview {}/frames/a --heatmaps {}/store -o {}/p.png": (2, ["nothing says when they were taken"]),
    "validate {}/ds --videos {}/frames": (1, ["nothing says when they were taken", "--frame-rate RATE"]),
    # annotations
    "validate {}/ds --annotations {}/empty.csv": (2, ["has no header"]),
    "validate {}/ds --annotations {}/header.csv": (2, ["has no rows below its header"]),
    "validate {}/ds --annotations {}/other.csv": (
        2,
        ["'video' may be video_id", "'start_time' may be start_timestamp", "'end_time' may be stop_timestamp"],
    ),
    "validate {}/ds --annotations {}/order.csv": (
        2,
        ["line 2: stop_timestamp 0.1 is before start_timestamp 0.3", "line 3", "'-1'", "line 4", "'nan'"],
    ),
}
FOREIGN = ("(top level)", "Value error", "Traceback", "Internal error", "pydantic", "literal[", "unable to parse", "{'")


@pytest.mark.parametrize("command", WRONG)
def test_a_message_has_the_value_the_rule_and_the_next_step(
    place: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    code, words = WRONG[command]
    monkeypatch.chdir(place.parent)
    done = run_cli(*command.replace("{}", str(place)).split(), "--json")
    assert done.exit_code == code, done.stderr
    document = json.loads(done.stdout)
    texts = [document["error"]] if code != 1 else document["findings"]
    said = "\n".join(" ".join(str(one.get(key)) for key in ("message", "hint", "remedy")) for one in texts)
    assert not [word for word in words if word not in said], said
    assert not [word for word in FOREIGN if word in said], said
    if code != 1:
        assert document["error"]["hint"], said


def test_a_preview_draws_no_head_where_the_prompt_was_the_whole_frame(place: Path, tmp_path: Path) -> None:
    (tmp_path / "boxes.csv").write_text("frame,track_id,xmin,ymin,xmax,ymax\n0,1,10,10,40,40\n1,1,0,0,96,64\n")
    heads = f"file:{tmp_path / 'boxes.csv'}"
    extract(place / "v" / "a.mp4", tmp_path / "boxed", model="centre-prior", device="cpu", heads=heads)
    with open_overlays(place / "store", "a") as source:
        assert [person.box_xyxy for person in source.people(0)] == [None]
    with open_overlays(tmp_path / "boxed", "a") as source:
        assert source.people(0)[0].box_xyxy is not None
        assert source.people(1)[0].box_xyxy is not None, "a given box that fills the frame is a head"


EMPTY = [
    (["extract", "", "-o", "x"], "An argument is empty"),
    (["extract", "v", "-o", ""], "The value of -o is empty"),
    (["validate", "ds", "--videos", ""], "The value of --videos is empty"),
    (["validate", "ds", "--videos="], "The value of --videos is empty"),
    (["pack", "", "-o", "x", "--json"], "An argument is empty"),
]


@pytest.mark.parametrize(("arguments", "says"), EMPTY, ids=[" ".join(row[0]) for row in EMPTY])
def test_an_empty_argument_is_never_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str
) -> None:
    """As `extract "$VIDEOS"` has it where the variable is not set."""
    write_clip(tmp_path / "a.mp4", frames=3)
    monkeypatch.chdir(tmp_path)
    done = run_cli(*arguments)
    assert (done.exit_code, says in done.stderr) == (2, True), done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize("command", ["extract {} -o x", "extract @l.txt -o x", "validate {}", "pack {} -o x"])
def test_a_path_that_no_system_takes_is_wrong_usage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "l.txt").write_text("y" * 100_000 + "\n")
    done = run_cli(*command.replace("{}", "y" * 4000).split())
    assert done.exit_code == 2, done.stderr[:500]
    assert "@" not in command or len(done.stderr) < 500
