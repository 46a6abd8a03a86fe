"""Checks of origin: the provenance of the heatmaps, and whom they show."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gazetools._version import __version__
from gazetools.heatmaps.people import gate
from gazetools.schemas.findings import Finding
from gazetools.schemas.store import Prompt
from gazetools.validation.subject import Subject

_KNOWN_SCHEMA = 1


def check_provenance(subject: Subject) -> Iterator[Finding]:
    """The provenance exists, is of a known version and of this video."""
    if subject.entry is not None and not subject.entry.provenance:
        yield subject.finding("provenance-missing", "The manifest's entry has no provenance.")
        return
    if (provenance := subject.provenance) is None:
        return
    if not 1 <= provenance.schema_version <= _KNOWN_SCHEMA:
        message = f"Its schema version is {provenance.schema_version}; {_KNOWN_SCHEMA} is known."
        yield subject.finding("schema-unknown", message)
    if provenance.video_id != subject.video_id:
        yield subject.finding("id-mismatch", f"Its provenance is of the video {provenance.video_id!r}.")
    if provenance.tool_version != __version__:
        message = f"Made by gazetools {provenance.tool_version}; this is {__version__}."
        yield subject.finding("tool-version-differs", message)


def check_people(subject: Subject) -> Iterator[Finding]:
    """There are maps; notes on frames without people, rows without prompt, and gaze outside the frame."""
    if (columns := subject.columns) is not None:
        frames, rows = columns.frame_index, columns.row_frame
        if not len(rows):
            yield subject.finding("no-heatmaps", f"None of {len(frames)} processed frames has a person.")
            return
        empty = frames[~np.isin(frames, rows)]
        message = f"{len(empty)} of {len(frames)} frames ({len(empty) / max(len(frames), 1):.1%})."
        yield from subject.about_frames("frames-without-people", empty, message)
        bare = columns.row_prompt == Prompt.NONE
        if bare.any() and subject.provenance is not None and subject.provenance.heads.spec != "whole":
            yield from subject.about_rows("empty-prompts", bare, f"rows ({float(bare.mean()):.1%}).")
    elif subject.valid is not None and not subject.valid.any():
        yield subject.finding("no-heatmaps", f"None of {len(subject.valid)} rows has a map.")
        return
    if subject.inout is not None and (known := subject.inout[~np.isnan(subject.inout)]).size:
        inside = float(gate(known).mean())
        if inside < 0.5:
            message = f"Only {inside:.1%} of {len(known)} rows look at something in the frame."
            yield subject.finding("gaze-outside", message)
