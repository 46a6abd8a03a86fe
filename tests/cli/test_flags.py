"""Every flag of every command: its names, default, panel and whether it is required, as `flags.txt` lists them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gazetools.cli.app import COMMANDS, _load

LISTED = Path(__file__).with_name("flags.txt")


def _line(parameter: Any) -> str:
    """`--batch-size | auto | Run`; `default` is `required` where the parser insists on the flag."""
    if parameter.param_type_name == "argument":
        return f"{parameter.metavar or parameter.name.upper()} | {'required' if parameter.required else ''} | Arguments"
    names = ", ".join([*parameter.opts, *parameter.secondary_opts])
    default = "required" if parameter.required else parameter.default
    text = "" if default is None or default is False or default == [] else str(default)
    return f"{names} | {text} | {getattr(parameter, 'rich_help_panel', None) or 'Options'}"


def flags_of(command: str) -> set[str]:
    """One line for each flag and argument of a command, without `--help`."""
    return {_line(parameter) for parameter in _load(command).params}


def _listed() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for line in LISTED.read_text().splitlines():
        if line.startswith("# "):
            found[line[2:]] = lines = set()
        elif line:
            lines.add(line)
    return found


@pytest.mark.parametrize("command", list(COMMANDS))
def test_a_commands_flags_are_those_of_the_list(command: str) -> None:
    assert flags_of(command) == _listed()[command]


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_command_prints_json_and_reads_many_options_from_a_file(command: str) -> None:
    names = {parameter.name for parameter in _load(command).params if parameter.param_type_name == "option"}
    assert "as_json" in names
    assert ("config" in names) == (len(names - {"config"}) > 5)


def test_the_list_names_every_command() -> None:
    assert list(_listed()) == list(COMMANDS)
