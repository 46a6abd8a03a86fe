"""The table of what `convert` wrote for another tool. Names in it are never markup."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from gazetools.cli.tables import Cell, text_table

if TYPE_CHECKING:
    from gazetools.schemas.convert import ExportReport

_COLOURS = {"written": "green", "unchanged": "cyan", "failed": "red"}


def exported_videos(report: ExportReport) -> Table:
    """One row per video, what went wrong below it, and below all of them what the files do not keep."""
    rows: list[Sequence[Cell]] = []
    for item in report.items:
        counts = (str(item.frames), str(item.rows), f"{item.bytes / 1e6:.2f}", f"{item.seconds:.1f}")
        rows.append((item.video_id, Text(item.status, style=_COLOURS[item.status]), *counts))
        rows += [("", line) for line in (item.reason, *item.warnings) if line]
    title = f"{report.output} ({report.layout})"
    caption = escape("\n".join(report.notes)) or None
    return text_table(
        ("video id", "status", "frames", "rows", "MB", "s"), rows, title=title, caption=caption, caption_justify="left"
    )
