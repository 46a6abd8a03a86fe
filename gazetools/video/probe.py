"""Open a video file safely and state its facts: which stream, size, rotation, colour, rate, claims of the container."""

from __future__ import annotations

import stat
from fractions import Fraction
from pathlib import Path
from typing import Any

from gazetools.schemas.errors import EnvironmentLacksError, VideoError
from gazetools.schemas.video import HDR_TRANSFERS, HdrRule, VideoInfo
from gazetools.video.colour import (
    colour_tags,
    describe_colour,
    describe_light,
    refuse_unknown_base_layer,
    rotation_of,
    tone_mapping_of,
)
from gazetools.video.picture_folders import about_pictures

# Demuxers that may look into a file. Playlists and scripts (hls, dash, concat, sdp ...) would open other files and
# addresses; `tty` takes any text for a video; still images are no videos.
_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,mpegts,mpeg,avi,flv,asf,ogg,gif,ivf,mxf,nut,rm,wtv,dv,h264,hevc,av1,obu,"
    "m4v,mpegvideo,h263,vc1,yuv4mpegpipe,mjpeg,apng,wav,mp3,flac,aac"
)
_DETECT_ERRORS = "explode"
"""FFmpeg's `err_detect`: a packet with an error raises instead of being patched up from its neighbours without a word;
intact files decode bit-identically with it (measured on mutants of H.264 and H.265 files)."""


def import_av() -> Any:
    """PyAV, or EnvironmentLacksError with the command that installs it."""
    try:
        import av
    except ImportError as error:
        raise EnvironmentLacksError(
            f"Reading video needs PyAV, which cannot be imported: {error}.", hint="Install it: pip install av"
        ) from error
    return av


def open_container(path: Path) -> Any:
    """An open av.container.InputContainer of the regular, non-empty file `path`; VideoError says what is wrong."""
    av = import_av()
    try:
        facts = path.stat()
    except OSError as error:
        raise VideoError(
            f"Cannot open the video {path}: {error.strerror}.", hint="Check the path.", path=str(path)
        ) from error
    except ValueError as error:  # a NUL in the name
        raise VideoError(f"Cannot open the video {str(path)!r}: {error}.", hint="Check the path.") from error
    if stat.S_ISDIR(facts.st_mode):
        about = about_pictures(path)
        raise VideoError(f"{path} is a folder, not a video file.", hint=about or "Name a file in it.", path=str(path))
    if not stat.S_ISREG(facts.st_mode):
        raise VideoError(
            f"{path} is a device, pipe or socket; frames can be read only from a regular file.",
            hint="Copy the data to a file first.",
            path=str(path),
        )
    if facts.st_size == 0:
        raise VideoError(f"{path} is empty (0 bytes).", hint="Copy or download it again.", path=str(path))
    try:
        # `file:` keeps a name such as `concat:a.mp4` or `http:x` from being read as a protocol.
        return av.open(
            f"file:{path}",
            metadata_errors="replace",
            container_options={"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"},
        )
    except av.error.FFmpegError as error:
        reason = getattr(error, "strerror", None) or str(error)
        if reason.startswith(("Invalid data", "Invalid argument")):  # the latter for a format outside the list above
            reason = "no video container was recognised in it"
        raise VideoError(
            f"{path} cannot be opened as a video ({facts.st_size} bytes): {reason}.",
            hint=about_pictures(path)
            or "It is damaged, cut off before its index, or no video; check it with `ffprobe` or copy it again.",
            path=str(path),
        ) from error


def choose_stream(container: Any, path: Path, stream_index: int | None) -> Any:
    """The video stream to read: `stream_index` of the file, or FFmpeg's best; cover pictures do not count."""
    pictures = "attached_pic"
    videos = [s for s in container.streams.video if pictures not in str(s.disposition) and s.codec_context is not None]
    unreadable = [s.index for s in container.streams.video if s.codec_context is None]
    if stream_index is not None:
        for stream in videos:
            if stream.index == stream_index:
                return stream
        raise VideoError(
            f"{path}: stream {stream_index} is not a video stream that can be decoded; "
            f"video streams: {[s.index for s in videos] or 'none'}.",
            hint="Name one of them, or none for FFmpeg's best.",
            path=str(path),
        )
    if not videos:
        kinds = sorted({str(s.type) for s in container.streams}) or ["nothing"]
        why = f"no decoder for stream {unreadable[0]}" if unreadable else f"it holds {', '.join(kinds)}"
        raise VideoError(
            f"{path} has no video stream that can be decoded: {why}.",
            hint="Name a file with video in it.",
            path=str(path),
        )
    best = container.streams.best("video")
    return best if any(best is stream for stream in videos) else videos[0]


