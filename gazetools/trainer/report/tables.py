"""Rows as CSV and LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

_ESCAPES = str.maketrans({"\\": r"\textbackslash{}", **{letter: rf"\{letter}" for letter in "_%&#${}"}})
"""Characters with a meaning in LaTeX -> what prints them."""


def columns_of(rows: Sequence[dict[str, Any]]) -> list[str]:
    """All keys of the rows, in the order of their first appearance."""
    return list(dict.fromkeys(key for row in rows for key in row))


def csv_text(rows: Sequence[dict[str, Any]]) -> str:
    """CSV with a header and one line per row; empty without rows."""
    file = io.StringIO()
    writer = csv.DictWriter(file, columns_of(rows), lineterminator="\n")
    if rows:
        writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def shown(value: Any) -> str:
    """Text of a table cell: numbers have two digits after the point, below 1 three."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 1 else f"{value:.2f}"
    return str(value)


def latex_text(rows: Sequence[dict[str, Any]], *, caption: str) -> str:
    """LaTeX source of a `table` environment; it needs booktabs."""
    columns = columns_of(rows)
    lines = [
        r"\begin{table}",
        rf"\caption{{{caption.translate(_ESCAPES)}}}",
        r"\begin{tabular}{" + "l" * len(columns) + "}",
        r"\toprule",
        " & ".join(name.translate(_ESCAPES) for name in columns) + r" \\",
        r"\midrule",
        *(" & ".join(shown(row.get(name)).translate(_ESCAPES) for name in columns) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"
