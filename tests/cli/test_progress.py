"""Bars and the live table, as a terminal gets them."""

from __future__ import annotations

import io

from rich.console import Console

from gazetools.cli.progress import RichProgress
from gazetools.progress import NoProgress, ShowsTable


def test_a_table_stands_above_the_bars_and_is_replaced() -> None:
    screen = io.StringIO()
    with RichProgress(Console(file=screen, force_terminal=True, width=100)) as progress:
        progress.start("train", 4, unit="steps")
        progress.table("epoch 1", ["model", "best"], [["none", "1.00"], ["a [b]", "2.00"]])
        progress.table("epoch 2", ["model", "best"], [["none", "3.00"], ["a [b]", "4.00"]])
        progress.finish("train")
    text = screen.getvalue()
    last = text[text.rindex("epoch 2") :]
    assert "a [b]" in last and "3.00" in last and "1.00" not in last, "names are no markup, old figures are gone"
    assert last.index("4.00") < last.index("train")


def test_who_shows_tables() -> None:
    assert isinstance(RichProgress(Console()), ShowsTable) and not isinstance(NoProgress(), ShowsTable)
