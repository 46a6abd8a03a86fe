"""The boxes that corrections begin with: the box file that a store was made from, or the store's own boxes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gazetools.extraction.detected import HEADS_FOLDER
from gazetools.heads.corrections import ORIGINS, CorrectedBoxes
from gazetools.heads.detection import read_record
from gazetools.heads.files import BoxVideo, read_heads
from gazetools.heads.spec import open_heads
from gazetools.heads.table import frame_sides
from gazetools.io.atomic import sha256_of_file
from gazetools.schemas.box_edits import CorrectionBase
from gazetools.schemas.errors import GazetoolsError, UsageError
from gazetools.schemas.extract import ExtractOptions
from gazetools.schemas.heads import BoxFileOptions
from gazetools.schemas.provenance import HeadSource, Provenance
from gazetools.schemas.store import STORE_SUFFIX
from gazetools.schemas.video_id import place_of_id
from gazetools.viewer.showing import Showing
from gazetools.viewer.video_maps import RowTable

_GIVEN = ORIGINS.index("given")


@dataclass(frozen=True, kw_only=True)
class BoxSource:
    """A video of a store whose boxes are to be corrected."""

    provenance: Provenance
    video: BoxVideo
    base: CorrectionBase
    boxes: CorrectedBoxes


def read_source(showing: Showing, video_id: str) -> BoxSource:
    """The boxes of a video of the shown store.

    The box file that the store was made from, where it is still there unchanged: it also has the people and frames
    that were not chosen. Else the boxes of the store's rows, among them those that `--fill-gaps` made.

    Raises UsageError where no store is shown, DataFileError for a store that can't be read.
    """
    root = showing.roots[0]
    with showing.maps(0, video_id) as maps:
        provenance, table, roles, known_pts = maps.provenance, maps.table, dict(maps.roles), maps.pts_seconds
    if root.kind != "store" or provenance is None:
        raise UsageError("Head boxes are corrected in a store.", hint="Open the store that `gazetools extract` wrote.")
    video = BoxVideo(
        width=provenance.video.width, height=provenance.video.height, frame_count=provenance.video.frame_count
    )
    found = _from_file(root.path, video_id, provenance, video, known_pts)
    if found is None:
        found = _from_store(place_of_id(root.path, video_id, STORE_SUFFIX), table, roles, video, provenance.heads)
    return BoxSource(provenance=provenance, video=video, base=found[0], boxes=found[1])


def _from_file(
    store: Path, video_id: str, origin: Provenance, video: BoxVideo, known_pts: npt.NDArray[np.float64] | None
) -> tuple[CorrectionBase, CorrectedBoxes] | None:
    """The box file of the store, None where it is not there any more, or not the same."""
    path = _box_file(store, video_id, origin)
    if path is None or origin.heads.sha256 is None or sha256_of_file(path) != origin.heads.sha256:
        return None
    if known_pts is not None and np.isfinite(known_pts).all():  # for files with times, where all frames are processed
        video = BoxVideo(**{**video, "pts_seconds": known_pts})
    options = {name: value for name, value in origin.options.items() if name in BoxFileOptions.model_fields}
    try:
        table = read_heads(path, BoxFileOptions(**options), video=video)
    except GazetoolsError:
        return None
    width, height = video["width"], video["height"]
    scale = np.array([width, height, width, height], np.float64) / frame_sides(table.units, width, height)
    record = read_record(path)
    base = CorrectionBase(
        kind="file",
        path=str(path),
        sha256=origin.heads.sha256,
        rows=len(table),
        detector=None if record is None else {"options": record.options, "weights_sha256": record.weights_sha256},
    )
    return base, CorrectedBoxes(
        frame=table.frame,
        track=table.track_id,
        box_xyxy=table.box_xyxy if table.units == "pixels" else table.box_xyxy * scale,
        origin=np.full(len(table), _GIVEN, np.uint8),
        roles=dict(table.roles),
    )


def _box_file(store: Path, video_id: str, origin: Provenance) -> Path | None:
    """Where the box file of the store is, or was."""
    kind = origin.heads.spec.partition(":")[0]
    if kind == "detect":
        path = place_of_id(store / HEADS_FOLDER, video_id, ".csv")
        return path if path.is_file() else None
    if kind != "file":
        return None
    try:
        found = open_heads(ExtractOptions(heads=origin.heads.spec), [video_id]) or {}
    except GazetoolsError:
        return None
    return found.get(video_id)


def _from_store(
    payload: Path, table: RowTable, roles: dict[int, str], video: BoxVideo, heads: HeadSource
) -> tuple[CorrectionBase, CorrectedBoxes]:
    """The boxes of the store's rows, in the fewest decimals that give back the same numbers."""
    boxed = np.isfinite(table.box_xyxy).all(axis=1)
    sides = np.array([video["width"], video["height"]] * 2, np.float64)
    base = CorrectionBase(
        kind="store",
        path=str(payload),
        sha256=sha256_of_file(payload),
        rows=int(boxed.sum()),
        filled=int(heads.counts.get("filled_boxes", 0)),
        detector=heads.detector,
    )
    return base, CorrectedBoxes(
        frame=table.frame[boxed],
        track=table.track_id[boxed],
        box_xyxy=pixels_of(table.box_xyxy[boxed], sides),
        origin=np.full(int(boxed.sum()), _GIVEN, np.uint8),
        roles=roles,
    )


def pixels_of(boxes: npt.NDArray[np.float32], sides: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Boxes [N, 4] in 0..1 in pixels of a frame with `sides` [4], rounded as far as float32 of 0..1 stays the same.

    >>> pixels_of(np.array([[1110 / 1920, 0, 1, 1]], np.float32), np.array([1920.0, 1080, 1920, 1080])).tolist()
    [[1110.0, 0.0, 1920.0, 1080.0]]
    """
    exact = boxes.astype(np.float64) * sides
    pixels = exact.copy()
    open_ = np.ones(exact.shape, bool)
    for decimals in range(7):
        rounded = np.round(exact, decimals)
        fits = open_ & ((rounded / sides).astype(np.float32) == boxes)
        pixels[fits] = rounded[fits]
        open_ &= ~fits
    return pixels
