"""Every command line in the documents is one that the real parser takes; those of tutorials are run as they stand."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gazetools.cli.app import COMMANDS, _load
from gazetools.cli.common import TERMINAL
from tests.helpers.clips import write_boxes, write_clip

ROOT = Path(__file__).parents[2]
CHINESE = ROOT / "README.zh-CN.md"
PAGES = [
    ROOT / "README.md",
    CHINESE,
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("*.md")),
]


def _console_commands(page: Path) -> list[str]:
    blocks = re.findall(r"```console\n(.*?)```", page.read_text(), flags=re.DOTALL)
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def _shown_output(page: Path) -> list[str]:
    """The lines that a page says commands print."""
    blocks = re.findall(r"```console\n(.*?)```", page.read_text(), flags=re.DOTALL)
    return [" ".join(line.split()) for block in blocks for line in block.splitlines() if not line.startswith("$ ")]


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


def test_the_chinese_readme_has_the_commands_of_the_english_pages() -> None:
    """Line by line those that other tests run: README's and the quick start's, and the same table of actions."""
    readme, quickstart = ROOT / "README.md", ROOT / "docs" / "quickstart.md"
    assert _console_commands(CHINESE) == _console_commands(readme) + _console_commands(quickstart)
    chinese = CHINESE.read_text()
    blocks = r"```(csv|text|python)\n(.*?)```"
    english = re.findall(blocks, readme.read_text() + quickstart.read_text(), flags=re.DOTALL)
    assert sorted(map(_code, re.findall(blocks, chinese, flags=re.DOTALL))) == sorted(map(_code, english))
    shell = [re.findall(r"```bash\n(.*?)```", page, flags=re.DOTALL) for page in (chinese, readme.read_text())]
    shell = [[" ".join(re.sub("#.*", "", block).split()) for block in blocks] for blocks in shell]
    assert shell[0] == shell[1] == ["make demo make test", "pip install '.[report]' gazetools doctor"]
    tables = [
        set(re.findall(r"^\| (`[^|]*) \|", page.replace("、", ", "), flags=re.MULTILINE))
        for page in (chinese, readme.read_text())
    ]
    assert tables[0] == tables[1], "one table of commands"
    assert "(README.zh-CN.md)" in readme.read_text() and "(README.md)" in chinese


def _code(block: tuple[str, str]) -> str:
    """A block without its comments, which are translated."""
    return re.sub(r"^#.*\n|  #.*", "", block[1], flags=re.MULTILINE)


@pytest.mark.slow
def test_the_quick_starts_commands_run_on_the_real_clip(tmp_path: Path) -> None:
    media = os.environ.get("GAZETOOLS_DATA")
    if not media:
        pytest.skip("set GAZETOOLS_DATA to a folder with codecs/ and real/")
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
def test_models_of_2026_run_from_weights_to_a_training(tmp_path: Path) -> None:
    """docs/models.md as it stands, on the real clip where it is at hand, else on a committed one."""
    page, media = ROOT / "docs" / "models.md", os.environ.get("GAZETOOLS_DATA")
    folder = tmp_path / "models2026"
    (folder / "videos").mkdir(parents=True)
    if media:
        shutil.copy(Path(media) / "real" / "two_people_1080p.mp4", folder / "videos" / "clip.mp4")
        shutil.copy(Path(media) / "real" / "two_people_1080p.heads.csv", folder / "heads.csv")
    else:
        write_clip(folder / "videos" / "clip.mp4", frames=101, width=320, height=180, fps=24)
        write_boxes(folder / "heads.csv", frames=range(101), width=320, height=180)
    for name in ("tests", "configs"):
        (tmp_path / name).symlink_to(ROOT / name)
    table = re.search(r"```csv\n(.*?)```", page.read_text(), flags=re.DOTALL)
    assert table
    (folder / "actions.csv").write_text(table[1])
    section = page.read_text().split("## From weights to a training")[1].split("\n## ")[0]
    commands = re.findall(r"^\$ (.+)$", section, flags=re.MULTILINE)
    assert len(commands) == 9
    for command in commands:
        done = _run(command, tmp_path)
        # random weights give maps that may deserve a warning, never an error
        assert done.returncode in ((0, 1) if "validate" in command else (0,)), f"{command}\n{done.stderr}{done.stdout}"
        assert "validate" not in command or " 0 errors" in done.stdout, done.stdout
    result = json.loads((folder / "runs" / "two_gaze_models" / "result.json").read_text())
    assert result["status"] == "done"


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
    scores = _run("gazetools evaluate takes_demo/store --truth takes_demo/truth --json", tmp_path)
    _compare_with_the_table(json.loads(scores.stdout), (ROOT / "docs" / "egoexo4d.md").read_text())


@pytest.mark.slow
def test_the_own_data_pages_commands_lead_from_videos_to_a_report(tmp_path: Path) -> None:
    """As they stand, in the page's order; the verdict is one of a study, and none that these data could not give."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    commands = _console_commands(ROOT / "docs" / "own-data.md")
    assert [c.split()[1] for c in commands] == [
        "examples/made_videos.py", "extract", "validate", "pack", "validate", "train", "train", "train", "report",
    ]  # fmt: skip
    printed = ""
    for command in commands:
        done = _run(command, tmp_path)
        assert done.returncode == 0, f"{command}\n{done.stderr}{done.stdout}"
        printed += done.stdout + done.stderr
    for line in _shown_output(ROOT / "docs" / "own-data.md"):
        assert line in " ".join(printed.split()), line
    answer = json.loads((tmp_path / "report" / "report.json").read_text())["primary"]
    assert (answer["seeds"], answer["declared"], answer["contrast"]) == (5, True, "estimated - none")
    assert answer["verdict"] in ("no_evidence", "gain", "loss"), "there are enough trainings and people for a verdict"


