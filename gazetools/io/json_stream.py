"""Large JSON files read piece by piece: members of the outer object, and the elements of its arrays, one at a time."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from gazetools.io.delimited import encoding_of, open_unpacked
from gazetools.io.json_files import refuse_constant, refuse_duplicate_keys
from gazetools.schemas.errors import DataFileError
from gazetools.schemas.excerpt import excerpt

_CHUNK = 1 << 20
_OF_NUMBERS = "0123456789.eE+-"
_LONGEST_END = 5
"""Characters in which a number that is cut can differ from a shorter one: `1.` and `1e+`, and one that ends it."""


def stream_json(path: Path, *, max_bytes: int, max_item: int = 64 << 20) -> Iterator[tuple[str, Any]]:
    """(key, value) of the outer object's members, (key, element) for each element of those that are arrays.

    The elements of a file that is an array have the key "". An array without elements gives nothing. Raises
    DataFileError for what is no JSON (also NaN, the same key twice, text behind the end), for nesting that is too
    deep, for more than `max_bytes` after unpacking, and for one element of more than `max_item` characters.

    Args:
        path: the file, unpacked where its name ends in `.gz`.
        max_bytes: largest size of the text.
        max_item: largest size of one element.
    """
    try:
        with open_unpacked(path) as file:
            yield from _members(_Text(path, file, max_bytes, max_item))
    except (OSError, EOFError) as error:
        raise DataFileError(f"Cannot read {path}: {getattr(error, 'strerror', None) or error}.") from error
    except RecursionError:
        raise DataFileError(f"{path} is not valid JSON: it is nested too deeply.") from None
    except ValueError as error:
        if isinstance(error, DataFileError):
            raise
        raise DataFileError(f"{path} is not valid JSON: {excerpt(str(error))}.") from None


class _Text:
    """The text of a file from a moving place on; as much is kept as one element needs."""

    def __init__(self, path: Path, file: IO[bytes], max_bytes: int, max_item: int) -> None:
        self._path, self._file, self._max_bytes, self._max_item = path, file, max_bytes, max_item
        self._decoder = json.JSONDecoder(parse_constant=refuse_constant, object_pairs_hook=refuse_duplicate_keys)
        first = file.read(_CHUNK)
        self._bytes = len(first)
        self._decode = codecs.getincrementaldecoder(encoding_of(first))()
        self._text, self._place, self._ended = self._decode.decode(first), 0, False

    def _more(self) -> bool:
        """Read on, at least as much as is kept; False at the end of the file."""
        if self._ended:
            return False
        kept = self._text[self._place :]
        if len(kept) > self._max_item:
            raise DataFileError(f"{self._path} has an element of more than {self._max_item} characters.")
        data = self._file.read(max(_CHUNK, len(kept)))
        self._bytes += len(data)
        if self._bytes > self._max_bytes:
            raise DataFileError(f"{self._path} has more than {self._max_bytes} bytes.")
        self._ended = not data
        self._text, self._place = kept + self._decode.decode(data, final=self._ended), 0
        return True

    def next_mark(self) -> str:
        """The next character that is no white space, which stays; "" at the end."""
        while True:
            while self._place < len(self._text):
                if (mark := self._text[self._place]) not in " \t\r\n":
                    return mark
                self._place += 1
            if not self._more():
                return ""

    def take(self, *marks: str) -> str:
        """The next character, which must be one of `marks`."""
        if (mark := self.next_mark()) not in marks:
            raise ValueError(f"{mark or 'the end'!r} where {' or '.join(map(repr, marks))} must be")
        self._place += 1
        return mark

    def value(self) -> Any:
        """The next value."""
        self.next_mark()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._place)
            except json.JSONDecodeError as error:
                if not self._more():
                    raise ValueError(error.msg) from None
                continue
            cut = not self._text[end : end + _LONGEST_END].strip(_OF_NUMBERS) and end + _LONGEST_END > len(self._text)
            if not cut or not self._more():  # a number at the end of what is read may go on: 1 of 1.5e3
                self._place = end
                return value


def _members(text: _Text) -> Iterator[tuple[str, Any]]:
    if text.next_mark() == "[":
        yield from _elements(text, "")
    else:
        text.take("{")
        seen: set[str] = set()
        closed = text.next_mark() == "}"
        while not closed:
            key = text.value()
            if not isinstance(key, str) or key in seen:
                raise ValueError("a key that is no text" if not isinstance(key, str) else "the same key twice")
            seen.add(key)
            text.take(":")
            if text.next_mark() == "[":
                yield from _elements(text, key)
            else:
                yield key, text.value()
            closed = text.next_mark() == "}" or text.take(",") == "}"
        text.take("}")
    if mark := text.next_mark():
        raise ValueError(f"{mark!r} behind the end")


def _elements(text: _Text, key: str) -> Iterator[tuple[str, Any]]:
    text.take("[")
    if text.next_mark() == "]":
        text.take("]")
        return
    while True:
        yield key, text.value()
        if text.take(",", "]") == "]":
            return
