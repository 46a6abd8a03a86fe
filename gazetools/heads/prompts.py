"""Turn the boxes of one frame into what the model receives, under the policy for heads that are too small."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gazetools.gazemodels.gazelle.prompts import BoxXyxy, box_cells, grow_to_cell, is_empty
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
    heads: VideoHeads, frame_index: int, *, grid_hw: tuple[int, int], small_heads: SmallHeads
) -> FramePrompts:
    """The people of one frame, perhaps none.

    For a box whose corners round to no cell of the grid, `grow` passes the one cell that holds its centre, `crop` an
    enlarged part of the frame around it (`BatchRunner` cuts it), `none` no prompt; `prompt` records which.
    """
    if heads.table is None:
        return _WHOLE
    rows = heads.table.of_frame(frame_index)
    boxes = heads.table.box_xyxy[rows]
    prompt_boxes: list[BoxXyxy | None] = [tuple(box) for box in boxes.tolist()]
    kinds = [Prompt.GIVEN] * len(boxes)
    for place, box in enumerate(boxes.tolist()):
        if is_empty(box_cells(box, grid_hw)):
            kinds[place] = _WHEN_SMALL[small_heads]
            if small_heads != "crop":
                prompt_boxes[place] = grow_to_cell(box, grid_hw) if small_heads == "grow" else None
    return FramePrompts(
        track_id=heads.table.track_id[rows],
        box_xyxy=boxes.astype(np.float32),
        prompt_boxes=prompt_boxes,
        prompt=np.array(kinds, np.uint8),
        small=tuple(place for place, kind in enumerate(kinds) if kind == Prompt.CROPPED),
    )
