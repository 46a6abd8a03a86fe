"""The values used last, such as open files: a bounded number of them, none of which goes into a pickled copy."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Generic, Protocol, TypeVar


class _Closable(Protocol):
    def close(self) -> None: ...


KeyT = TypeVar("KeyT", bound=Hashable)
ValueT = TypeVar("ValueT")
FileT = TypeVar("FileT", bound=_Closable)


class Recent(Generic[KeyT, ValueT]):
    """The last `limit` values that `get` returned, by key. A pickled or copied one is empty."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._values: OrderedDict[KeyT, ValueT] = OrderedDict()

    def get(self, key: KeyT, make: Callable[[], ValueT]) -> ValueT:
        """The value of `key`, made if it is not kept; if there are too many, that used longest ago is dropped."""
        if key not in self._values:
            self._values[key] = make()
            if len(self._values) > self._limit:
                self._drop(self._values.popitem(last=False)[1])
        self._values.move_to_end(key)
        return self._values[key]

    def clear(self) -> None:
        """Drop all values."""
        while self._values:
            self._drop(self._values.popitem()[1])

    def _drop(self, value: ValueT) -> None:
        """Called with a value that is no longer kept."""

    def __getstate__(self) -> dict[str, Any]:
        return {"_limit": self._limit, "_values": OrderedDict()}


class OpenFiles(Recent[KeyT, FileT]):
    """Keeps the last `limit` files open and closes the one used longest ago; a pickled copy opens its own."""

    def clear(self) -> None:
        """Close all files; a later `get` opens them again."""
        while self._values:
            self._values.popitem()[1].close()

    def _drop(self, value: FileT) -> None:
        value.close()