def _compare_with_the_table(report: dict[str, Any], page: str) -> None:
    """The figures of the page's table of scores, within what another machine's arithmetic may change.

    A map of random weights is nearly flat: where two of its 16 cells are alike, another processor may find the other.
    """
    table = page.split("| | AUC | average L2 | angle (degrees) | rows |\n|---|---|---|---|---|\n")[1].split(
        "\n\n", maxsplit=1
    )[0]
    for line in table.splitlines():
        name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        kind, _, group = name.partition(" ")
        found = report["overall"] if name == "all" else report["groups"][kind][group]
        assert int(cells[3]) == found["auc"]["count"], name
        for cell, metric, reach in zip(cells, ("auc", "avg_l2", "angle_deg"), (0.01, 0.03, 2.0), strict=False):
            shown = [float(number) for number in re.findall(r"[\d.]+", cell)]
            assert shown == pytest.approx([found[metric][key] for key in ("value", "low", "high")], abs=reach), name


@pytest.mark.slow
def test_the_commands_pages_lines_run_on_a_small_demo(tmp_path: Path) -> None:
    """With few clips and epochs: what they find is nothing, that they run is what is tested."""
    small = _run("gazetools demo -o demo --clips 24 --seconds 9 --epochs 2", tmp_path)
    assert small.returncode in (0, 1), small.stderr
    commands = _console_commands(ROOT / "docs" / "commands.md")
    assert {c.split()[1] for c in commands} >= {"extract", "preview", "validate", "pack", "convert", "train", "report"}
    for command in commands:
        done = _run(command, tmp_path)
        assert done.returncode == 0, f"{command}\n{done.stderr}{done.stdout}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_of_a_page_exist(page: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)", page.read_text()):
        linked = page.parent / target if target else page
        assert linked.exists(), f"{page.name} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(), flags=re.MULTILINE)
            known = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in known, f"{page.name} links to {target}#{anchor}"


def _shown_commands() -> list[tuple[str, str]]:
    """(place, command) of every `gazetools ...` in a page's code blocks and text, and of the examples of `--help`."""
    found = []
    for name in COMMANDS:
        text = inspect.getdoc(getattr(importlib.import_module(f"gazetools.cli.{name}"), f"{name}_command")) or ""
        examples = re.findall(r"^Example: (gazetools .+?)$(?=\n\n|\Z)", text, flags=re.MULTILINE | re.DOTALL)
        assert examples, f"gazetools {name} --help has no example"
        found += [(f"{name} --help", example.replace("\n", " ")) for example in examples]
    for page in PAGES:
        # Between the fences: every second part is a block, which begins with the name of its language.
        parts = page.read_text().replace("\\\n", " ").split("```")
        lines = [line for block in parts[1::2] for line in block.splitlines()[1:]]
        lines += re.findall(r"`(gazetools [^`]*)`", " ".join(parts[::2]).replace("\n", " "))
        for line in lines:
            command = re.match(r"(?:\$ |srun )?(gazetools .+)", line.strip())
            if command and "..." not in command[1] and "[" not in command[1]:  # no patterns
                found.append((page.name, command[1]))
    return found


@pytest.mark.parametrize(("page", "command"), _shown_commands())
def test_every_command_that_is_shown_is_one_the_command_line_takes(
    page: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names, options and values go through the real parser; nothing runs, files need not exist."""
    words = shlex.split(command, comments=True)[1:]
    for sign in (">", "|", "&&", "&"):
        words = words[: words.index(sign)] if sign in words else words
    while words and words[0] in {"-v", "-q", "--verbose", "--quiet"}:
        words = words[1:]
    if not words or words[0] in {"--version", "--help", "--install-completion", "--show-completion"}:
        return
    assert words[0] in COMMANDS, f"{page} shows `gazetools {words[0]}`"
    if words[1:] in ([], ["--help"], ["--json"], ["--schema"]):  # the command as such
        return
    monkeypatch.setattr("gazetools.io.yaml_files.read_yaml_mapping", lambda path: {})
    monkeypatch.setattr(TERMINAL, "json", False)
    parser = _load(words[0])
    assert parser.make_context(words[0], list(words[1:])).params
