"""HDR: the tone mapping against the standards' formulas, HDR clips against the SDR pictures that they were made of."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest
from av.bitstream import BitStreamFilterContext

from gazetools.schemas.errors import VideoError
from gazetools.video import VideoReader
from gazetools.video.colour import ColourTags, refuse_unknown_base_layer
from gazetools.video.hdr import (
    ToneMapper,
    hlg_light,
    pq_light,
    pq_signal,
    primaries_matrix,
    srgb_signal,
    tone_curve,
)

PQ, HLG = "smpte2084", "arib-std-b67"
NUMBERS = {PQ: 16, HLG: 18, "bt709": 1, "unspecified": 2, "bt2020-10": 14}
# ITU-R BT.2087-0, table 1: BT.709 to BT.2020.
TO_BT2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
SIZE = (96, 160)


@pytest.mark.parametrize(
    ("signal", "nits"),
    # ITU-R BT.2408-7, tables 1 and 2 (percent of PQ's signal): grey card 26, reference white 203, 1000 and 10000 cd/m2
    [(0.38, 26.2), (0.58, 203.0), (0.7518, 1000.0), (1.0, 10000.0), (0.0, 0.0)],
)
def test_pq_is_that_of_the_standard(signal: float, nits: float) -> None:
    assert float(pq_light(np.array(signal))) == pytest.approx(nits, rel=0.02)
    assert float(pq_signal(pq_light(np.array(signal)))) == pytest.approx(signal, abs=1e-6)


@pytest.mark.parametrize(
    ("signal", "light"),
    # ITU-R BT.2100: sqrt(3 E) up to 1/12, which is the signal 0.5; BT.2408: 75 % is 0.265 of the scene's light
    [(0.0, 0.0), (0.25, 0.25**2 / 3), (0.5, 1 / 12), (0.75, 0.26496), (1.0, 1.0)],
)
def test_hlg_is_that_of_the_standard(signal: float, light: float) -> None:
    assert float(hlg_light(np.array(signal))) == pytest.approx(light, abs=2e-5)


def test_the_tone_curve_keeps_what_is_dark_and_rolls_off() -> None:
    light = np.linspace(0, 1000 / 203, 2000)
    curve = tone_curve(light)
    dark = light < 0.433
    np.testing.assert_allclose(curve[dark], light[dark])  # the knee of BT.2390 is at 88 cd/m2
    assert (np.diff(curve) > 0).all()
    assert (np.diff(np.diff(curve)) < 1e-6).all()  # no kink: the slope only falls
    assert curve[-1] == pytest.approx(1, abs=1e-6)
    assert 0.7 < float(tone_curve(np.array(1.0))) < 0.9  # the reference white is light, and leaves room
    assert float(tone_curve(np.array(40.0))) == pytest.approx(1, abs=1e-6)


def test_primaries_are_those_of_the_standards() -> None:
    np.testing.assert_allclose(np.linalg.inv(primaries_matrix("bt2020")), TO_BT2020, atol=2e-4)
    np.testing.assert_allclose(primaries_matrix("bt709"), np.eye(3), atol=1e-12)
    # SMPTE EG 432-1's P3 in BT.709: its green is more than all of BT.709's
    assert primaries_matrix("smpte432")[1] @ [0, 1, 0] == pytest.approx(1.042, abs=2e-3)
    for name in ("bt2020", "smpte431", "smpte432", "bt470bg", "smpte170m", "something new"):
        np.testing.assert_allclose(primaries_matrix(name).sum(axis=1), 1)


def test_the_srgb_curve() -> None:
    np.testing.assert_allclose(
        srgb_signal(np.array([0, 0.0031308, 0.2140, 1.0])) * 255, [0, 10.31, 127.5, 255], atol=0.1
    )


def test_tables_equal_the_formulas() -> None:
    random = np.random.default_rng(0)
    planes = [random.uniform(-0.1, 1.2, (40, 50)).astype(np.float32) for _ in range(3)]
    signal = np.clip(np.stack(planes, -1).astype(np.float64), 0, 1)
    light = tone_curve(pq_light(signal) / 203) @ primaries_matrix("bt2020").T
    expected = srgb_signal(np.clip(light, 0, 1)) * 255
    found = ToneMapper(transfer=PQ, primaries="bt2020").sdr(planes)
    assert np.abs(found - expected).max() < 1.0


def picture(number: int) -> npt.NDArray[np.float64]:
    """[H, W, 3] sRGB in 0..1: smooth ramps, a dark and a bright disc that moves."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    image = np.stack([x / SIZE[1], y / SIZE[0], 0.5 + 0.3 * np.sin(x / 19)], -1) * 0.7 + 0.1
    image[np.hypot(y - 40, x - 30 - 3 * number) < 12] = (0.95, 0.9, 0.85)
    image[np.hypot(y - 60, x - 110 + 2 * number) < 15] = (0.05, 0.06, 0.1)
    return image


