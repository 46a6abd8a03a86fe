"""The detection pass: one whole video to a CSV of head boxes with track ids, committed by itself and reused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gazetools._version import __version__
from gazetools.heads.detectors import HeadDetector, load_detector
from gazetools.heads.tracking import Tracker
from gazetools.io.atomic import sha256_of_file, write_bytes_atomic
from gazetools.io.json_files import read_json, write_json_atomic
from gazetools.progress import NoProgress, Progress
from gazetools.schemas.errors import DataFileError, EnvironmentLacksError, UsageError, VideoError
from gazetools.schemas.heads import DetectOptions, HeadsRecord
from gazetools.schemas.video import HdrRule
from gazetools.video import VideoReader
from gazetools.video.facts import probe_digest
from gazetools.video.source import VideoSource

CSV_HEADER = "frame,track_id,xmin,ymin,xmax,ymax,score"
_REVISION = 2
"""Number that is raised whenever the same inputs would give other boxes."""
_AUTO_BATCH = {"cpu": 2, "cuda": 16}


@dataclass(frozen=True, kw_only=True)
class DetectedHeads:
    """The boxes of one video."""

    path: Path
    record: HeadsRecord
    reused: bool
    """Whether they existed already, made by the same detector from the same video."""


@dataclass(frozen=True, kw_only=True)
class HeadDetection:
    """A loaded detector with its options: what all videos of a run share."""

    options: DetectOptions
    detector: HeadDetector
    hdr: HdrRule = "tonemap"
    """How HDR video becomes the pictures in which the detector looks."""

    @classmethod
    def load(cls, options: DetectOptions, *, offline: bool | None = None, hdr: HdrRule = "tonemap") -> HeadDetection:
        """Load the detector of `options`; errors as `load_detector`, EnvironmentLacksError also without trackers."""
        try:
            import trackers  # noqa: F401 - fail before the work, not after
        except ImportError as error:
            what, hint = f"Following people needs the package trackers ({error}).", "pip install 'gazetools[detect]'"
            raise EnvironmentLacksError(what, hint=hint) from None
        return cls(options=options, detector=load_detector(options, offline=offline), hdr=hdr)

    @property
    def batch_size(self) -> int:
        wanted = self.options.batch_size
        return _AUTO_BATCH[self.detector.device] if wanted == "auto" else wanted

    def key(self, video: Path) -> str:
        """sha256 over everything that shapes the boxes of `video`."""
        parts = {
            "revision": _REVISION,
            "options": self.options.shaping(),
            "weights": self.detector.weights_sha256,
            "device": self.detector.device,
            "video": probe_digest(video, self.options.of_pictures()),
            **({} if self.hdr == "tonemap" else {"hdr": self.hdr}),  # boxes of earlier releases keep their key
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def record_path(csv_path: Path) -> Path:
    return csv_path.with_name(csv_path.name + ".json")


def detect_heads(
    video: Path,
    output: Path,
    detection: HeadDetection,
    *,
    label: str | None = None,
    allow_damaged: bool = False,
    overwrite: bool = False,
    open_video: Callable[[Path], VideoSource] | None = None,
    progress: Progress | None = None,
) -> DetectedHeads:
    """Find and follow the heads of `video` and write them to the CSV `output`; reuse it where it is already that.

    The record (`output` + `.json`) with the CSV's sha256 is committed first, the CSV last: it counts where both agree,
    and a CSV without a record is a file of the user. `open_video` may decode in a process that can be killed.

    Raises VideoError for a video that can't be decoded or is damaged (unless `allow_damaged`), UsageError where
    `output` is of another detector or video or the user's own (unless `overwrite`).
    """
    progress = progress or NoProgress()
    label = label or f"heads {video.stem}"
    key = detection.key(video)
    record = read_record(output)
    if record is not None and record.key == key:
        return DetectedHeads(path=output, record=record, reused=True)
    if output.exists() and not overwrite:
        raise UsageError(
            f"{output} exists and was not made from {video.name} with this detector and these options.",
            hint="Pass --overwrite to replace it, or choose another file.",
        )
    own_reader = partial(VideoReader, allow_damaged=allow_damaged, **detection.options.for_reader())
    with closing((open_video or own_reader)(video)) as reader:
        if reader.damage and not allow_damaged:
            raise VideoError(
                f"{video} is not whole: {'; '.join(reader.damage)}.",
                hint="Get the file again, or pass --allow-damaged to take what can be decoded.",
            )
        wanted = np.arange(0, reader.frame_count, detection.options.every)
        progress.start(label, len(wanted))
        rows, tracks, headless = _follow(reader, wanted, detection, label, progress)
        progress.finish(label)
    text = "\n".join((CSV_HEADER, *rows)) + "\n"
    record = HeadsRecord(
        tool_version=__version__,
        key=key,
        csv_sha256=hashlib.sha256(text.encode()).hexdigest(),
        options=detection.options.shaping(),
        weights_sha256=detection.detector.weights_sha256,
        frames=len(wanted),
        rows=len(rows),
        tracks=tracks,
        people_without_head=headless,
    )
    write_json_atomic(record_path(output), record.model_dump(mode="json"))
    write_bytes_atomic(output, text.encode())
    return DetectedHeads(path=output, record=record, reused=False)


def _follow(
    reader: VideoSource, wanted: npt.NDArray[np.int64], detection: HeadDetection, label: str, progress: Progress
) -> tuple[list[str], int, int]:
    """Lines of the CSV, number of tracks, number of sightings without a head."""
    options = detection.options
    tracker = Tracker(
        score=options.score,
        low_score=options.low_score,
        lost_seconds=options.lost_seconds,
        frame_rate=_usual_rate(reader.pts_seconds[wanted]),
    )
    lines: list[str] = []
    headless = 0
    frames = reader.frames(wanted)
    while batch := list(islice(frames, detection.batch_size)):
        found = detection.detector.find([frame.rgb for frame in batch], options.low_score)
        for frame, people in zip(batch, found, strict=True):
            ids = tracker.update(people.body_xyxy, people.score, frame.pts_seconds)
            for place in np.argsort(ids, kind="stable")[(ids == 0).sum() :]:
                if (head := people.head_xyxy[place]) is None:
                    headless += 1
                else:
                    box = ",".join(f"{v:.2f}" for v in head)
                    lines.append(f"{frame.index},{ids[place]},{box},{people.score[place]:.4f}")
        for frame in batch:
            reader.release(frame)
        progress.advance(label, len(batch))
    return lines, tracker.started, headless


def _usual_rate(pts_seconds: npt.NDArray[np.float64]) -> float:
    """Frames per second by the median step between times; the rate that a container states may be wrong."""
    steps = np.diff(pts_seconds)[np.diff(pts_seconds) > 0]
    return 1 / float(np.median(steps)) if len(steps) else 30.0  # one frame: any rate will do


def read_record(csv_path: Path) -> HeadsRecord | None:
    """The record of `csv_path` if there is one and it states the file's sha256."""
    try:
        record = HeadsRecord.model_validate(read_json(record_path(csv_path), max_bytes=1 << 20))
        return record if record.csv_sha256 == sha256_of_file(csv_path) else None
    except (DataFileError, ValueError, OSError):
        return None
