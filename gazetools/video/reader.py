"""VideoReader: exactly the wanted frames of a file or of a folder of pictures, with their true times."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import starmap
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gazetools.io.closing import Closing
from gazetools.io.picture_names import holds_pictures
from gazetools.schemas.base import parse_settings
from gazetools.schemas.errors import FrameRangeError, UsageError, VideoError
from gazetools.schemas.picture_times import PictureTimes
from gazetools.schemas.video import Frame, HdrRule, Remark, VideoInfo
from gazetools.video.file_stream import FileStream
from gazetools.video.frame_folder import FrameFolder
from gazetools.video.index import FrameIndex

BACKENDS = ("pyav", "decord")


class VideoReader(Closing):
    """Frames of one video by index, counted as they decode.

        >>> with VideoReader("take.mp4") as reader:
        ...     clip = reader.read([0, 8, 16])       # uint8 [3, H, W, 3]
        ...     times = reader.pts_seconds[[0, 8, 16]]
        >>> frames = VideoReader("P01_01", frame_rate=60)

    Args:
        path: a regular file, or a folder of numbered pictures. Playlists, single pictures and addresses are refused.
        backend: `pyav` (exact on every file) or `decord` (refused where it is known to be wrong or to hang).
        stream_index: index of the video stream in the file; None = FFmpeg's best.
        threads: decoder threads, 0 = one per core.
        hdr: what becomes of HDR video (PQ, HLG): `tonemap` to SDR by `gazetools.video.hdr`, `refuse`, or `raw` values.
        allow_damaged: `frames()` leaves out the frames that can't be decoded; `lost_frames` has them.
        frame_rate: of a folder, pictures per second such as 60 or "30000/1001", or a CSV with video_id and fps.
        frame_times: of a folder, instead of a rate, a CSV with frame or name, and seconds.

    Opening decodes one frame; the index (`frame_count`, `pts_seconds`, reading) is built at its first use by reading
    the file's packets once and decoding both ends. Not for use by several threads at once, nor across a fork.

    Raises VideoError for a file that is missing, empty, damaged beyond use, audio only or not a video, UsageError for
    an unknown back end and a folder whose times nothing states, EnvironmentLacksError where the back end is not
    installed.
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
        frame_rate: str | float | Fraction | None = None,
        frame_times: str | os.PathLike[str] | None = None,
    ) -> None:
        if backend not in BACKENDS:
            raise UsageError(f"Unknown video back end {backend!r}; there are: {', '.join(BACKENDS)}.")
        self._path = Path(path)
        self._closed = False
        self._allow_damaged = allow_damaged
        self.lost_frames: set[int] = set()
        """Indices that `frames()` could not decode so far; they keep their numbers. Only with `allow_damaged`."""
        self._stream: FileStream | FrameFolder
        if self._path.is_dir() and holds_pictures(self._path):
            if backend != "pyav" or stream_index not in (None, 0):
                what = f"it has no stream {stream_index}" if backend == "pyav" else f"{backend} does not read it"
                raise VideoError(f"{self._path} is a folder of pictures: {what}.")
            given = {"frame_rate": frame_rate, "frame_times": frame_times}
            times = parse_settings(PictureTimes, given, what="the times of frames")
            self._stream = FrameFolder.open(self._path, times, threads=threads)
        else:
            self._stream = FileStream(self._path, stream_index, backend=backend, threads=threads, hdr=hdr)
        self.info: VideoInfo = self._stream.info
        """Facts of the file and the stream; width and height are those of the frames that are returned."""

    def close(self) -> None:
        """Close the file; reading afterwards raises VideoError."""
        self._closed = True
        self._stream.close()

    @property
    def frame_index(self) -> FrameIndex:
        """The index of the file's frames, built at first use; a later reader can adopt it. UsageError for a folder."""
        return self._file.frame_index

    @property
    def _file(self) -> FileStream:
        if isinstance(self._stream, FrameFolder):
            raise UsageError(f"{self._path} is a folder of pictures and has no index of packets.")
        return self._stream

    def adopt_index(self, index: FrameIndex) -> None:
        """Use `index`, which an earlier reader made of the same file and stream; UsageError after the first reading."""
        self._file.adopt_index(index)

    @property
    def frame_count(self) -> int:
        """Number of frames that decode; never the container's claim. Of a folder, the number of pictures."""
        return self._stream.frame_count

    @property
    def pts_seconds(self) -> npt.NDArray[np.float64]:
        """float64 [frame_count]: each frame's container pts times the time base, ascending; frame 0 need not be 0."""
        return self._stream.pts_seconds

    @property
    def counted_by(self) -> str:
        """`index` (packet times, proven at both ends by decoding) or `decoding` (everything decoded once)."""
        return self._stream.counted_by

    @property
    def damage(self) -> tuple[str, ...]:
        """Reasons why the file is not whole; damage between its ends shows only when frames there are decoded."""
        return self._stream.damage

    @property
    def remarks(self) -> tuple[Remark, ...]:
        """What is worth telling about a file that can be used, such as gaps in its clock."""
        return self._stream.remarks

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
        """Number of frames that decode in the whole stream, times checked; VideoError names one that fails."""
        self._refuse_closed()
        if isinstance(self._stream, FrameFolder):
            return sum(1 for _ in self._stream.rgb(range(self.frame_count)))
        return self._stream.count_by_decoding()

    def luma_digests(self) -> npt.NDArray[np.uint32]:
        """A sum of every frame, uint32 [frame_count], by decoding as `count_by_decoding` does.

        Equal neighbours show one picture. With `allow_damaged` a frame that can't be decoded has its own index.
        """
        self._refuse_closed()
        return self._stream.digests(self.lost_frames if self._allow_damaged else None)

    @property
    def packet_count(self) -> int:
        """Number of packets with a picture in the file, hidden and undecodable ones too; of a folder, its frames."""
        return self.frame_count if isinstance(self._stream, FrameFolder) else self._stream.packet_count

    @property
    def hidden_packet_count(self) -> int:
        """Number of packets that are decoded as references but not shown (edit lists)."""
        return 0 if isinstance(self._stream, FrameFolder) else self._stream.hidden_packet_count

    def _rgb(self, wanted: Sequence[int], lost: set[int] | None = None) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
        """The frames `wanted`; with `lost`, those that can't be decoded are left out and added to it."""
        self._refuse_closed()
        return self._stream.rgb(wanted, lost)

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
