"""Draw docs/pictures/overlay.png: a synthetic scene with its true gaze targets.

python docs/make_pictures.py
"""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path

import cv2
import numpy as np

from gazetools.metrics.gaze import target_heatmap
from gazetools.preview.overlay import PersonOverlay, draw_overlay
from gazetools.scenes.clips import render_scenes
from gazetools.scenes.settings import HEIGHT, WIDTH
from gazetools.video import VideoReader

FRAMES = (20, 60, 110)
OUTPUT = Path(__file__).parent / "pictures" / "overlay.png"


def main() -> None:
    """Render one clip and tile three of its frames."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (video_id,) = render_scenes(folder, clips=1, seconds=5, seed=3)
        boxes, targets = _rows(folder / "heads" / f"{video_id}.csv"), _rows(folder / "gaze" / f"{video_id}.csv")
        tiles = []
        with VideoReader(folder / "videos" / f"{video_id}.mp4") as reader:
            for frame in reader.frames(np.array(FRAMES)):
                large = cv2.resize(frame.rgb, (640, 360))
                people = [
                    PersonOverlay(
                        track_id=track,
                        heatmap=target_heatmap(*targets[frame.index, track][:2]),
                        box_xyxy=np.array(box) / (WIDTH, HEIGHT, WIDTH, HEIGHT),
                        inout=None,
                    )
                    for (index, track), box in boxes.items()
                    if index == frame.index
                ]
                tiles.append(draw_overlay(large, people, caption=f"{frame.pts_seconds:.2f} s"))
    OUTPUT.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(OUTPUT), np.hstack(tiles)[:, :, ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])


def _rows(path: Path) -> dict[tuple[int, int], list[float]]:
    with path.open(newline="", encoding="utf-8") as file:
        return {(int(row[0]), int(row[1])): [float(v) for v in row[2:]] for row in list(csv.reader(file))[1:]}


if __name__ == "__main__":
    main()
