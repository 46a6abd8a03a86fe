"""`gazetools models`: which gaze models there are, and what this machine has of them."""

from __future__ import annotations

from typing import Annotated

import typer

from gazetools.cli import model_tables
from gazetools.cli.common import TERMINAL
from gazetools.cli.options import options
from gazetools.schemas.errors import UsageError


@options()
def models_command(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Models to show in full.")] = None,
    fetch: Annotated[bool, typer.Option("--fetch", help="Download the weights of the named models now.")] = False,
) -> int:
    """List the gaze models that --model takes, with published figures, licences, and where their weights are.

    Example: gazetools models gazelle_dinov2_vitb14_inout --fetch
    """
    from gazetools.gazemodels.model_list import listed_models

    chosen = listed_models(names or [])
    if fetch:
        if not names:
            raise UsageError("--fetch needs the names of models.", hint="Such as: gazetools models NAME --fetch")
        _fetch(names)
        chosen = listed_models(names)
    TERMINAL.emit({"models": [model.document() for model in chosen]})
    if not names:
        TERMINAL.show(model_tables.all_models(chosen))
    for model in chosen if names else []:
        TERMINAL.show(model_tables.one_model(model))
    return 0


def _fetch(names: list[str]) -> None:
    """Download what is missing of each model, in their order."""
    from gazetools.gazemodels.model_table import GAZE_MODELS
    from gazetools.gazemodels.presence import fetch_weights

    if foreign := [name for name in names if name not in GAZE_MODELS]:
        raise UsageError(
            f"The weights of {', '.join(foreign)} are the business of the package that adds it.",
            hint="gazetools fetches those of its own models.",
        )
    with TERMINAL.progress() as progress:
        for name in names:
            for path, digest in fetch_weights(GAZE_MODELS[name], progress):
                TERMINAL.say(f"{name}: {path} sha256 {digest}")
