"""Where does each person look at given times? python examples/gaze_at_times.py STORE/clip.h5 0.5 1.0

Prints one line per time and person: the gaze peak in 0..1 of the frame (x to the right, y down) and the in/out score.
"""

from __future__ import annotations

import sys

import numpy as np

import gazetools


def main() -> None:
    path, *times = sys.argv[1:]
    with gazetools.open_store(path) as store:
        for seconds in map(float, times):
            # the processed frame whose true time is nearest, never a frame number from a nominal rate
            nearest = int(np.abs(store.frames.pts_seconds - seconds).argmin())
            rows = store.rows(frame=int(store.frames.index[nearest]))
            for track_id, heatmap, inout in zip(rows.track_id, rows.heatmap, rows.inout, strict=True):
                row, column = np.unravel_index(heatmap.argmax(), heatmap.shape)
                x, y = (column + 0.5) / heatmap.shape[1], (row + 0.5) / heatmap.shape[0]
                pts = store.frames.pts_seconds[nearest]
                print(f"{pts:.3f} s  person {track_id}  gaze x {x:.3f} y {y:.3f}  in frame {inout:.2f}")


if __name__ == "__main__":
    main()
