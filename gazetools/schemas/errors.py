"""The errors a user can meet and the one table of exit codes that they map to."""

from __future__ import annotations

from enum import IntEnum
from typing import Any


class ExitCode(IntEnum):
    """Process exit codes of every command. If several apply: 2 before 3 before 4 before 1."""

    OK = 0
    FINDINGS = 1
    """Done, with findings or failed items; each is named."""
    USAGE = 2
    """Wrong usage, config or input path."""
    ENVIRONMENT = 3
    """The environment lacks something (weights, CUDA, an extra); the message has the command that gets it."""
    FAULT = 4
    """Stopped by a fault (disk full, NaN, internal error); nothing is half-written."""
    INTERRUPTED = 130
    """Interrupted; the same command resumes."""


class GazetoolsError(Exception):
    """An error for the user: what was wrong and is allowed, a `hint` what to do next, and `details` for `--json`."""

    exit_code: ExitCode = ExitCode.FAULT
    code: str = "fault"

    def __init__(self, message: str, *, hint: str | None = None, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message

    def as_dict(self) -> dict[str, Any]:
        """The value of the key `error` in `--json` output."""
        return {
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
            "exit_code": int(self.exit_code),
            **({"details": self.details} if self.details else {}),
        }


class UsageError(GazetoolsError, ValueError):
    """Wrong usage, config or input path (exit 2)."""

    exit_code = ExitCode.USAGE
    code = "usage"


class VideoError(UsageError):
    """A video that cannot be opened, indexed or decoded where asked. In a batch it fails that item only (exit 1)."""

    code = "video"


class FrameRangeError(VideoError, IndexError):
    """A frame index or a time outside the decoded frames."""

    code = "frame_range"


class HeadsError(UsageError):
    """A head-box file that does not parse or does not fit its video; names file and row."""

    code = "heads"


class CheckpointError(UsageError):
    """Weights that do not fit the model; lists missing, unexpected and mis-shaped keys."""

    code = "checkpoint"


class DataFileError(UsageError):
    """A store, dataset or array file that is missing, damaged, hostile or of another format."""

    code = "data_file"


class EnvironmentLacksError(GazetoolsError):
    """The environment lacks weights, a device or an optional package (exit 3)."""

    exit_code = ExitCode.ENVIRONMENT
    code = "environment"


class FaultError(GazetoolsError):
    """Stopped by a fault such as a full disk; nothing half-written has a final name (exit 4)."""


ERRORS_BY_CODE: dict[str, type[GazetoolsError]] = {
    error.code: error
    for error in (
        UsageError,
        VideoError,
        FrameRangeError,
        HeadsError,
        CheckpointError,
        DataFileError,
        EnvironmentLacksError,
        FaultError,
    )
}
"""code -> class, for errors that come from another process."""
