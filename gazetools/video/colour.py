"""Decoded frames to upright 8-bit RGB: matrix, range and transfer as tagged, rotation of the display matrix."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gazetools.schemas.errors import VideoError
from gazetools.schemas.video import HDR_TRANSFERS, HdrRule, VideoInfo
from gazetools.video.hdr import TONE_MAPPING, ToneMapper

# Values of AVColorSpace, which are those of ISO/IEC 23091-2 (H.273) table 4.
_MATRICES = {0: "rgb", 1: "bt709", 5: "bt601", 6: "bt601", 9: "bt2020"}
_MATRIX_UNSPECIFIED = 2
_UNSUPPORTED_MATRICES = {4: "FCC", 7: "SMPTE 240M", 8: "YCgCo", 10: "BT.2020 constant luminance", 14: "ICtCp"}
_NUMBERS = {"bt709": 1, "bt601": 5, "bt2020": 9}
"""Number of each matrix that is written into frames without a tag."""
_RANGE_FULL = 2  # AVCOL_RANGE_JPEG
# Names of AVColorTransferCharacteristic and AVColorPrimaries, which are those of H.273, tables 3 and 2.
_TRANSFERS = {
    1: "bt709",
    4: "bt470m",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "linear",
    9: "log100",
    10: "log316",
    11: "iec61966-2-4",
    12: "bt1361e",
    13: "iec61966-2-1",
    14: "bt2020-10",
    15: "bt2020-12",
    16: "smpte2084",
    17: "smpte428",
    18: "arib-std-b67",
}
_PRIMARIES = {
    1: "bt709",
    4: "bt470m",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "film",
    9: "bt2020",
    10: "smpte428",
    11: "smpte431",
    12: "smpte432",
    22: "ebu3213",
}
_UNSPECIFIED = (0, 2)
_RGB_FORMATS = ("rgb", "bgr", "gbr", "argb", "abgr", "0rgb", "0bgr", "pal8", "x2rgb", "x2bgr")

SAME_RGB_EVERYWHERE = frozenset({"yuv420p", "yuvj420p", "yuv422p", "yuvj422p"})
"""8-bit formats that swscale converts by one fast routine whatever its flags: byte-identical in ffmpeg, decord, OpenCV
and here, up to 2.5 levels (mean -0.9) from the formula (measured over random colours; 30 times faster than exact)."""


@dataclass(frozen=True, kw_only=True)
class ColourTags:
    """What a frame, or the container of its stream, says of its colours, in FFmpeg's numbers (H.273); 2: nothing."""

    transfer: int
    primaries: int
    matrix: int
    range: int

    def completed_by(self, container: ColourTags) -> ColourTags:
        """These tags, and those of the `container` for what they leave open: players do the same."""
        return ColourTags(
            transfer=_first_stated(self.transfer, container.transfer),
            primaries=_first_stated(self.primaries, container.primaries),
            matrix=_first_stated(self.matrix, container.matrix),
            range=max(self.range, container.range if self.matrix in _UNSPECIFIED else 0),
        )


def _first_stated(*numbers: int) -> int:
    return next((number for number in numbers if number not in _UNSPECIFIED), _MATRIX_UNSPECIFIED)


def colour_tags(source: Any) -> ColourTags:
    """The tags of a frame, or of a codec context: before the first decoded frame these are the container's.

    Afterwards decoders (HEVC, AV1) have put their own there, also where the bit stream says nothing.
    """
    return ColourTags(
        transfer=int(source.color_trc),
        primaries=int(source.color_primaries),
        matrix=int(source.colorspace),
        range=int(source.color_range),
    )


