"""JSON files: strict reading with a size cap, deterministic atomic writing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gazetools.io.atomic import write_bytes_atomic
from gazetools.schemas.errors import DataFileError


def dumps(value: Any) -> str:
    """Readable JSON with sorted keys and no NaN, ending in a newline; names that are no UTF-8 are escaped."""
    return escaped(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)) + "\n"


def escaped(document: str) -> str:
    """A JSON document that can be written as UTF-8: bytes of file names that are none become escapes (`\\udcff`)."""
    return document.encode("utf-8", "backslashreplace").decode("utf-8")


def write_json_atomic(path: Path, value: Any, *, durable: bool = True) -> None:
    """Write `value` to `path` in one commit; `durable` as in `atomic_path`."""
    write_bytes_atomic(path, dumps(value).encode("utf-8"), durable=durable)


def read_json(
    path: Path,
    *,
    max_bytes: int = 64 << 20,
    pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None,
    constants: Callable[[str], Any] | None = None,
) -> Any:
    """Read JSON that must be UTF-8 without NaN or duplicate keys and at most `max_bytes` long; else DataFileError.

    `pairs_hook` makes objects of their (key, value) pairs, for files where a duplicate key must not cost everything.
    `constants` makes values of `NaN`, `Infinity` and `-Infinity`, for files where one must not cost everything.
    """
    try:
        if (size := path.stat().st_size) > max_bytes:
            raise DataFileError(f"{path} has {size} bytes; at most {max_bytes} are allowed for this JSON file.")
        return json.loads(
            path.read_bytes().decode("utf-8-sig"),
            parse_constant=constants or refuse_constant,
            object_pairs_hook=pairs_hook or refuse_duplicate_keys,
        )
    except OSError as error:
        raise DataFileError(f"Cannot read {path}: {error.strerror}.", path=str(path)) from error
    except DataFileError:
        raise
    except (ValueError, RecursionError) as error:
        raise DataFileError(f"{path} is not valid JSON: {error}.", path=str(path)) from error


def refuse_constant(name: str) -> Any:
    """Raise ValueError for NaN and the infinities, which JSON does not have."""
    raise ValueError(f"the constant {name} is not JSON")


def refuse_duplicate_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these pairs. Raises ValueError where a key stands twice."""
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("an object has the same key twice")
    return result
