"""Records of a run: metrics of all epochs as JSON lines and CSV, and the loss of every step, one file per epoch."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
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


def write_steps(folder: RunFolder, epoch: int, last_step: int, losses: Mapping[str, Sequence[float | None]]) -> None:
    """Write the loss of every step of an epoch: a number, or one per model by name, without those dropped before."""
    count = max((len(values) for values in losses.values()), default=0)
    lines = []
    for place in range(count):
        at = {name: values[place] for name, values in losses.items() if place < len(values)}
        loss = at if len(losses) > 1 else next(iter(at.values()))
        lines.append(json.dumps({"epoch": epoch, "step": last_step - count + 1 + place, "loss": loss}) + "\n")
    write_bytes_atomic(folder.steps(epoch), "".join(lines).encode())