def describe_colour(
    *, colorspace: int, color_range: int, pixel_format: str, path: str, hdr: bool = False
) -> tuple[str, str, str]:
    """(matrix, `tagged` or `assumed`, range) of a stream from FFmpeg's numbers; VideoError where it is unsupported.

    Where the matrix is not tagged, an `hdr` stream has that of BT.2020, any other that of BT.601.
    """
    if pixel_format.startswith(_RGB_FORMATS):
        return "rgb", "tagged", "full"
    full = color_range == _RANGE_FULL or pixel_format.startswith("yuvj")
    named_range = "full" if full else "limited"
    if colorspace == _MATRIX_UNSPECIFIED:
        return "bt2020" if hdr else "bt601", "assumed", named_range
    if colorspace not in _MATRICES or colorspace == 0:
        name = _UNSUPPORTED_MATRICES.get(colorspace, f"number {colorspace}")
        raise VideoError(
            f"{path}: its colour matrix {name} is not supported; BT.601, BT.709 and BT.2020 are.",
            hint="Convert it, for example: ffmpeg -i IN -vf scale=out_color_matrix=bt709 -colorspace bt709 OUT.mp4",
            path=path,
        )
    return _MATRICES[colorspace], "tagged", named_range


def describe_light(tags: ColourTags) -> tuple[str, str]:
    """(transfer, primaries) by FFmpeg's names, `unspecified` without a tag."""
    found = []
    for number, names in ((tags.transfer, _TRANSFERS), (tags.primaries, _PRIMARIES)):
        found.append("unspecified" if number in _UNSPECIFIED else names.get(number, f"number {number}"))
    return found[0], found[1]


def tone_mapping_of(transfer: str, hdr: HdrRule, *, path: str) -> str:
    """Name of the tone mapping that `hdr` asks for, `none` for SDR; VideoError where HDR is to be refused."""
    if transfer not in HDR_TRANSFERS or hdr == "raw":
        return "none"
    if hdr == "refuse":
        raise VideoError(
            f"{path} is HDR (transfer {transfer}), and --hdr refuse was given; models were trained on SDR pictures.",
            hint=f"Pass --hdr tonemap (the default; {TONE_MAPPING}), or --hdr raw for the values as they are stored.",
            path=path,
        )
    return TONE_MAPPING


def refuse_unknown_base_layer(frame: Any, transfer: str, *, path: str) -> None:
    """VideoError for Dolby Vision whose base layer has no meaning of its own (profile 5: IPT, no colour tags)."""
    if transfer == "unspecified" and any(item.type.name.startswith("DOVI") for item in frame.side_data):
        raise VideoError(
            f"{path} is Dolby Vision without a base layer that others can show (profile 5).",
            hint="Convert it to SDR or HDR10 once, or record with a profile such as 8.4, whose base layer is HLG.",
            path=path,
        )


def rotation_of(frame: Any, *, path: str) -> int:
    """Counter-clockwise degrees (0, 90, 180, 270) that make `frame` upright, from its display matrix.

    The matrix is nine 32-bit integers (a b u c d v x y w; a, b, c, d in 16.16 fixed point, see FFmpeg's
    libavutil/display.h): a point (p, q) is shown at (a p + c q, b p + d q). Raises VideoError for mirroring and for
    angles that are no multiple of 90, which cannot be applied without changing pixels.
    """
    data = next((bytes(item) for item in frame.side_data if item.type.name == "DISPLAYMATRIX"), bytes(20))
    a, b, _, c, d = (value / 65536 for value in struct.unpack("=5i", data[:20]))
    # Scaling is no rotation: only the direction of the axes counts.
    scale = max(abs(a), abs(b), abs(c), abs(d))
    if scale == 0:
        return 0
    axes = tuple(round(value / scale, 2) + 0.0 for value in (a, b, c, d))  # + 0.0: no negative zero
    angles = {(1, 0, 0, 1): 0, (0, 1, -1, 0): 270, (-1, 0, 0, -1): 180, (0, -1, 1, 0): 90}
    if axes not in angles:
        raise VideoError(
            f"{path}: its display matrix (a, b, c, d) = {axes} mirrors the frames or turns them by an angle "
            "that is no multiple of 90 degrees; only turns by 0, 90, 180 and 270 are applied.",
            hint="Write it upright once, for example: ffmpeg -i IN -c:v libx264 -crf 16 OUT.mp4",
            path=path,
        )
    return angles[axes]


_SWS_BILINEAR, _SWS_FULL_CHR_H_INT, _SWS_ACCURATE_RND = 1 << 1, 1 << 13, 1 << 18
"""Flags of FFmpeg's libswscale/swscale.h; PyAV 17, the last one for Python 3.10, has no names for the last two."""


