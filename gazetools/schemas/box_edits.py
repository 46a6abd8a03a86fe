"""Corrections of head boxes by hand: the edits that a page sends, and the lines of a corrected file's history."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from gazetools.schemas.base import StrictModel

MOST_EDITS = 100_000
"""Edits of one save."""
_MOST_FRAMES = 1 << 40
_Frame = Annotated[int, Field(ge=0, lt=_MOST_FRAMES)]
_Track = Annotated[int, Field(ge=-(2**31), lt=2**31)]
NewTrack = Annotated[int, Field(ge=0, lt=2**31)]
"""An id that a person gives; box files may have others, which stay."""
_Pixels = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
BoxPixels = tuple[_Pixels, _Pixels, _Pixels, _Pixels]
"""xmin, ymin, xmax, ymax in pixels of the video"""
BoxOrigin = Literal["given", "hand", "interpolated"]


class SetBox(StrictModel):
    """Move, resize or add the box of a person in a frame."""

    what: Literal["set"] = "set"
    frame: _Frame
    track: _Track
    box: BoxPixels


class RemoveBox(StrictModel):
    """Remove the box of a person in a frame, or in it and all later ones."""

    what: Literal["remove"] = "remove"
    frame: _Frame
    track: _Track
    onwards: bool = False


class AssignId(StrictModel):
    """Give a person another id in a frame, or in it and all later ones.

    Where the other id has a box in the same frame, the two are swapped.
    """

    what: Literal["assign"] = "assign"
    frame: _Frame
    track: _Track
    to: NewTrack
    onwards: bool = False


class InterpolateBoxes(StrictModel):
    """Put the boxes between two frames of a person on straight lines; those that are there are replaced."""

    what: Literal["interpolate"] = "interpolate"
    track: _Track
    first: _Frame
    last: _Frame

    @model_validator(mode="after")
    def _in_order(self) -> InterpolateBoxes:
        if self.last <= self.first + 1:
            raise ValueError(f"no frame lies between {self.first} and {self.last}")
        return self


BoxEdit = Annotated[SetBox | RemoveBox | AssignId | InterpolateBoxes, Field(discriminator="what")]


class BoxSave(StrictModel):
    """What a page sends to save: the revision that its edits were made on, and the edits in order."""

    revision: str = Field(max_length=200)
    edits: list[BoxEdit] = Field(min_length=1, max_length=MOST_EDITS)


class CorrectionBase(StrictModel):
    """The boxes that corrections begin with."""

    kind: Literal["file", "store"]
    path: str
    sha256: str
    """sha256 of that file."""
    rows: int = Field(ge=0)
    filled: int = Field(default=0, ge=0)
    """Boxes among them that `--fill-gaps` made; which ones, a store does not say."""
    detector: dict[str, Any] | None = None
    """Options and weights of the detector that made them, None where no detector of ours did."""


class HistoryBegin(StrictModel):
    """First line of a history."""

    what: Literal["begin"] = "begin"
    time: str
    tool_version: str
    video_id: str
    base: CorrectionBase


class HistoryEdit(StrictModel):
    """What one edit did."""

    what: Literal["set", "remove", "assign", "interpolate"]
    time: str
    frame: int
    last_frame: int
    """Last frame that was changed; `frame` where it is the only one."""
    before: dict[str, Any]
    """`track` and, of a single box, `box` (None: there was none)."""
    after: dict[str, Any]
    boxes: int
    """Number of boxes that were changed."""


class HistorySave(StrictModel):
    """End of one save: the lines above it, down to the previous save, led to the file with this sha256."""

    what: Literal["save"] = "save"
    time: str
    based_on: str
    csv_sha256: str
    rows: int
    edits: int
    """Edits of all saves so far."""
    interpolated: int
    """Boxes of the file that lie on a line between two others, so that they depend on a later frame."""
