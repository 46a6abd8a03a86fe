"""Counts of what a pass over the data met: missing heatmaps, unreadable clips (named and bounded) and the like."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from gazetools.schemas.errors import DataFileError
from gazetools.trainer.data.clips import Batch, Unreadable
from gazetools.trainer.processes.world import World


def add_counts(counts: dict[str, int], more: Mapping[str, int]) -> None:
    """Add `more` to `counts` in place."""
    for name, value in more.items():
        counts[name] = counts.get(name, 0) + value


def count_batch(batch: Batch, counts: dict[str, int], say: Callable[[str], None]) -> None:
    """Add a batch's counts and tell every clip that could not be read."""
    add_counts(counts, {**batch.counts, "unreadable": len(batch.unreadable)})
    for clip in batch.unreadable:
        say(f"Unreadable clip: video {clip.video_id!r}, CSV line {clip.row}: {clip.reason}")


def refuse_unreadable(
    total: int, own: Sequence[Unreadable], *, allowed: int, world: World, save: Callable[[], object]
) -> None:
    """Save and raise DataFileError, in every process, where more clips than `allowed` could not be read.

    Args:
        total: over all processes; the same number in each.
        own: those of this process.
    """
    if total <= allowed:
        return
    found = [clip for part in world.gather(list(own)) for clip in part]
    last = found[-1] if found else None
    which = f"; the last: video {last.video_id!r}, CSV line {last.row}: {last.reason}" if last else ""
    save()
    raise DataFileError(
        f"{total} clip(s) could not be read, {allowed} allowed{which}",
        hint="Repair the file, or raise experiment.data.max_unreadable_clips.",
    )
