"""Folders of pictures as videos: names, numbers, times and pixels, against tables and an independent reader."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from gazetools import VideoReader
from gazetools.extraction.inputs import plan_inputs
from gazetools.io.find_files import SearchNotes
from gazetools.io.picture_names import numbered_pictures
from gazetools.io.source_digest import quick_digest, source_bytes, source_sha256
from gazetools.schemas.errors import FrameRangeError, GazetoolsError, UsageError, VideoError
from gazetools.schemas.picture_times import PictureTimes, epic_rate, parse_rate
from gazetools.video.frame_clock import clock_digest

Rgb = npt.NDArray[np.uint8]
NOISE = np.random.default_rng(5).integers(0, 256, (12, 8, 12, 3), np.uint8)
PICTURES = np.stack([cv2.resize(one, (36, 24), interpolation=cv2.INTER_CUBIC) for one in NOISE])


def png(rgb: npt.NDArray[Any]) -> bytes:
    return cv2.imencode(".png", rgb[..., ::-1] if rgb.ndim == 3 else rgb)[1].tobytes()


def folder_of(root: Path, names: list[str], pictures: Rgb = PICTURES) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for place, name in enumerate(names):
        (root / name).write_bytes(png(pictures[place % len(pictures)]))
    return root


def numbered(root: Path, count: int = 12, name: str = "frame_{:010d}.png", first: int = 1) -> Path:
    return folder_of(root, [name.format(first + place) for place in range(count)])


# Names

NAMED: dict[str, tuple[list[str], list[str] | str]] = {
    "EPIC": (["frame_0000000002.jpg", "frame_0000000001.jpg"], ["frame_0000000001.jpg", "frame_0000000002.jpg"]),
    "no padding": (["10.png", "9.png", "1.png"], ["1.png", "9.png", "10.png"]),
    "padding too short": (["f_99.png", "f_100.png"], ["f_99.png", "f_100.png"]),
    "padding that differs": (["f_002.png", "f_01.png"], ["f_01.png", "f_002.png"]),
    "another number in the name": (["cam01_2.jpg", "cam01_1.jpg"], ["cam01_1.jpg", "cam01_2.jpg"]),
    "text behind the number": (["f2_rgb.webp", "f1_rgb.webp"], ["f1_rgb.webp", "f2_rgb.webp"]),
    "upper case": (["A2.JPG", "A1.jpg"], ["A1.jpg", "A2.JPG"]),
    "others next to them": (["f_1.png", "f_2.png", "thumb.jpg", "Thumbs.db", ".f_3.png"], ["f_1.png", "f_2.png"]),
    "one picture": (["only_7.png"], ["only_7.png"]),
    "one number twice": (["f_1.png", "f_01.png", "f_2.png"], "f_01.png and f_1.png have one number"),
    "two numberings": (["rgb_1.png", "rgb_2.png", "depth_1.png", "depth_2.png"], "2 numberings: depth_%d.png (2), rgb"),
    "two suffixes": (["f_1.png", "f_2.png", "f_1.jpg", "f_2.jpg"], "2 numberings: f_%d.jpg (2), f_%d.png (2)"),
    "two cameras": (["c1_1.png", "c1_2.png", "c2_1.png"], "2 numberings: c1_%d.png (2), c2_%d.png (1)"),
    "no number": (["a.png", "b.png"], "2 pictures (a.png, b.png), and no number in their names counts them"),
    "no picture": (["a.txt"], "holds no pictures"),
}


@pytest.mark.parametrize("case", NAMED)
def test_the_order_of_the_pictures(tmp_path: Path, case: str) -> None:
    names, expected = NAMED[case]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    if isinstance(expected, str):
        with pytest.raises(VideoError) as caught:
            numbered_pictures(tmp_path)
        assert expected in str(caught.value)
        return
    found = numbered_pictures(tmp_path)
    assert list(found.names) == expected
    assert sorted(found.others) == sorted({name for name in names if name[0] != "."} - set(expected))


def test_a_folder_with_videos_and_frames_is_wholly_accounted_for(tmp_path: Path) -> None:
    numbered(tmp_path / "P01" / "P01_01")
    numbered(tmp_path / "P01" / "v1.2", 2, "{}.jpg")
    (tmp_path / "P01" / "P01_02.mp4").write_bytes(b"x")
    folder_of(tmp_path / "P01", ["still_1.png", "still_2.png"])  # next to a video: no frames
    folder_of(tmp_path / "thumbs", ["P01_01.jpg", "P02_07.jpg", "cover.jpg"])  # not one numbering
    (tmp_path / "notes.txt").write_text("")
    notes = SearchNotes()
    items = plan_inputs([tmp_path], notes=notes)
    assert {item.video_id: item.path.relative_to(tmp_path).as_posix() for item in items} == {
        "P01/P01_01": "P01/P01_01", "P01/P01_02": "P01/P01_02.mp4", "P01/v1.2": "P01/v1.2"
    }  # fmt: skip
    assert {reason: group.count for reason, group in notes.groups.items()} == {"pictures": 5, "suffix": 1}
    assert [item.video_id for item in plan_inputs([tmp_path / "P01" / "P01_01"])] == ["P01_01"]
    assert [item.video_id for item in plan_inputs([f"{tmp_path}/P01/P01_0*"])] == ["P01_01", "P01_02"]
    numbered(tmp_path / "P01" / "P01_02", 3)
    with pytest.raises(UsageError, match=r"P01/P01_02"):  # a file and a folder of one id
        plan_inputs([tmp_path])


# Times

STATED: dict[str, tuple[dict[str, Any], dict[str, str], list[float] | str]] = {
    "a rate": ({"frame_rate": "4"}, {}, [0, 0.25, 0.5]),
    "a number": ({"frame_rate": 4.0}, {}, [0, 0.25, 0.5]),
    "a fraction": ({"frame_rate": Fraction(30000, 1001)}, {}, [0, 1001 / 30000, 2002 / 30000]),
    "a CSV of rates": ({"frame_rate": "{}/rates.csv"}, {}, [0, 0.02, 0.04]),
    "epic": ({"frame_rate": "epic"}, {}, [0, 1 / 60, 2 / 60]),
    "a file in the folder": ({}, {"frame_rate.txt": "25\n"}, [0, 0.04, 0.08]),
    "option and file agree": ({"frame_rate": "25/1"}, {"frame_rate.txt": "25"}, [0, 0.04, 0.08]),
    "a CSV in the folder": ({}, {"frame_times.csv": "frame,seconds\n0,1.5\n1,1.75\n2,9\n"}, [1.5, 1.75, 9]),
    "a CSV by names": (
        {"frame_times": "{}/t.csv"}, {"../t.csv": "seconds,name\n0,f_1.png\n3,f_2.png\n4,f_3.png\n"}, [0, 3, 4]
    ),
    "a folder of CSVs": ({"frame_times": "{}"}, {"../P01_01.csv": "frame,seconds\n0,0\n1,1\n2,2\n"}, [0, 1, 2]),
    "nothing": ({}, {}, "--frame-rate epic, which is 60 for P01_01 and 50 for P01_101"),
    "both options": ({"frame_rate": "4", "frame_times": "{}"}, {}, "give one of them"),
    "both files": ({}, {"frame_rate.txt": "4", "frame_times.csv": "frame,seconds\n"}, "Remove one of them"),
    "they contradict": ({"frame_rate": "30"}, {"frame_rate.txt": "25"}, "say different times"),
    "no rate": ({"frame_rate": "0"}, {}, "must be a rate above 0"),
    "a word": ({"frame_rate": "fast"}, {}, "must be a rate above 0"),
    "a file with words": ({}, {"frame_rate.txt": "fast"}, "frame_rate.txt: 'fast' is no rate above 0"),
    "no such CSV": ({"frame_rate": "none.csv"}, {}, "none.csv does not exist"),
    "not in the CSV": ({"frame_rate": "{}/o.csv"}, {"../o.csv": "video_id,fps\nP02,3\n"}, "has no fps for 'P01_01'"),
    "counted from 1": ({}, {"frame_times.csv": "frame,seconds\n1,0\n2,1\n3,2\n"}, "frame runs from 1 to 3 in 3 rows"),
    "too few rows": ({}, {"frame_times.csv": "frame,seconds\n0,0\n1,1\n"}, "are the frames 0 to 2"),
    "times go back": ({}, {"frame_times.csv": "frame,seconds\n0,0\n1,2\n2,1\n"}, "line 4: seconds must ascend"),
    "no number": ({}, {"frame_times.csv": "frame,seconds\n0,0\n1,\n2,1\n"}, "line 3: seconds must ascend"),
    "another name": ({}, {"frame_times.csv": "name,seconds\nf_9.png,0\n"}, "names 1 pictures that"),
}  # fmt: skip


@pytest.mark.parametrize("case", STATED)
def test_what_says_when_pictures_were_taken(tmp_path: Path, case: str) -> None:
    given, files, expected = STATED[case]
    folder = numbered(tmp_path / "P01_01", 3, "f_{}.png")
    (tmp_path / "rates.csv").write_text("video_id,fps,other\nP01_02,10,\nP01_01,50,\n")
    for name, text in files.items():
        (folder / name).write_text(text)
    options = {name: str(value).format(tmp_path) if "{}" in str(value) else value for name, value in given.items()}
    if isinstance(expected, str):
        with pytest.raises(GazetoolsError) as caught:
            VideoReader(folder, **options)
        assert expected in str(caught.value)
        return
    with VideoReader(folder, **options) as reader:
        assert reader.pts_seconds.tolist() == expected
        assert reader.frame_count == 3 and reader.damage == () and not reader.pts_seconds.flags.writeable


def test_rates_are_exact_fractions() -> None:
    assert parse_rate("59.94005994005994") == Fraction(60000, 1001) and parse_rate("29.97") == Fraction(2997, 100)
    assert [epic_rate(name) for name in ("P01_01", "P22_117", "P01", "P01_1", "video")] == [60, 50, None, None, None]
    for bad in ("", "nan", "inf", "-1", "1/0", "2e9"):
        with pytest.raises(ValueError, match="no rate above 0"):
            parse_rate(bad)


def test_missing_numbers_keep_the_times_of_the_others(tmp_path: Path) -> None:
    """As a video whose frames were lost: damage, the times of all others, and where the gap is."""
    folder = numbered(tmp_path / "v", 12)
    for number in (5, 6):
        (folder / f"frame_{number:010d}.png").unlink()
    with VideoReader(folder, frame_rate=10) as reader:
        assert reader.damage == ("2 of the numbers 1 to 12 have no picture, the first after 4",)
        assert reader.pts_seconds.tolist() == [n / 10 for n in range(12) if n not in (4, 5)]
        (remark,) = reader.remarks
        assert (remark.code, remark.frames) == ("video-frames-lost", (4,))
        assert "no frames from 0.300 to 0.600 s (before frame 4), about 2 at its rate" in remark.text
        np.testing.assert_array_equal(reader.read([4])[0], PICTURES[6])


@pytest.mark.parametrize(
    ("numbers", "text"),
    [((0, 5, 10, 15), "go in steps of 5"), ((100, 217, 1900), "have numbers from 100 to 1900; most are missing")],
)
def test_numbers_of_which_a_rate_says_nothing(tmp_path: Path, numbers: tuple[int, ...], text: str) -> None:
    folder = folder_of(tmp_path / "v", [f"{number}.png" for number in numbers])
    with pytest.raises(VideoError, match=text) as caught:
        VideoReader(folder, frame_rate=30)
    assert "--frame-times" in str(caught.value)
    (folder / "frame_times.csv").write_text("name,seconds\n" + "".join(f"{n}.png,{n / 1e3}\n" for n in numbers))
    assert VideoReader(folder).pts_seconds.tolist() == [n / 1e3 for n in numbers]


# Pixels


def decoded_elsewhere(data: bytes) -> Rgb:
    """The independent reference: Pillow, which does not turn by EXIF unless it is asked to."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def jpeg(rgb: npt.NDArray[Any], orientation: int | None = None, **options: Any) -> bytes:
    made = Image.fromarray(rgb)
    made = made.convert(options.pop("mode")) if "mode" in options else made
    exif = made.getexif()
    if orientation is not None:
        exif[0x0112] = orientation
    file = io.BytesIO()
    made.save(file, "JPEG", exif=exif, **options)
    return file.getvalue()


