"""What contributors and releases rely on: hooks, workflows, versions that agree."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from gazetools import __version__

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def _script(name: str) -> dict[str, Any]:
    return runpy.run_path(str(ROOT / ".ci" / name))


MESSAGES = [
    ("Add a layout\n\nBecause of disks.\n", 0, "subject, empty line, body"),
    ("x" * 72, 0, "the longest subject"),
    ("x" * 73, 1, "one too long"),
    ("Add a layout.", 1, "full stop"),
    ("Add a layout\nBecause", 1, "no empty line"),
    ("\n# comment of git\n", 1, "nothing"),
    ("# comment first\nAdd a layout\n# comment\n", 0, "git's comments do not count"),
    ("Merge branch 'a very long name of a branch that nobody would ever want to shorten by hand'", 0, "git's own"),
    ("A much too long subject that ends in a full stop and has no empty line after it, so.\nbody", 3, "all at once"),
]


@pytest.mark.parametrize(("message", "count", "why"), MESSAGES, ids=[why for *_, why in MESSAGES])
def test_commit_messages(message: str, count: int, why: str) -> None:
    assert len(_script("commit_message.py")["problems"](message)) == count, why


@pytest.mark.parametrize(
    ("content", "wrong"), [(b"", False), (b"a\n", False), (b"a", True), (b"a\n\n", True), (b"\n", False)]
)
def test_ends_of_files(content: bytes, wrong: bool) -> None:
    assert _script("file_checks.py")["wrong_end"](content) is wrong


def test_large_files_are_named(tmp_path: Path) -> None:
    large, small = tmp_path / "large.bin", tmp_path / "small.bin"
    large.write_bytes(bytes(2_000_001))
    small.write_bytes(bytes(2_000_000))
    command = [sys.executable, str(ROOT / ".ci" / "file_checks.py"), "size", str(large), str(small)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, f"{large}: is over 2,000,000 bytes\n")


CHANGES = (
    "# Changelog\n\n## [Unreleased]\n\n## [1.2.3] - 2026-01-02\n\n### Added\n\n- a\n\n## [1.2.2] - 2026-01-01\n\n- b\n"
)


def test_release_notes_are_the_section_of_the_tag() -> None:
    notes = _script("release_notes.py")["release_notes"]
    assert notes("v1.2.3", '__version__ = "1.2.3"\n', CHANGES) == "### Added\n\n- a"
    for tag, version in (("1.2.3", "1.2.3"), ("v1.2.3", "1.2.2"), ("v1.2.4", "1.2.4")):
        with pytest.raises(ValueError, match=re.escape(tag.removeprefix("v"))):
            notes(tag, f'__version__ = "{version}"\n', CHANGES)


def test_this_version_has_its_section_and_its_citation() -> None:
    notes = _script("release_notes.py")["release_notes"]
    version_file = (ROOT / "gazetools" / "_version.py").read_text()
    assert notes(f"v{__version__}", version_file, (ROOT / "CHANGELOG.md").read_text())
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == __version__


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_pin_actions_and_only_read(path: Path) -> None:
    text = path.read_text()
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {"contents": "read"}
    uses = re.findall(r"uses: (\S+)(.*)", text)
    assert uses
    for action, comment in uses:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", action), action
        assert re.search(r"# v\d+\.\d+\.\d+", comment), f"{action} does not say its version"


def test_every_promised_python_is_tested() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    promised = re.findall(r"Programming Language :: Python :: (3\.\d+)", project)
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text())
    assert workflow["jobs"]["test"]["strategy"]["matrix"]["python-version"] == promised
    assert f'requires-python = ">={promised[0]}"' in project


def test_hooks_run_files_that_exist() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    assert {hook["id"] for hook in hooks} == {
        "ruff-check", "ruff-format", "end-of-file", "large-files", "mypy", "commit-message",
    }  # fmt: skip
    for hook in hooks:
        for word in hook["entry"].split():
            if word.startswith(".ci/"):
                assert (ROOT / word).exists(), word
