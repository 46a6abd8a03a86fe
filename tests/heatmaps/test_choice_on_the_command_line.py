"""--key, --axes and --first-frame on the command line, of every command that reads other tools' heatmaps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gazetools import HeatmapReader
from gazetools.packing import pack
from tests.helpers.clips import write_clip
from tests.helpers.command_line import run_cli
from tests.helpers.stores import make_video

FRAMES, H, W = 14, 9, 16
MAPS = np.random.default_rng(5).random((FRAMES, H, W)).astype(np.float32)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of 14 frames and folders of maps that leave something open."""
    root = tmp_path_factory.mktemp("choice")
    write_clip(root / "videos" / "v.mp4", frames=FRAMES, width=64, height=36)
    for name in ("two", "last", "from1/v"):
        (root / name).mkdir(parents=True)
    np.savez(root / "two" / "v.npz", depth=MAPS[::-1], gaze=MAPS)
    np.savez(root / "last" / "v.npz", x=np.ascontiguousarray(MAPS.transpose(1, 2, 0)))
    for number, one in enumerate(MAPS, 1):
        np.save(root / "from1" / "v" / f"frame_{number:06d}.npy", one)
    make_video(root / "store", "v")
    pack(root / "store", root / "packed")
    return root


CHOICES = {"two": ["--key", "gaze"], "last": ["--axes", "HWT"], "from1": ["--first-frame", "1"]}


@pytest.mark.parametrize("name", CHOICES)
def test_validate(place: Path, name: str) -> None:
    done = run_cli("validate", str(place / name), "--videos", str(place / "videos"), "--json")
    assert done.exit_code == 1
    assert CHOICES[name][0] in " ".join(found["message"] for found in json.loads(done.stdout)["findings"])
    done = run_cli("validate", str(place / name), "--videos", str(place / "videos"), "--json", *CHOICES[name])
    findings = json.loads(done.stdout)["findings"]
    assert (done.exit_code, [f for f in findings if f["severity"] != "note"]) == (0, [])
    assert json.loads(done.stdout)["summary"]["maps"] == FRAMES


@pytest.mark.parametrize("name", CHOICES)
def test_convert(place: Path, tmp_path: Path, name: str) -> None:
    done = run_cli("convert", str(place / name), "-o", str(tmp_path / "data"), *CHOICES[name])
    assert done.exit_code == 0, done.stderr
    with HeatmapReader(tmp_path / "data", "v") as reader:
        np.testing.assert_array_equal(reader.read(range(FRAMES)), MAPS)


@pytest.mark.parametrize("name", CHOICES)
def test_preview(place: Path, tmp_path: Path, name: str) -> None:
    arguments = ["preview", str(place / "videos" / "v.mp4"), "--heatmaps", str(place / name), "-o"]
    done = run_cli(*arguments, str(tmp_path / "sheet.png"), "--frames", "14", "--json", *CHOICES[name])
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["frames"] == FRAMES
    if name != "last":  # whose first axis is read as 9 frames
        assert run_cli(*arguments, str(tmp_path / "none.png")).exit_code == 2
        assert not (tmp_path / "none.png").exists()


def test_options_of_a_config_file(place: Path, tmp_path: Path) -> None:
    (tmp_path / "options.yaml").write_text("key: gaze\naxes: thw\n")
    done = run_cli(
        "convert", str(place / "two"), "-o", str(tmp_path / "data"), "--config", str(tmp_path / "options.yaml")
    )
    assert done.exit_code == 0, done.stderr


WRONG = {
    "no letter for the columns": (["--axes", "THT"], "must name H, W"),
    "five axes": (["--axes", "111HW"], "at most 4 letters"),
    "a word": (["--axes", "channels_last"], "must name H, W"),
    "below zero": (["--first-frame", "-1"], "first"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_choices_are_wrong_usage(place: Path, tmp_path: Path, case: str) -> None:
    arguments, message = WRONG[case]
    done = run_cli("convert", str(place / "two"), "-o", str(tmp_path / "data"), *arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("name", ["store", "packed"])
@pytest.mark.parametrize("command", ["validate", "convert", "preview"])
def test_what_gazetools_made_takes_no_choice(place: Path, tmp_path: Path, name: str, command: str) -> None:
    """An option that would change nothing is an error."""
    arguments = {
        "validate": ["validate", str(place / name)],
        "convert": ["convert", str(place / "packed"), "-o", str(tmp_path / "data")],
        "preview": [
            "preview", str(place / "videos" / "v.mp4"), "--heatmaps", str(place / name), "-o", str(tmp_path / "s.png"),
        ],
    }[command]  # fmt: skip
    done = run_cli(*arguments, "--key", "gaze")
    assert done.exit_code == 2, done.stderr
    assert "for heatmaps of other tools" in " ".join(done.stderr.split())
