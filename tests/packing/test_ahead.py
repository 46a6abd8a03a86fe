"""Blocks made ahead in a thread: in order, bounded, errors handed over, nothing left running."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from gazetools.io.parallel import ahead


def _running() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "gazetools-blocks"]


def test_all_items_in_order() -> None:
    assert list(ahead(iter(range(100)))) == list(range(100))
    assert list(ahead(iter([]))) == []
    assert not _running()


def test_an_error_comes_after_the_items_before_it() -> None:
    def broken() -> Iterator[int]:
        yield 1
        yield 2
        raise KeyError("third")

    seen = []
    with pytest.raises(KeyError, match="third"):
        for item in ahead(broken()):
            seen.append(item)  # noqa: PERF402
    assert seen == [1, 2]
    assert not _running()


def test_who_stops_taking_stops_the_making() -> None:
    """At most the queue and the item in hand are made beyond what was taken; the source is closed."""
    made, closed = [], []

    def endless() -> Iterator[int]:
        try:
            number = 0
            while True:
                made.append(number)
                yield number
                number += 1
        finally:
            closed.append(True)

    items = ahead(endless(), 2)
    assert [next(items), next(items)] == [0, 1]
    items.close()  # type: ignore[attr-defined]
    assert len(made) <= 2 + 2 + 2
    assert closed == [True]
    assert not _running()
