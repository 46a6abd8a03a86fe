"""Find the video of an id and decode it to learn its frames."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gazetools.egoexo.takes import is_egoexo_root, read_takes
from gazetools.extraction.inputs import VIDEO_SUFFIXES
from gazetools.io.atomic import sha256_of_file
from gazetools.schemas.errors import UsageError
from gazetools.schemas.findings import Finding
from gazetools.schemas.video_id import video_id_below
from gazetools.validation.catalogue import finding
from gazetools.validation.subject import Subject, VideoTruth
from gazetools.video.picture_folders import about_pictures

if TYPE_CHECKING:
    from gazetools.video import VideoReader


class VideoFinder:
    """Videos by id below a root (UsageError where it does not exist); without one, those that the provenance names."""

    def __init__(self, root: Path | None) -> None:
        self.root = root
        self.findings: list[Finding] = []
        """Unusable entries in the takes.json of an Ego-Exo4D root."""
        self._by_id: dict[str, Path] = {}
        self._folded: dict[str, Path] = {}
        if root is None:
            return
        if not root.exists():
            raise UsageError(f"The video root {root} does not exist.", hint="Pass a folder of videos, or one video.")
        if root.is_file():
            self._by_id[root.stem] = root
        for path in sorted(root.rglob("*")) if root.is_dir() else ():
            if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file():
                try:
                    self._by_id[video_id_below(path, root)] = path
                except UsageError:
                    continue  # no heatmaps have a name that can't be an id
        if is_egoexo_root(root):
            self._add_takes(root)
        self._folded = {video_id.casefold(): path for video_id, path in self._by_id.items()}

    def _add_takes(self, root: Path) -> None:
        """Add the ids `take/camera`, and findings for entries and cameras that can't be used."""
        try:
            takes, unusable = read_takes(root)
        except UsageError as error:
            self.findings.append(finding("take-unusable", str(error)))
            return
        self.findings += [finding("take-unusable", entry.message, video_id=entry.name) for entry in unusable]
        for take in takes:
            for camera in take.cameras:
                video_id = take.video_id(camera)
                if camera.problem is not None:
                    self.findings.append(finding("take-unusable", f"{camera.problem}.", video_id=video_id))
                elif camera.path is not None:
                    self._by_id[video_id] = camera.path

    def find(self, subject: Subject) -> Path | None:
        """The subject's video, or None; a video that is missing below the root is reported."""
        if self.root is None:
            path = Path(subject.provenance.video.path) if subject.provenance else None
            return path if path is not None and path.is_file() else None
        name = subject.video_id.rsplit("/", 1)[-1] if self.root.is_file() else subject.video_id
        if (path := self._by_id.get(name)) is not None:
            return path
        if (path := self._folded.get(name.casefold())) is not None:
            subject.report("video-case-differs", f"{path} is taken for the video of {subject.video_id!r}.")
            return path
        pictures = about_pictures(self.root / subject.video_id) if self.root.is_dir() else None
        more = f" {pictures}" if pictures else ""
        subject.report("video-missing", f"{self.root} has no video {subject.video_id!r}.{more}")
        return None


def open_video(subject: Subject, path: Path) -> VideoReader:
    """Open the video stream that the heatmaps were made from, the default one where that is unknown."""
    from gazetools.video import VideoReader

    stream = None if subject.provenance is None else subject.provenance.video.stream_index
    return VideoReader(path, stream_index=stream, threads=1)


def decode(subject: Subject, path: Path) -> None:
    """Decode the whole video into `subject.video`; one that can't be decoded is reported."""
    try:
        with open_video(subject, path) as reader:
            digests = reader.luma_digests()
            subject.video = VideoTruth(
                path=path,
                decoded_frames=len(digests),
                size_hw=(reader.info.height, reader.info.width),
                packets=reader.packet_count,
                hidden_packets=reader.hidden_packet_count,
                luma_digests=digests,
                pts_seconds=reader.pts_seconds,
                damage=reader.damage,
                declared_frames=reader.info.declared_frame_count,
                rate=reader.info.rate,
                sha256=None if subject.provenance is None else sha256_of_file(path),
            )
    except (UsageError, OSError) as error:
        subject.report("video-unreadable", str(error))
