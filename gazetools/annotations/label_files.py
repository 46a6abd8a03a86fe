"""One reader of labelled gaze for `finetune` and `evaluate`: which form a file has, and the reader of that form."""

from __future__ import annotations

from pathlib import Path

from gazetools.annotations.gaze_labels import Labels
from gazetools.schemas.gaze_labels import LabelKind


def read_labels(
    path: Path,
    *,
    kind: LabelKind = "auto",
    images: Path | None = None,
    split: str | None = None,
) -> Labels:
    """The labels of a file or folder, with every row that was left out or mended counted and named."""
    raise NotImplementedError
