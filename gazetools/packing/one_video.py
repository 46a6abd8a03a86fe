"""What `pack` and `convert` share: the run over all videos, and the way of one video into the dataset."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gazetools.heatmaps.values import UINT8_SCALE
from gazetools.io.atomic import check_writable_folder, remove_stale_temps, write_bytes_atomic
from gazetools.io.parallel import SharedProgress, each
from gazetools.layouts.base import PackedLayout
from gazetools.layouts.registry import LAYOUTS
from gazetools.layouts.stream import MapStream
from gazetools.packing.manifest import ManifestDraft
from gazetools.progress import NoProgress, Progress
from gazetools.schemas.dataset import ORIGIN_SUFFIX, PackedItem, PackedVideo, PackOptions, PackReport
from gazetools.schemas.errors import UsageError
from gazetools.schemas.video_id import path_of_id

PackVideo = Callable[[ManifestDraft, Progress], PackedItem]
"""Packs one video into the dataset. A UsageError fails this video, a FaultError stops the run."""


def pack_videos(
    videos: Mapping[str, PackVideo],
    dataset: Path,
    options: PackOptions,
    *,
    overwrite: bool,
    workers: int | None,
    progress: Progress | None,
) -> PackReport:
    """Check the dataset folder, pack the videos, given by id, in a few threads, write the manifest last."""
    progress = SharedProgress(progress or NoProgress())
    check_writable_folder(dataset, option="-o")
    remove_stale_temps(dataset)
    draft = ManifestDraft(dataset, options, overwrite=overwrite)
    layout = LAYOUTS[options.layout]
    progress.start("videos", len(videos), unit="videos")

    def one(video_id: str) -> PackedItem:
        began = time.monotonic()
        try:
            item = videos[video_id](draft, progress)
            item = item.model_copy(update={"seconds": time.monotonic() - began})
        except UsageError as error:
            progress.say(f"failed: {video_id}: {error}")
            item = PackedItem(video_id=video_id, status="failed", reason=str(error))
            draft.failed(video_id)
        progress.finish(video_id)
        progress.advance("videos")
        return item

    try:
        draft.allow_only(set(videos))
        layout.check_ids(set(videos) | draft.video_ids)
        ordered = sorted(videos) if layout.in_order else list(videos)
        items = each(one, ordered, workers=1 if layout.in_order else workers or min(4, os.cpu_count() or 1))
        progress.finish("videos")
        draft.commit()
    finally:
        draft.writer.close()
    return PackReport(output=str(dataset), items=items)


@dataclass(frozen=True, kw_only=True)
class Place:
    """The place of one video in the dataset."""

    draft: ManifestDraft
    video_id: str
    source_sha256: str

    @property
    def _layout(self) -> PackedLayout:
        return LAYOUTS[self.draft.options.layout]

    @property
    def _path(self) -> Path:
        return path_of_id(self.draft.dataset, self.video_id, self._layout.suffix)

    def unchanged(self, stated: Mapping[str, Any]) -> PackedItem | None:
        """The result of a video that is packed already, or None. UsageError where a foreign file has its name.

        The provenance of its entry must have all keys of `stated` with these values.
        """
        entry = self.draft.unchanged(self.video_id, self.source_sha256)
        if (
            entry is not None
            and all(entry.provenance.get(key) == value for key, value in stated.items())
            and self.draft.writer.keep(self._path)
        ):
            return self._item("unchanged", entry)
        if self._path.exists() and not self.draft.may_replace:
            raise UsageError(
                f"{self._path} exists and is in no manifest of gazetools.",
                hint="Choose another -o, or pass --overwrite.",
            )
        return None

    def write(self, stream: MapStream) -> dict[str, Any]:
        """Commit the maps and return the fields of PackedVideo that follow. FaultError first where there is no room."""
        self._layout.check_space(self._path, stream.shape, stream.dtype)
        written = self.draft.writer.write(self._path, stream)
        return {
            "file": self.video_id + self._layout.suffix,
            **dict(zip("THW", stream.shape, strict=True)),
            "dtype": stream.dtype.name,
            "scale": UINT8_SCALE if stream.dtype == np.uint8 else 1.0,
            "sha256": written.sha256,
            "bytes": written.bytes,
            "source_sha256": self.source_sha256,
            "options_key": self.draft.options.key(),
        }

    def add(self, fields: dict[str, Any], *, origin: bytes | None, warnings: Sequence[str] = ()) -> PackedItem:
        """Write the origin file, then record the video, whose maps are committed; `fields` are those of PackedVideo."""
        if origin is not None:
            write_bytes_atomic(path_of_id(self.draft.dataset, self.video_id, ORIGIN_SUFFIX), origin)
            fields = {**fields, "origin_sha256": hashlib.sha256(origin).hexdigest()}
        entry = PackedVideo(**fields)
        self.draft.add(self.video_id, entry)
        return self._item("packed", entry, warnings)

    def _item(
        self, status: Literal["packed", "unchanged"], entry: PackedVideo, warnings: Sequence[str] = ()
    ) -> PackedItem:
        return PackedItem(
            video_id=self.video_id,
            status=status,
            frames=entry.t,
            valid_frames=entry.valid_frames,
            bytes=entry.bytes,
            warnings=list(warnings),
        )
