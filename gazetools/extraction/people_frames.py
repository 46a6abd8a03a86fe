"""Frames of a video that have people, with their prompts: what number types are compared on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gazetools.extraction.inputs import VideoItem
from gazetools.extraction.model.number_types import PeopleFrames
from gazetools.extraction.video import head_files_of
from gazetools.extraction.work import WorkerTools
from gazetools.heads.prompts import FramePrompts
from gazetools.heads.spec import heads_for_video
from gazetools.sampling import choose_frames
from gazetools.schemas.extract import PIECE_FRAMES


def people_frames(tools: WorkerTools, item: VideoItem, count: int) -> PeopleFrames:
    """Up to `count` frames, spread evenly over the first 256 chosen ones that have people.

    Neighbouring frames are nearly alike, so frames in a row would be poor evidence. Raises VideoError, HeadsError and
    UsageError as extraction itself would.
    """
    options = tools.options
    head_files = head_files_of(tools, item)
    with tools.decoder.open(item.path, batch_size=tools.runner.batch_size) as source:
        heads = heads_for_video(
            options,
            head_files,
            item.video_id,
            width=source.info.width,
            height=source.info.height,
            frame_count=source.frame_count,
            pts_seconds=source.pts_seconds,
        )
        chosen = choose_frames(
            source.pts_seconds, fps=options.fps, stride=options.stride, start=options.start, end=options.end
        )
        found: dict[int, FramePrompts] = {}
        for index in chosen.tolist():
            prompts = tools.prompts(heads, index, (source.info.height, source.info.width))
            if len(prompts.track_id):
                found[index] = prompts
            if len(found) == PIECE_FRAMES:
                break
        places = np.linspace(0, len(found) - 1, min(count, len(found))).round().astype(np.int64)
        wanted = np.array(list(found), np.int64)[places]
        images: dict[int, npt.NDArray[np.uint8]] = {}
        for frame in source.frames(wanted):
            images[frame.index] = frame.rgb.copy()
            source.release(frame)
    return PeopleFrames(
        video_id=item.video_id, images=list(images.values()), prompts=[found[index] for index in images]
    )
