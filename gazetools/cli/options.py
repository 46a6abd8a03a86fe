"""Flags from settings models: `@options(PackOptions)` gives a command one flag per field of the model."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from gazetools.cli.common import ConfigOption, JsonOption
from gazetools.schemas.base import parse_settings
from gazetools.schemas.flags import Flag, field_docstrings

_FEW = 5
"""A command with more options than this can take them from a YAML file (`--config`)."""
Command = Callable[..., int]


def options(*models: type[BaseModel], more: Sequence[inspect.Parameter] = ()) -> Callable[[Command], Command]:
    """Replace each parameter of a command whose annotation is one of `models` by a flag per field of that model.

    The function is called with the model, or UsageError has all problems at once. The command has `--json` too, and
    `--config` where it has many options. `more` are flags that the function takes as `**` keyword arguments.

    >>> @options(PackOptions)
    ... def pack_command(store: Annotated[Path, typer.Argument()], options: PackOptions) -> int: ...
    """

    def decorate(function: Command) -> Command:
        # typing.get_type_hints of Python 3.10 would hide the metadata of a parameter whose default is None
        hints = inspect.get_annotations(function, eval_str=True)
        settings = {name: hint for name, hint in hints.items() if hint in models}
        parameters: list[inspect.Parameter] = []
        for name, parameter in inspect.signature(function).parameters.items():
            if name in settings:
                parameters += flags_of(settings[name])
            elif parameter.kind is inspect.Parameter.VAR_KEYWORD:
                parameters += more
            else:
                parameters.append(keyword(name, hints[name], parameter.default))
        shared = {"config": ConfigOption, "as_json": JsonOption}
        arguments = [p for p in parameters if typer.models.ArgumentInfo in map(type, get_args(p.annotation))]
        if len(parameters) - len(arguments) + 1 <= _FEW or any(parameter.name == "config" for parameter in parameters):
            del shared["config"]
        parameters += [keyword(name, hint, None if name == "config" else False) for name, hint in shared.items()]

        called = function.__name__.removesuffix("_command")

        @functools.wraps(function)
        def command(**values: Any) -> int:
            own = {name: value for name, value in values.items() if name not in shared}
            for name, model in settings.items():
                given = {field: _number_in(own.pop(field), info) for field, info in model.model_fields.items()}
                own[name] = parse_settings(
                    model,
                    given,
                    what=called,
                    spelled=functools.partial(flag_name, model),
                    hint=f"Correct {{names}} and run again; gazetools {called} --help has all options.",
                )
            return function(**own)

        command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        vars(command)["__signature__"] = inspect.Signature(parameters, return_annotation=int)
        return command

    return decorate


def flags_of(model: type[BaseModel]) -> list[inspect.Parameter]:
    """One keyword parameter per field, in the order of the fields; those of another options model come last."""
    texts = field_docstrings(model)
    inherited = [name for base in model.__bases__ if issubclass(base, BaseModel) for name in base.model_fields]
    names = sorted(model.model_fields, key=inherited.__contains__)
    return [_flag(name, model.model_fields[name], texts.get(name, "")) for name in names]


def _flag(name: str, field: FieldInfo, docstring: str) -> inspect.Parameter:
    wishes = _wishes(field)
    names = wishes.names or ((_hyphened(name),) if field.default is False else ())
    option = typer.Option(
        *names,
        help=help_text(docstring, field),
        rich_help_panel=wishes.panel,
        metavar=wishes.metavar,
        hidden=wishes.hidden,
    )
    kind, default = _parsed_as(field.annotation), field.get_default(call_default_factory=True)
    if field.is_required():
        return keyword(name, Annotated[kind, option], inspect.Parameter.empty)
    return keyword(name, Annotated[kind | None if default is None else kind, option], default)


def flag_name(model: type[BaseModel], field: str) -> str:
    """The flag of a field, its long form where it has several."""
    names = _wishes(model.model_fields[field]).names if field in model.model_fields else ()
    return names[-1].split("/")[0] if names else _hyphened(field)


def _wishes(field: FieldInfo) -> Flag:
    return next((entry for entry in field.metadata if isinstance(entry, Flag)), Flag())


def _hyphened(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def help_text(docstring: str, field: FieldInfo) -> str:
    """The first paragraph of a field's docstring on one line, without backticks, and the limits above 1 of a number."""
    text = " ".join(docstring.split("\n\n", 1)[0].replace("`", "").split())
    words = {Ge: "at least", Gt: "above", Le: "at most", Lt: "below"}
    found = [(type(one), *dataclasses.astuple(one)) for one in field.metadata if type(one) in words]
    limits = ", ".join(f"{words[kind]} {limit:g}" for kind, limit in found if kind in (Le, Lt) or limit > 1)
    return f"{text.removesuffix('.')} ({limits})." if limits else text


def _parsed_as(annotation: Any) -> Any:
    """Type that the parser makes of a flag; choices and mixed kinds stay texts, which the model checks."""
    if get_origin(annotation) is Annotated:
        return _parsed_as(get_args(annotation)[0])
    if get_origin(annotation) is list:
        return list[_parsed_as(get_args(annotation)[0])]  # type: ignore[misc]
    if get_origin(annotation) is Literal or not get_args(annotation):
        return annotation if annotation in (bool, int, float, Path) else str
    kinds = {_parsed_as(kind) for kind in get_args(annotation) if kind is not NoneType}
    return kinds.pop() if len(kinds) == 1 else str


def _number_in(value: Any, field: FieldInfo) -> Any:
    """`8` of a flag that takes a number or a word (`int | Literal["auto"]`) as a number."""
    mixed = int in get_args(field.annotation) and isinstance(value, str)
    return int(value) if mixed and value.removeprefix("-").isdecimal() else value


def keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    """A keyword parameter; `Annotated[type, typer.Option(...)]` makes it a flag, as for `more` of `options`."""
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
