"""The scripts of examples/ run as a user runs them, on a small clip, and print what is true of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import gazetools

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


def _run(script: str, *arguments: object) -> list[str]:
    command = [sys.executable, str(EXAMPLES / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def store(clip: Path, boxes: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("examples") / "store"
    assert gazetools.extract(clip, path, model=str(tiny_model), heads=f"file:{boxes}", device="cpu").exit_code == 0
    return path


def test_gaze_at_times_prints_each_person_once(store: Path) -> None:
    lines = _run("gaze_at_times.py", store / "clip.h5", 0.5, 0.2)  # nobody is in frames 5 to 9, which are 0.17 to 0.3 s
    assert [line.split("gaze")[0].split() for line in lines] == [
        ["0.500", "s", "person", "1"],
        ["0.500", "s", "person", "7"],
    ]


def test_clips_for_torch_covers_the_video(store: Path, tmp_path: Path) -> None:
    gazetools.pack(store, tmp_path / "dataset")
    lines = _run("clips_for_torch.py", tmp_path / "dataset")
    # 40 frames, a clip spans 15: two clips; frames 6 and 8 of the first have nobody
    assert lines == ["2 clips of 1 videos, 0 too short", "clip (2, 8, 64, 64) 88% of the frames have maps"]


def test_own_gaze_model_makes_a_store(clip: Path, tmp_path: Path) -> None:
    assert _run("own_gaze_model.py", clip, tmp_path / "store") == ["clip: done, 40 maps"]
    with gazetools.open_store(tmp_path / "store" / "clip.h5") as made:
        assert made.provenance.model.name == "corner"
        assert made.rows().heatmap.astype(float).sum() == pytest.approx(40 * 64)


@pytest.mark.slow
def test_made_videos_are_whole(tmp_path: Path) -> None:
    assert _run("made_videos.py", tmp_path / "own") == []
    names = sorted(path.stem for path in (tmp_path / "own" / "videos").glob("*.mp4"))
    assert len(names) == 12 and names == sorted(path.stem for path in (tmp_path / "own" / "heads").glob("*.csv"))
    assert len((tmp_path / "own" / "actions.csv").read_text().splitlines()) == 49


def test_every_script_is_tested() -> None:
    """Here, those for other tools next to it, or ray_seeds.py by tests/trainer/test_seed_arrays.py (a Ray cluster)."""
    tested = Path(__file__).read_text() + (ROOT / "tests" / "trainer" / "test_seed_arrays.py").read_text()
    assert "RAY = " in tested and '"ray_seeds.py"' in tested
    tested += '("ray_seeds.py"'
    tested += Path(__file__).with_name("test_examples_for_other_tools.py").read_text()
    assert [path.name for path in EXAMPLES.glob("*.py") if f'("{path.name}"' not in tested] == []
