"""`gazetools report`: tables, curves and one page of finished runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from gazetools.cli.common import TERMINAL, ConfigOption, JsonOption


def report_command(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of finished runs.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the report.")],
    baseline: Annotated[str, typer.Option(help="Arm that the others are compared with.")] = "none",
    split: Annotated[str | None, typer.Option(help="Split whose figures lead (default: val_start).")] = None,
    k: Annotated[int, typer.Option("--k", min=1, help="Recall@k that contrasts and curves are about.")] = 5,
    resamples: Annotated[int, typer.Option(min=100, help="Resamples of the bootstrap over videos.")] = 2000,
    few_shot: Annotated[int, typer.Option(min=1, help="Classes with fewer training clips are few-shot.")] = 20,
    many_shot: Annotated[int, typer.Option(min=1, help="Classes with more training clips are many-shot.")] = 100,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Compare the arms of finished runs: recall with intervals by video, contrasts, curves over horizons.

    Writes report.html (self-contained), report.json, and CSV and LaTeX tables.

    Example: gazetools report runs/arms -o report
    """
    from gazetools.trainer.report.build import report

    with TERMINAL.progress() as progress:
        document = report(
            list(runs),
            output=output,
            baseline=baseline,
            split=split,
            k=k,
            resamples=resamples,
            few_shot=few_shot,
            many_shot=many_shot,
            progress=progress,
        )
    TERMINAL.emit(document)
    TERMINAL.show(_table(document))
    TERMINAL.say(f"Wrote {output / 'report.html'}.")
    return 0


def _table(document: dict[str, Any]) -> Any:
    from rich.table import Table

    figure = f"recall@{document['k']}"
    table = Table(title=f"{figure} on {document['split']} (95 % interval by video)")
    for name in ("arm", "seed", "task", figure, "difference", "p (Holm)"):
        table.add_column(name)
    contrasts = {(row["contrast"].rsplit(" - ", 1)[0], row["task"]): row for row in document["contrasts"]}
    for row in document["arms"]:
        contrast = contrasts.get((row["arm"], row["task"]))
        table.add_row(
            row["arm"],
            row["seed"],
            row["task"],
            f"{row[figure]:.2f} [{row[f'{figure} low']:.2f}, {row[f'{figure} high']:.2f}]",
            f"{contrast['difference']:+.2f}" if contrast else "",
            f"{contrast['p (Holm)']:.3f}" if contrast else "",
        )
    return table
