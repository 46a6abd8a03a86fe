"""What extraction passes on whole: the order for a worker, the tools that it has loaded, and its work on one video."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gazetools.extraction.decoding.child_reader import ChildReader
from gazetools.extraction.decoding.decoder import Decoder, DecodeSettings, ReadAhead
from gazetools.extraction.earlier import EarlierRows
from gazetools.extraction.inputs import VideoItem
from gazetools.extraction.notes import notes_at_opening
from gazetools.heads.prompts import FramePrompts, prompts_of_frame
from gazetools.heads.spec import VideoHeads, heads_for_video
from gazetools.progress import Progress
from gazetools.sampling import choose_frames
from gazetools.schemas.base import StrictModel
from gazetools.schemas.errors import VideoError
from gazetools.schemas.extract import PIECE_FRAMES, ExtractOptions
from gazetools.store.pieces import PieceFolder

if TYPE_CHECKING:
    from gazetools.extraction.clock import StageClock
    from gazetools.extraction.model.batches import BatchRunner
    from gazetools.heads.detection import HeadDetection


class WorkOrder(StrictModel):
    """What a worker must know in addition to its tasks; goes to other processes as JSON."""

    store: Path
    options: ExtractOptions
    """Settings with the one `device` of this worker."""
    decoding: DecodeSettings
    video_ids: list[str]
    """All videos of the run: every worker matches head boxes against them alike."""

    def to_json(self) -> dict[str, Any]:
        """Document for `WorkOrder.model_validate` in a process with another working folder."""
        return self.model_copy(update={"store": self.store.absolute()}).model_dump(mode="json")


@dataclass(frozen=True, kw_only=True)
class WorkerTools:
    """What a worker has loaded, for all its videos; none of it is ever replaced."""

    store: Path
    options: ExtractOptions
    head_files: dict[str, Path] | None
    """Box file of each video id; None for `--heads whole`."""
    runner: BatchRunner
    decoder: Decoder
    detection: HeadDetection | None
    """The loaded detector; None without `--heads detect`."""
    clock: StageClock
    progress: Progress
    store_writer: Executor
    """One thread that assembles store files while the next video is computed."""

    def open_ahead(self, path: Path) -> None:
        """Begin to open the video that probably follows, and to decode its first batch."""
        options = self.options
        if self.detection is not None:  # its first pass comes first
            first = ReadAhead(frames=self.detection.batch_size, stride=self.detection.options.every)
        else:
            chosen = {name: getattr(options, name) for name in ("fps", "stride", "start", "end")}
            first = ReadAhead(frames=self.runner.batch_size, **chosen)
        self.decoder.open_ahead(path, first)

    def prompts(self, heads: VideoHeads, frame_index: int, frame_hw: tuple[int, int]) -> FramePrompts:
        """The people of one frame whom the model can take, perhaps none."""
        return prompts_of_frame(
            heads,
            frame_index,
            grid_hw=self.runner.grid_hw,
            small_heads=self.options.small_heads,
            needs_boxes_in=frame_hw if self.runner.needs_boxes else None,
        )

    def wait_for_store_writer(self) -> None:
        """Return when the store file of the previous video is written, or has failed, which its own future reports."""
        self.store_writer.submit(lambda: None).result()


@dataclass(frozen=True, kw_only=True)
class VideoWork:
    """One video that extraction works on."""

    item: VideoItem
    source: ChildReader
    heads: VideoHeads
    parts: list[npt.NDArray[np.int64]]
    """Frame indices of each piece."""
    pieces: PieceFolder
    key: str
    """Options key of its store file."""
    earlier: EarlierRows | None = None
    """Finished store made with other head boxes, whose rows are kept where they fit; None: there is none."""


@contextmanager
def open_video(
    tools: WorkerTools, item: VideoItem, head_files: dict[str, Path] | None, pieces: PieceFolder, key: str
) -> Iterator[VideoWork]:
    """The video of `item`, open in the decoding process until the block is left.

    VideoError: unreadable, damaged (unless allowed), no frame in range; HeadsError, UsageError: its boxes do not fit.
    """
    options = tools.options
    with tools.clock.stage("open"):
        source = tools.decoder.open(item.path, batch_size=tools.runner.batch_size)
    with source:
        if source.damage and not options.allow_damaged:
            raise VideoError(
                f"{source.info.path} is not whole: {'; '.join(source.damage)}.",
                hint="Get the file again, or pass --allow-damaged to take what can be decoded.",
            )
        pieces.colours = source.info.colour_handling
        for note in notes_at_opening(source):
            tools.progress.say(f"{item.video_id}: {note}")
        width, height = source.info.width, source.info.height
        heads = heads_for_video(
            options,
            head_files,
            item.video_id,
            width=width,
            height=height,
            frame_count=source.frame_count,
            pts_seconds=source.pts_seconds,
        )
        for note in heads.notes:
            tools.progress.say(f"{item.video_id}: head boxes: {note}")
        chosen = choose_frames(
            source.pts_seconds, fps=options.fps, stride=options.stride, start=options.start, end=options.end
        )
        if not len(chosen):
            raise VideoError(
                f"No frame of {item.path} lies in the chosen range (its times are {source.pts_seconds[0]:.3f} to "
                f"{source.pts_seconds[-1]:.3f} s).",
                hint="Change --start and --end.",
            )
        parts = [chosen[i : i + PIECE_FRAMES] for i in range(0, len(chosen), PIECE_FRAMES)]
        yield VideoWork(item=item, source=source, heads=heads, parts=parts, pieces=pieces, key=key)
