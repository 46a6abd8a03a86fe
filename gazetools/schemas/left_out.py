"""What a search for videos does not take, for reports."""

from __future__ import annotations

from gazetools.schemas.base import StrictModel


class LeftOutFiles(StrictModel):
    """Files and folders in the inputs that were not taken for videos, for one reason."""

    reason: str
    """suffix, hidden, broken-link, loop, again (other links have led to the folder), unreadable or special."""
    count: int
    first: list[str]
    """The first of them."""
