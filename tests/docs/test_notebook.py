"""docs/notebook.ipynb is whole, free of outputs, names what exists, and runs from its first cell to its last."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest

import gazetools
from gazetools.cli.app import COMMANDS, _load
from gazetools.cli.common import TERMINAL
from gazetools.demo.plan import ARMS

ROOT = Path(__file__).parents[2]
PATH = ROOT / "docs" / "notebook.ipynb"
NOTEBOOK = json.loads(PATH.read_text(encoding="utf-8"))
CODE = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
WORDS = "\n\n".join("".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "markdown")
TREES = [ast.parse(source) for source in CODE]
MISSING = any(importlib.util.find_spec(name) is None for name in ("nbclient", "ipykernel"))
RESULTS = (
    "print(json.dumps([float(np.median(error)), float(np.median(guessed)), recall, report['primary']['verdict']]))"
)


def test_it_is_a_notebook_without_outputs() -> None:
    assert (NOTEBOOK["nbformat"], NOTEBOOK["nbformat_minor"]) == (4, 5)
    assert NOTEBOOK["metadata"]["kernelspec"]["name"] == "python3"
    ids = [cell["id"] for cell in NOTEBOOK["cells"]]
    assert len(set(ids)) == len(ids) and all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", one) for one in ids)
    for cell in NOTEBOOK["cells"]:
        assert cell["cell_type"] in ("code", "markdown") and cell["metadata"] == {}
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None, "run it elsewhere, or clear its outputs"
    assert "/home/" not in PATH.read_text(encoding="utf-8")


def _dotted(node: ast.Attribute) -> list[str]:
    """["gazetools", "trainer", "train"] of such an expression; [] for the attribute of anything but a name."""
    parts: list[str] = []
    inner: ast.expr = node
    while isinstance(inner, ast.Attribute):
        parts.append(inner.attr)
        inner = inner.value
    return [inner.id, *reversed(parts)] if isinstance(inner, ast.Name) else []


def test_its_names_exist_and_are_public() -> None:
    named = {tuple(_dotted(node)) for tree in TREES for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    ours = {names for names in named if names[:1] == ("gazetools",)}
    assert {names[-1] for names in ours} >= {"extract", "validate", "gaze_table", "pack", "train"}
    for _, *names in ours:
        owner: Any = gazetools
        for name in names:
            assert name in owner.__all__, f"gazetools.{'.'.join(names)}"
            owner = getattr(owner, name)
    imported = [node for tree in TREES for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    for node in imported:
        for module in [one.name for one in node.names] if isinstance(node, ast.Import) else [str(node.module)]:
            importlib.import_module(module)


def test_its_commands_are_ones_that_the_command_line_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = [node for tree in TREES for node in ast.walk(tree) if isinstance(node, ast.Call)]
    runs = [call.args for call in calls if isinstance(call.func, ast.Name) and call.func.id == "run"]
    commands = [[str(arg.value) if isinstance(arg, ast.Constant) else "x" for arg in arguments] for arguments in runs]
    assert [command[0] for command in commands] == ["demo", "report"]
    shown = [text.split() for text in re.findall(r"`gazetools ([^`]+)`", WORDS)]
    assert len(shown) >= 3
    monkeypatch.setattr(TERMINAL, "json", False)
    for name, *words in [*commands, *shown]:
        assert name in COMMANDS
        if words:
            assert _load(name).make_context(name, words).params


def test_its_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)", WORDS):
        assert (PATH.parent / target).exists(), target


@pytest.mark.slow
@pytest.mark.skipif(MISSING, reason="the extra [notebook] is not installed: pip install -e '.[notebook]'")
def test_it_runs_from_the_videos_to_the_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nbclient
    import nbformat

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for variable in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "MPLCONFIGDIR"):
        monkeypatch.setenv(variable, str(tmp_path / "settings"))
    notebook = nbformat.read(PATH, 4)
    nbformat.validate(notebook)
    notebook.cells.append(nbformat.v4.new_code_cell(RESULTS))
    (tmp_path / "work").mkdir()
    resources = {"metadata": {"path": str(tmp_path / "work")}}
    nbclient.NotebookClient(notebook, timeout=900, kernel_name="python3", resources=resources).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    printed = "".join(output.text for output in outputs if output.output_type == "stream")
    assert not any(output.get("name") == "stderr" for output in outputs), printed
    for line in (
        "24 videos, the first one is P01_01.mp4",
        "{'done'} 1920 heatmaps",
        "no findings",
        "1920 rows: video_id",
    ):
        assert line in printed
    assert "24 videos packed; done after 6 epochs of 4 trainings" in printed
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 4
    error, guessed, recall, verdict = json.loads(printed.splitlines()[-1])
    assert 0 < 3 * error < guessed, "the model sees more than chance"
    assert list(recall) == list(ARMS) and all(0 <= value <= 100 for value in recall.values())
    assert recall["ground_truth"] > recall["zeros"] and verdict in ("gain", "no_evidence"), (recall, verdict)
    assert sorted(path.name for path in (tmp_path / "work").iterdir()) == ["notebook_work"], "it writes only there"
