"""Ground truth of synthetic kitchens as a store, so that `evaluate` scores the maps that a model made of them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from gazetools.metrics.gaze import target_heatmap
from gazetools.schemas.provenance import GROUND_TRUTH
from gazetools.schemas.store import Piece, Rows
from gazetools.store import StoreContent, list_store, open_store, write_store


def store_true_gaze(scenes: Path, predicted: Path, truth: Path) -> None:
    """Write to `truth` what people in `scenes` (`render_scenes`) look at, for each row of the store `predicted`."""
    for entry in list_store(predicted):
        with (scenes / "gaze" / f"{entry.video_id}.csv").open(newline="", encoding="utf-8") as file:
            gaze = {
                (int(row["frame"]), int(row["track_id"])): (float(row["x"]), float(row["y"]), float(row["inout"]))
                for row in csv.DictReader(file)
            }
        with open_store(entry.payload) as store:
            rows, frames = store.rows(), store.frames
            provenance, tracks = store.provenance, store.tracks
        found = np.array([gaze[key] for key in zip(rows.frame.tolist(), rows.track_id.tolist(), strict=True)])
        piece = Piece(
            frame_index=frames.index,
            pts_seconds=frames.pts_seconds,
            fingerprint=frames.fingerprint,
            fingerprint_index=frames.fingerprint_index,
            rows=Rows(
                frame=rows.frame,
                track_id=rows.track_id,
                box_xyxy=rows.box_xyxy,
                inout=found[:, 2].astype(np.float32),
                prompt=rows.prompt,
                heatmap=np.array([target_heatmap(x, y) for x, y, _ in found]).astype(np.float16),
            ),
            batch_size=1,
        )
        model = provenance.model.model_copy(update={"name": GROUND_TRUTH})
        content = StoreContent(
            provenance=provenance.model_copy(update={"model": model}),
            pieces=[lambda piece=piece: piece],  # type: ignore[misc]
            track_roles=tracks,
            heatmap_shape=(64, 64),
            extras={"target_xy": found[:, :2].astype(np.float32)},
        )
        write_store(truth, entry.video_id, content)
