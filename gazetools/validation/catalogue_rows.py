"""One row of the catalogue of findings, and the cures that several codes share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from gazetools.schemas.findings import Severity

EXTRACT_AGAIN = "Run extract again for this video with --overwrite, then validate the store."
NEEDLESS = "Nothing, if that is so."


@dataclass(frozen=True)
class Code:
    """What the findings of one code mean."""

    severity: Severity
    cause: str
    cure: str


error, warning, note = partial(Code, "error"), partial(Code, "warning"), partial(Code, "note")
