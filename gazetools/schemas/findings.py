"""Findings of `validate`: stable codes, severities, frames and remedies."""

from __future__ import annotations

from typing import Any, Literal

from gazetools.schemas.base import StrictModel

Severity = Literal["error", "warning", "note"]


class Finding(StrictModel):
    """One thing that is wrong or worth knowing about one file."""

    code: str
    """Stable, lower case with hyphens; the catalogue is docs/validation.md."""
    severity: Severity
    video_id: str | None
    frames: list[int] | None
    """Frames concerned, at most the first 100; None where the whole file is."""
    message: str
    remedy: str


class ValidationReport(StrictModel):
    """What `validate --json` prints."""

    findings: list[Finding]
    summary: dict[str, Any]

    @property
    def exit_code(self) -> int:
        """1 with any error or warning, else 0."""
        return int(any(f.severity in ("error", "warning") for f in self.findings))
