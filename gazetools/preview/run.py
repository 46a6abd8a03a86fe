"""`preview`: an overlay video, or a contact sheet of frames spread over the clip."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from gazetools.io.atomic import write_bytes_atomic
from gazetools.io.find_files import existing_path
from gazetools.preview.encode import write_overlay_video
from gazetools.preview.overlay import draw_overlay
from gazetools.preview.rows import OverlaySource, open_overlays
from gazetools.progress import NoProgress, Progress
from gazetools.sampling import spread
from gazetools.schemas.errors import UsageError
from gazetools.schemas.foreign import ArrayChoice
from gazetools.schemas.picture_times import PictureTimes
from gazetools.schemas.video import Frame
from gazetools.video import VideoReader

_TILE_WIDTH = 640


def preview(
    video: str | Path,
    heatmaps: str | Path,
    output: str | Path,
    *,
    video_id: str | None = None,
    frames: int = 6,
    choice: ArrayChoice | None = None,
    times: PictureTimes | None = None,
    progress: Progress | None = None,
) -> int:
    """Draw heatmaps over their frames into `output` and return the number of frames drawn.

    Args:
        video: the video file, or a folder of frames.
        heatmaps: store file or folder, dataset, or another tool's heatmap folder; row i belongs to decoded frame i.
        output: `.png`: a contact sheet of `frames` frames spread over those that have maps; `.mp4`, `.mkv`, `.mov`:
            every frame, with the video's own sound where it has any.
        video_id: id in `heatmaps`; the video's stem by default.
        choice: array, axes and first number of another tool's heatmaps, where the rule leaves them open.
        times: when the frames of a folder were taken, unless a file in it says so.

    Raises UsageError for another suffix, no maps for this video, or files that do not exist.
    """
    video, output = existing_path(Path(video)), Path(output)
    reader = VideoReader(video, **(times or PictureTimes()).for_reader())
    if output.exists() and output.samefile(video):
        raise UsageError(f"The output {output} is the video itself.", hint="Choose another file for -o.")
    if output.suffix.lower() not in {".png", ".mp4", ".mkv", ".mov"}:
        raise UsageError(f"The output {output} must end in .png, .mp4, .mkv or .mov.", hint="Change -o.")
    with reader, open_overlays(Path(heatmaps), video_id or _id_of(video), choice) as source:
        if output.suffix.lower() == ".png":
            return _contact_sheet(reader, source, output, frames)
        return write_overlay_video(reader, lambda frame: _draw(frame, source), output, progress or NoProgress())


def _id_of(video: Path) -> str:
    return video.resolve().name if video.is_dir() else video.stem


def _draw(frame: Frame, source: OverlaySource) -> npt.NDArray[np.uint8]:
    caption = f"frame {frame.index}  {frame.pts_seconds:.3f} s"
    return draw_overlay(frame.rgb, source.people(frame.index), caption=caption)


def _contact_sheet(reader: VideoReader, source: OverlaySource, output: Path, count: int) -> int:
    with_maps = [i for i in source.frames() if i < reader.frame_count]
    if not with_maps:
        raise UsageError(f"No frame of {reader.info.path} has a heatmap.", hint="Check --heatmaps and --id.")
    chosen = np.array(with_maps)[spread(len(with_maps), max(count, 1))]
    tiles = []
    for frame in reader.frames(chosen):
        scale = min(1.0, _TILE_WIDTH / frame.rgb.shape[1])
        size = (round(frame.rgb.shape[1] * scale), round(frame.rgb.shape[0] * scale))
        small = cv2.resize(frame.rgb, size, interpolation=cv2.INTER_AREA)
        tiles.append(_draw(Frame(index=frame.index, pts_seconds=frame.pts_seconds, rgb=small), source))
    columns = int(np.ceil(np.sqrt(len(tiles))))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    sheet = np.vstack([np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)])
    _, data = cv2.imencode(".png", sheet[:, :, ::-1])
    write_bytes_atomic(output, data.tobytes())
    return len(chosen)
