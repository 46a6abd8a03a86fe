"""What the HTML report shows of one video: timelines of maps and in/out, histograms, pictures of findings."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gazetools.schemas.findings import Finding
from gazetools.validation.subject import Floats, Ints, Subject

TIMELINE_BINS = 160
HISTOGRAM_BINS = 20
_PICTURE_WIDTH = 300
_PICTURES_PER_FINDING = 3
_PICTURES_PER_VIDEO = 9
_PICTURES = 600
"""Of one report, about 10 MB."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A frame with its maps drawn on it."""

    code: str
    """Of the finding that it shows; empty for a sample of a video without findings."""
    caption: str
    data_url: str


@dataclass(frozen=True, kw_only=True)
class Portrait:
    """One video in the report."""

    video_id: str
    rows: int
    span: str
    """What the timelines reach over."""
    coverage: list[float]
    """[TIMELINE_BINS] share of frames with a map, 0..1."""
    faults: list[float | None]
    """[TIMELINE_BINS] 1 where a frame of an error or warning lies; empty where there is none."""
    inout: list[float | None]
    """[TIMELINE_BINS] mean of inout, None where unknown."""
    peaks: list[int]
    """[HISTOGRAM_BINS] maps by their largest value, 0..1; the last bin has what is above."""
    inout_counts: list[int]
    """[HISTOGRAM_BINS] rows by inout."""
    pictures: list[Picture] = field(default_factory=list)