def other(kind: str, rgb: npt.NDArray[Any], **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(rgb).convert(options.pop("mode", "RGB")).save(file, kind, **options)
    return file.getvalue()


PICTURE = PICTURES[0]
DEEP = np.random.default_rng(1).integers(0, 65536, (24, 36, 3)).astype(np.uint16)
READ: dict[str, tuple[Callable[[], bytes], Callable[[Rgb], Rgb], str]] = {
    "png": (lambda: png(PICTURE), lambda _: PICTURE, "rgb24"),
    "png, grey": (lambda: png(PICTURE[..., 0]), lambda _: np.repeat(PICTURE[..., :1], 3, 2), "gray"),
    "png, palette": (lambda: other("PNG", PICTURE, mode="P"), lambda given: given, "pal8"),
    "png, transparent": (
        cv2.imencode(".png", np.dstack([PICTURE[..., ::-1], PICTURE[..., 0]]))[1].tobytes,
        lambda _: PICTURE,
        "rgba",
    ),
    "png, 16 bits: the upper 8": (lambda: png(DEEP), lambda _: (DEEP >> 8).astype(np.uint8), "rgb48"),
    "jpeg 4:2:0": (lambda: jpeg(PICTURE, quality=90, subsampling=2), lambda given: given, "yuvj420p"),
    "jpeg 4:4:4": (lambda: jpeg(PICTURE, quality=95, subsampling=0), lambda given: given, "yuvj444p"),
    "jpeg, progressive": (lambda: jpeg(PICTURE, progressive=True), lambda given: given, "yuvj420p"),
    "jpeg, grey": (lambda: jpeg(PICTURE, mode="L"), lambda given: given, "gray"),
    "jpeg, turned by 90": (lambda: jpeg(PICTURE, 6), lambda given: np.rot90(given, -1), "yuvj420p"),
    "jpeg, turned by 180": (lambda: jpeg(PICTURE, 3), lambda given: np.rot90(given, 2), "yuvj420p"),
    "jpeg, turned by 270": (lambda: jpeg(PICTURE, 8), lambda given: np.rot90(given, 1), "yuvj420p"),
    "webp": (lambda: other("WEBP", PICTURE, quality=80), lambda given: given, "yuv420p"),
    "webp, lossless": (lambda: other("WEBP", PICTURE, lossless=True), lambda _: PICTURE, "rgba"),
    "bmp": (lambda: other("BMP", PICTURE), lambda _: PICTURE, "rgb24"),
    "tiff": (lambda: other("TIFF", PICTURE), lambda _: PICTURE, "rgb24"),
}  # fmt: skip


@pytest.mark.parametrize("case", READ)
def test_pixels_are_those_of_another_reader(tmp_path: Path, case: str) -> None:
    make, expected, pixel_format = READ[case]
    data = make()
    suffix = case.split(",", maxsplit=1)[0].split(maxsplit=1)[0]
    for number in (1, 2):
        (tmp_path / f"{number}.{suffix}").write_bytes(data)
    with VideoReader(tmp_path, frame_rate=1) as reader:
        given = PICTURE if "16 bits" in case else decoded_elsewhere(data)  # Pillow does not read 16-bit colours
        np.testing.assert_array_equal(reader.read([1])[0], expected(given))
        info = reader.info
        assert info.pixel_format == pixel_format and info.container == "pictures"
        assert info.rotation_degrees == {"90": 270, "180": 180, "270": 90}.get(case.rsplit(maxsplit=1)[-1], 0)
        assert (info.height, info.width) == reader.read([0]).shape[1:3]


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


REFUSED: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "nothing": ("png", lambda: b"", "is empty (0 bytes)"),
    "a text": ("png", lambda: b"no picture at all", "cannot be read: its 17 bytes are damaged"),
    "a cut png": ("png", lambda: png(PICTURE)[:-30], "is cut off inside its PNG data"),
    "a png without its end": ("png", lambda: png(PICTURE)[:-12], "its PNG data has no end"),
    "a png with a changed byte": ("png", lambda: _changed(png(PICTURE)), "cannot be read"),
    "an animated png": (
        "png", lambda: png(PICTURE)[:33] + _chunk(b"acTL", bytes(8)) + png(PICTURE)[33:], "is an animation"
    ),
    "16-bit grey": ("png", lambda: png(DEEP[..., 0]), "has 16-bit grey values"),
    "a cut jpeg": ("jpg", lambda: jpeg(PICTURE)[:-40], "is cut off: its JPEG data has no end"),
    "a jpeg's header alone": ("jpg", lambda: jpeg(PICTURE)[:200], "is cut off"),
    "cmyk": ("jpg", lambda: jpeg(PICTURE, mode="CMYK"), "is a CMYK picture"),
    "a mirrored one": ("jpg", lambda: jpeg(PICTURE, 2), "is mirrored by its EXIF orientation 2"),
    "a cut webp": ("webp", lambda: other("WEBP", PICTURE)[:-30], "is cut off inside its WebP data"),
    "a cut bmp": ("bmp", lambda: other("BMP", PICTURE)[:-30], "cannot be read"),
    "16-bit tiff": ("tif", cv2.imencode(".tif", DEEP)[1].tobytes, "has uint16 values"),
    "another size": ("png", lambda: png(PICTURE[:20]), "is 36x20 pixels, the first picture 36x24"),
    "another turn": ("jpg", lambda: jpeg(PICTURE, 3), "is turned by 180 degrees, the first picture by 0"),
}  # fmt: skip


