"""Facts of a source video for the provenance of a store, and the sums that distinguish files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Literal

import numpy as np

from gazetools.io.source_digest import quick_digest, source_sha256
from gazetools.io.source_file import path_seen_from
from gazetools.schemas.errors import VideoError
from gazetools.schemas.picture_times import PictureTimes
from gazetools.schemas.provenance import SourceVideo
from gazetools.video.frame_clock import clock_digest
from gazetools.video.source import VideoSource

_MOST_RANGES, _MOST_REMARKS, _LONGEST_REMARK = 200, 10, 500
"""Limits that keep provenance short."""


def source_video(
    reader: VideoSource,
    counted_by: Literal["decoding", "index"],
    *,
    store: Path,
    sha256: str | None = None,
    remarks: Sequence[str] = (),
    lost_frames: Sequence[int] = (),
) -> SourceVideo:
    """Facts of the open video for `store`, with the sha256 of the whole file; computed here unless given.

    `lost_frames` (ascending) were wanted and can't be decoded.
    """
    info = reader.info
    same_names = SourceVideo.model_fields.keys() & {field.name for field in fields(info)}
    lost = np.array(lost_frames, np.int64)
    firsts = lost[np.diff(lost, prepend=-2) > 1].tolist()
    lasts = lost[np.diff(lost, append=2**62) > 1].tolist()
    return SourceVideo(
        **{name: getattr(info, name) for name in same_names - {"rate", "path"}},
        path=str(Path(info.path).absolute()),
        relative_path=path_seen_from(store, Path(info.path)),
        remarks=[remark[:_LONGEST_REMARK] for remark in remarks[:_MOST_REMARKS]],
        lost_frames=[(first, last + 1) for first, last in zip(firsts, lasts, strict=True)][:_MOST_RANGES],
        lost_frame_count=len(lost),
        sha256=sha256 or source_sha256(Path(info.path)),
        rate=f"{info.rate.numerator}/{info.rate.denominator}",
        frame_count=reader.frame_count,
        counted_by=counted_by,
    )


def probe_digest(video: Path, times: PictureTimes) -> str:
    """What tells one video from another without reading it whole: see `gazetools.io.source_digest.quick_digest`.

    For a folder of pictures also their times. Raises VideoError where it can't be read, UsageError as `clock_of`.
    """
    try:
        digest = quick_digest(video)
    except OSError as error:
        hint = "Check the path and its permissions."
        raise VideoError(f"Cannot read {video}: {error.strerror}.", hint=hint) from None
    return f"{digest}:{clock_digest(video, times)}" if video.is_dir() else digest


@contextmanager
def hashing(path: Path) -> Iterator[Callable[[], str]]:
    """Compute the sha256 of the whole file or folder in a thread; yields a function that waits for it."""
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="source-sha256")
    try:
        digest = pool.submit(source_sha256, path)

        def wait() -> str:
            try:
                return digest.result()
            except OSError as error:
                raise VideoError(f"Cannot read {path}: {error.strerror}.", hint="Check the file.") from error

        yield wait
    finally:
        pool.shutdown(wait=False)