def converter_for(info: VideoInfo) -> RgbConverter:
    """The converter of frames of the stream that `info` describes."""
    mapped = info.tone_mapping != "none"
    stated = info.colours_of_container or (info.colour_matrix == "bt2020" and info.colour_matrix_source == "assumed")
    return RgbConverter(
        rotation_degrees=info.rotation_degrees,
        mapper=ToneMapper(transfer=info.colour_transfer, primaries=info.colour_primaries) if mapped else None,
        untagged=(info.colour_matrix, info.colour_range) if stated else None,
    )


class RgbConverter:
    """Turns decoded frames into upright uint8 RGB; holds the one scaler context of a reader.

    Args:
        rotation_degrees: as `VideoInfo.rotation_degrees`.
        mapper: makes SDR of HDR frames; None: 8-bit values as they are stored.
        untagged: matrix and range (`full` or `limited`) of frames without a tag of their own; None: as FFmpeg reads
            them, with BT.601.
    """

    def __init__(
        self, *, rotation_degrees: int, mapper: ToneMapper | None = None, untagged: tuple[str, str] | None = None
    ) -> None:
        from av.video.reformatter import VideoReformatter

        # frame.reformat() would set up a new scaler for every frame: 1.4 to 1.8 times slower (measured).
        self._reformatter = VideoReformatter()
        # Elsewhere (10 bit, NV12 ...) the default is up to 3.2 levels off and blurs chroma; this is within 1.2.
        self._exact = _SWS_BILINEAR | _SWS_ACCURATE_RND | _SWS_FULL_CHR_H_INT
        self._quarter_turns = rotation_degrees // 90
        self._mapper, self._untagged = mapper, untagged

    def view(self, frame: Any) -> npt.NDArray[np.uint8]:
        """uint8 [H,W,3] of `frame`; for an unrotated frame a view of FFmpeg's own buffer, possibly with padded rows."""
        if self._untagged is not None and int(frame.colorspace) == _MATRIX_UNSPECIFIED:
            matrix, colour_range = self._untagged
            frame.colorspace = _NUMBERS.get(matrix, _MATRIX_UNSPECIFIED)
            frame.color_range = _RANGE_FULL if colour_range == "full" else int(frame.color_range)
        pixels = self._rgb(frame) if self._mapper is None else self._mapper.sdr(self._planes(frame))
        return np.rot90(pixels, self._quarter_turns) if self._quarter_turns else pixels

    def array(self, frame: Any) -> npt.NDArray[np.uint8]:
        """Like `view`, but C-ordered where the frame was rotated (torch takes no negative strides)."""
        pixels = self.view(frame)
        return np.ascontiguousarray(pixels) if self._quarter_turns else pixels

    def _rgb(self, frame: Any) -> npt.NDArray[np.uint8]:
        """uint8 [H,W,3]: a view of the buffer of the converted frame."""
        interpolation = None if frame.format.name in SAME_RGB_EVERYWHERE else self._exact
        rgb = self._reformatter.reformat(frame, format="rgb24", interpolation=interpolation)
        plane: Any = rgb.planes[0]
        rows = np.frombuffer(plane, dtype=np.uint8)[: plane.line_size * rgb.height].reshape(rgb.height, plane.line_size)
        return rows[:, : 3 * rgb.width].reshape(rgb.height, rgb.width, 3)

    def _planes(self, frame: Any) -> list[npt.NDArray[np.float32]]:
        """Red, green and blue [H,W] in 0..1: views of the buffers of the converted frame.

        Of FFmpeg's formats of more than 8 bits only this one is right: with these flags rgb48 has wrong colours where
        they change, and gbrp16 wraps around outside 0..1 (measured against the formula, libswscale 9.5).
        """
        rgb = self._reformatter.reformat(frame, format="gbrpf32le", interpolation=self._exact)
        found = []
        for number in (2, 0, 1):
            plane: Any = rgb.planes[number]
            row = plane.line_size // 4
            rows = np.frombuffer(plane, dtype="<f4")[: row * rgb.height].reshape(rgb.height, row)
            found.append(rows[:, : rgb.width])
        return found
