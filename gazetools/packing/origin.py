"""The origin file of a packed video: what it keeps of its store, so that it can be checked without the store."""

from __future__ import annotations

import base64

import numpy as np

from gazetools.packing.grid import Grid
from gazetools.schemas.dataset import Origin, SampledPerson, SampledRow
from gazetools.store import StoreReader

_MAX_FINGERPRINTS = 64
"""They take 64 KiB per video, as base64 86 KiB."""
_MAX_ROWS = 64


def origin_of(store: StoreReader, grid: Grid) -> Origin:
    """Provenance, up to 64 frame fingerprints, and the head boxes of up to 64 rows spread over the video."""
    return Origin(
        video_id=store.video_id,
        provenance=store.provenance.model_dump(mode="json"),
        **_fingerprints(store),
        rows=_sampled_rows(store, grid),
    )


def _fingerprints(store: StoreReader) -> dict[str, list[int] | str]:
    index, thumbnails = store.frames.fingerprint_index, store.frames.fingerprint
    chosen = _spread(len(index), _MAX_FINGERPRINTS)
    return {
        "fingerprint_index": index[chosen].tolist(),
        "fingerprints": base64.b64encode(np.ascontiguousarray(thumbnails[chosen]).tobytes()).decode("ascii"),
    }


def _sampled_rows(store: StoreReader, grid: Grid) -> list[SampledRow]:
    valid = np.flatnonzero(grid.valid)
    rows = []
    for row in valid[_spread(len(valid), _MAX_ROWS)].tolist():
        used = grid.chosen[grid.start[row] : grid.stop[row]]
        frame = int(store.row_frame[used[0]])
        first, last = np.searchsorted(store.row_frame, [frame, frame + 1])
        people = [
            SampledPerson(
                track_id=int(store.row_track_id[i]),
                box_xyxy=tuple(float(value) for value in store.row_box[i]),
                prompt=int(store.row_prompt[i]),
                used=bool(i in used),
            )
            for i in range(int(first), int(last))
        ]
        rows.append(SampledRow(row=row, frame=frame, people=people))
    return rows


def _spread(count: int, wanted: int) -> list[int]:
    """At most `wanted` indices in 0..count-1, evenly spread."""
    return [int(i) for i in np.unique(np.linspace(0, count - 1, min(wanted, count)).round())] if count else []
