"""Small stores written through the real writer, with chosen rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from gazetools.schemas.provenance import GazeModel, HeadSource, Provenance, SourceVideo
from gazetools.schemas.store import Piece, Rows
from gazetools.store import write_store


def make_provenance(video_id: str = "clip", *, frame_count: int = 10, **video: Any) -> Provenance:
    """A complete provenance; keyword arguments replace facts of the source video."""
    facts: dict[str, Any] = {
        "path": "clip.mp4",
        "size_bytes": 1000,
        "sha256": "ab" * 32,
        "stream_index": 0,
        "container": "mov,mp4,m4a,3gp,3g2,mj2",
        "codec": "h264",
        "width": 96,
        "height": 64,
        "rotation_degrees": 0,
        "pixel_format": "yuv420p",
        "colour_matrix": "bt709",
        "colour_matrix_source": "tagged",
        "colour_range": "limited",
        "rate": "30/1",
        "declared_frame_count": frame_count,
        "frame_count": frame_count,
        "counted_by": "decoding",
        "decoder": "pyav",
    }
    return Provenance(
        video_id=video_id,
        tool_version="0",
        video=SourceVideo(**{**facts, **video}),
        model=GazeModel(
            name="tiny",
            weights_sha256={"checkpoint": "cd" * 32},
            backbone="tiny",
            in_size=(56, 56),
            out_size=(64, 64),
            inout=True,
            dtype="float32",
            device="cpu",
            implementation="gazetools 0",
        ),
        heads=HeadSource(
            spec="file:boxes.csv", sha256=None, rows=0, clipped_boxes=0, small_heads="grow", prompts={"given": 1}
        ),
        batch_size=4,
        piece_frames=256,
        options={},
        options_key="ef" * 32,
        libraries={},
    )


def make_piece(
    frames: list[int],
    rows: list[tuple[int, int]],
    *,
    fps: float = 30.0,
    shape: tuple[int, int] = (8, 8),
    seed: int = 0,
) -> Piece:
    """Processed `frames` and one random map for each (frame, track_id) of `rows`."""
    rng = np.random.default_rng(seed)
    n = len(rows)
    return Piece(
        frame_index=np.array(frames, np.int64),
        pts_seconds=np.array(frames, np.float64) / fps,
        fingerprint=rng.integers(0, 256, (min(len(frames), 1), 32, 32), dtype=np.uint8),
        fingerprint_index=np.array(frames[:1], np.int64),
        rows=Rows(
            frame=np.array([frame for frame, _ in rows], np.int64),
            track_id=np.array([track for _, track in rows], np.int32),
            box_xyxy=np.tile(np.array([[0.1, 0.1, 0.4, 0.6]], np.float32), (n, 1)),
            inout=rng.random(n).astype(np.float32),
            prompt=np.zeros(n, np.uint8),
            heatmap=rng.random((n, *shape)).astype(np.float16),
        ),
        batch_size=4,
    )


def make_store(
    root: Path,
    video_id: str = "clip",
    *,
    pieces: list[Piece] | None = None,
    roles: dict[int, str] | None = None,
    provenance: Provenance | None = None,
    shape: tuple[int, int] = (8, 8),
) -> Path:
    """Write a store of 10 frames in two pieces (frame 3 without people, track 2 from frame 5 on); return the .h5."""
    if pieces is None:
        rows = [(f, t) for f in range(10) for t in (1, 2) if f != 3 and (t == 1 or f >= 5)]
        pieces = [
            make_piece(list(range(6)), [r for r in rows if r[0] < 6], shape=shape, seed=1),
            make_piece(list(range(6, 10)), [r for r in rows if r[0] >= 6], shape=shape, seed=2),
        ]
    write_store(
        root,
        video_id,
        provenance=provenance or make_provenance(video_id),
        pieces=[lambda piece=piece: piece for piece in pieces],  # type: ignore[misc]
        track_roles=roles if roles is not None else {1: "wearer", 2: "other"},
        heatmap_shape=shape,
    )
    return root / f"{video_id}.h5"
