"""What `finetune` shows: labels, parameters, and the figures of its best weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from gazetools.cli.tables import text_table


def trained_gaze_model(result: Mapping[str, Any]) -> Table:
    """One row per fact of a training, or of what a dry run found."""
    model, data = result["model"], result["data"]
    rows = [
        ("model", model["name"]),
        ("parameters that learn", f"{model['parameters_that_learn']:,} of {model['parameters']:,}"),
    ]
    for name, some in data.items():
        words = (
            f"{some['heads']} heads ({some['inside']} with the target in the picture) in {some['pictures']} pictures"
        )
        rows.append((f"{name.replace('_', '-')} heads", f"{words}, {some['videos']} videos"))
        rows += [(f"left out, {reason}", str(count)) for reason, count in some["left_out"].items()]
    rows.append(("steps", f"{result['steps_done']} of {result['steps']}"))
    if result["best"]:
        best = result["best"]
        rows.append((f"best epoch {best['epoch']}, {best['metric']}", f"{best['value']:.4f}"))
    rows += [(name, f"{value:.4f}") for name, value in result["metrics"].items()]
    rows += [(name, result[name]) for name in ("weights", "page") if result[name]]
    return text_table(("what", "value"), [(name, str(value)) for name, value in rows], title=result["folder"])
