"""Small video clips and box files, made by the test that needs them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def write_clip(
    path: Path, *, frames: int = 40, width: int = 96, height: int = 64, fps: int | Fraction = 30, gop: int = 12,
    first: int = 0,
) -> Path:  # fmt: skip
    """H.264 with B-frames: a white square moves over a grey ramp, so that every frame differs.

    `first`: number of the first frame, for a clip of a longer video.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    ramp = np.linspace(40, 120, width, dtype=np.uint8)[None, :, None].repeat(height, 0).repeat(3, 2)
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps), options={"g": str(gop), "bf": "2", "crf": "18"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(first, first + frames):
            picture = ramp.copy()
            x = (index * 3) % (width - 12)
            picture[20:32, x : x + 12] = 250
            picture[:6] = (index * 5) % 256
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def write_clips(root: Path, frames: Mapping[str, int]) -> Path:
    """A folder with one `<name>.mp4` for each entry of `frames` (name -> number of frames)."""
    for name, count in frames.items():
        write_clip(root / f"{name}.mp4", frames=count)
    return root


def write_boxes(path: Path, *, frames: Iterable[int], width: int = 96, height: int = 64) -> Path:
    """Two people per frame, tracks 1 and 7, in our CSV format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["frame,track_id,xmin,ymin,xmax,ymax"]
    for frame in frames:
        lines.append(f"{frame},1,{0.1 * width:.1f},{0.1 * height:.1f},{0.4 * width:.1f},{0.6 * height:.1f}")
        lines.append(f"{frame},7,{0.6 * width:.1f},{0.2 * height:.1f},{0.95 * width:.1f},{0.8 * height:.1f}")
    path.write_text("\n".join(lines) + "\n")
    return path
