"""`EXPORTS`: the layouts of `gazetools convert` that are files of other tools, by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from gazetools.exchange.coco_out import COCO
from gazetools.exchange.cvat_out import CVAT
from gazetools.exchange.exporting import export_boxes
from gazetools.exchange.label_studio_out import LABEL_STUDIO
from gazetools.progress import Progress
from gazetools.schemas.convert import ConvertOptions, ExportReport

Export = Callable[[Path, Path, ConvertOptions, Progress], ExportReport]
"""Source (a store or dataset), output folder, options, receiver of frames done -> the report, one item per video.

Raises UsageError for folders or options that can't work, before any work. An error in one video fails that item only;
FaultError (disk full) stops the run, and finished files are kept.
"""

EXPORTS: dict[str, Export] = {layout.name: partial(export_boxes, layout) for layout in (COCO, CVAT, LABEL_STUDIO)}
"""The exports by name; `schemas.convert.EXPORT_NAMES` has the same names for settings."""
