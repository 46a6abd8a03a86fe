"""The four parts, their direction of imports, and the symlinks that show them."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "gazetools"
MODULES = sorted(PACKAGE.rglob("*.py"))


def _rank(dotted: str) -> int:
    """schemas 0 <- gazetools' own modules 1 <- trainer 2 <- cli 3."""
    part = dotted.split(".")[1] if "." in dotted else ""
    return {"schemas": 0, "trainer": 2, "cli": 3}.get(part, 1)


def _imports(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    own = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    if own in {"gazetools.__init__", "gazetools.__main__"}:  # the public face and the entry point reach everywhere
        return
    for name in _imports(path):
        assert name.split(".")[0] not in {"schemas", "cli", "trainer"}, f"{own} imports the symlink {name}"
        if name.startswith("gazetools."):
            assert _rank(name) <= _rank(own), f"{own} must not import {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_first_line_says_the_modules_job(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text())), f"{path} has no module docstring"


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
