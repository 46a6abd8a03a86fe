"""The origin file of a packed video: what it keeps of its store, so that it can be checked without the store."""

from __future__ import annotations

import base64

import numpy as np

from gazetools.packing.grid import Grid
from gazetools.sampling import spread
from gazetools.schemas.dataset import Origin, SampledPerson, SampledRow
from gazetools.store import StoreReader

_MAX_FINGERPRINTS = 64  # 64 KiB per video, as base64 86 KiB
_MAX_ROWS = 64


def origin_of(store: StoreReader, grid: Grid) -> Origin:
    """Provenance, up to 64 frame fingerprints, and the head boxes of up to 64 rows spread over the video."""
    index, thumbnails = store.frames.fingerprint_index, store.frames.fingerprint
    chosen = spread(len(index), _MAX_FINGERPRINTS)
    return Origin(
        video_id=store.video_id,
        provenance=store.provenance.model_dump(mode="json"),
        fingerprint_index=index[chosen].tolist(),
        fingerprints=base64.b64encode(thumbnails[chosen].tobytes()).decode("ascii"),
        rows=_sampled_rows(store, grid),
    )


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
