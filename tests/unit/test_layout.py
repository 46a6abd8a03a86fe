"""The structure that keeps the package easy to change: direction of imports, sizes, names, language, symlinks."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from tests.helpers.structure import Package, body_lines, circles, parameter_count, used_names

ROOT = Path(__file__).parents[2]
PACKAGE = Package(ROOT, "gazetools")
LAYERS = (
    ("_version", "schemas", "progress", "sampling", "html"),
    ("io", "metrics"),
    ("annotations", "egoexo", "layouts", "scenes", "store", "video"),
    ("gazemodels", "heatmaps"),
    ("exchange",),
    ("doctor", "heads", "packing", "preview", "torch"),
    ("extraction", "groundtruth"),
    ("demo", "engines", "evaluation", "validation", "viewer"),
    ("trainer",),
    ("__init__",),
    ("cli",),
    ("__main__",),
)
"""Rooms from the ground up: a room imports only rooms of lower layers, also inside functions."""
MANY_PARAMETERS = {
    "load_model": "the public interface of the README",
    "VisionTransformerPredictorHeatmap.__init__": "the names are keys of V-JEPA 2's YAML files",
    "AnticipativeWrapperHeatmap.__init__": "the names are keys of V-JEPA 2's YAML files",
}
"""Function -> why its parameters are not fields of a dataclass."""
SHARED_FILE_NAMES = {"__init__.py", "run.py", "page.py"}
"""The face of a room, its main path, its HTML page; other names stay telling by being rare."""
VAGUE = re.compile(
    r"\b(beside|besides|is told|are told|told of|is given back|holds by|let go of|all the same)\b", re.IGNORECASE
)
"""Words that leave open who does what; CONTRIBUTING.md says what to write instead."""


def test_a_room_imports_only_lower_rooms() -> None:
    height = {room: number for number, layer in enumerate(LAYERS) for room in layer}
    assert {file.room for file in PACKAGE.files} <= height.keys(), "a new room has its place in LAYERS"
    upward = [
        f"{name} imports {target}"
        for name, targets in PACKAGE.imports.items()
        for target in targets
        for room, other in [(PACKAGE.by_name[name].room, PACKAGE.by_name[target].room)]
        if room != other and height[other] >= height[room]
    ]
    assert upward == []


def test_no_files_import_each_other_in_a_circle() -> None:
    assert circles(PACKAGE.imports) == []


def test_no_folders_import_each_other_in_a_circle() -> None:
    found = {}
    for folder in sorted({file.path.parent for file in PACKAGE.files}):
        if rings := circles(PACKAGE.folder_imports(folder)):
            found[str(folder)] = rings
    assert found == {}


def test_imports_are_absolute_and_never_through_the_symlinks() -> None:
    for file in PACKAGE.files:
        for node in ast.walk(file.tree):
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{file.path}:{node.lineno}: relative import"
                assert (node.module or "").split(".")[0] not in {"schemas", "cli", "trainer"}, file.path
            elif isinstance(node, ast.Import):
                assert not {a.name.split(".")[0] for a in node.names} & {"schemas", "cli", "trainer"}, file.path


def test_functions_are_short_and_take_few_parameters() -> None:
    long, wide = [], []
    for file in PACKAGE.files:
        for name, node, is_method in file.functions():
            where = f"{file.path}:{node.lineno} {name}"
            if body_lines(node) > 60:
                long.append(f"{where}: {body_lines(node)} lines")
            if parameter_count(node, is_method) > 8 and name not in MANY_PARAMETERS:
                wide.append(f"{where}: {parameter_count(node, is_method)} parameters")
    assert (long, wide) == ([], [])


def test_files_are_short() -> None:
    assert [f"{f.path}: {n}" for f in PACKAGE.files if (n := f.text.count("\n")) > 300] == []


def test_names_are_used_once() -> None:
    classes, files = defaultdict(list), defaultdict(list)
    for file in PACKAGE.files:
        files[file.path.name].append(str(file.path))
        for node in file.tree.body:
            if isinstance(node, ast.ClassDef):
                classes[node.name].append(str(file.path))
    assert {name: places for name, places in classes.items() if len(places) > 1} == {}
    assert {n: p for n, p in files.items() if len(p) > 3 and n not in SHARED_FILE_NAMES} == {}


def test_every_public_function_and_class_has_a_user() -> None:
    used = used_names(PACKAGE)
    unused = [
        f"{file.path}:{node.lineno} {node.name}"
        for file in PACKAGE.files
        for node in file.tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
        if node.name not in used and node.name != "main"
        if not (file.room == "cli" and node.name.endswith("_command"))  # found by its name
    ]
    assert unused == []


def test_the_language_of_docstrings_and_comments() -> None:
    wrong = []
    for file in PACKAGE.files:
        assert ast.get_docstring(file.tree), f"{file.path} does not say what it is for"
        for line, text in [*file.docstrings(), *file.comments()]:
            if text.strip().startswith("Of ") or VAGUE.search(text):
                wrong.append(f"{file.path}:{line} {text.strip()[:70]}")
    assert wrong == []


def test_an_option_of_a_command_is_written_once() -> None:
    """A parameter of a command that repeats a field of an options model would state help and default a second time."""
    fields = {
        node.name: {s.target.id for s in node.body if isinstance(s, ast.AnnAssign) and isinstance(s.target, ast.Name)}
        for file in PACKAGE.files
        for node in file.tree.body
        if isinstance(node, ast.ClassDef) and node.name.endswith(("Options", "Settings"))
    }
    again = []
    for file in PACKAGE.files:
        if file.room != "cli":
            continue
        imported = {a.name for n in ast.walk(file.tree) if isinstance(n, ast.ImportFrom) for a in n.names}
        known = set().union(*(fields.get(name, set()) for name in imported))
        for name, node, _ in file.functions():
            if name.endswith("_command"):
                again += [f"{file.path} --{a.arg}" for a in (*node.args.args, *node.args.kwonlyargs) if a.arg in known]
    assert again == []


@pytest.mark.parametrize("name", ["cli", "trainer", "schemas"])
def test_symlinks_show_the_parts(name: str) -> None:
    link = ROOT / name
    assert link.is_symlink()
    assert link.readlink() == Path("gazetools") / name


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from gazetools.cli.app import _run; _run(['--help']);"
        "heavy = {'torch', 'transformers', 'cv2', 'av', 'h5py', 'numpy', 'decord', 'trackers', 'supervision'}"
        " & set(sys.modules);"
        "sys.exit(repr(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "extract" in done.stdout


def test_import_is_light_and_public_names_exist() -> None:
    code = (
        "import sys, gazetools; assert 'torch' not in sys.modules;"
        "[getattr(gazetools, name) for name in gazetools.__all__]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
