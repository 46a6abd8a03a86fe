"""How a message quotes a file: never more than a few hundred characters of it, and on one line."""

from __future__ import annotations

from typing import Any

MAX_EXCERPT = 300
"""Characters of a file that one message may repeat."""


def excerpt(text: object, limit: int = 120) -> str:
    """`text` in quotation marks on one line, cut to `limit` characters (at most `MAX_EXCERPT`).

    >>> excerpt("a" * 500, limit=5)
    "'aaaaa'... (500 characters)"
    """
    limit = min(limit, MAX_EXCERPT)
    whole = text if isinstance(text, str) else str(text)
    if len(quoted := repr(whole[:limit])) > limit + 2:  # escapes take several characters each
        quoted = quoted[: limit + 1] + quoted[0]
    return quoted if len(whole) <= limit else f"{quoted}... ({len(whole)} characters)"


def shortened(error: BaseException, limit: int = 120) -> str:
    """The text of an error that quotes a file itself (`float("...")` does), on one line and cut to `limit`."""
    text = " ".join(str(error).split())
    text = text if text.isprintable() else repr(text)[1:-1]
    return text if len(text) <= limit else f"{text[:limit]}..."


def excerpt_of_names(names: list[str], limit: int = 200) -> str:
    """The first of `names`, such as a header's, separated by commas and cut like `excerpt`; without quotation marks."""
    limit = min(limit, MAX_EXCERPT)
    text = ", ".join(name if name.isprintable() else repr(name)[1:-1] for name in names[:100])
    if len(text) <= limit and len(names) <= 100:
        return text
    return f"{text[:limit]}... ({len(names)} names)"


def writable(value: Any) -> Any:
    """`value`, a document of mappings, lists and texts, with `\\xff` for bytes of file names that are no UTF-8.

    >>> writable({"path": "caf\\udce9.mp4"})["path"].isprintable()
    True
    """
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    if isinstance(value, dict):
        return {writable(key): writable(one) for key, one in value.items()}
    return [writable(one) for one in value] if isinstance(value, (list, tuple)) else value
