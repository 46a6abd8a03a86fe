"""A folder of pictures as a video: frame i is the i-th picture in number order, at the time that its clock gives it."""

from __future__ import annotations

import os
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gazetools.io.atomic import sha256_of_file
from gazetools.io.picture_names import PictureList
from gazetools.io.source_digest import source_bytes
from gazetools.schemas.errors import VideoError
from gazetools.schemas.excerpt import excerpt_of_names
from gazetools.schemas.picture_times import PictureTimes
from gazetools.schemas.video import Frame, PictureFacts, Remark, VideoInfo
from gazetools.video.frame_clock import FrameClock, clock_of, timed_pictures
from gazetools.video.gaps import gap_remark
from gazetools.video.picture_header import PictureFault, PictureHeader, picture_header

Rgb = npt.NDArray[np.uint8]
_MOST_THREADS = 8
_AHEAD_BYTES = 256 << 20
"""Most memory for pictures that are decoded before they are asked for."""
_TASK_BYTES, _MOST_IN_TASK = 4 << 20, 8
"""Pixels and pictures of one task: handing over one picture of 456x256 costs a tenth of decoding it."""
_DIGEST_EVERY_LINE = 8


@dataclass(frozen=True)
class FrameFolder:
    """An open folder of pictures; a `VideoSource`. All pictures have the size and the turn of the first one."""

    pictures: PictureList
    pts_seconds: npt.NDArray[np.float64]
    """Time of each picture, float64 [frame_count], ascending."""
    clock: FrameClock
    threads: int = 1
    """Threads that decode; 0: one per core, at most 8."""
    weighed: bool = True
    """Whether `info.size_bytes` is the sum of all pictures; else 0, which spares a look at each of them."""

    @staticmethod
    def open(path: Path, times: PictureTimes, *, threads: int = 1) -> FrameFolder:
        """The pictures of the folder `path`.

        Raises UsageError where their times are not stated, VideoError or DataFileError where pictures and times do not
        give frames (see `gazetools.video.frame_clock`).
        """
        clock = clock_of(path, times)
        pictures, seconds = timed_pictures(path, clock)
        seconds.flags.writeable = False
        return FrameFolder(pictures, seconds, clock, threads)

    counted_by = "index"
    """Names are counted; pictures are read when they are wanted."""

    @property
    def frame_count(self) -> int:
        """Number of pictures."""
        return len(self.pts_seconds)

    @cached_property
    def rate(self) -> Fraction:
        """Pictures per second: as stated, or by the median step between the times of a CSV."""
        if self.clock.rate is not None:
            return self.clock.rate
        steps = np.diff(self.pts_seconds)
        return Fraction(1 / float(np.median(steps))).limit_denominator(1001) if len(steps) else Fraction(1)

    @property
    def damage(self) -> tuple[str, ...]:
        """That numbers are missing, where the numbers give the times."""
        return () if (fault := self._missing) is None else (fault,)

    @property
    def remarks(self) -> tuple[Remark, ...]:
        """Gaps between the times of the pictures, and files that are no frames."""
        gaps = gap_remark(self.pts_seconds, self._missing)
        others = list(self.pictures.others)
        text = f"{len(others)} files next to the {self.frame_count} frames are no frames: {excerpt_of_names(others)}"
        left_out = [Remark(code="video-files-left-out", text=text)] if others else []
        return (*([] if gaps is None else [gaps]), *left_out)

    @property
    def _missing(self) -> str | None:
        numbers, missing = self.pictures.numbers, self.pictures.missing
        if self.clock.rate is None or not missing:
            return None
        last = next(a for a, b in pairwise(numbers) if b > a + 1)
        return f"{missing} of the numbers {numbers[0]} to {numbers[-1]} have no picture, the first after {last}"

    @cached_property
    def info(self) -> VideoInfo:
        """Facts of the folder, those of pixels from the first picture that can be read; VideoError where none can."""
        import cv2

        header, rgb = self._first()
        rate, table, folder = self.rate, self.clock.table, self.pictures.folder
        return VideoInfo(
            path=str(folder), size_bytes=source_bytes(folder) if self.weighed else 0,
            container="pictures", codec=header.kind, stream_index=0,
            width=rgb.shape[1], height=rgb.shape[0], rotation_degrees=header.turn_degrees,
            pixel_format=header.pixel_format, colour_matrix=header.matrix, colour_matrix_source="tagged",
            colour_range="full" if header.full_range else "limited", rate=rate,
            time_base=1 / rate if self.clock.rate else Fraction(1, 10**9), declared_frame_count=None,
            # in the keys of caches, so that pictures that an earlier version did not turn do not pass for these
            decoder=f"opencv {cv2.__version__}" + (", turned" if header.turn_degrees else ""),
            pictures=PictureFacts(
                pattern=self.pictures.pattern,
                first_number=self.pictures.numbers[0] if self.pictures.numbers else None,
                missing_numbers=self.pictures.missing,
                timed_by=self.clock.stated_by[:500],
                times_path=None if table is None else str(table.absolute()),
                times_sha256=None if table is None else sha256_of_file(table),
            ),
        )  # fmt: skip

    def frames(self, indices: npt.NDArray[np.int64], /) -> Iterator[Frame]:
        """Yield the pictures `indices`; VideoError names one that cannot be read or has another size."""
        for index, rgb in self.rgb(indices.tolist()):
            yield Frame(index=index, pts_seconds=float(self.pts_seconds[index]), rgb=rgb)

    def rgb(self, wanted: Sequence[int], lost: set[int] | None = None) -> Iterator[tuple[int, Rgb]]:
        """Yield (index, uint8 [H, W, 3]) of the pictures `wanted`, decoded ahead by the threads.

        VideoError names one that can't be read; with `lost` such pictures are left out and added to it.
        """
        for index, result in self._ahead(wanted):
            if not isinstance(result, VideoError):
                yield index, result
            elif lost is None:
                raise result
            else:
                lost.add(index)

    def digests(self, lost: set[int] | None = None) -> npt.NDArray[np.uint32]:
        """A sum of every eighth line of each picture, uint32 [frame_count]; a picture in `lost` has its own index."""
        found = np.arange(self.frame_count, dtype=np.uint32)
        for index, pixels in self.rgb(range(self.frame_count), lost):
            found[index] = zlib.crc32(np.ascontiguousarray(pixels[::_DIGEST_EVERY_LINE]).data)
        return found

    def release(self, frame: Frame, /) -> None:
        """Do nothing: every picture has memory of its own."""

    def close(self) -> None:
        """Do nothing: no file stays open."""

    def _ahead(self, wanted: Sequence[int]) -> Iterator[tuple[int, Rgb | VideoError]]:
        """The pictures `wanted`, or why one can't be used; several small ones are one task of a thread."""
        threads = min(self.threads or os.cpu_count() or 1, _MOST_THREADS)
        if threads == 1 or len(wanted) == 1:
            yield from ((index, self._tried(index)) for index in wanted)
            return
        frame_bytes = self.info.width * self.info.height * 3
        size = min(max(_TASK_BYTES // frame_bytes, 1), _MOST_IN_TASK)
        most = max(min(2 * threads, _AHEAD_BYTES // (size * frame_bytes)), 1)
        waiting: deque[tuple[Sequence[int], Future[list[Rgb | VideoError]]]] = deque()
        with ThreadPoolExecutor(threads, thread_name_prefix="pictures") as pool:
            try:
                for first in range(0, len(wanted), size):
                    part = wanted[first : first + size]
                    waiting.append((part, pool.submit(lambda part: [self._tried(index) for index in part], part)))
                    if len(waiting) > most:
                        yield from _results(*waiting.popleft())
                while waiting:
                    yield from _results(*waiting.popleft())
            finally:  # the caller wants no more
                for _, task in waiting:
                    task.cancel()

    def _tried(self, index: int) -> Rgb | VideoError:
        try:
            return self._frame(index)
        except VideoError as error:
            return error

    def _frame(self, index: int) -> Rgb:
        """The picture `index`, of the size and turn of the first one."""
        header, rgb = self._read(index)
        info = self.info
        if header.turn_degrees != info.rotation_degrees:
            raise self._error(
                index, f"is turned by {header.turn_degrees} degrees, the first picture by {info.rotation_degrees}"
            )
        if rgb.shape[:2] != (info.height, info.width):
            first = f"the first picture {info.width}x{info.height}"
            raise self._error(index, f"is {rgb.shape[1]}x{rgb.shape[0]} pixels, {first}; one size is allowed per video")
        return rgb

    def _first(self) -> tuple[PictureHeader, Rgb]:
        """The first picture that can be read, or the error of frame 0."""
        for index in range(1, self.frame_count):
            try:
                return self._read(index - 1)
            except VideoError:
                continue
        return self._read(0)

    def _read(self, index: int) -> tuple[PictureHeader, Rgb]:
        try:
            return decoded(self.pictures.folder / self.pictures.names[index])
        except PictureFault as fault:
            raise self._error(index, str(fault)) from None
        except OSError as error:
            why = "is not there" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
            raise self._error(index, why) from None

    def _error(self, index: int, what: str) -> VideoError:
        return VideoError(
            f"The picture {self.pictures.folder / self.pictures.names[index]} (frame {index}) {what}.",
            hint="Unpack or extract the video's pictures again.",
            path=str(self.pictures.folder),
            frame_index=index,
        )


def _results(part: Sequence[int], task: Future[list[Rgb | VideoError]]) -> Iterator[tuple[int, Rgb | VideoError]]:
    return zip(part, task.result(), strict=True)


def decoded(path: Path) -> tuple[PictureHeader, Rgb]:
    """A picture and its facts: uint8 [H, W, 3] RGB, turned upright as its EXIF orientation says.

    Grey becomes three equal channels, of 16 bits the upper 8 are kept, transparency is dropped. Raises OSError, and
    PictureFault for a file that is no such picture, whole and alone.
    """
    import cv2

    data = path.read_bytes()
    if not data:
        raise PictureFault("is empty (0 bytes)")
    header = picture_header(data)
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        # with ANYDEPTH, deep formats without a header that is read here show what they are
        pixels: Any = cv2.imdecode(np.frombuffer(data, np.uint8), flags | (cv2.IMREAD_ANYDEPTH if not header else 0))
    except cv2.error:
        pixels = None
    if pixels is None:
        raise PictureFault(f"cannot be read: its {len(data)} bytes are damaged, or no picture")
    if pixels.dtype != np.uint8:
        raise PictureFault(f"has {pixels.dtype} values; 8 bits a channel are read of this format")
    if header is None:
        kind = path.suffix.lower().lstrip(".")
        header = PictureHeader(kind=kind, pixel_format="rgb24", matrix="rgb")
    if header.turn_degrees:
        turn = {90: cv2.ROTATE_90_COUNTERCLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_CLOCKWISE}
        pixels = cv2.rotate(pixels, turn[header.turn_degrees])
    return header, cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels)  # in place: a third faster
