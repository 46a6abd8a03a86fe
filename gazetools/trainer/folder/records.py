"""Records of a run: metrics of all epochs as JSON lines and CSV, and its steps, one file per epoch."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from gazetools.io.atomic import write_bytes_atomic
from gazetools.trainer.folder.paths import RunFolder


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


def write_metrics(folder: RunFolder, history: Sequence[dict[str, Any]]) -> None:
    """Write all finished epochs, one JSON object per line, and the same as a table.

    Rewritten from the history that the checkpoint holds, so that a resumed run has no line twice.
    """
    lines = "".join(json.dumps(entry, sort_keys=True, allow_nan=False) + "\n" for entry in history)
    write_bytes_atomic(folder.metrics, lines.encode())
    write_bytes_atomic(folder.metrics_table, csv_text(history).encode())


def write_steps(folder: RunFolder, epoch: int, lines: Sequence[dict[str, Any]]) -> None:
    """Write the lines of an epoch's steps (gazetools.trainer.measure.steps.step_line), one JSON object per line."""
    text = "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines)
    write_bytes_atomic(folder.steps(epoch), text.encode())


def read_steps(folder: RunFolder, epoch: int) -> list[dict[str, Any]]:
    """What `write_steps` wrote; empty where the epoch has no such file."""
    path = folder.steps(epoch)
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.is_file() else []
