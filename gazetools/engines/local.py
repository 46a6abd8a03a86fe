"""The engine of this machine: workers in this process, or one process per device."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gazetools.extraction.run import extract
from gazetools.progress import Progress
from gazetools.schemas.extract import ExtractOptions, ExtractReport


def run(
    inputs: Sequence[str], output: Path, options: ExtractOptions, settings: None, progress: Progress
) -> ExtractReport:
    """`gazetools.extract` itself."""
    return extract(inputs, output, options=options, progress=progress)
