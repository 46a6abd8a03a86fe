"""Open a video that is to be extracted: its frames, cut into pieces, and its boxes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gazetools.extraction.clock import StageClock
from gazetools.extraction.decoding.child_reader import ChildReader
from gazetools.extraction.decoding.decoder import Decoder
from gazetools.extraction.inputs import VideoItem
from gazetools.heads.spec import VideoHeads, heads_for_video
from gazetools.sampling import choose_frames
from gazetools.schemas.errors import VideoError
from gazetools.schemas.extract import PIECE_FRAMES, ExtractOptions


@dataclass(frozen=True)
class OpenVideo:
    """An open video with its boxes and the frames of its pieces."""

    item: VideoItem
    reader: ChildReader
    heads: VideoHeads
    parts: list[npt.NDArray[np.int64]]
    """Frame indices of each piece."""


@contextmanager
def open_video(
    item: VideoItem,
    decoder: Decoder,
    options: ExtractOptions,
    head_files: dict[str, Path] | None,
    *,
    batch_size: int,
    clock: StageClock,
) -> Iterator[OpenVideo]:
    """The video of `item`, open in the decoding process until the block is left.

    Raises VideoError where it can't be read, is damaged (unless allowed) or has no frame in the chosen range, and
    HeadsError or UsageError where its boxes do not fit.
    """
    with clock.stage("open"):
        reader = decoder.open(item.path, batch_size=batch_size)
    with reader:
        _refuse_damage(reader, options)
        heads = heads_for_video(
            options,
            head_files,
            item.video_id,
            width=reader.info.width,
            height=reader.info.height,
            frame_count=reader.frame_count,
        )
        chosen = choose_frames(
            reader.pts_seconds, fps=options.fps, stride=options.stride, start=options.start, end=options.end
        )
        if not len(chosen):
            raise VideoError(
                f"No frame of {item.path} lies in the chosen range (its times are {reader.pts_seconds[0]:.3f} to "
                f"{reader.pts_seconds[-1]:.3f} s).",
                hint="Change --start and --end.",
            )
        parts = [chosen[i : i + PIECE_FRAMES] for i in range(0, len(chosen), PIECE_FRAMES)]
        yield OpenVideo(item, reader, heads, parts)


def _refuse_damage(reader: ChildReader, options: ExtractOptions) -> None:
    if reader.damage and not options.allow_damaged:
        raise VideoError(
            f"{reader.info.path} is not whole: {'; '.join(reader.damage)}.",
            hint="Get the file again, or pass --allow-damaged to take what can be decoded.",
        )
