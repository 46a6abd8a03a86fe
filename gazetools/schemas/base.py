"""The base of every settings model: unknown keys are errors that name the nearest known key."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from gazetools.schemas.errors import UsageError

ModelT = TypeVar("ModelT", bound=BaseModel)


class StrictModel(BaseModel):
    """A pydantic model that is frozen, refuses unknown keys and keeps defaults checked."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, ser_json_inf_nan="strings")


class OptionsModel(StrictModel):
    """The base of the options of a command: their numbers are finite."""

    model_config = ConfigDict(allow_inf_nan=False)


class Choices:
    """The words that a setting accepts, open for more: `Annotated[str, Choices("npz", "npy")]`.

    For kinds with a table of objects, whose owner calls `add` where one is registered from outside; a closed set of
    words is a `Literal`, whose message for other words this class repeats.
    """

    def __init__(self, *names: str, others: Iterable[Choices] = ()) -> None:
        """Accept `names`, and what `others` accept now and later."""
        self._names = dict.fromkeys(names)
        self._others = tuple(others)

    def __iter__(self) -> Iterator[str]:
        return chain(self._names, *self._others)

    def add(self, name: str) -> None:
        """Accept `name` from now on. Raises ValueError where it is taken."""
        if name in self:
            raise ValueError(f"{name!r} is taken; known: {', '.join(self)}")
        self._names[name] = None

    def remove(self, name: str) -> None:
        """Undo `add`, as tests do."""
        del self._names[name]

    def check(self, value: str) -> str:
        """`value` itself. Raises pydantic's `literal_error` for a word that is not known."""
        if value not in self:
            *most, last = map(repr, self)
            expected = f"{', '.join(most)} or {last}" if most else last
            raise PydanticCustomError("literal_error", "Input should be {expected}", {"expected": expected})
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), "enum": list(self)}


def matching(pattern: str, rule: str) -> AfterValidator:
    """Validator of a text field; the error says `rule` unless `pattern` matches the whole text."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(rule)
        return value

    return AfterValidator(check)


def nearest_name(name: str, known: list[str]) -> str | None:
    """The known name most alike to `name`, or None where nothing is alike."""
    return next(iter(difflib.get_close_matches(name, known, n=1, cutoff=0.55)), None)


def _known_keys_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Field names (and aliases) of the sub-model that `location` (without its last part) points into."""
    for part in location:
        if part in model.model_fields:
            model = _inner_model(model.model_fields[str(part)].annotation) or model
    return [*model.model_fields, *(field.alias for field in model.model_fields.values() if field.alias)]


def default_at(model: type[BaseModel], key: str) -> Any:
    """Default of the setting at the dotted `key` below `model`; None where it has none, or a part is no setting."""
    *parts, last = key.split(".")
    for part in parts:
        inner = _inner_model(model.model_fields[part].annotation) if part in model.model_fields else None
        if inner is None:
            return None
        model = inner
    field = model.model_fields.get(last)
    return None if field is None or field.is_required() else field.get_default()


def _inner_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_inner_model, getattr(annotation, "__args__", ()))), None)


def conflict(text: str) -> PydanticCustomError:
    """The error of a validator for settings that do not go together: `"{fps} and {stride} exclude each other"`.

    `text` has the fields in braces; the message names them as the user wrote them, as flags or as keys.
    """
    names = {name: name for name in _FIELD.findall(text)}
    return PydanticCustomError("conflict", text, {**names, "template": text})


def explain_validation_error(
    error: ValidationError, model: type[BaseModel], *, spelled: Callable[[str], str] = str
) -> list[str]:
    """One line per problem: dotted key, value, rule and, for unknown keys, the nearest known one.

    `spelled` turns the dotted key of a setting into what the user wrote, such as a flag; it is used for conflicts.
    """
    lines: dict[str, list[str]] = {}
    for problem in error.errors():
        place = problem["loc"] if problem["type"] in _ABOUT_KEYS else _without_union_parts(problem["loc"])
        key, rule = ".".join(map(str, place)), _rule(problem, place, spelled)
        if problem["type"] == "extra_forbidden":
            near = nearest_name(str(place[-1]), _known_keys_at(model, place[:-1]))
            lines[f"unknown key '{key}'" + (f"; did you mean '{near}'?" if near else "")] = []
        elif problem["type"] == "missing":
            lines[f"missing key '{key}'"] = []
        elif problem["type"] == "conflict" or not place:
            lines[rule] = []
        else:
            lines.setdefault(f"'{key}' = {repr(problem.get('input'))[:120]}: ", []).append(rule)
    return [start + _either(rules) for start, rules in lines.items()]


