"""Frames of a video file by index: its index, its decoder, and the conversion to RGB."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gazetools.schemas.errors import UsageError, VideoError
from gazetools.schemas.video import HdrRule, Remark, VideoInfo
from gazetools.video.colour import converter_for
from gazetools.video.digest import luma_digest
from gazetools.video.index import FrameIndex
from gazetools.video.probe import probe
from gazetools.video.proof import build_index
from gazetools.video.pyav_source import PyavSource


class FileStream:
    """One video stream of a file; the arguments are those of `gazetools.video.VideoReader`."""

    def __init__(self, path: Path, stream_index: int | None, *, backend: str, threads: int, hdr: HdrRule) -> None:
        self._path, self._threads = path, threads
        self._decord: Any = None
        self.info: VideoInfo = probe(path, stream_index, hdr=hdr)
        self._converter = converter_for(self.info)
        if backend == "decord":
            from gazetools.video.decord_source import open_decord

            self._decord, self.info = open_decord(path, self.info, self.frame_index, threads=threads)

    def close(self) -> None:
        """Close the file."""
        self._decord = None
        if "_source" in self.__dict__:
            self._source.close()

    @cached_property
    def frame_index(self) -> FrameIndex:
        """The index of the file's frames, built at first use."""
        return build_index(self._path, self.info, threads=self._threads)

    @cached_property
    def _source(self) -> PyavSource:
        stream = self.info.stream_index
        return PyavSource(self._path, stream_index=stream, index=self.frame_index, threads=self._threads)

    def adopt_index(self, index: FrameIndex) -> None:
        """Use `index`; UsageError after the first reading."""
        if "frame_index" in self.__dict__:
            raise UsageError(f"The reader of {self._path} has its frame index already.", hint="Open a new VideoReader.")
        self.__dict__["frame_index"] = index

    @property
    def frame_count(self) -> int:
        """Number of frames that decode."""
        return len(self.frame_index)

    @cached_property
    def pts_seconds(self) -> npt.NDArray[np.float64]:
        """float64 [frame_count]: each frame's container pts times the time base."""
        # Exact where the division is: pts * num is an integer far below 2**53 in real files.
        base = self.info.time_base
        seconds: npt.NDArray[np.float64] = self.frame_index.ticks * base.numerator / base.denominator
        seconds.flags.writeable = False
        return seconds

    @property
    def counted_by(self) -> str:
        """`index` or `decoding`."""
        return self.frame_index.counted_by

    @property
    def damage(self) -> tuple[str, ...]:
        """Reasons why the file is not whole."""
        return self.frame_index.damage

    @property
    def remarks(self) -> tuple[Remark, ...]:
        """What is worth telling about a file that can be used."""
        return self.frame_index.remarks

    def count_by_decoding(self) -> int:
        """Number of frames that PyAV decodes; VideoError names one that fails."""
        return sum(1 for _ in self._source.frames(range(self.frame_count), skip=False))

    def digests(self, lost: set[int] | None = None) -> npt.NDArray[np.uint32]:
        """The `luma_digest` of every frame, uint32 [frame_count]; a frame in `lost` has its own index."""
        everything = range(self.frame_count)
        if lost is not None:
            pairs = self._source.sound_frames(everything, lost)
        else:
            pairs = self._source.frames(everything, skip=False)
        digests = np.arange(self.frame_count, dtype=np.uint32)
        for index, frame in pairs:
            digests[index] = luma_digest(frame)
        return digests

    @property
    def packet_count(self) -> int:
        """Number of packets with a picture in the file, hidden and undecodable ones included."""
        return int((self.frame_index.packets.size > 0).sum()) - self.frame_index.packets.uncoded

    @property
    def hidden_packet_count(self) -> int:
        """Number of packets that are decoded as references but not shown (edit lists)."""
        packets = self.frame_index.packets
        return int(((packets.size > 0) & packets.discard).sum()) - packets.uncoded

    def rgb(self, wanted: Sequence[int], lost: set[int] | None = None) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
        """Yield (index, uint8 [H, W, 3]); with `lost`, frames that can't be decoded are left out and added to it."""
        if self._decord is not None:
            yield from self._decord.frames(wanted)
            return
        pairs = self._source.frames(wanted) if lost is None else self._source.sound_frames(wanted, lost)
        for index, frame in pairs:
            turned = self.info.rotation_degrees in (90, 270)
            size = (frame.height, frame.width) if turned else (frame.width, frame.height)
            if size != (self.info.width, self.info.height):
                raise VideoError(
                    f"{self._path}: frame {index} is {size[0]}x{size[1]} pixels, the first frame "
                    f"{self.info.width}x{self.info.height}; one size is allowed per video.",
                    hint="Split the file where its size changes, or re-encode it to one size.",
                    path=str(self._path),
                    frame_index=index,
                )
            yield index, self._converter.array(frame)
