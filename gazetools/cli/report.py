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
    examples: Annotated[
        int, typer.Option(min=0, help="Clips with the largest gain, and with the largest loss, shown per arm.")
    ] = 2,
    export_weights: Annotated[
        Path | None, typer.Option(help="Folder for the weights of one model: model.safetensors and model.json.")
    ] = None,
    export_epic: Annotated[
        Path | None, typer.Option(help="JSON file for the predictions of one model, as EPIC-KITCHENS' challenge asks.")
    ] = None,
    epic_sls: Annotated[
        str | None, typer.Option(metavar="PT,TL,TD", help="The challenge's supervision levels, 0..5 each.")
    ] = None,
    export_arm: Annotated[str | None, typer.Option(help="Arm to export (default: estimated, or the only one).")] = None,
    export_seed: Annotated[
        int | None, typer.Option(help="Its seed (default: the best one where epochs were chosen).")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Compare the arms of finished runs: recall with intervals by video, contrasts, curves over horizons.

    Writes report.html (self-contained), report.json, and CSV and LaTeX tables.

    Example: gazetools report runs/arms -o report

    Example: gazetools report runs/arms -o report --export-epic epic.json --epic-sls 2,3,3 --export-weights weights
    """
    from gazetools.schemas.errors import UsageError
    from gazetools.trainer.export.epic import SupervisionLevels
    from gazetools.trainer.export.run import export
    from gazetools.trainer.report.run import report

    levels = SupervisionLevels.parse(epic_sls) if epic_sls is not None else None
    if export_epic is not None and levels is None:
        raise UsageError(
            "--export-epic needs --epic-sls PT,TL,TD.",
            hint="The supervision levels are part of a submission: pretraining, training labels, training data.",
        )
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
            examples=examples,
            progress=progress,
        )
    exported: dict[str, Any] = {}
    if export_epic is not None or export_weights is not None:
        exported = export(
            list(runs), arm=export_arm, seed=export_seed, epic=export_epic, levels=levels, weights=export_weights,
            split=split,
        )  # fmt: skip
        document = {**document, "exported": exported}
    TERMINAL.emit(document)
    TERMINAL.show(_table(document))
    TERMINAL.say(f"Wrote {output / 'report.html'}.")
    for kind in ("weights", "epic"):
        if kind in exported:
            TERMINAL.say(f"Wrote {exported[kind]} ({kind} of {exported['model']}).")
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
