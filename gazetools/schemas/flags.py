"""How a field of a settings model becomes a flag: what the field says beyond its name, type, default and docstring."""

from __future__ import annotations

import ast
import inspect
import itertools
import sys
from dataclasses import dataclass

from pydantic import BaseModel


@dataclass(frozen=True, kw_only=True)
class Flag:
    """Wishes of one field for its flag: `model: Annotated[str, Flag(panel="Model")] = "gazelle_tiny"`."""

    panel: str | None = None
    """Group of the flag in `--help`; None: the general options."""
    names: tuple[str, ...] = ()
    """Names on the command line; empty: the field's name with hyphens. The key in `--config` is the field's name."""
    metavar: str | None = None
    """Word for the value in `--help`; None: the type."""
    hidden: bool = False
    """Leave the flag out of `--help`."""


def field_docstrings(model: type[BaseModel]) -> dict[str, str]:
    """The docstring under each field of `model` and its bases that has one, read from the source file at each call."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if not issubclass(base, BaseModel) or base is BaseModel or not inspect.get_annotations(base):
            continue
        module = ast.parse(inspect.getsource(sys.modules[base.__module__]))
        (body,) = (n.body for n in ast.walk(module) if isinstance(n, ast.ClassDef) and n.name == base.__name__)
        for field, text in itertools.pairwise(body):
            match field, text:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(docstring))):
                    found[name] = inspect.cleandoc(docstring)
    return found
