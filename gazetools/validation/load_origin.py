"""Read where a packed video comes from: its origin file, or the provenance in a manifest without origin files."""

from __future__ import annotations

import numpy as np
from pydantic import ValidationError

from gazetools.io.atomic import sha256_of_file
from gazetools.io.json_files import read_json
from gazetools.schemas.base import explain_validation_error
from gazetools.schemas.dataset import CONVERTED_FROM, MAX_ORIGIN_BYTES, Origin, summarised
from gazetools.schemas.errors import DataFileError
from gazetools.schemas.provenance import Provenance
from gazetools.validation.subject import Subject


def load_origin(subject: Subject) -> None:
    """Read the origin file of a packed video: provenance, frame fingerprints, head boxes of sampled rows."""
    entry, path = subject.entry, subject.sidecar
    if entry is None or entry.origin_sha256 is None or path is None:
        return
    if not path.exists():
        subject.report("origin-missing", f"{path} does not exist.")
        return
    try:
        origin = Origin.model_validate(read_json(path, max_bytes=MAX_ORIGIN_BYTES))
        subject.fingerprints = origin.thumbnails()
        subject.provenance = Provenance.model_validate(origin.provenance) if "video" in origin.provenance else None
    except (DataFileError, ValueError) as error:  # pydantic's ValidationError is a ValueError
        subject.report("provenance-unreadable", f"{path}: {' '.join(str(error).split())[:300]}")
        return
    subject.fingerprint_index = np.array(origin.fingerprint_index, dtype=np.int64)
    subject.samples = origin.rows
    if origin.video_id != subject.video_id:
        subject.report("id-mismatch", f"{path} is of the video {origin.video_id!r}.")
    if sha256_of_file(path) != entry.origin_sha256:
        subject.report("checksum-mismatch", f"The sha256 of {path} is not the manifest's.")
    elif summarised(origin.provenance) != entry.provenance:
        subject.report("manifest-mismatch", f"The provenance in the manifest is not that of {path}.")


def load_stated_provenance(subject: Subject) -> None:
    """Read the provenance in a manifest without origin files; maps that were converted have none."""
    entry = subject.entry
    if entry is None or not entry.provenance or entry.origin_sha256 is not None or CONVERTED_FROM in entry.provenance:
        return
    try:
        subject.provenance = Provenance.model_validate(entry.provenance)
    except ValidationError as error:
        problems = "; ".join(explain_validation_error(error, Provenance))
        subject.report("provenance-unreadable", f"The provenance in the manifest: {problems}.")
