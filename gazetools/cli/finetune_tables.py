"""What `finetune` shows: labels, parameters, and the figures of its best weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from gazetools.cli.tables import text_table
from gazetools.io.space import size_text


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
    if cost := result["cost"]:
        fits = "" if cost["fits"] else ", more than there is"
        few, hours = f"measured on {cost['measured_heads']} heads", cost["seconds_per_training"] / 3600
        rows.append(("a step takes about", f"{cost['seconds_per_step']:.2f} s, {few}"))
        rows.append(("all steps take about", f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.1f} min"))
        rows.append(("memory of a process", f"{size_text(cost['memory_bytes'])}{fits}, without its workers"))
    if result["best"]:
        best = result["best"]
        rows.append((f"best epoch {best['epoch']}, {best['metric']}", f"{best['value']:.4f}"))
    rows += [(name, f"{value:.4f}") for name, value in result["metrics"].items()]
    rows += [(name, result[name]) for name in ("weights", "page") if result[name]]
    return text_table(("what", "value"), [(name, str(value)) for name, value in rows], title=result["folder"])