_ABOUT_KEYS = {"extra_forbidden", "missing"}
_FIELD = re.compile(r"\{(\w+)\}")
_UNION_PART = re.compile(
    r"(int|float|str|bool|path|none)|(literal|list|tuple|dict|nullable|constrained|function|is-instance|lax-or|json-or)"
    r"[\[-].*"
)
"""Names that pydantic gives to the members of a union, which are no keys."""
_MUST_BE = "must be "
_RULES = {
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "string_type": "a text",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
}
"""pydantic's type of a problem -> what the value should be, in words."""


def _without_union_parts(location: tuple[int | str, ...]) -> tuple[int | str, ...]:
    rest = (part for part in location[1:] if isinstance(part, int) or not _UNION_PART.fullmatch(part))
    return (*location[:1], *rest)


def _rule(problem: Mapping[str, Any], place: tuple[int | str, ...], spelled: Callable[[str], str]) -> str:
    """The rule that a value breaks, without pydantic's own words for kinds of errors."""
    if problem["type"] == "conflict":
        names = {key for key in problem["ctx"] if key != "template"}
        named = {name: spelled(".".join(map(str, (*place, name)))) for name in names}
        return _FIELD.sub(lambda found: named[found[1]], problem["ctx"]["template"])
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"])
    words = _RULES.get(problem["type"])
    return _MUST_BE + words if words else in_plain_words(str(problem["msg"]))


_PLAINER = (
    (r"Input should be greater than or equal to ", "must be at least "),
    (r"Input should be less than or equal to ", "must be at most "),
    (r"Input should be greater than ", "must be above "),
    (r"Input should be less than ", "must be below "),
    (r"Input should be a valid integer\b[^.]*", "must be a whole number"),
    (r"Input should be a valid number\b[^.]*", "must be a number"),
    (r"Input should be a valid boolean\b[^.]*", "must be true or false"),
    (r"Input should be ", "must be "),
    (r"(String|List|Tuple|Dictionary|Value) should have ", "must have "),
    (r" after validation, not ", ", not "),
    (r"String should match pattern ", "must match the pattern "),
)
"""pydantic's words -> those for readers who do not program; the first that fits counts."""


def in_plain_words(message: str) -> str:
    """A message of pydantic's, or of a parser that uses it, as one says it: `must be at least 1`."""
    for theirs, ours in _PLAINER:
        message = re.sub(theirs, ours, message)
    return message


def _either(rules: list[str]) -> str:
    """One rule; those of the members of a union with `or` between them."""
    first, *more = dict.fromkeys(rules) or [""]
    return " or ".join([first, *(rule.removeprefix(_MUST_BE) for rule in more)])


def parse_settings(
    model: type[ModelT],
    values: Mapping[str, Any],
    *,
    what: str,
    spelled: Callable[[str], str] = str,
    hint: str = "Correct the named keys and run again.",
) -> ModelT:
    """Validate `values` as `model`; all problems at once in one UsageError that says `what` was read.

    `spelled` as for `explain_validation_error`; `hint` is the next step, in which `{names}` are the settings at fault.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        lines = explain_validation_error(error, model, spelled=spelled)
        text = "; ".join(line.rstrip(".") for line in lines)
        next_step = hint.replace("{names}", ", ".join(_at_fault(error, spelled)) or "this")
        raise UsageError(f"{what}: {text}{'' if text.endswith('?') else '.'}", hint=next_step, problems=lines) from None


def _at_fault(error: ValidationError, spelled: Callable[[str], str]) -> list[str]:
    """The settings at fault as the user wrote them, each once."""
    names: dict[str, None] = {}
    for problem in error.errors():
        place = _without_union_parts(problem["loc"])
        more = _FIELD.findall(problem["ctx"]["template"]) if problem["type"] == "conflict" else []
        keys = [(*place, name) for name in more] or [place] * bool(place)
        names |= dict.fromkeys(spelled(".".join(map(str, key))) for key in keys)
    return list(names)


def given_or_parsed(options: ModelT | None, model: type[ModelT], settings: Mapping[str, Any], *, what: str) -> ModelT:
    """The `options` of a library call, or its single `settings` as such; UsageError where both are given."""
    if options is None:
        return parse_settings(model, settings, what=what)
    if settings:
        raise UsageError(f"Give either options= or single settings, not both ({', '.join(settings)}).")
    return options
