"""Ego-Exo4D's keysteps as action segments: one action id per segment of a take."""

from __future__ import annotations

from pathlib import Path

from gazetools.annotations import keysteps
from gazetools.trainer.data.annotations import ActionSegment


def read_keysteps(path: Path) -> list[ActionSegment]:
    """Every segment of `keystep_{train,val}.json` or of the benchmark's `keystep_segment_{train,val}.json`.

    `video_id` of each segment is the take's name, times are seconds of the take. Files without labels are refused.
    Raises DataFileError with every wrong segment (at most 20 shown).
    """
    return [
        ActionSegment(
            row=row,
            video_id=step.take_name,
            start_seconds=step.start_seconds,
            stop_seconds=step.stop_seconds,
            classes={"action": step.step_unique_id},
            name=f"{step.take_name}@{step.start_seconds:.3f}",
        )
        for row, step in enumerate(keysteps.read_keysteps(path), start=1)
    ]