def _changed(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 0xFF]) + data[middle + 1 :]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("case", REFUSED)
def test_a_picture_that_can_t_be_used_is_named_and_costs_its_frame(tmp_path: Path, case: str, threads: int) -> None:
    suffix, make, text = REFUSED[case]
    good = {"jpg": lambda: jpeg(PICTURE), "webp": lambda: other("WEBP", PICTURE)}.get(suffix, lambda: png(PICTURE))()
    for number in range(6):
        (tmp_path / f"f{number}.{suffix}").write_bytes(make() if number == 3 else good)
    with VideoReader(tmp_path, frame_rate=1, threads=threads) as reader:
        with pytest.raises(VideoError) as caught:
            reader.read(range(6))
        assert text in str(caught.value) and f"f3.{suffix} (frame 3)" in str(caught.value)
        assert caught.value.details["frame_index"] == 3
        assert len(reader.read([0, 5])) == 2, "the reader stays usable"
    with VideoReader(tmp_path, frame_rate=1, threads=threads, allow_damaged=True) as reader:
        assert [frame.index for frame in reader.frames()] == [0, 1, 2, 4, 5] and reader.lost_frames == {3}
        assert reader.luma_digests()[3] == 3


def test_reading_as_from_a_file(tmp_path: Path) -> None:
    folder = numbered(tmp_path / "v")
    with VideoReader(folder, frame_rate=25, threads=3) as reader, VideoReader(folder, frame_rate=25, threads=1) as one:
        np.testing.assert_array_equal(reader.read([7, 2, 7]), PICTURES[[7, 2, 7]])
        np.testing.assert_array_equal(np.stack([f.rgb for f in reader.frames()]), PICTURES)
        np.testing.assert_array_equal(np.stack([f.rgb for f in one.frames([1, 4, 11])]), PICTURES[[1, 4, 11]])
        assert next(iter(reader.frames())).index == 0  # the others are not wanted any more
        assert len(set(reader.luma_digests().tolist())) == 12 and reader.count_by_decoding() == 12
        assert (reader.counted_by, reader.packet_count, reader.hidden_packet_count) == ("index", 12, 0)
        with pytest.raises(FrameRangeError, match="frame index 12 is outside"):
            reader.read([12])
        with pytest.raises(UsageError, match="no index of packets"):
            _ = reader.frame_index
    with pytest.raises(VideoError, match="is closed"):
        reader.read([0])
    for how, text in ({"backend": "decord"}, "decord does not read it"), ({"stream_index": 2}, "has no stream 2"):
        with pytest.raises(VideoError, match=text):
            VideoReader(folder, frame_rate=1, **how)  # type: ignore[arg-type]
    (folder / "Thumbs.db").write_bytes(b"")
    (remark,) = VideoReader(folder, frame_rate=25).remarks
    assert remark.code == "video-files-left-out" and "Thumbs.db" in remark.text


