"""The `gazetools extract` command that does what a run does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gazetools.schemas.extract import ExtractOptions


def extract_words(inputs: Sequence[str | Path], output: str | Path, options: ExtractOptions) -> list[str]:
    """Words after `gazetools`, with every option that is not the default, less the engine's and the shard."""
    defaults = ExtractOptions().model_dump()
    words = ["extract", *map(str, inputs), "-o", str(output)]
    for name, value in options.model_dump(mode="json").items():
        if value == defaults[name] or name in {"shard", "engine"}:
            continue
        words.append(("--no-" if value is False else "--") + name.replace("_", "-"))
        if not isinstance(value, bool):
            words.append(str(value))
    return words
