"""The base of every settings model: unknown keys are errors that name the nearest known key."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from gazetools.schemas.errors import UsageError

ModelT = TypeVar("ModelT", bound=BaseModel)


class StrictModel(BaseModel):
    """A pydantic model that is frozen, refuses unknown keys and keeps defaults checked."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, ser_json_inf_nan="strings")


class Choices:
    """The words that a setting accepts, open for more: `Annotated[str, Choices("npz", "npy")]`.

    For kinds with a table of objects, whose owner calls `add` where one is registered from outside; a closed set of
    words is a `Literal`, whose message for other words this class repeats.
    """

    def __init__(self, *names: str) -> None:
        self._names = dict.fromkeys(names)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def add(self, name: str) -> None:
        """Accept `name` from now on. Raises ValueError where it is taken."""
        if name in self._names:
            raise ValueError(f"{name!r} is taken; known: {', '.join(self._names)}")
        self._names[name] = None

    def remove(self, name: str) -> None:
        """Undo `add`, as tests do."""
        del self._names[name]

    def check(self, value: str) -> str:
        """`value` itself. Raises pydantic's `literal_error` for a word that is not known."""
        if value not in self._names:
            *most, last = map(repr, self._names)
            expected = f"{', '.join(most)} or {last}" if most else last
            raise PydanticCustomError("literal_error", "Input should be {expected}", {"expected": expected})
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), "enum": list(self._names)}


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


def _inner_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_inner_model, getattr(annotation, "__args__", ()))), None)


def explain_validation_error(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """One line per problem: dotted key, value, rule and, for unknown keys, the nearest known one."""
    lines = []
    for problem in error.errors():
        location = problem["loc"]
        key = ".".join(str(part) for part in location) or "(top level)"
        if problem["type"] == "extra_forbidden":
            near = nearest_name(str(location[-1]), _known_keys_at(model, location[:-1]))
            lines.append(f"unknown key '{key}'" + (f"; did you mean '{near}'?" if near else ""))
        elif problem["type"] == "missing":
            lines.append(f"missing key '{key}'")
        else:
            value = repr(problem.get("input"))
            lines.append(f"'{key}' = {value[:120]}: {problem['msg']}")
    return lines


def parse_settings(model: type[ModelT], values: Mapping[str, Any], *, what: str) -> ModelT:
    """Validate `values` as `model`; all problems at once in one UsageError that says `what` was read."""
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        lines = explain_validation_error(error, model)
        message = f"{what}: {'; '.join(lines)}."
        raise UsageError(message, hint="Correct the named keys and run again.", problems=lines) from None


def given_or_parsed(options: ModelT | None, model: type[ModelT], settings: Mapping[str, Any], *, what: str) -> ModelT:
    """The `options` of a library call, or its single `settings` as such; UsageError where both are given."""
    if options is None:
        return parse_settings(model, settings, what=what)
    if settings:
        raise UsageError(f"Give either options= or single settings, not both ({', '.join(settings)}).")
    return options
