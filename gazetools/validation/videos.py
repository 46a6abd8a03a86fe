"""Find the video of an id and decode it to learn its frames."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from gazetools.egoexo.takes import is_egoexo_root, read_takes
from gazetools.io.find_files import SearchNotes, composed, existing_path
from gazetools.io.source_digest import source_sha256
from gazetools.io.source_file import find_source, folder_of_id, not_there
from gazetools.io.video_files import list_videos, preference
from gazetools.schemas.errors import UsageError
from gazetools.schemas.findings import Finding, frame_runs
from gazetools.validation.catalogue import finding
from gazetools.validation.subject import Subject, VideoTruth
from gazetools.video.frame_clock import times_or_recorded
from gazetools.video.picture_folders import about_pictures

if TYPE_CHECKING:
    from gazetools.video import VideoReader

_NAMED = 5  # videos without heatmaps that are named; all are counted


class VideoFinder:
    """Videos by id below a root (UsageError where it does not exist); without one, those that the provenance names."""

    def __init__(self, root: Path | None) -> None:
        self.root = root
        self.findings: list[Finding] = []
        """Unusable entries in the takes.json of an Ego-Exo4D root."""
        self._by_id: dict[str, Path] = {}
        self._folded: dict[str, Path] = {}
        self._exo: dict[str, Path] | None = None
        """Exocentric videos of an Ego-Exo4D root; None for any other folder."""
        self._absent: dict[str, str] = {}
        """Id -> why its video is not at hand, where no root was given."""
        self._unstated: list[str] = []
        """Ids whose heatmaps do not say where their videos are, where no root was given."""
        if root is None:
            return
        if not root.exists():
            raise UsageError(f"The video root {root} does not exist.", hint="Pass a folder of videos, or one video.")
        self.root = root = existing_path(root)
        self._add_files(root)
        if is_egoexo_root(root):
            self._add_takes(root)
        self._folded = {video_id.casefold(): path for video_id, path in self._by_id.items()}

    def _add_files(self, root: Path) -> None:
        """Add the videos below `root`, and findings about what was probably meant to be one."""
        notes = SearchNotes()
        for found in sorted(list_videos(root, notes), key=lambda found: preference(found.path)):
            if found.problem is not None:
                self.findings.append(finding("videos-left-out", f"{found.path}: {found.problem}"))
            elif (other := self._by_id.setdefault(found.video_id, found.path)) != found.path:
                message = f"{other} and {found.path} have one id; the first is compared."
                self.findings.append(finding("videos-left-out", message, video_id=found.video_id))
        if faults := notes.faults():
            self.findings.append(finding("videos-left-out", f"Below {root}: {'; '.join(faults)}."))

    def _add_takes(self, root: Path) -> None:
        """Add the ids `take/camera`, and findings for entries and cameras that can't be used."""
        self._exo = {}
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
                    if not camera.is_ego:
                        self._exo[video_id] = camera.path

    def _find_source(self, subject: Subject) -> Path | None:
        """The video where the provenance says; what is missing there is counted, see `not_compared`."""
        if subject.provenance is None:
            self._unstated.append(subject.video_id)
            return None
        facts = subject.provenance.video
        source = find_source(facts, folder_of_id(subject.path, subject.video_id))
        if source is None:
            self._absent[subject.video_id] = not_there(facts)
            return None
        return source.path

    def not_compared(self, subjects: int) -> list[Finding]:
        """Findings about those of all `subjects` heatmaps whose video is not at hand."""
        findings = []
        for code, absent in (("videos-not-compared", self._absent), ("videos-unstated", self._unstated)):
            if not absent:
                continue
            first = sorted(absent)[:3]
            names = ", ".join(first) + (", ..." if len(absent) > len(first) else "")
            reason = f" {first[0]}: {self._absent[first[0]]}." if first[0] in self._absent else ""
            message = f"{len(absent)} of {subjects} videos were not compared with their heatmaps: {names}.{reason}"
            findings.append(finding(code, message))
        return findings

    def find(self, subject: Subject) -> Path | None:
        """The subject's video, or None; a video that is missing below the root is reported."""
        if self.root is None:
            return self._find_source(subject)
        name = composed(subject.video_id)
        name = name.rsplit("/", 1)[-1] if self.root.is_file() else name
        if (path := self._by_id.get(name)) is not None:
            return path
        if (path := self._folded.get(name.casefold())) is not None:
            subject.report("video-case-differs", f"{path} is taken for the video of {subject.video_id!r}.")
            return path
        pictures = about_pictures(self.root / subject.video_id) if self.root.is_dir() else None
        more = f" {pictures}" if pictures else ""
        subject.report("video-missing", f"{self.root} has no video {subject.video_id!r}.{more}")
        return None

    def without_heatmaps(self, video_ids: Iterable[str]) -> tuple[int, list[Finding]]:
        """Number of videos of the folder that none of `video_ids` names, and one finding about them.

        An Ego-Exo4D root is wider than what `extract` takes of it: its exocentric videos are counted, and the finding
        is about cameras that other takes have heatmaps of, in takes that have heatmaps.
        """
        if self.root is None or self.root.is_file():
            return 0, []
        ids = set(video_ids)
        names_of = [composed(name) for name in ids]
        found = {path for name in names_of if (path := self._by_id.get(name) or self._folded.get(name.casefold()))}
        listed = self._by_id if self._exo is None else self._exo
        lacking = [name for name, path in listed.items() if path not in found]
        missed = lacking
        if self._exo is not None:
            takes, cameras = ({name.rsplit("/", 1)[part] for name in ids if "/" in name} for part in (0, -1))
            missed = [n for n in lacking if n.rsplit("/", 1)[0] in takes and n.rsplit("/", 1)[-1] in cameras]
        if not missed:
            return len(lacking), []
        names = ", ".join(repr(name) for name in missed[:_NAMED])
        more = f" and {len(missed) - _NAMED} more" if len(missed) > _NAMED else ""
        message = f"{len(missed)} of {len(listed)} videos below {self.root} have no heatmaps: {names}{more}."
        return len(lacking), [finding("videos-without-heatmaps", message)]


def open_video(subject: Subject, path: Path) -> VideoReader:
    """Open the video stream that the heatmaps were made from, the default one where that is unknown.

    HDR becomes the pictures that the model saw: files without a tone mapping in their provenance have seen raw values.
    """
    from gazetools.video import VideoReader

    provenance = subject.provenance
    times = times_or_recorded(path, subject.times, None if provenance is None else provenance.video).for_reader()
    if provenance is None:
        return VideoReader(path, threads=1, **times)
    mapped = provenance.video.tone_mapping not in (None, "none")
    return VideoReader(
        path,
        stream_index=provenance.video.stream_index,
        threads=1,
        hdr="tonemap" if mapped else "raw",
        allow_damaged=bool(provenance.options.get("allow_damaged")),
        **times,
    )


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
                damage=(*reader.damage, *_lost(reader)),
                declared_frames=reader.info.declared_frame_count,
                rate=reader.info.rate,
                sha256=None if subject.provenance is None else source_sha256(path),
                info=reader.info,
                remarks=reader.remarks,
            )
    except (UsageError, OSError) as error:
        subject.report("video-unreadable", str(error))


def _lost(reader: VideoReader) -> list[str]:
    """What to say about frames that can't be decoded, where that was allowed."""
    lost = sorted(reader.lost_frames)
    return [f"{len(lost)} frames can't be decoded: {frame_runs(lost)}"] if lost else []
