"""`gazetools demo`: the whole pipeline on synthetic scenes, offline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gazetools.cli.common import TERMINAL, JsonOption


def demo_command(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for everything the demo makes.")] = Path(
        "demo_out"
    ),
    clips: Annotated[int, typer.Option(min=2, max=200, help="Synthetic clips to render.")] = 6,
    seconds: Annotated[float, typer.Option(min=4, max=600, help="Length of each clip.")] = 8.0,
    seed: Annotated[int, typer.Option(min=0, help="Of scenes and random weights.")] = 0,
    as_json: JsonOption = False,
) -> int:
    """Render third-person scenes with known gaze and run extract, validate, pack, train and preview on them.

    The models have random weights, since released ones can't be shipped: the demo shows the path, not a result.

    Example: gazetools demo -o demo_out
    """
    from rich.markup import escape
    from rich.table import Table

    from gazetools.demo.run import run_demo

    result = run_demo(output, clips=clips, seconds=seconds, seed=seed, say=TERMINAL.say)
    table = Table("step", "result", title=f"demo in {output} (random weights: the path works, gaze is not read)")
    for name, line in result.summary:
        table.add_row(name, escape(line))
    TERMINAL.show(table)
    TERMINAL.emit({"folder": str(result.folder), "weights": "random", "summary": dict(result.summary)})
    return 0
