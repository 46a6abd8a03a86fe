"""VideoReader: exactly the wanted frames, with their true times, from either back end."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import starmap
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gazetools.io.closing import Closing
from gazetools.schemas.errors import FrameRangeError, UsageError, VideoError
from gazetools.schemas.video import Frame, HdrRule, Remark, VideoInfo
from gazetools.video.colour import converter_for
from gazetools.video.digest import luma_digest
from gazetools.video.index import FrameIndex
from gazetools.video.probe import probe
from gazetools.video.proof import build_index
from gazetools.video.pyav_source import PyavSource

BACKENDS = ("pyav", "decord")


class VideoReader(Closing):
    """Frames of one video stream by index, counted as they decode.

        >>> with VideoReader("take.mp4") as reader:
        ...     clip = reader.read([0, 8, 16])       # uint8 [3, H, W, 3]
        ...     times = reader.pts_seconds[[0, 8, 16]]

    Args:
        path: a regular file. Playlists, still images and addresses are refused.
        backend: `pyav` (exact on every file) or `decord` (refused where it is known to be wrong or to hang).
        stream_index: index of the video stream in the file; None = FFmpeg's best.
        threads: decoder threads, 0 = one per core.
        hdr: what becomes of HDR video (PQ, HLG): `tonemap` to SDR by `gazetools.video.hdr`, `refuse`, or `raw` values.
        allow_damaged: `frames()` leaves out the frames that can't be decoded; `lost_frames` has them.

    Opening decodes one frame; the index (`frame_count`, `pts_seconds`, reading) is built at its first use by reading
    the file's packets once and decoding both ends. Not for use by several threads at once, nor across a fork.

    Raises VideoError for a file that is missing, empty, damaged beyond use, audio only or not a video, UsageError for
    an unknown back end, EnvironmentLacksError where the back end is not installed.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        backend: str = "pyav",
        stream_index: int | None = None,
        threads: int = 0,
        hdr: HdrRule = "tonemap",
        allow_damaged: bool = False,
    ) -> None:
        if backend not in BACKENDS:
            raise UsageError(f"Unknown video back end {backend!r}; there are: {', '.join(BACKENDS)}.")
        self._path, self._threads = Path(path), threads
        self._closed = False
        self._decord: Any = None
        self._allow_damaged = allow_damaged
        self.lost_frames: set[int] = set()
        """Indices that `frames()` could not decode so far; they keep their numbers. Only with `allow_damaged`."""
        self.info: VideoInfo = probe(self._path, stream_index, hdr=hdr)
        """Facts of the file and the stream; width and height are those of the frames that are returned."""
        self._converter = converter_for(self.info)
        if backend == "decord":
            from gazetools.video.decord_source import open_decord

            self._decord, self.info = open_decord(self._path, self.info, self.frame_index, threads=threads)

    def close(self) -> None:
        """Close the file; reading afterwards raises VideoError."""
        self._closed = True
        self._decord = None
        if "_source" in self.__dict__:
            self._source.close()

    @cached_property
    def frame_index(self) -> FrameIndex:
        """The index of the file's frames, built at first use; a later reader can adopt it."""
        return build_index(self._path, self.info, threads=self._threads)

    @cached_property
    def _source(self) -> PyavSource:
        stream = self.info.stream_index
        return PyavSource(self._path, stream_index=stream, index=self.frame_index, threads=self._threads)

    def adopt_index(self, index: FrameIndex) -> None:
        """Use `index`, which an earlier reader made of the same file and stream; UsageError after the first reading."""
        if "frame_index" in self.__dict__:
            raise UsageError(f"The reader of {self._path} has its frame index already.", hint="Open a new VideoReader.")
        self.__dict__["frame_index"] = index

    @property
    def frame_count(self) -> int:
        """Number of frames that decode; never the container's claim."""
        return len(self.frame_index)

    @cached_property
    def pts_seconds(self) -> npt.NDArray[np.float64]:
        """float64 [frame_count]: each frame's container pts times the time base, ascending; frame 0 need not be 0."""
        # Exact where the division is: pts * num is an integer far below 2**53 in real files.
        base = self.info.time_base
        seconds: npt.NDArray[np.float64] = self.frame_index.ticks * base.numerator / base.denominator
        seconds.flags.writeable = False
        return seconds

    @property
    def counted_by(self) -> str:
        """`index` (packet times, proven at both ends by decoding) or `decoding` (everything decoded once)."""
        return self.frame_index.counted_by

    @property
    def damage(self) -> tuple[str, ...]:
        """Reasons why the file is not whole; damage between its ends shows only when frames there are decoded."""
        return self.frame_index.damage

    @property
    def remarks(self) -> tuple[Remark, ...]:
        """What is worth telling about a file that can be used, such as gaps in its clock."""
        return self.frame_index.remarks

    def read(self, indices: Iterable[int]) -> npt.NDArray[np.uint8]:
        """Exactly the frames `indices`, in the order asked for, repeats allowed: uint8 [N, H, W, 3] RGB.

        Raises FrameRangeError for an index outside 0 .. frame_count - 1 (negative ones too), VideoError where a frame
        cannot be decoded; the reader stays usable.
        """
        asked = self._checked(indices)
        out = np.empty((len(asked), self.info.height, self.info.width, 3), np.uint8)
        unique, first, places = np.unique(asked, return_index=True, return_inverse=True)
        pairs = self._rgb(unique.tolist())
        for slot in first:
            # No name holds the converted frame while the next is made: the allocator hands out the same, still
            # cached memory again (a quarter less CPU time per 1080p frame than with two buffers in turn).
            out[slot] = next(pairs)[1]
        sources = first[places.reshape(-1)]
        for slot in np.flatnonzero(sources != np.arange(len(asked))):
            out[slot] = out[sources[slot]]
        return out

    def frames(self, indices: Iterable[int] | None = None) -> Iterator[Frame]:
        """Yield the frames `indices` (None = all) with bounded memory, decoding each once.

        Raises UsageError for indices that are not strictly ascending, other errors as `read`.
        """
        wanted: Sequence[int]
        if indices is None:
            wanted = range(self.frame_count)
        else:
            asked = self._checked(indices)
            if len(places := np.flatnonzero(np.diff(asked) <= 0)):
                place = int(places[0])
                raise UsageError(
                    f"frames() goes forward only: index {asked[place + 1]} follows {asked[place]}.",
                    hint="Sort the indices and remove repeats, or use read().",
                )
            wanted = asked.tolist()
        return self._frames(wanted)

    def _frames(self, wanted: Sequence[int]) -> Iterator[Frame]:
        # no name here holds a frame while the next is made
        yield from starmap(self._frame, self._rgb(wanted, self.lost_frames if self._allow_damaged else None))

    def _frame(self, index: int, rgb: npt.NDArray[np.uint8]) -> Frame:
        return Frame(index=index, pts_seconds=float(self.pts_seconds[index]), rgb=rgb)

    def release(self, frame: Frame) -> None:
        """Do nothing: every frame has memory of its own (see `gazetools.video.source.VideoSource`)."""

    def count_by_decoding(self) -> int:
        """Number of frames that PyAV decodes of the whole stream, times checked; VideoError names one that fails."""
        self._refuse_closed()
        return sum(1 for _ in self._source.frames(range(self.frame_count), skip=False))

    def luma_digests(self) -> npt.NDArray[np.uint32]:
        """The `luma_digest` of every frame, uint32 [frame_count], by decoding as `count_by_decoding` does.

        With `allow_damaged` a frame that can't be decoded has its own index.
        """
        self._refuse_closed()
        everything = range(self.frame_count)
        if self._allow_damaged:
            pairs = self._source.sound_frames(everything, self.lost_frames)
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

    def _rgb(self, wanted: Sequence[int], lost: set[int] | None = None) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
        """The frames `wanted`; with `lost`, those that can't be decoded are left out and added to it."""
        self._refuse_closed()
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

    def _checked(self, indices: Iterable[int]) -> npt.NDArray[np.int64]:
        self._refuse_closed()
        values = np.asarray(indices if isinstance(indices, np.ndarray | list | tuple | range) else list(indices))
        if values.size == 0:
            return np.zeros(0, np.int64)
        if values.ndim != 1 or values.dtype.kind not in "iu":
            raise UsageError(f"Frame indices are a flat list of whole numbers, got {values.dtype} {values.shape}.")
        outside = (values < 0) | (values >= self.frame_count)
        if outside.any():
            value = int(values[outside][0])
            raise FrameRangeError(
                f"{self._path}: frame index {value} is outside 0..{self.frame_count - 1} "
                f"({self.frame_count} frames, counted by {self.counted_by}).",
                hint="; ".join(self.damage) or None,
                path=str(self._path),
                frame_index=value,
            )
        return values.astype(np.int64)

    def _refuse_closed(self) -> None:
        if self._closed:
            raise VideoError(f"The reader of {self._path} is closed.", hint="Open a new VideoReader.")
