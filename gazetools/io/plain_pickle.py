"""Read a pickle of plain values (lists, dicts, texts, numbers, numpy arrays) without running anything that is in it.

No name of the pickle is ever imported and no foreign function called: the few names that numpy writes for arrays and
numbers are answered by objects of this module, which decode bytes. Every other name is refused.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from gazetools.io.inert_pickle import RefusedPickle, check_opcodes

_KINDS = "biuf"  # booleans, whole numbers, floats
_MOST_DIMENSIONS = 8
_MOST_NESTED = 20
_BYTES_OF_ARRAYS = frozenset({"BYTEARRAY8"})  # how numpy writes them in protocol 5


def read_plain(path: Path, *, max_bytes: int) -> Any:
    """The pickled value. Raises RefusedPickle for any other object, a malformed or larger file; OSError as it comes."""
    if (size := path.stat().st_size) > max_bytes:
        raise RefusedPickle(f"it has {size} bytes; at most {max_bytes} are read")
    content = path.read_bytes()
    check_opcodes(content, allowed=_BYTES_OF_ARRAYS)
    try:
        value = _PlainUnpickler(io.BytesIO(content), encoding="latin1").load()
        return _plain(value, {})
    except RefusedPickle:
        raise
    except Exception as error:  # whatever a malformed pickle makes the unpickler raise
        raise RefusedPickle(f"its pickle is malformed ({type(error).__name__}: {error})"[:300]) from error


class _StoredType:
    """What stands for a numpy.dtype: a text such as `f8`, and the byte order that comes as its state."""

    def __init__(self, text: object) -> None:
        if not isinstance(text, str) or len(text) > 4 or text[:1] not in _KINDS or not text[1:].isdigit():
            raise RefusedPickle(f"it has numbers of the type {str(text)[:40]!r}; plain numbers are read")
        self.text, self.big = text, False

    def __setstate__(self, state: object) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) >= 2 else None
        if order not in ("<", ">", "|", "="):
            raise RefusedPickle("it has a number type with a malformed state")
        self.big = order == ">"

    def decoded(self, data: object, count: int) -> np.ndarray[Any, Any]:
        """`count` numbers of these bytes."""
        kind = np.dtype(self.text).newbyteorder(">" if self.big else "<")
        content = data.encode("latin1") if isinstance(data, str) else data
        if not isinstance(content, bytes | bytearray) or len(content) != count * kind.itemsize:
            raise RefusedPickle(f"it has {count} numbers of type {self.text} with another number of bytes")
        return np.frombuffer(content, kind).copy()


class _StoredArray:
    """What stands for a numpy.ndarray, whose shape, type and bytes come as its state."""

    def __init__(self) -> None:
        self.values: np.ndarray[Any, Any] | None = None

    def __setstate__(self, state: object) -> None:
        if not (isinstance(state, tuple) and len(state) == 5 and isinstance(state[2], _StoredType)):
            raise RefusedPickle("it has an array with a malformed state")
        self.fill(*state[1:])

    def fill(self, shape: Any, stored: _StoredType, by_columns: bool, data: object) -> None:
        """Decode the numbers. Raises RefusedPickle where shape, type and bytes do not fit."""
        sizes = isinstance(shape, tuple) and len(shape) <= _MOST_DIMENSIONS
        if not sizes or not all(type(side) is int and 0 <= side < 1 << 32 for side in shape):
            raise RefusedPickle(f"it has an array of the shape {str(shape)[:60]}")
        count = 1
        for side in shape:
            count *= side
        self.values = stored.decoded(data, count).reshape(shape, order="F" if by_columns else "C")


class _Stand:
    """A function of this module under a foreign name; nothing that the pickle sets on it has an effect."""

    __slots__ = ("_answer",)
    _answer: Any

    def __init__(self, answer: Any) -> None:
        object.__setattr__(self, "_answer", answer)

    def __call__(self, *arguments: Any) -> Any:
        return self._answer(*arguments)

    def __setattr__(self, name: str, value: object) -> None:
        raise RefusedPickle(f"it sets {name[:40]!r} of a function")

    def __setstate__(self, state: object) -> None:
        raise RefusedPickle("it sets the state of a function")


def _scalar(stored: Any, data: Any) -> Any:
    if not isinstance(stored, _StoredType):
        raise RefusedPickle("it has a number with a malformed type")
    return stored.decoded(data, 1)[0].item()


def _from_buffer(data: Any, stored: Any, shape: Any, order: Any, axes: Any = None) -> _StoredArray:
    if not isinstance(stored, _StoredType) or order not in ("C", "F") or axes is not None:
        raise RefusedPickle("it has an array in an unusual form")
    found = _StoredArray()
    found.fill(shape, stored, order == "F", data)
    return found


def _encoded(text: Any, encoding: Any) -> bytes:
    if not isinstance(text, str) or encoding != "latin1":
        raise RefusedPickle("it has bytes in an unusual form")
    return text.encode("latin1")


class _PlainUnpickler(pickle.Unpickler):
    """Answers the names that numpy writes; never imports."""

    def find_class(self, module: str, name: str) -> Any:
        """Ours for `module.name`; RefusedPickle for every name that is not of the few known."""
        full = f"{module}.{name}"
        cores = ("numpy.core.multiarray", "numpy._core.multiarray")
        answers = {
            "numpy.dtype": lambda text, *_: _StoredType(text),
            "numpy.ndarray": lambda *_: _StoredArray(),
            "_codecs.encode": _encoded,
            **{f"{core}._reconstruct": lambda *_: _StoredArray() for core in cores},
            **{f"{core}.scalar": _scalar for core in cores},
            **{f"numpy.{core}.numeric._frombuffer": _from_buffer for core in ("core", "_core")},
        }
        if full not in answers:
            raise RefusedPickle(f"it contains {full[:120]!r}, which could run code")
        return _Stand(answers[full])

    def persistent_load(self, pid: Any) -> Any:
        """Refuse references to other files."""
        raise RefusedPickle("it refers to another file")


def _plain(value: Any, done: dict[int, Any], depth: int = 0) -> Any:
    """`value` with arrays as numpy arrays; RefusedPickle for other objects and for deep nesting.

    `done` holds the containers that are finished, by their id: one that stands in many places is walked once.
    """
    if depth > _MOST_NESTED:
        raise RefusedPickle(f"its values are nested over {_MOST_NESTED} deep")
    if isinstance(value, _StoredArray):
        if value.values is None:
            raise RefusedPickle("it has an array without numbers")
        return value.values
    if isinstance(value, list | tuple):
        if id(value) not in done:
            done[id(value)] = [_plain(item, done, depth + 1) for item in value]
        return done[id(value)]
    if isinstance(value, dict):
        if id(value) not in done:
            done[id(value)] = {_key(key): _plain(item, done, depth + 1) for key, item in value.items()}
        return done[id(value)]
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return value
    raise RefusedPickle(f"it contains a {type(value).__name__}, which is no plain value")


def _key(key: Any) -> Any:
    if isinstance(key, bool | int | float | str):
        return key
    raise RefusedPickle(f"it has a {type(key).__name__} as a key")
