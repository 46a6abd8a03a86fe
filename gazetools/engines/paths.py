"""Absolute paths, since workers on other machines start in another folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gazetools.schemas.extract import ExtractOptions


def absolute_inputs(inputs: Sequence[str | Path]) -> list[str]:
    """Inputs with absolute paths; `@list.txt` keeps its mark."""
    return [_absolute(str(text)) for text in inputs]


def absolute_options(options: ExtractOptions) -> ExtractOptions:
    """Options with absolute paths of weights and head boxes."""
    update = {name: _absolute(path) for name in ("checkpoint", "backbone") if (path := getattr(options, name))}
    for name in ("model", "pose"):
        if Path(value := getattr(options, name)).exists():
            update[name] = _absolute(value)
    kind, _, rest = options.heads.partition(":")
    if kind == "file" or (rest and Path(rest).exists()):
        update["heads"] = f"{kind}:{_absolute(rest)}"
    return options.model_copy(update=update)


def _absolute(text: str) -> str:
    mark, path = ("@", text[1:]) if text.startswith("@") else ("", text)
    return mark + str(Path(path).expanduser().absolute())
