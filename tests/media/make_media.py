"""Make the small committed test videos and ffprobe's tables of them.

    python -m tests.media.make_media            # needs ffmpeg's `ffprobe` on the PATH for the tables
    python -m tests.media.make_media --tables FOLDER   # only tables, for every video below FOLDER

Everything is encoded through PyAV; the tables come from ffprobe, so that the reader is compared with another program.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from tests.media.barcode import HEIGHT, WIDTH, draw_barcode

HERE = Path(__file__).parent
MADE = HERE / "made"
TABLES = HERE / "tables"


def encode(
    path: Path,
    *,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    frames: int = 60,
    rate: Fraction = Fraction(25),
    ticks: list[int] | None = None,
    time_base: Fraction | None = None,
    pix_fmt: str = "yuv420p",
    container_options: dict[str, str] | None = None,
    rotation: int | None = None,
    mirrored: bool = False,
    format_name: str | None = None,
    first_number: int = 0,
    size: tuple[int, int] = (WIDTH, HEIGHT),
) -> None:
    """Encode barcoded frames; `ticks` are their pts in `time_base` (default: constant rate from 0)."""
    with av.open(
        str(path), "w", format=format_name, container_options={"fflags": "+bitexact", **(container_options or {})}
    ) as out:
        stream = out.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height, stream.pix_fmt = *size, pix_fmt
        stream.codec_context.thread_count = 1
        if time_base is not None:
            stream.codec_context.time_base = time_base
            stream.time_base = time_base
        if rotation is not None:
            stream.set_display_rotation(rotation, hflip=mirrored)
        for position in range(frames):
            image = draw_barcode(first_number + position, width=size[0], height=size[1])
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pix_fmt)
            frame.pts = ticks[position] if ticks else position
            frame.time_base = time_base or 1 / rate
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def remux(
    source: Path, target: Path, *, shift: int = 0, skip_packets: int = 0, options: dict[str, str] | None = None
) -> None:
    """Copy the packets of `source`, each pts and dts moved by `shift` ticks, without the first `skip_packets`."""
    with av.open(str(source)) as inp, av.open(str(target), "w", container_options=options or {}) as out:
        stream = inp.streams.video[0]
        copy = out.add_stream_from_template(stream)
        for number, packet in enumerate(inp.demux(stream)):
            if packet.dts is None or number < skip_packets:
                continue
            packet.pts += shift
            packet.dts += shift
            packet.stream = copy
            out.mux(packet)


def solid_colour(
    path: Path, yuv: tuple[int, int, int], *, codec: str, matrix: int | None, full: bool, pix_fmt: str
) -> None:
    """Five frames of one YCbCr colour (8-bit values), tagged with AVCOL_SPC `matrix` and range."""
    with av.open(str(path), "w") as out:
        tags = {1: "bt709", 5: "bt470bg", 9: "bt2020nc"}
        params = ["lossless=1"] if codec == "libx265" else []
        params += [f"colormatrix={tags[matrix]}"] if matrix else []
        params += [f"range={'full' if full else 'limited'}"] if codec == "libx265" and (matrix or full) else []
        key = {"libx264": "x264-params", "libx265": "x265-params"}[codec]
        quality = {"qp": "0"} if codec == "libx264" else {}
        stream = out.add_stream(codec, rate=25, options={**quality, key: ":".join([*params, "log-level=none"])})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pix_fmt
        stream.codec_context.thread_count = 1
        if matrix:
            stream.codec_context.colorspace = matrix
        if full:
            stream.codec_context.color_range = 2
        for _ in range(5):
            frame = av.VideoFrame(WIDTH, HEIGHT, pix_fmt)
            for plane, value in zip(frame.planes, yuv, strict=True):
                deep = "10" in pix_fmt
                plane.update(
                    np.full(
                        plane.buffer_size // (2 if deep else 1),
                        value << 2 if deep else value,
                        np.uint16 if deep else np.uint8,
                    ).tobytes()
                )
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def variable_ticks(count: int) -> list[int]:
    """pts in 1/1000 s with gaps between 7 and 180 ms, the same on every run."""
    gaps = np.random.default_rng(5).integers(7, 181, count)
    return [int(tick) for tick in np.cumsum(gaps)]


X264 = {"crf": "30", "bf": "3", "g": "15", "x264-params": "scenecut=0:b-adapt=0"}
X264_OPEN = {
    "crf": "30",
    "bf": "3",
    "g": "12",
    "x264-params": "open-gop=1:scenecut=0:b-adapt=0:keyint=12:min-keyint=12",
}
X265 = {
    "crf": "30",
    "x265-params": "keyint=20:min-keyint=20:scenecut=0:bframes=4:log-level=none:pools=1:frame-threads=1",
}
COLOUR = (120, 90, 190)
"""Y, Cb, Cr of the colour files; every matrix and range gives another RGB of it."""


def make_all() -> None:
    """Write every file of MADE."""
    MADE.mkdir(exist_ok=True)
    encode(MADE / "h264_bframes.mp4", options=X264, container_options={"movflags": "+faststart"}, frames=90)
    encode(MADE / "h264_open_gop.mp4", options=X264_OPEN)
    encode(MADE / "h265_open_gop.mp4", codec="libx265", options=X265, frames=70)
    ms = Fraction(1, 1000)
    encode(MADE / "h264_variable_rate.mp4", options=X264, ticks=variable_ticks(60), time_base=ms)
    encode(MADE / "h264_variable_rate.mkv", options=X264, ticks=variable_ticks(60), time_base=ms)
    encode(
        MADE / "h264_late_start.mp4",
        options=X264,
        ticks=[250 + i for i in range(40)],
        time_base=Fraction(1, 25),
        frames=40,
    )
    encode(
        MADE / "h264_late_start.mkv",
        options=X264_OPEN,
        ticks=[10_040 + 40 * i for i in range(40)],
        time_base=ms,
        frames=40,
    )
    encode(MADE / "h264.ts", options=X264)
    encode(MADE / "h264_open_gop.ts", options=X264_OPEN)
    encode(MADE / "h265_open_gop.ts", codec="libx265", options=X265)
    encode(MADE / "h265_open_gop.mkv", codec="libx265", options=X265)
    encode(
        MADE / "vp9.webm",
        codec="libvpx-vp9",
        options={"crf": "40", "b": "0", "g": "20", "auto-alt-ref": "1", "lag-in-frames": "16"},
    )
    encode(MADE / "mpeg4.avi", codec="mpeg4", options={"g": "12", "qscale": "4"}, frames=40)
    encode(MADE / "mpeg4_bframes.avi", codec="mpeg4", options={"g": "12", "bf": "2", "qscale": "4"}, frames=40)
    encode(MADE / "h264_bframes.avi", options=X264, frames=40)
    encode(MADE / "h264_ntsc.mp4", options=X264, rate=Fraction(30000, 1001), frames=40)
    encode(MADE / "raw.h264", options=X264, frames=20)
    scratch = MADE / "scratch.mp4"
    encode(scratch, options=X264, frames=62)
    with av.open(str(scratch)) as inp:
        tick = int(Fraction(1, 25) / inp.streams.video[0].time_base)
    remux(scratch, MADE / "h264_edit_list.mp4", shift=-22 * tick, options={"avoid_negative_ts": "disabled"})
    scratch.unlink()
    for degrees in (90, 180, 270, 45):
        encode(MADE / f"rotated_{degrees}.mp4", options=X264, frames=12, rotation=degrees)
    encode(MADE / "mirrored.mp4", options=X264, frames=3, rotation=0, mirrored=True)
    for name, tags in {
        "untagged_limited": {"matrix": None, "full": False},
        "bt601_limited": {"matrix": 5, "full": False},
        "bt709_limited": {"matrix": 1, "full": False},
        "bt2020_limited": {"matrix": 9, "full": False},
        "bt601_full": {"matrix": 5, "full": True},
        "bt709_full": {"matrix": 1, "full": True},
    }.items():
        solid_colour(MADE / f"colour_{name}.mp4", COLOUR, codec="libx264", pix_fmt="yuv420p", **tags)
    solid_colour(
        MADE / "colour_bt709_limited_10bit.mp4",
        COLOUR,
        codec="libx265",
        pix_fmt="yuv420p10le",
        matrix=1,
        full=False,
    )


def ffprobe_table(path: Path) -> dict[str, Any]:
    """Per video stream what ffprobe decodes: pts_time of every frame as text, size, rate, FFmpeg's best stream."""

    def probe(*arguments: str) -> Any:
        command = ["ffprobe", "-v", "quiet", "-of", "json", *arguments, str(path)]
        return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)

    streams = probe("-show_streams", "-select_streams", "v")["streams"]
    table = {}
    for stream in streams:
        frames = probe("-select_streams", str(stream["index"]), "-show_frames", "-show_entries", "frame=pts_time")[
            "frames"
        ]
        table[str(stream["index"])] = {
            "codec": stream["codec_name"],
            "coded_width": stream["width"],
            "coded_height": stream["height"],
            "rate": stream["avg_frame_rate"],
            "pts_time": [frame.get("pts_time") for frame in frames],
        }
    best = probe("-select_streams", "V:0", "-show_streams")["streams"]
    return {"streams": table, "first_stream": best[0]["index"] if best else None}


def make_tables(folder: Path) -> None:
    """One JSON per video below `folder`."""
    TABLES.mkdir(exist_ok=True)
    for path in sorted(folder.rglob("*")):
        if path.suffix in {".mp4", ".mkv", ".ts", ".avi", ".webm", ".h264"}:
            text = json.dumps(ffprobe_table(path), separators=(",", ":"))
            (TABLES / f"{path.name}.json").write_text(text + "\n", encoding="utf-8")


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=Path, help="only write ffprobe's tables of the videos below this folder")
    arguments = parser.parse_args()
    if arguments.tables is None:
        make_all()
    make_tables(arguments.tables or MADE)


if __name__ == "__main__":
    main()
