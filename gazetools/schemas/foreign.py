"""Options for heatmaps that another tool made: which array they are, the order of its axes, what its numbers count."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from gazetools.schemas.base import OptionsModel
from gazetools.schemas.errors import UsageError
from gazetools.schemas.flags import Flag

_Foreign = Flag(panel="Heatmaps of other tools")
_FIELDS = ("key", "axes", "first_frame")
_MAX_AXES = 4


def _checked_axes(text: str) -> str:
    letters = text.upper().replace("C", "1")
    named = letters.replace("1", "")
    if sorted(named) not in (["H", "T", "W"], ["H", "W"]) or len(letters) > _MAX_AXES:
        raise ValueError(
            f"must name H, W and, but for a single map, T once each, in at most {_MAX_AXES} letters; 1 (or C) is an "
            "axis of length 1: THW, HWT, TWH, T1HW, 1THW, HW"
        )
    return letters


Axes = Annotated[str, AfterValidator(_checked_axes)]
"""Order of an array's axes, such as `THW`: T frames, H rows, W columns, 1 an axis of length 1."""


class ArrayChoice(OptionsModel):
    """Which array of another tool's file holds the heatmaps; all None: the one rule of `layouts.choosing` decides."""

    key: Annotated[str | None, Flag(panel=_Foreign.panel, metavar="NAME")] = Field(
        default=None, min_length=1, max_length=200
    )
    """Array of an .npz that holds the heatmaps (default: the only one that fits)."""
    axes: Annotated[Axes | None, Flag(panel=_Foreign.panel, metavar="ORDER")] = None
    """Order of its axes: THW, HWT, TWH, 1THW, ... (default: THW, T1HW, THW1, or HW for a single map).

    T frames, H rows, W columns, 1 an axis of length 1."""
    first_frame: Annotated[int | None, Flag(panel=_Foreign.panel, metavar="N")] = Field(default=None, ge=0)
    """Number that the video's first frame has in a folder of numbered .npy (default: 0, which must be there)."""

    @property
    def chosen(self) -> ArrayChoice:
        """These fields alone, where the object is of a class with further options."""
        return ArrayChoice(**{name: getattr(self, name) for name in _FIELDS})

    def refuse_for(self, what: str) -> None:
        """Raise UsageError where something is chosen, though `what` is no file of another tool and needs no choice."""
        if given := [f"{name} = {getattr(self, name)!r}" for name in _FIELDS if getattr(self, name) is not None]:
            raise UsageError(
                f"{what} needs no choice of arrays: {', '.join(given)} is for heatmaps of other tools.",
                hint="Leave it out.",
            )
