"""YAML files: safe_load only, no aliases, a size cap, numbers such as 1e-4 read as numbers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from gazetools.schemas.errors import UsageError

_MAX_BYTES = 1 << 20


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses aliases (bombs) and duplicate keys and knows `1e-4`, which YAML 1.1 takes for text."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            event = self.peek_event()
            raise yaml.composer.ComposerError(None, None, "aliases are not allowed", event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if len(set(map(str, keys))) != len(keys):
            raise yaml.constructor.ConstructorError(None, None, "a key stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def parse_yaml(text: str, *, what: str) -> Any:
    """The value of a YAML text; UsageError naming `what` and the place for anything malformed."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, RecursionError) as error:
        raise UsageError(f"{what} is not valid YAML: {' '.join(str(error).split())}.") from None


def read_yaml_mapping(path: Path) -> dict[str, Any]:
    """The mapping in the YAML file `path`; UsageError where it can't be read or is no mapping."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise UsageError(f"{path} has {path.stat().st_size} bytes; a config has at most {_MAX_BYTES}.")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"Cannot read the config {path}: {error.strerror}.", hint="Check --config.") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text: {error}.", hint="Is it a config? Save it as UTF-8.") from None
    value = parse_yaml(text, what=str(path))
    if not isinstance(value, dict):
        kinds = {str: "text", list: "a list", type(None): "nothing"}
        raise UsageError(
            f"{path} must hold a mapping of keys to values, such as `fps: 5`, and holds "
            f"{kinds.get(type(value), type(value).__name__)}.",
            hint="Is it the config? Write one `key: value` per line.",
        )
    return value
