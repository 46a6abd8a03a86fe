"""The bytes that a store file and a piece will take, said before anything of them exists."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gazetools.schemas.store import Piece, Rows
from gazetools.store import StoreContent, write_store
from gazetools.store.columns import ContentSizes
from gazetools.store.pieces import PieceFolder
from tests.helpers.stores import provenance_of

SIZES = [
    # frames, people, (H, W), why
    (1, 1, (64, 64), "the smallest"),
    (5, 0, (64, 64), "nobody in it: empty datasets have no chunks"),
    (33, 1, (64, 64), "the second chunk of 32 maps is nearly empty, and as large as the first"),
    (256, 3, (64, 64), "one piece"),
    (4097, 2, (8, 8), "small columns need a second chunk too"),
    (5000, 1, (16, 24), "many chunks in the index"),
]


@pytest.mark.parametrize(("frames", "people", "shape", "why"), SIZES, ids=[why for *_, why in SIZES])
def test_what_is_written_is_at_most_what_was_said_and_hardly_less(
    tmp_path: Path, frames: int, people: int, shape: tuple[int, int], why: str
) -> None:
    piece = _piece(frames, people, shape)
    pieces = PieceFolder(tmp_path, "clip", "key")
    pieces.save(0, piece)
    content = StoreContent(
        provenance=provenance_of("clip", frames, shape),
        pieces=[lambda: pieces.load(0)],
        track_roles=dict.fromkeys(range(people), "other"),
        heatmap_shape=shape,
    )
    written = write_store(tmp_path, "clip", content).payload_bytes
    prints = len(piece.fingerprint)
    sizes = ContentSizes(frames=frames, rows=frames * people, fingerprints=prints, heatmap_shape=shape)
    said = sizes.store_file_bytes()
    assert written <= said <= 1.02 * written + (48 << 10), why
    piece_said = sizes.piece_file_bytes()
    assert pieces.piece_path(0).stat().st_size <= piece_said <= pieces.piece_path(0).stat().st_size + (4 << 10), why


def _piece(frames: int, people: int, shape: tuple[int, int]) -> Piece:
    rows, prints = frames * people, -(-frames // 16)
    return Piece(
        frame_index=np.arange(frames),
        pts_seconds=np.arange(frames) / 30,
        fingerprint=np.zeros((prints, 32, 32), np.uint8),
        fingerprint_index=np.arange(prints) * 16,
        rows=Rows(
            frame=np.repeat(np.arange(frames), people),
            track_id=np.tile(np.arange(people, dtype=np.int32), frames),
            box_xyxy=np.zeros((rows, 4), np.float32),
            inout=np.zeros(rows, np.float32),
            prompt=np.zeros(rows, np.uint8),
            heatmap=np.ones((rows, *shape), np.float16),
        ),
        batch_size=4,
    )
