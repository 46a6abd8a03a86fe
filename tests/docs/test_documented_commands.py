"""Every command line that the README and the quick start show is run as it stands there."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gazetools.cli.app import COMMANDS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def _console_commands(page: Path) -> list[str]:
    blocks = re.findall(r"```console\n(.*?)```", page.read_text(), flags=re.DOTALL)
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def _run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    words = shlex.split(command)
    program = {"gazetools": [sys.executable, "-m", "gazetools"], "python": [sys.executable]}[words[0]]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}
    return subprocess.run(
        [*program, *words[1:]], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_the_readmes_commands_run(clip: Path, boxes: Path, tiny_model: Path, tmp_path: Path) -> None:
    for source, name in ((clip, "clip.mp4"), (boxes, "clip.csv"), (tiny_model, "model.safetensors")):
        shutil.copy(source, tmp_path / name)
    commands = _console_commands(ROOT / "README.md")
    assert [c.split()[1] for c in commands] == ["extract", "validate", "pack", "validate", "preview"]
    for command in commands:
        done = _run(command, tmp_path)
        assert done.returncode == 0, f"{command}\n{done.stderr}{done.stdout}"


def test_the_readmes_two_commands_are_in_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w[\w-]*)", (ROOT / "README.md").read_text(), flags=re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


@pytest.mark.slow
def test_the_quick_starts_commands_run_on_the_real_clip(tmp_path: Path) -> None:
    media = os.environ.get("GAZETOOLS_DATA")
    if not media:
        pytest.skip("GAZETOOLS_DATA does not point to the real clips")
    (tmp_path / "quickstart").mkdir()
    for name in ("two_people_1080p.mp4", "two_people_1080p.heads.csv"):
        shutil.copy(Path(media) / "real" / name, tmp_path / "quickstart" / name)
    for name in ("tests", "configs"):
        (tmp_path / name).symlink_to(ROOT / name)
    page = ROOT / "docs" / "quickstart.md"
    table = re.search(r"```csv\n(.*?)```", page.read_text(), flags=re.DOTALL)
    assert table
    (tmp_path / "quickstart" / "actions.csv").write_text(table[1])
    for command in _console_commands(page):
        done = _run(command, tmp_path)
        assert done.returncode == 0, f"{command}\n{done.stderr}{done.stdout}"
    assert (tmp_path / "quickstart" / "runs" / "tiny" / "result.json").exists()


@pytest.mark.slow
def test_the_ego_exo4d_pages_commands_run_on_synthetic_takes(tmp_path: Path) -> None:
    """From the (synthetic) download to the report, in the page's order; only the list of missing files exits with 1."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    commands = _console_commands(ROOT / "docs" / "egoexo4d.md")
    assert len(commands) == 12
    printed = []
    for command in commands:
        done = _run(command, tmp_path)
        assert done.returncode == ("--dry-run" in command), f"{command}\n{done.stderr}{done.stdout}"
        printed.append(done.stdout)
    demo = tmp_path / "takes_demo"
    assert "--parts take_eye_gaze --uids" in printed[2]
    assert (demo / "scores.html").read_text().count("data:image/jpeg;base64,") == 8  # best and worst frames
    assert (demo / "runs" / "keysteps" / "result.json").exists()
    assert list((demo / "report").glob("*.html"))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_and_commands_of_a_page_exist(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
    for block in re.findall(r"```\w*\n(.*?)```", text, flags=re.DOTALL):
        for command in re.findall(r"^(?:\$ )?gazetools (?!-)([a-z]+)", block, flags=re.MULTILINE):
            assert command in COMMANDS, f"{page.name} shows `gazetools {command}`"
