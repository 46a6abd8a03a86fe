"""Hook of `make docs`: every documented class, function, method and property has a docstring, else the build fails."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import griffe

_LOG = logging.getLogger("mkdocs.hooks.check_docstrings")
"""A warning of a logger below `mkdocs` ends a strict build."""


def on_pre_build(config: Any) -> None:
    """Called by mkdocs before it reads the pages."""
    docs = Path(config["docs_dir"])
    for page in sorted((docs / "reference").glob("*.md")):
        for name in re.findall(r"^::: (\S+)", page.read_text(encoding="utf-8"), re.MULTILINE):
            module = griffe.load(name, search_paths=[docs.parent])
            for missing in _without_docstring(module):
                _LOG.warning("%s: %s has no docstring", page.name, missing)


def _without_docstring(module: griffe.Object | griffe.Alias) -> Iterator[str]:
    """Names below `module`: what it exports, its own public names, and the public members of classes."""
    names = module.exports if module.exports is not None else module.members
    for name in sorted(map(str, names)):
        if name.startswith("_") or (found := module.members.get(name)) is None:
            continue
        if found.is_alias and module.exports is None:
            continue  # imported for use, not for show
        if found.is_module:
            if module.exports is None:
                yield from _without_docstring(found)
            continue
        is_value = found.is_attribute and "property" not in found.labels
        if not is_value and not found.has_docstring:
            yield found.path
        if found.is_class:
            yield from _without_docstring(found)
