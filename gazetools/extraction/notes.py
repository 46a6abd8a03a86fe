"""What `extract` says about a video that it does: HDR, gaps, damage that was allowed."""

from __future__ import annotations

from collections.abc import Sequence

from gazetools.extraction.decoding.child_reader import ChildReader
from gazetools.schemas.findings import frame_runs
from gazetools.schemas.provenance import TakenOver
from gazetools.schemas.video import HDR_TRANSFERS


def notes_at_opening(source: ChildReader) -> list[str]:
    """One line for each thing that is worth telling about the open file."""
    info, notes = source.info, []
    if info.colour_transfer in HDR_TRANSFERS:
        mapped = f"tone-mapped to SDR ({info.tone_mapping})"
        what = "its values are taken as they are stored (--hdr raw)" if info.tone_mapping == "none" else mapped
        notes.append(f"HDR (transfer {info.colour_transfer}, primaries {info.colour_primaries}): {what}")
    return [*notes, *source.remarks, *(f"damaged: {reason}" for reason in source.damage)]


def note_of_lost(frames: Sequence[int]) -> list[str]:
    """The line about frames that can't be decoded; none without such frames."""
    if not frames:
        return []
    left_out = f"damaged: {len(frames)} frames can't be decoded and are left out: {frame_runs(list(frames))}"
    return [f"{left_out}; the others have the times of the file"]


def note_of_not_evaluated(people: int, model: str) -> list[str]:
    """The line about people whom the model can't evaluate; none without such people."""
    if not people:
        return []
    return [f"{people} people have no head box that {model} can take (at least one pixel); they have no row"]


def note_of_taken_over(origin: TakenOver | None, frames: int) -> list[str]:
    """The line about frames that a store with other head boxes had already; none without such a store."""
    if origin is None:
        return []
    again = frames - origin.frames
    return [f"head boxes changed: {origin.frames} of {frames} frames taken over, {again} computed again"]
