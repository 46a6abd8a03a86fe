"""Write an overlay video: every frame drawn and encoded, the sound copied as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from gazetools.io.atomic import atomic_path
from gazetools.progress import Progress
from gazetools.schemas.video import Frame
from gazetools.video import VideoReader

_FORMATS = {".mkv": "matroska", ".mov": "mov"}
_TICK_SECONDS = Fraction(1, 90_000)
_BT709 = 1
"""BT.709 in each of FFmpeg's enumerations of matrix, primaries and transfer, which are those of H.273."""


def write_overlay_video(
    reader: VideoReader, draw: Callable[[Frame], npt.NDArray[np.uint8]], output: Path, progress: Progress
) -> int:
    """Encode `draw(frame)` of every frame as H.264 into `output` and return the number of frames.

    Every frame keeps its time, the first one is at 0. The colours are tagged as BT.709, since players guess otherwise.
    The first audio stream is copied and starts with the first frame, unless the container can't hold it.
    """
    task = f"drawing {output.name}"
    progress.start(task, reader.frame_count)
    container_format = _FORMATS.get(output.suffix.lower(), "mp4")
    with atomic_path(output) as temp, av.open(str(temp), "w", format=container_format) as container:
        stream = container.add_stream("libx264", rate=reader.info.rate, options={"crf": "20", "preset": "veryfast"})
        # yuv420p needs even sides; one row or column is dropped from odd ones
        stream.width, stream.height = reader.info.width // 2 * 2, reader.info.height // 2 * 2
        stream.pix_fmt = "yuv420p"
        codec: Any = stream.codec_context
        codec.time_base = _TICK_SECONDS
        codec.colorspace = codec.color_primaries = codec.color_trc = _BT709
        codec.color_range = ColorRange.MPEG
        to_yuv = VideoReformatter()
        start_seconds = float(reader.pts_seconds[0])
        with _sound(Path(reader.info.path), container, start_seconds, progress) as sound:
            for frame in reader.frames():
                drawn = np.ascontiguousarray(draw(frame)[: stream.height, : stream.width])
                picture = to_yuv.reformat(
                    av.VideoFrame.from_ndarray(drawn, format="rgb24"),
                    format="yuv420p",
                    dst_colorspace=Colorspace.ITU709,
                )
                picture.pts = round((frame.pts_seconds - start_seconds) / _TICK_SECONDS)
                picture.time_base = _TICK_SECONDS
                container.mux([*stream.encode(picture), *sound(frame.pts_seconds)])
                progress.advance(task)
            container.mux(stream.encode(None))
            for packet in sound(float("inf")):
                container.mux(packet)
    progress.finish(task)
    return reader.frame_count


@contextmanager
def _sound(
    video: Path, container: Any, start_seconds: float, progress: Progress
) -> Iterator[Callable[[float], Iterator[Any]]]:
    """A function that returns the packets of sound up to a time of the video; time 0 is that of its first frame."""
    if video.is_dir():  # pictures have no sound
        yield lambda until_seconds: iter(())
        return
    with av.open(str(video)) as source:
        audio = next(iter(source.streams.audio), None)
        copy = None
        if audio is not None:
            try:
                copy = container.add_stream_from_template(audio)
            except (ValueError, av.FFmpegError) as error:
                progress.say(f"the sound ({audio.codec_context.name}) can't be kept in this container: {error}")
        if audio is None or copy is None:
            yield lambda until_seconds: iter(())
            return
        shift = round(start_seconds / audio.time_base)
        packets = (packet for packet in source.demux(audio) if packet.pts is not None and packet.pts >= shift)
        waiting: list[Any] = []

        def up_to(until_seconds: float) -> Iterator[Any]:
            while True:
                with suppress(av.FFmpegError):  # the picture is kept where the end of the sound is broken
                    if not waiting and (packet := next(packets, None)) is not None:
                        waiting.append(packet)
                if not waiting or float(waiting[0].pts * audio.time_base) > until_seconds:
                    return
                packet = waiting.pop()
                packet.pts -= shift
                packet.dts = packet.dts - shift if packet.dts is not None else None
                packet.stream = copy
                yield packet

        yield up_to
