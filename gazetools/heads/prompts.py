"""Turn the boxes of one frame into what the model receives, under the policy for heads that are too small."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gazetools.gazemodels.gazelle.prompts import BoxXyxy, box_cells, grow_to_cell, is_empty
from gazetools.gazemodels.head_crops import has_pixels
from gazetools.heads.spec import VideoHeads
from gazetools.schemas.extract import SmallHeads
from gazetools.schemas.store import Prompt


@dataclass(frozen=True, kw_only=True)
class FramePrompts:
    """People of one frame: what is stored (`box_xyxy`) and what the model sees (`prompt_boxes`)."""

    track_id: npt.NDArray[np.int32]
    box_xyxy: npt.NDArray[np.float32]
    """[P, 4] as given, 0..1."""
    prompt_boxes: list[BoxXyxy | None]
    prompt: npt.NDArray[np.uint8]
    """[P] a `Prompt` each."""
    small: tuple[int, ...] = ()
    """Places of people that get a crop of their own; their prompt box stays in 0..1 of the frame."""


_WHOLE = FramePrompts(
    track_id=np.zeros(1, np.int32),
    box_xyxy=np.array([[0, 0, 1, 1]], np.float32),
    prompt_boxes=[None],
    prompt=np.array([Prompt.NONE], np.uint8),
)
_WHEN_SMALL = {"grow": Prompt.GROWN, "crop": Prompt.CROPPED, "none": Prompt.NONE}


def prompts_of_frame(
    heads: VideoHeads,
    frame_index: int,
    *,
    grid_hw: tuple[int, int],
    small_heads: SmallHeads,
    needs_boxes_in: tuple[int, int] | None = None,
) -> FramePrompts:
    """The people of one frame, perhaps none.

    For a box whose corners round to no cell of the grid, `grow` passes the one cell that holds its centre, `crop` an
    enlarged part of the frame around it (`BatchRunner` cuts it), `none` no prompt; `prompt` records which.

    `needs_boxes_in` is the frame's (height, width) for a model that cuts a crop of each head, None for others. Such a
    model takes a small head as it is, so that `grow` changes nothing; people without a box, among them small heads
    with `none`, and boxes without a pixel are left out.
    """
    if heads.table is None:
        return _WHOLE if needs_boxes_in is None else _of_rows(_WHOLE, [])
    rows = heads.table.of_frame(frame_index)
    boxes = heads.table.box_xyxy[rows]
    if needs_boxes_in is not None:  # as they are stored, so that the maps can be computed again from the store
        boxes = boxes.astype(np.float32).astype(np.float64)
    prompt_boxes: list[BoxXyxy | None] = [tuple(box) for box in boxes.tolist()]
    kinds = [Prompt.GIVEN] * len(boxes)
    for place, box in enumerate(boxes.tolist()):
        if is_empty(box_cells(box, grid_hw)):
            if needs_boxes_in is not None and small_heads == "grow":
                continue
            kinds[place] = _WHEN_SMALL[small_heads]
            if small_heads != "crop":
                prompt_boxes[place] = grow_to_cell(box, grid_hw) if small_heads == "grow" else None
    found = FramePrompts(
        track_id=heads.table.track_id[rows],
        box_xyxy=boxes.astype(np.float32),
        prompt_boxes=prompt_boxes,
        prompt=np.array(kinds, np.uint8),
        small=tuple(place for place, kind in enumerate(kinds) if kind == Prompt.CROPPED),
    )
    if needs_boxes_in is None:
        return found
    usable = [p for p, box in enumerate(prompt_boxes) if box is not None and has_pixels(box, needs_boxes_in)]
    return found if len(usable) == len(boxes) else _of_rows(found, usable)


def _of_rows(people: FramePrompts, places: list[int]) -> FramePrompts:
    """Only the people at `places`."""
    return FramePrompts(
        track_id=people.track_id[places],
        box_xyxy=people.box_xyxy[places],
        prompt_boxes=[people.prompt_boxes[place] for place in places],
        prompt=people.prompt[places],
        small=tuple(new for new, place in enumerate(places) if place in people.small),
    )
