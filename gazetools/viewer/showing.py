"""What one call of `view` shows: its heatmaps, videos, findings and actions, opened when somebody looks."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gazetools.annotations.segment import Segment
from gazetools.annotations.segments import read_segments
from gazetools.io.closing import Closing
from gazetools.io.json_files import read_json
from gazetools.io.open_files import OpenFiles
from gazetools.schemas.base import parse_settings
from gazetools.schemas.errors import DataFileError, GazetoolsError, UsageError
from gazetools.schemas.findings import Finding, ValidationReport
from gazetools.schemas.provenance import Provenance
from gazetools.schemas.view import CORRECTED_FOLDER, ViewOptions
from gazetools.video.frame_clock import times_or_recorded
from gazetools.viewer.file_stamp import FileStamp, stamp_of
from gazetools.viewer.find_video import VideoPlaces
from gazetools.viewer.line_cache import VideoLines
from gazetools.viewer.proxy import Proxies
from gazetools.viewer.roots import MapRoot, open_root
from gazetools.viewer.shown_video import ShownVideo
from gazetools.viewer.stills import Stills
from gazetools.viewer.video_maps import VideoMaps

_OPEN_VIDEOS = 3
_OPEN_MAPS = 8
_MOST_REPORT_BYTES = 256 << 20


class Showing(Closing):
    """Everything that the routes answer from. Safe for several threads.

    Raises UsageError and DataFileError for heatmaps, annotations or findings that can't be read.
    """

    def __init__(self, path: Path, options: ViewOptions) -> None:
        self.roots: list[MapRoot] = [open_root(path, options.chosen)]
        if options.compare is not None:
            self.roots.append(open_root(options.compare, options.chosen))
        self.first_video = options.video
        self.boxes_folder = options.boxes or self.roots[0].path / CORRECTED_FOLDER
        if self.boxes_folder.exists() and not self.boxes_folder.is_dir():
            raise UsageError(
                f"{self.boxes_folder} is no folder, so no boxes can be saved there.", hint="Change --boxes."
            )
        self.places = VideoPlaces(options.videos)
        self._picture_times = options.of_pictures()
        self.has_findings = options.findings is not None
        self.findings = {} if options.findings is None else _findings_by_id(options.findings)
        self._segments = {} if options.annotations is None else _segments_by_id(options.annotations)
        self.lines = VideoLines(self.roots[0])
        self.proxies = Proxies()
        self._videos: OpenFiles[Hashable, Stills] = OpenFiles(_OPEN_VIDEOS)
        self._maps: OpenFiles[tuple[int, str, FileStamp], VideoMaps] = OpenFiles(_OPEN_MAPS)
        self._found: dict[str, tuple[FileStamp | None, ShownVideo]] = {}
        self._times: dict[str, tuple[Hashable, npt.NDArray[np.float64]]] = {}
        self._video_lock, self._map_lock = threading.RLock(), threading.RLock()

    def stamp(self, source: int, video_id: str) -> FileStamp:
        """The stamp of a video's heatmaps now. Raises DataFileError where there are none."""
        found = self.roots[source].stamp(video_id)
        if found is None:
            where = self.roots[source].path
            raise DataFileError(f"{where} has no heatmaps of the video {video_id!r}.", video_id=video_id)
        return found

    @contextmanager
    def maps(self, source: int, video_id: str) -> Iterator[VideoMaps]:
        """The open heatmaps of a video in root `source`, for this thread alone in the block; reopened once changed."""
        with self._map_lock:
            key = (source, video_id, self.stamp(source, video_id))
            yield self._maps.get(key, lambda: self._opened(source, video_id))

    def _opened(self, source: int, video_id: str) -> VideoMaps:
        maps = self.roots[source].open(video_id, None)
        if maps.follows_video or (file := self._file(video_id, maps.provenance)).path is None:
            return maps
        maps.close()  # its rows become frames by the times of the video
        return self.roots[source].open(video_id, self._times_of(video_id, file))

    def video(self, video_id: str) -> ShownVideo:
        """Where the video is; looked for again once its heatmaps or the file itself have changed."""
        stamp = self.roots[0].stamp(video_id)
        known_stamp, known = self._found.get(video_id, (None, None))
        if known is not None and known.is_as_found():
            if known_stamp == stamp:
                return known
        elif known is not None:  # frames of heatmaps on a grid of their own followed the times of the old file
            with self._map_lock:
                self._maps.clear()
        provenance = None
        with suppress(GazetoolsError), self.maps(0, video_id) as maps:  # a broken file may still have a video
            provenance = maps.provenance
        found = self._file(video_id, provenance)
        if found.path is None:
            self._found.pop(video_id, None)
        else:  # it may cost a sha256 of the whole file
            self._found[video_id] = stamp, found
        return found

    def video_stamp(self, video_id: str) -> str | None:
        """The stamp of the video's file now; None: it is not there, or nobody has looked for it yet."""
        _, known = self._found.get(video_id, (None, None))
        stamp = None if known is None or known.path is None else stamp_of(known.path)
        return None if stamp is None else str(stamp)

    def _file(self, video_id: str, provenance: Provenance | None) -> ShownVideo:
        path, problem = self.places.find(video_id, provenance, self.roots[0].path)
        stamp = None if path is None else stamp_of(path)
        if path is not None and stamp is None:
            path, problem = None, f"{path} is not there any more."
        source = None if provenance is None else provenance.video
        times = self._picture_times if path is None else times_or_recorded(path, self._picture_times, source)
        return ShownVideo(
            path=path,
            problem=problem,
            stream_index=None if source is None else source.stream_index,
            hdr="raw" if source is not None and source.tone_mapping in (None, "none") else "tonemap",
            times=times,
            stamp=stamp,
        )

    def stills(self, video_id: str) -> Stills:
        """The open video. Raises VideoError where it is missing or can't be opened."""
        return self._stills_of(self.video(video_id))

    def _stills_of(self, video: ShownVideo) -> Stills:
        with self._video_lock:
            return self._videos.get(video.key, lambda: Stills(video.open(threads=2)))

    def times(self, video_id: str) -> npt.NDArray[np.float64]:
        """The pts of the video's frames in seconds; kept, since learning them reads the whole file once."""
        return self._times_of(video_id, self.video(video_id))

    def _times_of(self, video_id: str, video: ShownVideo) -> npt.NDArray[np.float64]:
        key, times = self._times.get(video_id, (None, None))
        if times is None or key != video.key:
            times = self._stills_of(video).times()
            self._times[video_id] = video.key, times
        return times

    def segments(self, video_id: str) -> list[Segment]:
        """The actions of a video, those of its whole take included."""
        take = video_id.rsplit("/", 1)[0]
        of_take = [one for one in self._segments.get(take, []) if one.whole_take] if take != video_id else []
        return self._segments.get(video_id, []) + of_take

    def close(self) -> None:
        """Close all files, end all threads, remove the copies."""
        self.lines.close()
        self.proxies.close()
        self._videos.clear()
        self._maps.clear()


def _segments_by_id(path: Path) -> dict[str, list[Segment]]:
    found: dict[str, list[Segment]] = {}
    for segment in read_segments(path, labelled=False):
        found.setdefault(segment.video_id, []).append(segment)
    return found


def _findings_by_id(path: Path) -> dict[str | None, list[Finding]]:
    document = read_json(path, max_bytes=_MOST_REPORT_BYTES)
    if not isinstance(document, dict) or "findings" not in document:
        raise DataFileError(f"{path} is not a report of validate.", hint="Write one: gazetools validate PATH --json")
    found: dict[str | None, list[Finding]] = {}
    for finding in parse_settings(ValidationReport, document, what=str(path)).findings:
        found.setdefault(finding.video_id, []).append(finding)
    return found
