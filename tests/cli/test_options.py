"""A command made from a settings model that is not part of gazetools: its flags, help texts, checks and config file."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Annotated, Literal

import pytest
import typer
from pydantic import Field

from gazetools.cli.app import COMMANDS, _load
from gazetools.cli.common import TERMINAL
from gazetools.cli.options import flags_of, options
from gazetools.engines.registry import ENGINES, Engine, register
from gazetools.schemas.base import Choices, StrictModel
from gazetools.schemas.extract import ENGINE_NAMES
from gazetools.schemas.flags import Flag, field_docstrings
from tests.helpers.command_line import run_cli


class BlurSettings(StrictModel):
    """Fields that several toys share."""

    radius: int = Field(default=3, ge=1, le=99)
    """Pixels around each point."""


class ToyOptions(BlurSettings):
    """Settings of a command that is not part of gazetools."""

    output: Annotated[Path, Flag(names=("-o", "--output"))]
    """File to write."""
    mode: Annotated[Literal["fast", "exact"], Flag(panel="Speed")] = "fast"
    """`fast` or `exact`.

    This paragraph is for readers of the code."""
    batch_size: Annotated[int | Literal["auto"], Flag(panel="Speed", metavar="N")] = "auto"
    """Frames at a time,
    or `auto`."""
    kind: Annotated[str, Choices("round", "square")] = "round"
    """Shape."""
    names: list[str] | None = None
    """Names; may be repeated."""
    start: float | None = None
    keep: bool = True
    """Keep what is there."""
    force: bool = False
    """Replace what is there."""
    secret: Annotated[str, Flag(hidden=True)] = "x"


@options(ToyOptions)
def toy_command(
    video: Annotated[str, typer.Argument(metavar="VIDEO")],
    options: ToyOptions,
    again: Annotated[bool, typer.Option("--again", help="Once more.")] = False,
) -> int:
    """Blur a toy.

    Example: gazetools toy clip.mp4 -o out
    """
    TERMINAL.emit({"video": video, "again": again, **options.model_dump(mode="json")})
    return 0


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("gazetools.cli.toy")
    vars(module)["toy_command"] = toy_command
    monkeypatch.setitem(sys.modules, "gazetools.cli.toy", module)
    monkeypatch.setitem(COMMANDS, "toy", "Blur a toy.")


def test_flags_become_the_settings_that_the_command_is_called_with() -> None:
    flags = ["--mode", "exact", "--batch-size", "8", "--names", "a", "--names", "b", "--no-keep", "--force", "--again"]
    done = run_cli("toy", "clip.mp4", "-o", "out", *flags, "--json")
    assert done.exit_code == 0, done.stderr
    given = {"mode": "exact", "batch_size": 8, "names": ["a", "b"], "keep": False, "force": True, "output": "out"}
    rest = {"radius": 3, "kind": "round", "start": None, "secret": "x"}
    assert json.loads(done.stdout) == {"video": "clip.mp4", "again": True, **given, **rest}


WRONG = [
    (["--mode", "slow"], "toy: 'mode' = 'slow': must be 'fast' or 'exact'."),
    (["--kind", "flat"], "toy: 'kind' = 'flat': must be 'round' or 'square'."),
    (["--radius", "0"], "toy: 'radius' = 0: must be at least 1."),
    (["--start", "soon"], "soon"),
    (["--rad", "1"], "No such option: --rad"),
]


@pytest.mark.parametrize(("flags", "message"), WRONG, ids=[flags[0] for flags, _ in WRONG])
def test_what_the_model_refuses_is_wrong_usage(flags: list[str], message: str) -> None:
    done = run_cli("toy", "clip.mp4", "-o", "out", *flags, "--json")
    assert done.exit_code == 2
    assert message in json.loads(done.stdout)["error"]["message"]


def test_a_field_without_default_is_a_required_flag() -> None:
    assert run_cli("toy", "clip.mp4").stderr.startswith("error: Missing option '-o' / '--output'.")


def test_all_problems_are_named_at_once() -> None:
    done = run_cli("toy", "clip.mp4", "-o", "out", "--radius", "0", "--batch-size", "many")
    assert "'radius' = 0" in done.stderr and "'batch_size" in done.stderr


def test_keys_of_a_config_file_are_the_fields(tmp_path: Path) -> None:
    config = tmp_path / "toy.yaml"
    config.write_text("radius: 5\nbatch-size: 4\noutput: there\n")
    done = run_cli("toy", "clip.mp4", "--config", str(config), "--radius", "7", "--json")
    document = json.loads(done.stdout)
    assert (document["radius"], document["batch_size"], document["output"]) == (7, 4, "there")
    config.write_text("radus: 5\n")
    assert "Did you mean 'radius'?" in run_cli("toy", "clip.mp4", "-o", "o", "--config", str(config)).stderr


def test_help_comes_from_the_docstrings_in_their_panels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    text = " ".join(run_cli("toy", "--help").stdout.split())
    for words in ("Frames at a time, or auto.", "fast or exact.", "Pixels around each point (at most 99).", "Speed"):
        assert words in text
    assert "readers of the code" not in text and "--secret" not in text
    assert "--keep --no-keep" in text and "--no-force" not in text


def test_docstrings_of_fields_include_those_of_the_bases() -> None:
    texts = field_docstrings(ToyOptions)
    assert texts["radius"] == "Pixels around each point."
    assert texts["mode"].startswith("`fast` or `exact`.\n\nThis paragraph")
    assert "start" not in texts


@pytest.mark.parametrize("count", [1, 9])
def test_only_commands_with_many_options_have_config(count: int) -> None:
    more = [flag for flag in flags_of(ToyOptions) if flag.name != "output"][:count]
    command = options(more=more)(lambda **_: 0)
    names = list(command.__annotations__)
    assert names[-1] == "as_json"
    assert ("config" in names) == (count > 5)


class ToyEngineOptions(StrictModel):
    """Settings of an engine that is not part of gazetools."""

    rooms: int = 1


@pytest.fixture
def toy_engine() -> Iterator[None]:
    register(Engine(name="toy", module="nowhere", settings=ToyEngineOptions))
    yield
    del ENGINES["toy"]
    ENGINE_NAMES.remove("toy")


@pytest.mark.usefixtures("toy_engine")
def test_an_engine_from_outside_has_a_flag_for_its_settings() -> None:
    (flag,) = (parameter for parameter in _load("extract").params if parameter.name == "toy")
    assert (flag.opts, flag.help) == (["--toy"], "rooms; may be repeated.")
    done = run_cli("extract", "none.mp4", "-o", "s", "--engine", "toy", "--toy", "roms=2")
    assert (done.exit_code, "did you mean 'rooms'?" in done.stderr) == (2, True)
