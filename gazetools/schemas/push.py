"""Options and result of `push`: a dataset in shards as a dataset of the Hugging Face hub."""

from __future__ import annotations

from pydantic import Field

from gazetools.schemas.base import OptionsModel, StrictModel


class PushOptions(OptionsModel):
    """How a folder is uploaded."""

    dry_run: bool = False
    """List the files and their sizes; upload nothing and ask nobody."""
    public: bool = False
    """Make a new dataset of the hub visible to everybody (default: private). One that exists stays as it is."""
    branch: str | None = Field(default=None, min_length=1, max_length=200)
    """Branch of the dataset (default: main)."""
    message: str = Field(default="Upload gaze heatmaps", min_length=1, max_length=500)
    """Message of the commit."""


class PushedFile(StrictModel):
    """One file of the folder."""

    name: str
    """Path relative to the folder, as in the dataset of the hub."""
    bytes: int = Field(ge=0)


class PushReport(StrictModel):
    """The result of `push`."""

    repo: str
    """Name of the dataset, `org/name`."""
    files: list[PushedFile]
    notes: list[str]
    """What a reader should know before the files are public."""
    address: str | None = None
    """Address of the commit; None for a dry run."""

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(file.bytes for file in self.files)
