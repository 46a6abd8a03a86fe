"""XML read as events, without a tree: document types, entities and references to other files are refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from gazetools.io.delimited import open_unpacked
from gazetools.schemas.errors import DataFileError
from gazetools.schemas.excerpt import excerpt

_CHUNK = 1 << 20
_MAX_DEPTH = 100


class XmlEvents(Protocol):
    """What receives the elements of a document, in its order."""

    def start(self, path: tuple[str, ...], attributes: Mapping[str, str]) -> None:
        """An element begins; `path` has the names of its parents and its own."""

    def end(self, path: tuple[str, ...], text: str) -> None:
        """An element ends; `text` is what stands in it before its first child, without white space around it."""


class _Target:
    """The interface of XML parsers of the standard library, with a limit of depth and of kept text."""

    def __init__(self, events: XmlEvents, max_text: int) -> None:
        self._events, self._max_text = events, max_text
        self._path: tuple[str, ...] = ()
        self._text: list[str] = []
        self._length = 0

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        self._path = (*self._path, tag)
        if len(self._path) > _MAX_DEPTH:
            raise DataFileError(f"it is nested more than {_MAX_DEPTH} deep")
        self._text, self._length = [], 0
        self._events.start(self._path, attributes)

    def data(self, text: str) -> None:
        if self._length < self._max_text:
            self._text.append(text)
            self._length += len(text)

    def end(self, tag: str) -> None:
        self._events.end(self._path, "".join(self._text)[: self._max_text].strip())
        self._path, self._text, self._length = self._path[:-1], [], 0

    def close(self) -> None:
        """Nothing is kept."""


def read_xml(path: Path, events: XmlEvents, *, max_bytes: int, max_text: int = 10_000) -> None:
    """Call `events` with every element of the file, in bounded memory.

    Raises DataFileError for what is no XML, for a document type or an entity (also those that would only be counted,
    as in an entity bomb), for more than 100 levels and for more than `max_bytes` after unpacking.

    Args:
        path: the file, unpacked where its name ends in `.gz`.
        events: receives the elements.
        max_bytes: largest size of the text.
        max_text: characters that are kept of an element's text.
    """
    from xml.etree.ElementTree import ParseError

    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import DefusedXMLParser

    parser: Any = DefusedXMLParser(target=_Target(events, max_text), forbid_dtd=True)
    read = 0
    try:
        with open_unpacked(path) as file:
            while data := file.read(_CHUNK):
                if (read := read + len(data)) > max_bytes:
                    raise DataFileError(f"{path} has more than {max_bytes} bytes.")
                parser.feed(data)
            parser.close()
    except (OSError, EOFError) as error:
        raise DataFileError(f"Cannot read {path}: {getattr(error, 'strerror', None) or error}.") from error
    except DefusedXmlException as error:
        raise DataFileError(
            f"{path} has a document type or entities ({type(error).__name__}), which are refused: they can make a "
            "small file fill the memory, or read other files.",
            hint="Remove the lines of <!DOCTYPE ...>; annotation tools write none.",
        ) from None
    except ParseError as error:
        raise DataFileError(f"{path} is not valid XML: {excerpt(str(error))}.") from None
