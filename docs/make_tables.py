"""Write the tables that the code states into the pages: gaze models, codes of findings.

python docs/make_tables.py
"""

from __future__ import annotations

from pathlib import Path

from gazetools.gazemodels.model_table import GAZE_MODELS
from gazetools.schemas.model_facts import ModelFacts
from gazetools.validation.catalogue import CATALOGUE

_MODELS_HEAD = (
    "| `--model` | input, grid, map | parameters | GazeFollow AUC, min L2, avg L2 | VAT AUC, L2, AP "
    "| ChildPlay AUC, L2, AP | licence of the weights | weights |\n|---|---|---|---|---|---|---|---|\n"
)
_CODES_HEAD = "| code | severity | cause | cure |\n|---|---|---|---|\n"
_WEIGHTS = {
    "none": "none",
    "package": "part of gazetools",
    "download": "downloaded at first use",
    "own file": "your own file, `--checkpoint`",
}


def models_table() -> str:
    """All models as a Markdown table, one line each."""
    return _MODELS_HEAD + "".join(f"| {' | '.join(_cells(facts))} |\n" for facts in GAZE_MODELS.values())


def _cells(facts: ModelFacts) -> list[str]:
    sizes = ", ".join("x".join(map(str, size)) for size in (facts.in_size, facts.grid, facts.out_size))
    figures = {} if facts.figures is None else facts.figures.model_dump(exclude={"source"})
    shown = {name: f"{value:.4f}".rstrip("0") for name, value in figures.items() if value is not None}
    groups = [" ".join(shown[name] for name in shown if name.startswith(kind)) for kind in ("gaze", "vat", "child")]
    millions = facts.parameters / 1e6
    parameters = f"{millions:.{2 if millions < 10 else 1}f} M" if facts.parameters else "-"
    return [f"`{facts.name}`", sizes, parameters, *groups, facts.weights_licence, _WEIGHTS[facts.weights]]


def codes_table() -> str:
    """The catalogue of findings as a Markdown table, one line per code."""
    rows = (f"| `{code}` | {row.severity} | {row.cause} | {row.cure} |\n" for code, row in CATALOGUE.items())
    return _CODES_HEAD + "".join(rows)


TABLES = {"models.md": models_table, "validation.md": codes_table}
"""Page -> what makes its table, whose first two lines mark the place."""


def main() -> None:
    """Replace the table of every page."""
    for name, make in TABLES.items():
        page, table = Path(__file__).with_name(name), make()
        head = "".join(table.splitlines(keepends=True)[:2])
        before, _, rest = page.read_text(encoding="utf-8").partition(head)
        lines = rest.splitlines(keepends=True)
        while lines and lines[0].startswith("|"):
            del lines[0]
        page.write_text(before + table + "".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
