"""Browse stores in FiftyOne: python examples/fiftyone_gaze.py STORE DATASET_NAME   (pip install fiftyone)

Makes a FiftyOne dataset with one sample per video: head boxes, gaze peaks and the brightest heatmap of each frame.
FiftyOne counts frames from 1: frame i of the store is i + 1 there. `fiftyone app launch DATASET_NAME` shows it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import fiftyone as fo
import numpy as np

import gazetools
from gazetools.store import StoreReader


def frames_of(store: StoreReader) -> dict[int, fo.Frame]:
    """Frame number from 1 -> boxes, points and the map of the frame; frames without people are left out."""
    frames = {}
    for index in store.frames.index.tolist():
        rows = store.rows(frame=index)
        if len(rows.track_id) == 0:
            continue
        heads, points = [], []
        for track, box, heatmap, inout in zip(rows.track_id, rows.box_xyxy, rows.heatmap, rows.inout, strict=True):
            left, top, right, bottom = map(float, box)
            row, column = np.unravel_index(heatmap.argmax(), heatmap.shape)
            peak = ((column + 0.5) / heatmap.shape[1], (row + 0.5) / heatmap.shape[0])
            label, known = f"person {track}", not np.isnan(inout)
            heads.append(
                fo.Detection(label=label, index=int(track), bounding_box=[left, top, right - left, bottom - top])
            )
            points.append(fo.Keypoint(label=label, points=[peak], **({"in_frame": float(inout)} if known else {})))
        brightest = rows.heatmap.max(axis=0).astype(np.float32)
        frames[index + 1] = fo.Frame(
            heads=fo.Detections(detections=heads),
            gaze=fo.Keypoints(keypoints=points),
            heatmap=fo.Heatmap(map=brightest, range=[0, 1]),
        )
    return frames


def main() -> None:
    folder, name = sys.argv[1:]
    dataset = fo.Dataset(name, persistent=True)
    for path in sorted(Path(folder).rglob("*.h5")):
        with gazetools.open_store(path) as store:
            sample = fo.Sample(filepath=str(store.provenance.video.path), video_id=store.video_id)
            for number, frame in frames_of(store).items():
                sample.frames[number] = frame
            dataset.add_sample(sample)
    print(f"{name}: {len(dataset)} videos")


if __name__ == "__main__":
    main()