def prepare_decoder(stream: Any, *, threads: int, pixels: bool = True) -> Any:
    """The stream's codec context, set to stop at errors and to use `threads` threads (0 = one per core).

    Without `pixels`, for proofs, the loop filter is left out, a quarter of the work: frames look blocky.
    """
    context = stream.codec_context
    context.thread_type = "NONE" if threads == 1 else "AUTO"
    context.thread_count = threads
    context.options = {"err_detect": _DETECT_ERRORS} | ({} if pixels else {"skip_loop_filter": "all"})
    return context


def probe(path: Path, stream_index: int | None, *, hdr: HdrRule = "tonemap") -> VideoInfo:
    """The facts of the chosen stream, its geometry, rotation and colours taken from the first frame that decodes."""
    av = import_av()
    with open_container(path) as container:
        stream = choose_stream(container, path, stream_index)
        context = stream.codec_context
        of_container = colour_tags(context)  # before anything is decoded
        frame = _first_frame(av, container, stream, path)
        in_frame = colour_tags(frame)
        tags = in_frame.completed_by(of_container)
        not_in_frames = tags != in_frame.completed_by(in_frame)
        rotation = rotation_of(frame, path=str(path))
        transfer, primaries = describe_light(tags)
        refuse_unknown_base_layer(frame, transfer, path=str(path))
        tone_mapping = tone_mapping_of(transfer, hdr, path=str(path))
        matrix, source, colour_range = describe_colour(
            colorspace=tags.matrix,
            color_range=tags.range,
            pixel_format=str(frame.format.name),
            path=str(path),
            hdr=transfer in HDR_TRANSFERS,
        )
        upright = (frame.width, frame.height) if rotation in (0, 180) else (frame.height, frame.width)
        libavcodec = ".".join(str(part) for part in av.library_versions["libavcodec"])
        return VideoInfo(
            path=str(path),
            size_bytes=path.stat().st_size,
            container=str(container.format.name),
            codec=str(context.codec.canonical_name),
            stream_index=int(stream.index),
            width=upright[0],
            height=upright[1],
            rotation_degrees=rotation,
            pixel_format=str(frame.format.name),
            colour_matrix=matrix,
            colour_matrix_source=source,
            colour_range=colour_range,
            colour_transfer=transfer,
            colour_primaries=primaries,
            tone_mapping=tone_mapping,
            colours_of_container=not_in_frames,
            rate=Fraction(stream.average_rate or stream.guessed_rate or stream.base_rate or 0),
            time_base=Fraction(stream.time_base),
            declared_frame_count=int(stream.frames) or None,
            # in the keys of caches, so that pictures of before do not pass for these
            decoder=f"pyav {av.__version__} (libavcodec {libavcodec})"
            + (", colours of the container" if not_in_frames else "")
            + ("" if tone_mapping == "none" else f", tone mapping {tone_mapping}"),
        )


def _first_frame(av: Any, container: Any, stream: Any, path: Path) -> Any:
    context = prepare_decoder(stream, threads=1)
    errors: list[str] = []
    try:
        for packet in container.demux(stream):
            try:
                frames = context.decode(packet)
            except av.error.FFmpegError as error:
                errors.append(str(error.strerror))
                continue
            for frame in frames:
                if not frame.is_corrupt:
                    return frame
    except av.error.FFmpegError as error:
        errors.append(str(error.strerror))
    why = f" ({errors[0]})" if errors else ""
    raise VideoError(
        f"{path}: not one frame of video stream {stream.index} ({context.name}) can be decoded{why}.",
        hint="The file is damaged or cut off; copy or download it again.",
        path=str(path),
    )
