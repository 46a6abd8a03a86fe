"""The `with` statement of everything that has a `close`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TypeVar

_ClosingT = TypeVar("_ClosingT", bound="Closing")


class Closing(ABC):
    """Base of context managers that yield themselves and close at the end, also after an error."""

    @abstractmethod
    def close(self) -> None:
        """Release files and processes."""

    def __enter__(self: _ClosingT) -> _ClosingT:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
