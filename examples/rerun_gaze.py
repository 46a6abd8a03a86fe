"""Look at a store in Rerun: python examples/rerun_gaze.py STORE/clip.h5 clip.rrd [VIDEO]   (pip install rerun-sdk)

Writes a recording that `rerun clip.rrd` opens: head boxes and gaze peaks in pixels on the video, every person's heatmap
and in/out score, all on the timeline `video` in seconds of the container's pts.
"""

from __future__ import annotations

import sys

import numpy as np
import rerun as rr

import gazetools


def main() -> None:
    path, output, *video = sys.argv[1:]
    with gazetools.open_store(path) as store:
        width, height = store.provenance.video.width, store.provenance.video.height
        rr.init("gazetools", recording_id=store.video_id)
        rr.save(output)
        if video:
            rr.log("video", rr.AssetVideo(path=video[0]), static=True)
        for index, seconds in zip(store.frames.index.tolist(), store.frames.pts_seconds.tolist(), strict=True):
            rr.set_time("video", duration=seconds)
            if video:
                rr.log("video", rr.VideoFrameReference(seconds=seconds))
            rows = store.rows(frame=index)
            people = [f"person {track_id}" for track_id in rows.track_id.tolist()]
            boxes = rows.box_xyxy * np.array([width, height, width, height], np.float32)
            rr.log("video/heads", rr.Boxes2D(array=boxes, array_format=rr.Box2DFormat.XYXY, labels=people))
            peaks = []
            for track_id, heatmap, inout in zip(rows.track_id, rows.heatmap, rows.inout.tolist(), strict=True):
                row, column = np.unravel_index(heatmap.argmax(), heatmap.shape)
                peaks.append(((column + 0.5) / heatmap.shape[1] * width, (row + 0.5) / heatmap.shape[0] * height))
                rr.log(f"heatmap/person_{track_id}", rr.DepthImage(heatmap.astype(np.float32), depth_range=(0, 1)))
                if not np.isnan(inout):
                    rr.log(f"inout/person_{track_id}", rr.Scalars(inout))
            rr.log("video/gaze", rr.Points2D(peaks, labels=people, radii=5))
    print(f"{output}: {len(store.frames.index)} frames")


if __name__ == "__main__":
    main()
