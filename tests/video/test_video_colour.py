"""RGB against the standards' formulas, and rotation against turned pixels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest

from gazetools.schemas.errors import VideoError
from gazetools.video import VideoReader
from gazetools.video.colour import RgbConverter, describe_colour

Decode = Callable[[Path], npt.NDArray[np.uint8]]
# Luma weights (Kr, Kb) of ITU-R BT.601-7, BT.709-6 and BT.2020-2.
WEIGHTS = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}
YUV = (120, 90, 190)  # COLOUR of make_media.py


def rgb_by_formula(yuv: tuple[float, ...], *, matrix: str, full: bool) -> npt.NDArray[np.float64]:
    """R'G'B' in 0..255 from 8-bit Y'CbCr by the definition of the matrix coefficients."""
    kr, kb = WEIGHTS[matrix]
    luma, blue, red = yuv
    y = luma / 255 if full else (luma - 16) / 219
    pb, pr = ((value - 128) / (255 if full else 224) for value in (blue, red))
    r, b = y + 2 * (1 - kr) * pr, y + 2 * (1 - kb) * pb
    g = (y - kr * r - kb * b) / (1 - kr - kb)
    return np.clip(np.array([r, g, b]) * 255, 0, 255)


@pytest.mark.parametrize("backend", ["pyav", "decord"])
@pytest.mark.parametrize(
    ("name", "matrix", "source", "colour_range"),
    [
        ("untagged_limited", "bt601", "assumed", "limited"),
        ("bt601_limited", "bt601", "tagged", "limited"),
        ("bt709_limited", "bt709", "tagged", "limited"),
        ("bt2020_limited", "bt2020", "tagged", "limited"),
        ("bt601_full", "bt601", "tagged", "full"),
        ("bt709_full", "bt709", "tagged", "full"),
        ("bt709_limited_10bit", "bt709", "tagged", "limited"),
    ],
)
def test_tagged_matrix_and_range_are_honoured(
    made: Path, backend: str, name: str, matrix: str, source: str, colour_range: str
) -> None:
    path = made / f"colour_{name}.mp4"
    if backend == "decord":
        pytest.importorskip("decord", reason="decord is not installed: its wheels are for x86-64 only")
        if "10bit" in name:
            with pytest.raises(VideoError, match="8-bit RGB of yuv420p10le"):
                VideoReader(path, backend=backend)
            return
    with VideoReader(path, backend=backend) as reader:
        info = reader.info
        assert (info.colour_matrix, info.colour_matrix_source, info.colour_range) == (matrix, source, colour_range)
        rgb = reader.read(range(5))
        assert rgb.dtype == np.uint8
        expected = rgb_by_formula(YUV, matrix=matrix, full=colour_range == "full")
        np.testing.assert_allclose(rgb, np.broadcast_to(expected, rgb.shape), atol=2)
        # The test colour tells the matrices and ranges apart, else it would prove nothing.
        others = [rgb_by_formula(YUV, matrix=m, full=f) for m in WEIGHTS for f in (False, True)]
        assert sum(np.abs(other - expected).max() <= 2 for other in others) == 1


@pytest.mark.parametrize(("pixel_format", "tolerance"), [("yuv420p", 2.6), ("yuv420p10le", 1.3), ("nv12", 1.3)])
def test_random_colours_stay_within_the_stated_distance(pixel_format: str, tolerance: float) -> None:
    random = np.random.default_rng(0)
    converter = RgbConverter(rotation_degrees=0)
    for case in range(60):
        yuv = (int(random.integers(16, 236)), int(random.integers(60, 190)), int(random.integers(60, 190)))
        matrix, full = list(WEIGHTS)[case % 3], case % 2 == 1
        frame = av.VideoFrame(64, 64, pixel_format)
        frame.colorspace = {"bt601": 5, "bt709": 1, "bt2020": 9}[matrix]
        frame.color_range = 2 if full else 1
        for number, plane in enumerate(frame.planes):
            if pixel_format == "nv12" and number == 1:
                values = np.tile(np.array(yuv[1:], np.uint8), plane.buffer_size // 2)
            elif pixel_format.endswith("10le"):
                values = np.full(plane.buffer_size // 2, yuv[number] << 2, np.uint16)
            else:
                values = np.full(plane.buffer_size, yuv[number], np.uint8)
            plane.update(values.tobytes())
        seen = yuv
        if full and pixel_format.endswith("10le"):  # full range ends at 1023, not at 4 x 255
            seen = (yuv[0] * 4 / 1023 * 255, *((c * 4 - 512) / 1023 * 255 + 128 for c in yuv[1:]))
        np.testing.assert_allclose(
            converter.view(frame)[30, 30], rgb_by_formula(seen, matrix=matrix, full=full), atol=tolerance
        )


@pytest.mark.parametrize(
    ("colorspace", "pixel_format", "expected"),
    [
        (0, "gbrp", ("rgb", "tagged", "full")),
        (2, "yuvj420p", ("bt601", "assumed", "full")),
        (6, "yuv420p", ("bt601", "tagged", "limited")),
    ],
)
def test_descriptions(colorspace: int, pixel_format: str, expected: tuple[str, str, str]) -> None:
    assert describe_colour(colorspace=colorspace, color_range=0, pixel_format=pixel_format, path="v") == expected


@pytest.mark.parametrize(("colorspace", "name"), [(8, "YCgCo"), (10, "constant luminance"), (99, "number 99")])
def test_matrices_that_would_come_out_wrong_are_refused(colorspace: int, name: str) -> None:
    with pytest.raises(VideoError, match=name):
        describe_colour(colorspace=colorspace, color_range=1, pixel_format="yuv420p", path="v")


@pytest.mark.parametrize("backend", ["pyav", "decord"])
@pytest.mark.parametrize(("degrees", "quarter_turns"), [(90, 1), (180, 2), (270, 3)])
def test_rotation_is_applied_to_the_pixels(
    made: Path, decode_plainly: Decode, degrees: int, quarter_turns: int, backend: str
) -> None:
    # ffmpeg's own autorotation gave exactly np.rot90(stored, degrees / 90) for these files.
    if backend == "decord":
        pytest.importorskip("decord", reason="decord is not installed: its wheels are for x86-64 only")
    stored = decode_plainly(made / f"rotated_{degrees}.mp4")
    with VideoReader(made / f"rotated_{degrees}.mp4", backend=backend) as reader:
        assert reader.info.rotation_degrees == degrees
        assert (reader.info.width, reader.info.height) == ((64, 96) if degrees != 180 else (96, 64))
        np.testing.assert_array_equal(reader.read([3])[0], np.rot90(stored[3], quarter_turns))
        for frame in reader.frames():
            np.testing.assert_array_equal(frame.rgb, np.rot90(stored[frame.index], quarter_turns))
            assert min(frame.rgb.strides) > 0


def test_other_angles_and_mirroring_are_refused(made: Path) -> None:
    with pytest.raises(VideoError, match="no multiple of 90"):
        VideoReader(made / "rotated_45.mp4")
    with pytest.raises(VideoError, match="mirrors"):
        VideoReader(made / "mirrored.mp4")
