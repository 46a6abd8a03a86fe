"""One video in the HTML report: timelines of maps and in/out, histograms, pictures of findings."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gazetools.sampling import spread
from gazetools.schemas.findings import Finding
from gazetools.validation.subject import Floats, Ints, Subject
from gazetools.validation.videos import open_video

TIMELINE_BINS = 160
HISTOGRAM_BINS = 20
_PICTURE_WIDTH = 300
_PICTURES_PER_FINDING = 3
_PICTURES_PER_VIDEO = 9
_PICTURES = 600  # in one report, about 10 MB


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A frame with its maps drawn on it."""

    code: str
    """Code of the finding that it shows; empty for a sample of a video without findings."""
    caption: str
    data_url: str


@dataclass(frozen=True, kw_only=True)
class Portrait:
    """One video in the report."""

    video_id: str
    rows: int
    span: str
    """Length of the timelines, such as `40 frames, 1.3 s`."""
    coverage: list[float]
    """[TIMELINE_BINS] share of frames with a map, 0..1."""
    faults: list[float | None]
    """[TIMELINE_BINS] 1 where a frame of an error or warning lies; empty where there is none."""
    inout: list[float | None]
    """[TIMELINE_BINS] mean of inout, None where unknown."""
    peaks: list[int]
    """[HISTOGRAM_BINS] maps by their largest value, 0..1; the last bin includes all values above."""
    inout_counts: list[int]
    """[HISTOGRAM_BINS] rows by inout."""
    pictures: list[Picture] = field(default_factory=list)


