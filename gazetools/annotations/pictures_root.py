"""The pictures below a benchmark's root: their sizes, each asked once, and those that are missing."""

from __future__ import annotations

from pathlib import Path

from gazetools.annotations.gaze_labels import BoxXyxy, Notes
from gazetools.io.picture_size import picture_size
from gazetools.schemas.errors import UsageError, VideoError


class PicturesRoot:
    """Sizes of pictures by their path below the root; None as root: every question is an error."""

    def __init__(self, root: Path | None) -> None:
        """Look below `root`."""
        self.root = root
        self._missing: dict[str, str] = {}

    def size(self, name: str) -> tuple[int, int] | None:
        """(width, height) of a picture; None where it is missing or no picture. Raises UsageError without a root."""
        if self.root is None:
            raise UsageError(
                "Annotations as released don't have the sizes of the pictures.",
                hint="Pass the root of the pictures: --images ROOT, or `images:` of the source in a config.",
            )
        if name in self._missing:
            return None
        try:
            return picture_size(self.root / name)
        except VideoError as error:
            self._missing[name] = error.message
            return None

    def note_missing(self, name: str, place: str, left_out: Notes) -> None:
        """Count a row whose picture is missing."""
        left_out.add("picture_missing", f"{place}: {self._missing.get(name, name)}")


def cut_box(x0: float, y0: float, x1: float, y1: float, size: tuple[int, int]) -> BoxXyxy:
    """A box in pixels as fractions of the picture in 0..1, cut at its edges.

    A box right of or below the picture keeps its left or top edge beyond 1, so that it has no area.
    """
    width, height = size
    return max(x0, 0) / width, max(y0, 0) / height, min(x1, width) / width, min(y1, height) / height
