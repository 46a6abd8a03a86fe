"""`gazetools models`: which gaze models there are, and what this machine has of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gazetools.cli import model_tables
from gazetools.cli.common import TERMINAL
from gazetools.cli.options import flag_name, options
from gazetools.schemas.errors import UsageError
from gazetools.schemas.precision import PrecisionOptions


@options(PrecisionOptions)
def models_command(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Models to show in full.")] = None,
    fetch: Annotated[bool, typer.Option("--fetch", help="Download the weights of the named models now.")] = False,
    check_precision: Annotated[
        Path | None,
        typer.Option(
            metavar="VIDEO",
            help="Compare the number types of one model (a name or a file) with float32 on frames of a video; exit 1 "
            "if one moves the gaze. The options below shape this comparison.",
        ),
    ] = None,
    *,
    precision: PrecisionOptions,
) -> int:
    """List the gaze models that --model takes, with published figures, licences, and where their weights are.

    Example: gazetools models gazelle_dinov2_vitb14_inout --fetch

    Example: gazetools models gazelle_tiny --check-precision clip.mp4 --heads file:boxes.csv
    """
    if check_precision is not None:
        return _check(names or [], check_precision, precision, fetch=fetch)
    defaults = PrecisionOptions()
    if given := [name for name in PrecisionOptions.model_fields if getattr(precision, name) != getattr(defaults, name)]:
        named = ", ".join(flag_name(PrecisionOptions, name) for name in given)
        raise UsageError(f"{named}: only --check-precision VIDEO reads that.", hint="Add it, or leave the option out.")
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


def _check(names: list[str], video: Path, precision: PrecisionOptions, *, fetch: bool) -> int:
    """Compare number types and show the table; the exit code says whether all agree."""
    from gazetools.extraction.precision_check import check_precision

    if len(names) != 1 or fetch:
        raise UsageError("--check-precision takes one model.", hint="gazetools models NAME --check-precision VIDEO")
    with TERMINAL.progress() as progress:
        report = check_precision(names[0], video, precision, progress)
    TERMINAL.result(report.document(), model_tables.number_types(report))
    return report.exit_code


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