class Gallery:
    """The folder of the heatmaps and the number of pictures that the report still has room for; thread-safe."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._left = _PICTURES
        self._lock = threading.Lock()

    def take(self, count: int) -> int:
        """Reserve `count` pictures and return how many of them may be made."""
        with self._lock:
            given = min(count, self._left)
            self._left -= given
        return given


def portray(subject: Subject, gallery: Gallery) -> Portrait:
    """The portrait of a checked subject; parts that could not be read are left out."""
    place, has_map = _coverage(subject)
    rows_at, inout = _inout(subject)
    length = max(int(place.max(initial=-1)), int(rows_at.max(initial=-1))) + 1
    coverage = _binned(place, has_map, length)
    high = np.zeros(0) if subject.stats is None else subject.stats.high[np.isfinite(subject.stats.high)]
    times = np.zeros(0) if subject.video is None else subject.video.pts_seconds
    faulty = np.array(sorted({frame for _, frames in _loud(subject) for frame in frames}), dtype=np.int64)
    return Portrait(
        video_id=subject.video_id,
        rows=subject.row_count,
        span=f"{length} frames" + (f", {times[-1]:.1f} s" if len(times) else ""),
        coverage=[value or 0.0 for value in coverage],
        faults=_binned(faulty, np.ones(len(faulty)), length) if len(faulty) else [],
        inout=_binned(rows_at, inout, length),
        peaks=_histogram(high),
        inout_counts=_histogram(inout),
        pictures=list(_pictures(subject, gallery)),
    )


def _coverage(subject: Subject) -> tuple[Ints, Floats]:
    """Frames (grid rows of a dataset), and 1.0 for each that has a map."""
    if (columns := subject.columns) is not None:
        return columns.frame_index, np.isin(columns.frame_index, columns.row_frame).astype(np.float64)
    return np.arange(subject.row_count), subject.has_map.astype(np.float64)


def _inout(subject: Subject) -> tuple[Ints, Floats]:
    """Frames (grid rows of a dataset) and the inout of each row where it is known."""
    if subject.inout is None:
        return np.zeros(0, np.int64), np.zeros(0)
    places = np.arange(len(subject.inout)) if subject.columns is None else subject.columns.row_frame
    known = np.isfinite(subject.inout) & (places >= 0)
    return places[known], subject.inout[known].astype(np.float64)


def _binned(place: Ints, values: Floats, length: int) -> list[float | None]:
    """Means of `values` over TIMELINE_BINS equal parts of 0..length-1; None for a part without values."""
    inside = (place >= 0) & (place < length)
    place, values = place[inside], values[inside]
    if 0 < length < TIMELINE_BINS:
        # fewer frames than bins: every bin shows the frame that it falls into
        frames = np.arange(TIMELINE_BINS) * length // TIMELINE_BINS
        sums = np.bincount(place, values, minlength=length)[frames]
        counts = np.bincount(place, minlength=length)[frames]
    else:
        bins = place * TIMELINE_BINS // max(length, 1)
        sums = np.bincount(bins, values, minlength=TIMELINE_BINS)
        counts = np.bincount(bins, minlength=TIMELINE_BINS)
    return [round(float(s / c), 4) if c else None for s, c in zip(sums, counts, strict=True)]


def _histogram(values: npt.NDArray[np.floating]) -> list[int]:
    return [int(count) for count in np.histogram(np.clip(values, 0, 1), HISTOGRAM_BINS, (0, 1))[0]]


def _loud(subject: Subject) -> Iterator[tuple[Finding, list[int]]]:
    """Errors and warnings that name frames, with these frames."""
    return ((found, found.frames) for found in subject.findings if found.frames and found.severity != "note")


def _pictures(subject: Subject, gallery: Gallery) -> Iterator[Picture]:
    """Frames of errors and warnings; where none names a frame, a frame from the middle of the video."""
    wanted: list[tuple[Finding | None, int]] = []
    for found, frames in _loud(subject):
        wanted += [(found, frames[place]) for place in spread(len(frames), _PICTURES_PER_FINDING)]
    if not wanted:
        place, has_map = _coverage(subject)
        with_map = place[has_map > 0]
        wanted = [(None, int(with_map[len(with_map) // 2]))] if len(with_map) else []
    try:
        wanted = wanted[: gallery.take(min(len(wanted), _PICTURES_PER_VIDEO))]
        yield from _drawn(subject, gallery.root, wanted)
    except Exception as error:  # a picture of a broken file must not cost the report of it
        yield Picture(code="", caption=f"No picture: {type(error).__name__}: {error}"[:300], data_url="")


def _drawn(subject: Subject, root: Path, wanted: list[tuple[Finding | None, int]]) -> Iterator[Picture]:
    import cv2

    from gazetools.preview.overlay import draw_overlay
    from gazetools.preview.rows import DatasetOverlays, OverlaySource, StoreOverlays

    if not wanted or subject.size_hw is None:
        return
    source: OverlaySource = (
        StoreOverlays(subject.path)
        if subject.kind == "store"
        else DatasetOverlays(root, subject.video_id, subject.choice)
    )
    try:
        pictures = _frames(subject, sorted({number for _, number in wanted}))
        for found, number in wanted:
            rgb = pictures.get(number)
            lacking = []
            if rgb is None:
                height, width = subject.size_hw
                rgb = np.zeros((round(_PICTURE_WIDTH * height / width), _PICTURE_WIDTH, 3), np.uint8)
                lacking.append("no video")
            everyone = source.people(number)
            people = [p for p in everyone if np.isfinite(p.heatmap).all()]
            if len(people) < len(everyone):
                lacking.append("its map can't be drawn: NaN or infinite")
            _, data = cv2.imencode(".jpg", draw_overlay(rgb, people)[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])
            label = "frame" if subject.kind == "store" else "row"
            yield Picture(
                code=found.code if found else "",
                caption=f"{label} {number}" + (f" ({'; '.join(lacking)})" if lacking else ""),
                data_url="data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii"),
            )
    finally:
        source.close()


def _frames(subject: Subject, numbers: list[int]) -> dict[int, npt.NDArray[np.uint8]]:
    """Small pictures of the decoded frames that rows `numbers` belong to; nothing without the video."""
    import cv2

    video = subject.video
    if video is None or not len(video.pts_seconds):
        return {}
    options, pts = subject.options, subject.pts_seconds
    frames = {number: number for number in numbers}
    if options is not None and pts is not None and (options.align == "native" or options.fps is not None):
        frames = {n: int(np.abs(video.pts_seconds - pts[n]).argmin()) for n in numbers if np.isfinite(pts[n])}
    inside = sorted({f for f in frames.values() if 0 <= f < video.decoded_frames})
    small = {}
    with open_video(subject, video.path) as reader:
        for frame in reader.frames(inside):
            height = max(1, round(_PICTURE_WIDTH * frame.rgb.shape[0] / frame.rgb.shape[1]))
            small[frame.index] = cv2.resize(frame.rgb, (_PICTURE_WIDTH, height), interpolation=cv2.INTER_AREA)
    return {number: small[f] for number, f in frames.items() if f in small}
