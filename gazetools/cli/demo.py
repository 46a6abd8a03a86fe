"""`gazetools demo`: the whole experiment on synthetic scenes, offline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.panel import Panel
from rich.text import Text

from gazetools.cli.common import TERMINAL
from gazetools.cli.options import options
from gazetools.cli.progress import RichProgress
from gazetools.schemas.demo import DemoOptions

if TYPE_CHECKING:
    from gazetools.demo.run import DemoResult


@options(DemoOptions)
def demo_command(
    *,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for everything the demo makes.")] = Path(
        "demo"
    ),
    scenes_only: Annotated[
        bool, typer.Option("--scenes-only", help="Stop after scenes, annotations and config.")
    ] = False,
    options: DemoOptions,
) -> int:
    """Does gaze tell the next action? Scenes, gaze model, checks, training with five arms and a report, in minutes.

    Every step is a public command and is printed. The same command continues where it was interrupted.

    Exit code 0: the arm with estimated gaze is better than the one without (`contrast` > 0 in result.json); 1: not.

    Example: gazetools demo -o demo
    """
    from gazetools.demo.plan import plan_of
    from gazetools.demo.run import claim_folder, make_scenes, run_demo

    plan = plan_of(options)
    if scenes_only:
        claim_folder(output, plan)
        with TERMINAL.progress() as progress:
            took = make_scenes(output, plan, progress=progress)
        TERMINAL.emit({"folder": str(output), "scenes": str(output / "scenes"), "seconds": round(took, 1)})
        TERMINAL.say(f"{output / 'scenes'} and {output / 'experiment'} are there.")
        return 0
    result = run_demo(output, plan, progress=_Steps(), quiet=TERMINAL.quiet)
    TERMINAL.result(result.document, _panel(result))
    return result.exit_code


class _Steps(RichProgress):
    """A bar while scenes are rendered, and lines between the bars of the commands, which draw their own."""

    def __init__(self) -> None:
        super().__init__(TERMINAL.err())

    def finish(self, task: str) -> None:
        """Stop drawing, so that the next command can."""
        super().finish(task)
        self.__exit__()


def _panel(result: DemoResult) -> Panel:
    from gazetools.demo.answer import controls_sentence, headline, sentence

    document, folder = result.document, result.folder
    lines = [
        *(sentence(document), controls_sentence(document), ""),
        f"{document['total_seconds']:.0f} s. The page to look at: {folder / 'report.html'}",
        f"Numbers: {folder / 'result.json'}; all tables: {folder / 'report'}",
    ]
    text = Text.assemble((headline(document), "bold"), "\n\n", "\n".join(lines))
    colour = "green" if document["low"] > 0 else "yellow"
    return Panel(text, title="gazetools demo", border_style=colour, expand=False)
