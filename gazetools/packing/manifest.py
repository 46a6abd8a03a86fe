"""The dataset's manifest while it is made: entries of earlier runs, entries of this one, one commit at the end."""

from __future__ import annotations

import hashlib
import shutil
import threading
from contextlib import suppress
from pathlib import Path

from gazetools._version import __version__
from gazetools.io.atomic import write_bytes_atomic
from gazetools.io.json_files import dumps, read_json, write_json_atomic
from gazetools.layouts.locate import read_manifest
from gazetools.layouts.registry import LAYOUTS
from gazetools.packing.readme import README_HEADING, readme
from gazetools.schemas.base import parse_settings
from gazetools.schemas.dataset import (
    MANIFEST_NAME,
    ORIGIN_SUFFIX,
    README_NAME,
    WORK_FOLDER,
    Manifest,
    PackedVideo,
    PackOptions,
)
from gazetools.schemas.errors import DataFileError, UsageError
from gazetools.schemas.video_id import path_of_id


class ManifestDraft:
    """Entries of the videos in a dataset; `add` writes each to a journal for the next run, `commit` the manifest."""

    def __init__(self, dataset: Path, options: PackOptions, *, overwrite: bool) -> None:
        self.dataset = dataset
        self.options = options
        self._work = dataset / WORK_FOLDER
        self._old_text: str | None = None
        self._entries: dict[str, PackedVideo] = {}
        self._replaced: set[str] = set()
        self._lock = threading.Lock()
        self.may_replace = overwrite or (dataset / MANIFEST_NAME).exists() or self._work.is_dir()
        """Files in the dataset may be replaced: they are of gazetools, or the user said so."""
        if (dataset / MANIFEST_NAME).exists():
            manifest = read_manifest(dataset)
            self._old_text = (dataset / MANIFEST_NAME).read_text(encoding="utf-8")
            self._entries = dict(manifest.videos)
            if manifest.options.key() != options.key():
                self._check_may_replace(manifest, overwrite=overwrite)
        self._take_journal()
        self.writer = LAYOUTS[options.layout].begin(dataset, options, may_replace=self.may_replace)
        """What writes the videos of this run."""

    @property
    def video_ids(self) -> set[str]:
        """Ids of the videos in the dataset so far."""
        return set(self._entries)

    def unchanged(self, video_id: str, source_sha256: str) -> PackedVideo | None:
        """The entry of a video that needs no packing (same source, same options, complete files); None for others."""
        entry = self._entries.get(video_id)
        if entry is None or entry.options_key != self.options.key() or entry.source_sha256 != source_sha256:
            return None
        whole = LAYOUTS[self.options.layout].bytes_at(self.dataset / entry.file) == entry.bytes
        if entry.origin_sha256 is not None:
            whole &= path_of_id(self.dataset, video_id, ORIGIN_SUFFIX).is_file()
        return entry if whole else None

    def add(self, video_id: str, entry: PackedVideo) -> None:
        """Record a packed video, from any thread. An entry that a power cut loses is made again by the next run."""
        with self._lock:
            self._entries[video_id] = entry
            self._replaced.discard(video_id)
        write_json_atomic(
            self._work / (hashlib.sha256(video_id.encode()).hexdigest()[:32] + ".json"),
            {"video_id": video_id, "entry": entry.model_dump(mode="json", by_alias=True)},
            durable=False,
        )

    def failed(self, video_id: str) -> None:
        """Forget a video that can't be packed now, unless what an earlier run wrote of it can stay."""
        path = path_of_id(self.dataset, video_id, LAYOUTS[self.options.layout].suffix)
        if self.writer.drop(path):
            path_of_id(self.dataset, video_id, ORIGIN_SUFFIX).unlink(missing_ok=True)
            with self._lock:
                self._entries.pop(video_id, None)

    def commit(self) -> None:
        """Finish the files and write the manifest unless it is up to date, and README.md; then delete the journal."""
        self.writer.commit()
        videos = {video_id: self._entries[video_id] for video_id in sorted(self._entries.keys() - self._replaced)}
        manifest = Manifest(tool_version=__version__, layout=self.options.layout, options=self.options, videos=videos)
        text = dumps(manifest.model_dump(mode="json", by_alias=True))
        if text != self._old_text:
            write_bytes_atomic(self.dataset / MANIFEST_NAME, text.encode("utf-8"))
        path, readme_text = self.dataset / README_NAME, readme(manifest).encode("utf-8")
        old = path.read_bytes() if path.is_file() else None
        # a README.md that is not of gazetools stays
        if old != readme_text and (old is None or README_HEADING in old):
            write_bytes_atomic(path, readme_text, durable=False)
        shutil.rmtree(self._work, ignore_errors=True)

    def allow_only(self, video_ids: set[str]) -> None:
        """Raise UsageError where a run for these videos would leave others that can't stay as they are."""
        if LAYOUTS[self.options.layout].in_order and (left := sorted(self.video_ids - video_ids)):
            raise UsageError(
                f"{self.dataset} holds {len(left)} videos that this run does not have, such as {left[0]!r}; shards "
                "are filled in the order of all videos.",
                hint="Pack all videos at once, or into another folder.",
            )
        if left := sorted(self._replaced - video_ids):
            raise UsageError(
                f"{self.dataset} was packed with other options and holds {len(left)} videos that this run would not "
                f"replace, such as {left[0]!r}.",
                hint="Pack into another folder: one dataset has one set of options.",
            )

    def _check_may_replace(self, manifest: Manifest, *, overwrite: bool) -> None:
        old, new = manifest.options.model_dump(), self.options.model_dump()
        changes = ", ".join(f"{k} {old[k]!r} -> {new[k]!r}" for k in new if old[k] != new[k]) or "another version"
        if manifest.layout != self.options.layout:
            raise UsageError(
                f"{self.dataset} has the layout {manifest.layout}, not {self.options.layout}.",
                hint="Pack into another folder.",
            )
        if not overwrite:
            raise UsageError(
                f"{self.dataset} was packed with other options ({changes}).",
                hint="Pass --overwrite to pack it again, or another -o.",
            )
        self._replaced = set(self._entries)

    def _take_journal(self) -> None:
        for path in sorted(self._work.glob("*.json")):
            # if a journal file can't be read, its video is packed again
            with suppress(DataFileError, UsageError, KeyError, TypeError):
                value = read_json(path, max_bytes=1 << 20)
                entry = parse_settings(PackedVideo, value["entry"], what=str(path))
                if entry.options_key == self.options.key():
                    self._entries[str(value["video_id"])] = entry
                    self._replaced.discard(str(value["video_id"]))
