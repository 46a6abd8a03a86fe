"""Facts of videos next to their cached features, so that runs on features alone need no video file."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from gazetools.io.atomic import write_bytes_atomic
from gazetools.io.find_files import existing_path
from gazetools.io.npz import Npz
from gazetools.schemas.errors import DataFileError
from gazetools.schemas.training import DataSettings
from gazetools.trainer.data.frame_folders import FrameFolders
from gazetools.trainer.data.video_facts import VideoFacts
from gazetools.trainer.data.videos import find_videos

_FOLDER, _SUFFIX = "videos", ".npz"


@dataclass(frozen=True)
class KeptVideos:
    """Facts of videos by id below a feature cache: `<root>/videos/<video_id>.npz`, written by `train --cache-only`."""

    root: Path

    @staticmethod
    def of(data: DataSettings) -> KeptVideos | None:
        """Those of a config's feature cache; None where it has none."""
        return KeptVideos(Path(data.feature_cache.folder)) if data.feature_cache is not None else None

    def write(self, video_id: str, facts: VideoFacts, path: Path) -> None:
        """Keep the facts of the video file `path`. Raises FaultError for a full disk."""
        plain = {
            "path": str(path.absolute()),
            "frame_hw": list(facts.frame_hw),
            "rate": [Fraction(facts.rate).numerator, Fraction(facts.rate).denominator],
            "decoded_by": list(facts.decoded_by),
        }
        file = io.BytesIO()
        text = np.frombuffer(json.dumps(plain).encode(), dtype=np.uint8)
        np.savez(file, pts_seconds=facts.pts_seconds, facts=text)
        write_bytes_atomic(self._place(video_id), file.getvalue())

    def read(self, video_id: str) -> tuple[VideoFacts, Path] | None:
        """The facts and the file that they are of; None where there are none, or a damaged file."""
        place = self._place(video_id)
        if not place.is_file():
            return None
        try:
            with Npz(place) as file:
                pts_seconds, plain = file.load("pts_seconds"), json.loads(file.load("facts").tobytes().decode())
            facts = VideoFacts(
                pts_seconds=pts_seconds,
                frame_hw=(int(plain["frame_hw"][0]), int(plain["frame_hw"][1])),
                rate=Fraction(*plain["rate"]),
                decoded_by=tuple(plain["decoded_by"]),
            )
            return facts, Path(plain["path"])
        except (DataFileError, ValueError, KeyError, TypeError, IndexError, ZeroDivisionError):
            return None

    def has(self, video_id: str, path: Path) -> bool:
        """Whether the facts are those of the file `path` as it is now."""
        kept, status = self.read(video_id), path.stat()
        return kept is not None and kept[0].decoded_by[:2] == (status.st_size, status.st_mtime_ns)

    def cameras(self, take: str) -> list[str]:
        """Names of the kept videos `take/camera`."""
        folder = self.root / _FOLDER / take
        return sorted(path.stem for path in folder.glob(f"*{_SUFFIX}"))

    def _place(self, video_id: str) -> Path:
        return self.root / _FOLDER / f"{video_id}{_SUFFIX}"


def videos_or_kept(
    data: DataSettings, video_ids: list[str], notes: list[str], *, folders: Sequence[str] = ()
) -> tuple[dict[str, Path], Mapping[str, VideoFacts]]:
    """(id -> file of every video that is there or kept, id -> facts of those that are kept and not there any more).

    `notes` receives a sentence about the latter; `folders` are those of `find_videos`, whose UsageError is raised where
    nothing is kept.
    """
    kept, base = KeptVideos.of(data), Path(data.base_path)
    found = {} if kept is None else {name: one for name in dict.fromkeys(video_ids) if (one := kept.read(name))}
    there: dict[str, Path] = {}
    if not found or existing_path(base).is_dir():
        pictures = FrameFolders.of(data)
        if pictures is not None:
            there = pictures.find(video_ids)
        else:
            there = find_videos(base, video_ids, data.file_format, notes, folders=folders)
    gone = {name: one for name, one in found.items() if name not in there}
    if gone and kept is not None:
        notes.append(f"{len(gone)} video(s) are not below {base}; their clips come from the features in {kept.root}.")
    return {**{name: path for name, (_, path) in gone.items()}, **there}, {name: f for name, (f, _) in gone.items()}
