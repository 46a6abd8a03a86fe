"""Where the heatmaps come from, and whom they show."""

from __future__ import annotations

import numpy as np
from pydantic import ValidationError

from gazetools._version import __version__
from gazetools.heatmaps.people import gate
from gazetools.schemas.base import explain_validation_error
from gazetools.schemas.dataset import CONVERTED_FROM
from gazetools.schemas.provenance import Provenance
from gazetools.schemas.store import Prompt
from gazetools.validation.subject import Subject

_KNOWN_SCHEMA = 1


def check_provenance(subject: Subject) -> None:
    """There, of a known version, of this video; a manifest without origin files has it itself."""
    if subject.entry is not None:
        if not subject.entry.provenance:
            subject.report("provenance-missing", "The manifest's entry has no provenance.")
            return
        if subject.entry.origin_sha256 is not None or CONVERTED_FROM in subject.entry.provenance:
            _check_stated(subject)  # the origin file was read with the maps; other tools' maps have none
            return
        try:
            subject.provenance = Provenance.model_validate(subject.entry.provenance)
        except ValidationError as error:
            problems = "; ".join(explain_validation_error(error, Provenance))
            subject.report("provenance-unreadable", f"The provenance in the manifest: {problems}.")
            return
    _check_stated(subject)


def _check_stated(subject: Subject) -> None:
    provenance = subject.provenance
    if provenance is None:
        return
    if not 1 <= provenance.schema_version <= _KNOWN_SCHEMA:
        subject.report(
            "schema-unknown", f"Its schema version is {provenance.schema_version}; {_KNOWN_SCHEMA} is known."
        )
    if provenance.video_id != subject.video_id:
        subject.report("id-mismatch", f"Its provenance is of the video {provenance.video_id!r}.")
    if provenance.tool_version != __version__:
        subject.report("tool-version-differs", f"Made by gazetools {provenance.tool_version}; this is {__version__}.")


def check_people(subject: Subject) -> None:
    """How many frames have nobody, how many rows no prompt, how many look outside."""
    if (columns := subject.columns) is not None:
        frames, rows = columns.frame_index, columns.row_frame
        if not len(rows):
            subject.report("no-heatmaps", f"None of {len(frames)} processed frames has a person.")
            return
        empty = frames[~np.isin(frames, rows)]
        if len(empty):
            share = len(empty) / len(frames)
            subject.report("frames-without-people", f"{len(empty)} of {len(frames)} frames ({share:.1%}).", empty)
        bare = columns.row_prompt == Prompt.NONE
        if bare.any() and subject.provenance is not None and subject.provenance.heads.spec != "whole":
            share = float(bare.mean())
            frames_bare = np.unique(rows[bare])
            subject.report("empty-prompts", f"{int(bare.sum())} of {len(bare)} rows ({share:.1%}).", frames_bare)
    elif subject.valid is not None and not subject.valid.any():
        subject.report("no-heatmaps", f"None of {len(subject.valid)} rows has a map.")
        return
    if subject.inout is not None and (known := subject.inout[~np.isnan(subject.inout)]).size:
        inside = float(gate(known).mean())
        if inside < 0.5:
            subject.report("gaze-outside", f"Only {inside:.1%} of {len(known)} rows look at something in the frame.")
