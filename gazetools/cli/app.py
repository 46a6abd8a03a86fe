"""The `gazetools` command: global options, the table of commands, and the place where errors become exit codes."""

from __future__ import annotations

import errno
import importlib
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from gazetools._version import __version__
from gazetools.cli.common import TERMINAL, sigterm_as_interrupt
from gazetools.schemas.base import in_plain_words
from gazetools.schemas.errors import EnvironmentLacksError, ExitCode, GazetoolsError, UsageError
from gazetools.schemas.excerpt import MAX_EXCERPT, excerpt, shortened
from gazetools.schemas.video_id import shown_argument

# Typer brings its own copy of click; this is its base exception, by way of a public name.
_ClickException: type[Exception] = typer.BadParameter.__mro__[2]

# command -> its line in the list of commands; `gazetools.cli.<command>` has its function `<command>_command`
COMMANDS = {
    "extract": "Video to raw heatmaps with Gaze-LLE.",
    "heads": "Find the heads of a video and follow them.",
    "validate": "Is every heatmap aligned with its frames, and whole?",
    "pack": "Normalise, resample and pack heatmaps for training.",
    "convert": "Another layout, or another tool's heatmaps into a dataset.",
    "push": "Upload a dataset to the Hugging Face hub.",
    "train": "Train the heatmap-conditioned predictor.",
    "finetune": "Train a gaze model on labelled heads.",
    "groundtruth": "Gaze heatmaps from eye tracking (Ego-Exo4D, Ego4D).",
    "evaluate": "Score heatmaps against ground truth: AUC, L2, in/out AP, angle.",
    "table": "Gaze as CSV or Parquet: peak, spread, angles, areas, who looks at whom.",
    "report": "Tables, intervals and curves of finished training runs.",
    "preview": "Overlay heatmaps on frames: a picture or a video.",
    "view": "Videos with their heatmaps in the browser: play, step, compare.",
    "export": "A gaze model as an ONNX file for other programs.",
    "demo": "All of it, offline, on synthetic scenes.",
    "models": "Which gaze models there are, and what this machine has of them.",
    "doctor": "What this machine has and lacks.",
}


class _InterruptedError(GazetoolsError):
    """Ctrl-C in a command: typer would turn KeyboardInterrupt into a bare 130, without a word or a JSON document."""

    exit_code = ExitCode.INTERRUPTED
    code = "interrupted"

    def __init__(self, stop: BaseException) -> None:
        super().__init__(f"Interrupted. {str(stop) or 'The same command goes on from here.'}")


class _InternalError(GazetoolsError):
    """A fault of gazetools itself."""

    code = "internal"


