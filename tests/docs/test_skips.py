"""Every reason for which a test may be skipped is in the table of CONTRIBUTING.md."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
WITH_REASON = {"skipif": None, "importorskip": None, "skip": 0, "xfail": None}
"""pytest's functions -> place of the reason where it is not given by name."""


def _reasons(path: Path) -> dict[int, list[str]]:
    """Line -> the constant parts of the reason given there; none where there is no reason."""
    found = {}
    for node in ast.walk(ast.parse(path.read_text())):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in WITH_REASON):
            continue
        if not ast.unparse(node.func.value).startswith("pytest"):
            continue
        place = WITH_REASON[node.func.attr]
        given = [k.value for k in node.keywords if k.arg == "reason"] or ([] if place is None else node.args[place:])
        found[node.lineno] = [
            part.value for reason in given for part in ast.walk(reason)
            if isinstance(part, ast.Constant) and isinstance(part.value, str)
        ]  # fmt: skip
    return found


def test_what_is_skipped_is_in_the_table() -> None:
    section = (ROOT / "CONTRIBUTING.md").read_text().split("## What is skipped where")[1].split("\n## ")[0]
    table = section.replace("`", "")
    skips = 0
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for line, parts in _reasons(path).items():
            skips += 1
            where = f"{path.relative_to(ROOT)}:{line}"
            assert parts, f"{where} skips without a reason"
            assert all(part.replace("`", "").strip() in table for part in parts), f"{where}: not in the table: {parts}"
    assert skips >= 15, "the scan sees the skips that there are"
