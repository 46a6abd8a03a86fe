"""Small stores written through the real writer: chosen pieces, or a video whose numbers a test can compute again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gazetools._version import __version__
from gazetools.schemas.provenance import HeadSource, ModelRecord, Provenance, SourceVideo
from gazetools.schemas.store import Piece, Rows
from gazetools.store import StoreContent, write_store

RATE = Fraction(30)
People = Mapping[int, Sequence[int]]
"""Decoded frame -> track ids of the people in it."""


@dataclass(kw_only=True)
class MadeVideo:
    """Contents of a store for one video, in the form that tests compare with."""

    video_id: str
    frame_count: int
    index: npt.NDArray[np.int64]
    pts_seconds: npt.NDArray[np.float64]
    maps: dict[tuple[int, int], npt.NDArray[np.float16]]
    """(frame, track) -> map"""
    inout: dict[tuple[int, int], float] = field(default_factory=dict)

    def people(self, frame: int) -> list[int]:
        """Tracks of a frame, ascending."""
        return sorted(track for f, track in self.maps if f == frame)


def provenance_of(video_id: str, frame_count: int, size_hw: tuple[int, int], **changes: Any) -> Provenance:
    """A complete provenance; `changes` replaces fields, `video={...}` single fields of the video."""
    video = {
        "path": f"/nowhere/{video_id}.mp4",
        "size_bytes": 1000,
        "sha256": hashlib.sha256(video_id.encode()).hexdigest(),
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
        "counted_by": "index",
        "decoder": "pyav",
        **changes.pop("video", {}),
    }
    fields: dict[str, Any] = {
        "video_id": video_id,
        "tool_version": __version__,
        "video": SourceVideo(**video),
        "model": ModelRecord(
            name="gazelle_tiny_inout",
            weights_sha256={"checkpoint": "c" * 64},
            backbone="tiny",
            in_size=(56, 56),
            out_size=size_hw,
            inout=True,
            dtype="float32",
            device="cpu",
            implementation="gazetools 0.1.0",
        ),
        "heads": HeadSource(spec="whole", sha256=None, rows=0, clipped_boxes=0, small_heads="grow", prompts={}),
        "batch_size": 1,
        "piece_frames": 256,
        "options": {},
        "options_key": "k" * 64,
        "libraries": {},
        **changes,
    }
    return Provenance(**fields)


def make_provenance(video_id: str = "clip", *, frame_count: int = 10, **video: Any) -> Provenance:
    """A complete provenance of 64x64 maps; keyword arguments replace facts of the source video."""
    return provenance_of(video_id, frame_count, (64, 64), video=video)


def make_piece(
    frames: list[int],
    rows: list[tuple[int, int]],
    *,
    fps: float = 30.0,
    shape: tuple[int, int] = (8, 8),
    seed: int = 0,
    tokens_shape: tuple[int, int, int] | None = None,
) -> Piece:
    """Processed `frames` and one random map, with scene tokens on request, for each (frame, track_id) of `rows`."""
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
            tokens=None if tokens_shape is None else rng.normal(size=(n, *tokens_shape)).astype(np.float16),
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
    tokens = pieces[0].rows.tokens
    write_store(
        root,
        video_id,
        StoreContent(
            tokens_shape=None if tokens is None else tokens.shape[1:],  # type: ignore[arg-type]
            provenance=provenance or make_provenance(video_id),
            pieces=[lambda piece=piece: piece for piece in pieces],  # type: ignore[misc]
            track_roles=roles if roles is not None else {1: "wearer", 2: "other"},
            heatmap_shape=shape,
        ),
    )
    return root / f"{video_id}.h5"


def make_video(
    root: Path,
    video_id: str = "clip",
    *,
    people: People | None = None,
    frame_count: int = 12,
    index: Sequence[int] | None = None,
    size_hw: tuple[int, int] = (8, 10),
    roles: Mapping[int, str] | None = None,
    pts_seconds: npt.NDArray[np.float64] | None = None,
    make_map: Callable[[int, int], npt.NDArray[Any]] | None = None,
    make_inout: Callable[[int, int], float] | None = None,
    change_rows: Callable[[dict[str, Any]], None] | None = None,
    **provenance: Any,
) -> MadeVideo:
    """Write `root/<video_id>.h5` with its sidecar; by default one person (track 1) in every frame at 30 fps."""
    indices = np.arange(frame_count) if index is None else np.asarray(index, dtype=np.int64)
    times = indices / float(RATE) if pts_seconds is None else np.asarray(pts_seconds, dtype=np.float64)
    people = {int(frame): [1] for frame in indices} if people is None else people
    generator = np.random.default_rng(sum(video_id.encode()))
    made = MadeVideo(
        video_id=video_id, frame_count=frame_count, index=indices.astype(np.int64), pts_seconds=times, maps={}
    )
    keys = [(int(frame), track) for frame in indices for track in sorted(people.get(int(frame), ()))]
    for frame, track in keys:
        drawn = generator.uniform(0.01, 0.99, size=size_hw) if make_map is None else make_map(frame, track)
        made.maps[frame, track] = np.asarray(drawn, dtype=np.float16)
        made.inout[frame, track] = (
            float(generator.uniform(0.6, 1.0)) if make_inout is None else make_inout(frame, track)
        )
    rows: dict[str, Any] = {
        "frame": np.array([frame for frame, _ in keys], dtype=np.int64),
        "track_id": np.array([track for _, track in keys], dtype=np.int32),
        "box_xyxy": np.tile(np.array([0.1, 0.1, 0.4, 0.5], np.float32), (len(keys), 1)),
        "inout": np.array([made.inout[key] for key in keys], dtype=np.float32),
        "prompt": np.zeros(len(keys), dtype=np.uint8),
        "heatmap": np.array([made.maps[key] for key in keys], dtype=np.float16).reshape(-1, *size_hw),
    }
    if change_rows is not None:
        change_rows(rows)
    tracks = sorted({track for _, track in keys})
    piece = Piece(
        frame_index=made.index,
        pts_seconds=times,
        fingerprint=np.zeros((1, 32, 32), np.uint8),
        fingerprint_index=made.index[:1] if len(made.index) else np.zeros(1, np.int64),
        rows=Rows(**rows),
        batch_size=1,
    )
    write_store(
        root,
        video_id,
        StoreContent(
            provenance=provenance_of(video_id, frame_count, size_hw, **provenance),
            pieces=[lambda: piece],
            track_roles={track: (roles or {}).get(track, "other") for track in tracks},
            heatmap_shape=size_hw,
        ),
    )
    return made