class _LazyGroup(TyperGroup):
    """A group that imports a command's module only when that command runs; the list of commands needs none."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; SIGTERM, as schedulers send it, ends it in order, like Ctrl-C."""
        try:
            with sigterm_as_interrupt():
                return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            raise _InterruptedError(stop) from stop

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A stand-in with name and one line, enough for the list of commands."""
        return TyperCommand(cmd_name, help=COMMANDS[cmd_name]) if cmd_name in COMMANDS else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The real command, for a call or its help."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, _load(name) if name in COMMANDS else command, rest


def _load(name: str) -> Any:
    module = importlib.import_module(f"gazetools.cli.{name}")
    single = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)
    single.command(name)(getattr(module, f"{name}_command"))
    return typer.main.get_command(single)


app = typer.Typer(
    cls=_LazyGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(value: bool) -> None:
    if value:
        sys.stdout.write(f"gazetools {__version__}\n")
        raise typer.Exit


@app.callback()
def _global_options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="More talk; tracebacks of errors.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No talk and no progress on stderr.")] = False,
) -> None:
    """Third-person video to validated gaze heatmaps, packed for action-anticipation training.

    Example: gazetools extract clip.mp4 -o store --heads file:boxes.csv
    """
    TERMINAL.verbose, TERMINAL.quiet = verbose, quiet


def main(arguments: list[str] | None = None) -> None:
    """Entry point: run the command line and exit with a code of the contract."""
    arguments = sys.argv[1:] if arguments is None else arguments
    TERMINAL.json = "--json" in arguments
    if {"--help", "-h", "--version"} & set(arguments):  # for people, also with --json
        sys.exit(_run(arguments))
    with TERMINAL.stdout_for_the_document():
        code = _run(arguments)
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    try:
        _refuse_empty(arguments)
        result = app(args=arguments, prog_name="gazetools", standalone_mode=False)
        return int(result) if isinstance(result, int) else int(ExitCode.OK)
    except typer.Exit as stop:
        return stop.exit_code
    except BrokenPipeError:  # the reader of our output (head, less) has gone
        TERMINAL.reader_is_gone()
        return int(ExitCode.OK)
    except (Exception, KeyboardInterrupt) as error:
        found = _explained(error, arguments)
        if TERMINAL.verbose and not isinstance(found, _InterruptedError):
            traceback.print_exc()
        sys.stderr.write(f"error: {found}\n")
        TERMINAL.emit({"error": found.as_dict()})
        return int(found.exit_code)


def _refuse_empty(arguments: list[str]) -> None:
    """UsageError for an empty argument, which would be the working folder; mostly a shell's variable is not set."""
    for before, argument in zip(("", *arguments), arguments, strict=False):
        given = (
            argument if argument.startswith("--") and argument.endswith("=") else f"{before} " if not argument else ""
        )
        if given:
            name = given.strip(" =")
            what = f"The value of {name} is empty." if name.startswith("-") else "An argument is empty."
            raise UsageError(what, hint="Is a variable of the shell not set? The working folder is '.'.")


def _explained(error: BaseException, arguments: list[str]) -> GazetoolsError:
    """Whatever was raised, as an error with a message for the user, a hint and an exit code."""
    if isinstance(error, GazetoolsError):
        return error
    if isinstance(error, _ClickException):
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "gazetools"
        return UsageError(_with_value(error, arguments), hint=_dashed(arguments) or f"See: {command} --help")
    if isinstance(error, (KeyboardInterrupt, typer.Abort)):
        return _InterruptedError(error)
    if isinstance(error, ImportError):
        name = (error.name or "a package").split(".")[0]
        if name != "cv2" and "libGL" not in str(error):
            return EnvironmentLacksError(f"The package {name} can't be imported ({error}).", hint=f"pip install {name}")
        return EnvironmentLacksError(  # an OpenCV that does not find libGL, as on servers without a display
            f"OpenCV can't be imported here ({error}).",
            hint="pip uninstall -y opencv-python && pip install opencv-python-headless",
        )
    if isinstance(error, OSError) and error.errno in (errno.ENAMETOOLONG, errno.EACCES) and error.filename is not None:
        return UsageError(
            f"Cannot open {excerpt(error.filename)}: {error.strerror}.", hint="Check the path and its permissions."
        )
    return _InternalError(
        f"Internal error: {type(error).__name__}: {shortened(error, MAX_EXCERPT)}.",
        hint="This is a fault of gazetools. Run again with -v before the command and report the traceback.",
    )


def _dashed(arguments: list[str]) -> str | None:
    """The hint for a file whose name was taken for an option; None: there is none."""
    name = next((one for one in arguments if one.startswith("-") and Path(one).exists()), None)
    return None if name is None else f"{name} is a file: write it {shown_argument(name)}, so that it is no option."


def _with_value(error: Any, arguments: list[str]) -> str:
    """The message of a click error, with the value that was refused where the parser leaves it out."""
    message = in_plain_words(error.format_message()).replace(": must ", ": it must ")
    names = getattr(getattr(error, "param", None), "opts", [])
    place = next((i for i, argument in enumerate(arguments[:-1]) if argument in names), None)
    message = message if message.endswith((".", "?", "!")) else f"{message}."
    if place is None or arguments[place + 1] in message:
        return message
    return f"{message.rstrip('.')} (given: {arguments[place + 1]!r})."