def signal_of(srgb: npt.NDArray[np.float64], transfer: str, *, wide: bool = True) -> npt.NDArray[np.float64]:
    """The same picture in HDR, by formulas that share nothing with the package; white at 203 cd/m2, 75 % of HLG."""
    linear = np.where(srgb < 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ TO_BT2020.T, 0, 1) if wide else linear
    if transfer == PQ:
        y = (linear * 203 / 10000) ** 0.1593017578125
        return np.asarray(((0.8359375 + 18.8515625 * y) / (1 + 18.6875 * y)) ** 78.84375)
    e = linear * 0.26496
    return np.where(
        e <= 1 / 12, np.sqrt(3 * e), 0.17883277 * np.log(np.maximum(12 * e - 0.28466892, 1e-9)) + 0.55991073
    )


def write_clip(
    path: Path,
    transfer: str,
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p10le",
    matrix: int = 9,
    primaries: int = 9,
    full: bool = False,
    frames: int = 4,
) -> Path:
    """A clip of `picture` in `transfer`, whose Y'CbCr are computed here."""
    kr, kb = (0.2627, 0.0593) if matrix in (9, 2) else (0.2126, 0.0722)
    top = 255 if pix_fmt == "yuv420p" else 1023
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=25, options={"crf": "8"} if codec == "libx264" else {})
        stream.height, stream.width, stream.pix_fmt = *SIZE, pix_fmt
        context: Any = stream.codec_context
        context.color_trc, context.colorspace, context.color_primaries = NUMBERS[transfer], matrix, primaries
        context.color_range = 2 if full else 1
        for number in range(frames):
            rgb = picture(number)
            rgb = signal_of(rgb, transfer, wide=primaries in (9, 2)) if transfer in (PQ, HLG) else rgb
            luma = rgb @ [kr, 1 - kr - kb, kb]
            blue, red = (rgb[..., 2] - luma) / (2 * (1 - kb)), (rgb[..., 0] - luma) / (2 * (1 - kr))
            unit = (top + 1) / 256
            planes = [luma * (top if full else 219 * unit) + (0 if full else 16 * unit)]
            for chroma in (blue, red):
                half = chroma.reshape(SIZE[0] // 2, 2, SIZE[1] // 2, 2).mean((1, 3))
                planes.append(half * (top if full else 224 * unit) + 128 * unit)
            frame = av.VideoFrame(SIZE[1], SIZE[0], pix_fmt)
            dtype = np.dtype(np.uint8 if top == 255 else np.uint16)
            for plane, values in zip(frame.planes, planes, strict=True):
                rows = np.zeros((plane.height, plane.line_size // dtype.itemsize), dtype)
                rows[:, : plane.width] = np.clip(np.round(values), 0, top)
                plane.update(rows.tobytes())
            frame.pts, frame.time_base = number, Fraction(1, 25)
            frame.color_trc, frame.colorspace, frame.color_primaries = NUMBERS[transfer], matrix, primaries
            frame.color_range = 2 if full else 1
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


CLIPS: dict[str, tuple[str, dict[str, Any]]] = {
    "pq.mp4": (PQ, {}),
    "pq_full_range.mp4": (PQ, {"full": True}),
    "pq_8_bit.mp4": (PQ, {"pix_fmt": "yuv420p"}),
    "pq_without_matrix.mp4": (PQ, {"matrix": 2}),  # read as BT.2020's
    "pq_bt709_primaries.mkv": (PQ, {"matrix": 1, "primaries": 1}),
    "hlg.mov": (HLG, {}),
    "hlg.mkv": (HLG, {"codec": "ffv1"}),
    "hlg_without_primaries.mp4": (HLG, {"primaries": 2}),
}


@pytest.mark.parametrize("name", CLIPS)
def test_an_hdr_clip_looks_like_its_sdr_original(tmp_path: Path, name: str) -> None:
    transfer, how = CLIPS[name]
    path = write_clip(tmp_path / name, transfer, **how)
    with VideoReader(path) as reader, VideoReader(path, hdr="raw") as raw:
        info = reader.info
        assert (info.colour_transfer, info.tone_mapping, info.colour_range) == (
            transfer,
            "bt2390",
            "full" if how.get("full") else "limited",
        )
        assert info.colour_matrix == ("bt709" if how.get("matrix") == 1 else "bt2020")
        assert info.decoder.endswith("tone mapping bt2390")
        assert (raw.info.tone_mapping, raw.info.colour_transfer) == ("none", transfer)
        for ours, stored in zip(reader.frames(), raw.frames(), strict=True):
            original = np.round(picture(ours.index) * 255)
            # what is brighter than the knee rolls off: the reference is the original behind the same curve
            linear = np.where(original < 10, original / 255 / 12.92, ((original / 255 + 0.055) / 1.055) ** 2.4)
            wide = np.clip(linear @ TO_BT2020.T, 0, 1) if how.get("primaries") != 1 else linear
            back = np.linalg.inv(TO_BT2020).T if how.get("primaries") != 1 else np.eye(3)
            expected = 255 * srgb_signal(np.clip(tone_curve(wide) @ back, 0, 1))
            tolerance = 4.0 if how.get("pix_fmt") else 2.0  # 8 bits of PQ are steps of several levels
            assert np.abs(ours.rgb - expected).mean() < tolerance
            assert np.abs(ours.rgb - original).mean() < 6
            assert np.abs(stored.rgb - original).mean() > 20


@pytest.mark.parametrize(
    ("transfer", "how", "primaries"),
    [
        ("bt2020-10", {}, "bt2020"),  # BT.2020 SDR
        ("bt709", {"matrix": 1, "primaries": 12}, "smpte432"),  # P3
        ("unspecified", {"matrix": 2, "primaries": 2}, "unspecified"),  # log footage looks so
        ("bt709", {"matrix": 1, "primaries": 5}, "bt470bg"),
    ],
)
def test_sdr_is_never_tone_mapped(tmp_path: Path, transfer: str, how: dict[str, Any], primaries: str) -> None:
    path = write_clip(tmp_path / "a.mp4", transfer, **how)
    with VideoReader(path) as reader, VideoReader(path, hdr="raw") as raw, VideoReader(path, hdr="refuse") as strict:
        assert (reader.info.tone_mapping, reader.info.colour_primaries) == ("none", primaries)
        assert "tone" not in reader.info.decoder
        np.testing.assert_array_equal(reader.read([0, 2]), raw.read([0, 2]))
        np.testing.assert_array_equal(reader.read([0, 2]), strict.read([0, 2]))


def tagged_in_container_only(source: Path, target: Path, *, transfer: int, matrix: int, primaries: int) -> Path:
    """The HEVC stream of `source` without colours of its own; the container states them: MP4's `colr` and the like."""
    nothing = "hevc_metadata=colour_primaries=2:transfer_characteristics=2:matrix_coefficients=2"
    with av.open(str(source)) as there, av.open(str(target), "w") as out:
        stream = there.streams.video[0]
        copied = out.add_stream_from_template(stream)
        untagged = BitStreamFilterContext(nothing, stream, copied)
        context: Any = copied.codec_context
        context.color_trc, context.colorspace, context.color_primaries = transfer, matrix, primaries
        for packet in (*(p for given in there.demux(stream) for p in untagged.filter(given)), *untagged.filter(None)):
            packet.stream = copied
            out.mux(packet)
    return target


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize(
    ("transfer", "matrix", "primaries"),
    [(HLG, 9, 9), (PQ, 9, 9), ("bt709", 1, 1)],  # phones' clips after an editor; SDR, which was read as BT.601's
)
def test_colours_that_only_the_container_states_count(
    tmp_path: Path, suffix: str, transfer: str, matrix: int, primaries: int
) -> None:
    how: dict[str, Any] = {"codec": "libx265", "matrix": matrix, "primaries": primaries, "frames": 3}
    tagged = write_clip(tmp_path / "tagged.mp4", transfer, **how)
    stated = {"transfer": NUMBERS[transfer], "matrix": matrix, "primaries": primaries}
    bare = tagged_in_container_only(tagged, tmp_path / f"bare{suffix}", **stated)
    with VideoReader(tagged) as reader, VideoReader(bare) as same:
        assert (reader.info.colours_of_container, same.info.colours_of_container) == (False, True)
        for fact in ("colour_transfer", "colour_primaries", "colour_matrix", "colour_matrix_source", "tone_mapping"):
            assert getattr(same.info, fact) == getattr(reader.info, fact), fact
        np.testing.assert_array_equal(same.read(range(3)), reader.read(range(3)))
    with pytest.raises(VideoError, match="colour tags of the container"):
        VideoReader(bare, backend="decord")


def test_the_bit_stream_wins_over_the_container() -> None:
    nothing = ColourTags(transfer=2, primaries=2, matrix=2, range=0)
    sdr, hlg = (ColourTags(transfer=t, primaries=p, matrix=p, range=r) for t, p, r in ((1, 1, 1), (18, 9, 2)))
    assert sdr.completed_by(hlg) == sdr
    assert nothing.completed_by(hlg) == hlg
    assert ColourTags(transfer=2, primaries=9, matrix=9, range=1).completed_by(hlg).transfer == 18
    assert nothing.completed_by(ColourTags(transfer=2, primaries=2, matrix=0, range=0)).matrix == 2


def test_hdr_can_be_refused(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mov", HLG)
    with pytest.raises(VideoError, match=r"is HDR \(transfer arib-std-b67\).*--hdr refuse") as caught:
        VideoReader(path, hdr="refuse")
    assert "--hdr tonemap" in str(caught.value.hint)


def test_decord_is_refused_for_hdr_also_of_8_bits(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", PQ, pix_fmt="yuv420p")
    with pytest.raises(VideoError, match="it has no tone mapping for HDR"):
        VideoReader(path, backend="decord")


def test_rotated_hdr_is_upright(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", PQ)
    turned = tmp_path / "turned.mp4"
    with av.open(str(path)) as source, av.open(str(turned), "w") as out:
        stream = source.streams.video[0]
        copy = out.add_stream_from_template(stream)
        copy.set_display_rotation(90)
        for packet in source.demux(stream):
            if packet.dts is not None:
                packet.stream = copy
                out.mux(packet)
    with VideoReader(path) as plain, VideoReader(turned) as reader:
        assert reader.info.rotation_degrees == 90
        np.testing.assert_array_equal(reader.read([1])[0], np.rot90(plain.read([1])[0]))


def test_dolby_vision_without_a_base_layer_is_refused() -> None:
    frame = SimpleNamespace(side_data=[SimpleNamespace(type=SimpleNamespace(name="DOVI_METADATA"))])
    refuse_unknown_base_layer(frame, HLG, path="a.mov")  # profile 8.4: the base layer is HLG
    refuse_unknown_base_layer(SimpleNamespace(side_data=[]), "unspecified", path="a.mov")
    with pytest.raises(VideoError, match="Dolby Vision without a base layer"):
        refuse_unknown_base_layer(frame, "unspecified", path="a.mov")
