"""Read a file of areas: its format by suffix and keys, or as stated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gazetools.exchange.areas.area_boxes import AreaBoxes, AreaDraft
from gazetools.exchange.areas.coco_areas import add_coco
from gazetools.exchange.areas.csv_areas import add_csv
from gazetools.exchange.areas.cvat_areas import add_cvat
from gazetools.exchange.areas.dataset_areas import add_ego4d, add_epic
from gazetools.io.json_files import read_json
from gazetools.io.tables import read_header
from gazetools.schemas.errors import UsageError
from gazetools.schemas.table import AreaFormat, TableOptions

_MAX_JSON_BYTES = 512 << 20
_WITHOUT_UNITS = {"coco", "cvat", "epic", "ego4d"}
_WITHOUT_COUNT = {"epic", "ego4d"}


def read_areas(path: Path, options: TableOptions) -> AreaBoxes:
    """The boxes of the file of areas `path`.

    Raises UsageError for a format that is not recognised and options that it does not have, DataFileError for a file
    that is missing, damaged or has no usable box.
    """
    if not path.is_file():
        raise UsageError(f"The file of areas {path} does not exist.", hint="Check --areas.")
    document = read_json(path, max_bytes=_MAX_JSON_BYTES) if path.suffix.lower() == ".json" else None
    form = _format_of(path, document) if options.areas_format == "auto" else options.areas_format
    if options.areas_units is not None and form in _WITHOUT_UNITS:
        raise UsageError(f"--areas-units is for a CSV; {path} is read as {form}, whose units are known.")
    if options.areas_count_from is not None and form in _WITHOUT_COUNT:
        raise UsageError(f"--areas-count-from is for CSV, COCO and CVAT; {path} is read as {form}.")
    draft = AreaDraft(source=path, form=form)
    first = options.areas_count_from or 0
    if form == "csv":
        add_csv(draft, first=first, units=options.areas_units or "pixels")
    elif form == "cvat":
        add_cvat(draft, first=first)
    elif form == "epic":
        add_epic(draft)
    else:
        if document is None:
            raise UsageError(f"{path} is no .json, which {form} files are.", hint="Check --areas-format.")
        if form == "coco":
            add_coco(draft, document, first=first)
        else:
            add_ego4d(draft, document)
    return draft.done()


def _format_of(path: Path, document: Any) -> AreaFormat:
    suffix = path.suffix.lower()
    if suffix == ".xml":
        return "cvat"
    if suffix in (".csv", ".tsv", ".txt"):
        return "epic" if "bounding_boxes" in read_header(path) else "csv"
    if isinstance(document, dict):
        info = document.get("info")
        if isinstance(info, dict) and "video_metadata" in info:
            return "ego4d"
        if "images" in document and "annotations" in document:
            return "coco"
    raise UsageError(
        f"{path} is no file of areas that is recognised.",
        hint="Use CSV (name,xmin,ymin,xmax,ymax), COCO JSON, CVAT XML, or name it with --areas-format.",
    )