class Gallery:
    """Where the heatmaps lie, and how many pictures the report still has room for; several threads may ask."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._left = _PICTURES
        self._lock = threading.Lock()

    def take(self, count: int) -> int:
        """How many of `count` pictures may be made."""
        with self._lock:
            given = min(count, self._left)
            self._left -= given
        return given


def portray(subject: Subject, gallery: Gallery) -> Portrait:
    """The portrait of a checked subject; what could not be read is left out."""
    place, has_map = _coverage(subject)
    rows_at, inout = _inout(subject)
    length = max(int(place.max(initial=-1)), int(rows_at.max(initial=-1))) + 1
    coverage = _binned(place, has_map, length)
    high = np.zeros(0) if subject.stats is None else subject.stats.high[np.isfinite(subject.stats.high)]
    return Portrait(
        video_id=subject.video_id,
        rows=0 if subject.stats is None else len(subject.stats),
        span=f"{length} frames{_seconds(subject)}",
        coverage=[0.0 if value is None else value for value in coverage],
        faults=_faults(subject, length),
        inout=_binned(rows_at, inout, length),
        peaks=_histogram(high),
        inout_counts=_histogram(inout),
        pictures=list(_pictures(subject, gallery)),
    )


def _faults(subject: Subject, length: int) -> list[float | None]:
    loud = [f.frames for f in subject.findings if f.frames and f.severity != "note"]
    frames = np.array(sorted({frame for frames in loud for frame in frames}), dtype=np.int64)
    return _binned(frames, np.ones(len(frames)), length) if len(frames) else []


def _seconds(subject: Subject) -> str:
    video = subject.video
    return f", {video.pts_seconds[-1]:.1f} s" if video is not None and len(video.pts_seconds) else ""


def _coverage(subject: Subject) -> tuple[Ints, Floats]:
    if (columns := subject.columns) is not None:
        return columns.frame_index, np.isin(columns.frame_index, columns.row_frame).astype(np.float64)
    count = 0 if subject.stats is None else len(subject.stats)
    valid = subject.valid if subject.valid is not None and len(subject.valid) == count else np.ones(count)
    return np.arange(count), np.asarray(valid, dtype=np.float64)


def _inout(subject: Subject) -> tuple[Ints, Floats]:
    if subject.inout is None:
        return np.zeros(0, np.int64), np.zeros(0)
    places = np.arange(len(subject.inout)) if subject.columns is None else subject.columns.row_frame
    known = np.isfinite(subject.inout) & (places >= 0)
    return places[known], subject.inout[known].astype(np.float64)


def _binned(place: Ints, values: Floats, length: int) -> list[float | None]:
    """Means of `values` over TIMELINE_BINS equal parts of 0..length-1."""
    inside = (place >= 0) & (place < length)
    bins = place[inside] * TIMELINE_BINS // max(length, 1)
    if length < TIMELINE_BINS and length:
        # fewer frames than bins: every bin shows the frame that it falls into
        frames = np.arange(TIMELINE_BINS) * length // TIMELINE_BINS
        sums = np.bincount(place[inside], values[inside], minlength=length)[frames]
        counts = np.bincount(place[inside], minlength=length)[frames]
    else:
        sums = np.bincount(bins, values[inside], minlength=TIMELINE_BINS)
        counts = np.bincount(bins, minlength=TIMELINE_BINS)
    return [round(float(s / c), 4) if c else None for s, c in zip(sums, counts, strict=True)]


def _histogram(values: npt.NDArray[np.floating]) -> list[int]:
    return [int(count) for count in np.histogram(np.clip(values, 0, 1), HISTOGRAM_BINS, (0, 1))[0]]


def _pictures(subject: Subject, gallery: Gallery) -> Iterator[Picture]:
    """Frames of the findings; of a video without findings that have frames, one from its middle."""
    wanted: list[tuple[Finding | None, int]] = []
    for found in subject.findings:
        if found.frames and found.severity != "note":
            places = np.unique(np.linspace(0, len(found.frames) - 1, _PICTURES_PER_FINDING).round().astype(int))
            wanted += [(found, found.frames[place]) for place in places]
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
    from gazetools.preview.rows import DatasetOverlays, StoreOverlays

    if not wanted or subject.size_hw is None:
        return
    source = StoreOverlays(subject.path) if subject.kind == "store" else DatasetOverlays(root, subject.video_id)
    try:
        pictures = _frames(subject, sorted({number for _, number in wanted}))
        for found, number in wanted:
            rgb = pictures.get(number)
            where = "no video" if rgb is None else ""
            if rgb is None:
                height, width = subject.size_hw
                rgb = np.zeros((round(_PICTURE_WIDTH * height / width), _PICTURE_WIDTH, 3), np.uint8)
            everyone = source.people(number)
            people = [p for p in everyone if np.isfinite(p.heatmap).all()]
            if len(people) < len(everyone):
                where = "; ".join(filter(None, [where, "its map can't be drawn: NaN or infinite"]))
            drawn = draw_overlay(rgb, people)
            _, data = cv2.imencode(".jpg", drawn[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])
            label = "frame" if subject.kind == "store" else "row"
            yield Picture(
                code=found.code if found else "",
                caption=f"{label} {number}" + (f" ({where})" if where else ""),
                data_url="data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii"),
            )
    finally:
        source.close()


def _frames(subject: Subject, numbers: list[int]) -> dict[int, npt.NDArray[np.uint8]]:
    """Small pictures of the decoded frames that rows `numbers` belong to; nothing without the video."""
    import cv2

    from gazetools.video import VideoReader

    video = subject.video
    if video is None or not len(video.pts_seconds):
        return {}
    options, pts = subject.options, subject.pts_seconds
    frames = {number: number for number in numbers}
    if options is not None and pts is not None and (options.align == "native" or options.fps is not None):
        frames = {n: int(np.abs(video.pts_seconds - pts[n]).argmin()) for n in numbers if np.isfinite(pts[n])}
    inside = sorted({f for f in frames.values() if 0 <= f < video.decoded_frames})
    stream = None if subject.provenance is None else subject.provenance.video.stream_index
    small = {}
    with VideoReader(video.path, stream_index=stream, threads=1) as reader:
        for frame in reader.frames(inside):
            height = max(1, round(_PICTURE_WIDTH * frame.rgb.shape[0] / frame.rgb.shape[1]))
            small[frame.index] = cv2.resize(frame.rgb, (_PICTURE_WIDTH, height), interpolation=cv2.INTER_AREA)
    return {number: small[f] for number, f in frames.items() if f in small}
