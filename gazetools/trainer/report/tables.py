"""Table cells as text, and rows as LaTeX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gazetools.trainer.folder.records import columns_of

_ESCAPES = str.maketrans({"\\": r"\textbackslash{}", **{letter: rf"\{letter}" for letter in "_%&#${}"}})
"""Characters with a meaning in LaTeX -> what prints them."""


def shown(value: Any) -> str:
    """Text of a table cell: numbers have two digits after the point, below 1 three."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 1 else f"{value:.2f}"
    return str(value)


def value_text(row: Mapping[str, Any], name: str) -> str:
    """`31.42 [28.10, 34.75]` of row["name"] with `name low` and `name high`; the value alone without an interval."""
    low, high = row[f"{name} low"], row[f"{name} high"]
    return f"{row[name]:.2f}" + ("" if low is None or high is None else f" [{low:.2f}, {high:.2f}]")


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
