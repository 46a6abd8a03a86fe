"""The origin file of a packed video: what it keeps of its store, so that it can be checked without the store."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np

from gazetools.io.json_files import dumps
from gazetools.io.source_file import find_source, folder_of_id, moved_path, path_seen_from
from gazetools.packing.grid import Grid
from gazetools.sampling import spread
from gazetools.schemas.dataset import Origin, SampledPerson, SampledRow
from gazetools.schemas.provenance import Provenance
from gazetools.store import StoreReader

_MAX_FINGERPRINTS = 64  # 64 KiB per video, as base64 86 KiB
_MAX_ROWS = 64


def origin_of(store: StoreReader, grid: Grid, dataset: Path) -> Origin:
    """Provenance, up to 64 frame fingerprints, and the head boxes of up to 64 rows spread over the video.

    The source's relative path is that from `dataset`.
    """
    index, thumbnails = store.frames.fingerprint_index, store.frames.fingerprint
    chosen = spread(len(index), _MAX_FINGERPRINTS)
    return Origin(
        video_id=store.video_id,
        provenance=_for_dataset(store, dataset).model_dump(mode="json"),
        fingerprint_index=index[chosen].tolist(),
        fingerprints=base64.b64encode(thumbnails[chosen].tobytes()).decode("ascii"),
        rows=_sampled_rows(store, grid),
    )


def moved_origin(text: bytes, folder: Path, dataset: Path) -> bytes:
    """The origin file `text` of the dataset `folder`, for a copy of the video in `dataset`."""
    document = json.loads(text)
    video = document["provenance"].get("video", {})
    relative = video.get("relative_path")
    if relative is None or (moved := moved_path(relative, folder, dataset)) == relative:
        return text
    video["relative_path"] = moved
    return dumps(document).encode("utf-8")


def _for_dataset(store: StoreReader, dataset: Path) -> Provenance:
    folder = folder_of_id(store.path, store.video_id)
    source = find_source(store.provenance.video, folder)
    relative = store.provenance.video.relative_path
    if source is None or not source.is_same:  # the folders may be brought together again
        facts = {"relative_path": relative and moved_path(relative, folder, dataset)}
    else:
        facts = {"path": str(source.path.absolute()), "relative_path": path_seen_from(dataset, source.path)}
    return store.provenance.model_copy(update={"video": store.provenance.video.model_copy(update=facts)})


def _sampled_rows(store: StoreReader, grid: Grid) -> list[SampledRow]:
    valid = np.flatnonzero(grid.valid)
    rows = []
    for row in valid[spread(len(valid), _MAX_ROWS)].tolist():
        used = grid.chosen[grid.start[row] : grid.stop[row]]
        frame = int(store.row_frame[used[0]])
        first, last = np.searchsorted(store.row_frame, [frame, frame + 1]).tolist()
        people = [
            SampledPerson(
                track_id=int(store.row_track_id[i]),
                box_xyxy=tuple(store.row_box[i].tolist()),
                prompt=int(store.row_prompt[i]),
                used=i in used,
            )
            for i in range(first, last)
        ]
        rows.append(SampledRow(row=row, frame=frame, people=people))
    return rows
