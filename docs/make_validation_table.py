"""Write the table of all finding codes into docs/validation.md from gazetools/validation/catalogue.py.

python docs/make_validation_table.py
"""

from __future__ import annotations

from pathlib import Path

from gazetools.validation.catalogue import CATALOGUE

PAGE = Path(__file__).with_name("validation.md")
_HEAD = "| code | severity | cause | cure |\n|---|---|---|---|\n"


def table() -> str:
    """The catalogue as a Markdown table, one line per code."""
    rows = (f"| `{code}` | {row.severity} | {row.cause} | {row.cure} |\n" for code, row in CATALOGUE.items())
    return _HEAD + "".join(rows)


def main() -> None:
    """Replace the table in the page."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(_HEAD)
    lines = rest.splitlines(keepends=True)
    while lines and lines[0].startswith("|"):
        del lines[0]
    PAGE.write_text(before + table() + "".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