def test_pictures_of_a_video_have_its_frames_and_times(tmp_path: Path, made: Path) -> None:
    """An RGB video without loss, unpacked by PyAV alone: pixels and times are equal bit for bit."""
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=Fraction(30000, 1001))
        stream.width, stream.height, stream.pix_fmt = 36, 24, "bgr0"
        stream.time_base = Fraction(1001, 30000)
        for number, rgb in enumerate(PICTURES):
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="bgr0")
            frame.pts, frame.time_base = number, Fraction(1001, 30000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    (tmp_path / "clip").mkdir()
    with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            data = png(frame.to_ndarray(format="rgb24"))
            (tmp_path / "clip" / f"{number}.png").write_bytes(data)
    with VideoReader(path) as video, VideoReader(tmp_path / "clip", frame_rate="30000/1001") as folder:
        np.testing.assert_array_equal(video.read(range(12)), folder.read(range(12)))
        # Matroska rounds times to milliseconds
        np.testing.assert_allclose(video.pts_seconds, folder.pts_seconds, atol=6e-4)


# Sums


def test_a_folder_s_sum_is_over_names_sizes_and_content(tmp_path: Path) -> None:
    folder, times = numbered(tmp_path / "v"), PictureTimes(frame_rate="30")
    first = source_sha256(folder), quick_digest(folder)
    assert source_bytes(folder) == sum(path.stat().st_size for path in folder.iterdir())
    (folder / "Thumbs.db").write_bytes(b"no picture")
    os.utime(folder / "frame_0000000003.png", (1, 1))
    assert (source_sha256(folder), quick_digest(folder)) == first
    data = (folder / "frame_0000000012.png").read_bytes()
    (folder / "frame_0000000012.png").write_bytes(_changed(data))
    assert source_sha256(folder) != first[0] and quick_digest(folder) != first[1]
    (folder / "frame_0000000012.png").write_bytes(data)
    (folder / "frame_0000000012.png").rename(folder / "frame_0000000013.png")
    assert source_sha256(folder) != first[0] and quick_digest(folder) != first[1]
    assert clock_digest(folder, times) != clock_digest(folder, PictureTimes(frame_rate="25"))
    assert clock_digest(folder, times) == clock_digest(folder, PictureTimes(frame_rate="30/1"))
