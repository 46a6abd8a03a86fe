"""Findings of `validate`: stable codes, severities, frames and remedies."""

from __future__ import annotations

from typing import Any, Literal

from gazetools.schemas.base import StrictModel
from gazetools.schemas.errors import UsageError

Severity = Literal["error", "warning", "note"]
_SEVERITIES = ("error", "warning", "note")


def check_fail_on(value: str) -> str:
    """`value` if it is a severity or `never`. Raises UsageError for others."""
    if value not in (*_SEVERITIES, "never"):
        raise UsageError(f"--fail-on {value} is unknown.", hint=f"Use {', '.join(_SEVERITIES)}, never.")
    return value


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
        return self.exit_code_for("warning")

    def exit_code_for(self, fail_on: str) -> int:
        """1 with any finding of the severity `fail_on` or a worse one, else 0; always 0 for `never`."""
        failing = () if fail_on == "never" else _SEVERITIES[: _SEVERITIES.index(fail_on) + 1]
        return int(any(finding.severity in failing for finding in self.findings))


def frame_runs(frames: list[int] | None, most: int = 6) -> str:
    """`3-5, 9, ...`; empty for None."""
    runs: list[list[int]] = []
    for frame in frames or ():
        if runs and frame == runs[-1][1] + 1:
            runs[-1][1] = frame
        else:
            runs.append([frame, frame])
    shown = [str(a) if a == b else f"{a}-{b}" for a, b in runs[:most]]
    return ", ".join(shown) + (", ..." if len(runs) > most else "")
