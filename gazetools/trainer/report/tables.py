"""Rows as CSV and LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "_": r"\_",
    "%": r"\%",
    "&": r"\&",
    "#": r"\#",
    "$": r"\$",
    "{": r"\{",
    "}": r"\}",
}


def columns_of(rows: Sequence[dict[str, Any]]) -> list[str]:
    """All keys of the rows, in the order of their first appearance."""
    return list(dict.fromkeys(key for row in rows for key in row))


def csv_text(rows: Sequence[dict[str, Any]]) -> str:
    """CSV with a header and one line per row; empty without rows."""
    file = io.StringIO()
    writer = csv.DictWriter(file, columns_of(rows), restval="", lineterminator="\n")
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
        rf"\caption{{{_escaped(caption)}}}",
        r"\begin{tabular}{" + "l" * len(columns) + "}",
        r"\toprule",
        " & ".join(map(_escaped, columns)) + r" \\",
        r"\midrule",
        *(" & ".join(_escaped(shown(row.get(column))) for column in columns) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return "".join(_ESCAPES.get(letter, letter) for letter in text)
