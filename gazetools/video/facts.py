"""Facts of a source video for the provenance of a store, and the sums that distinguish files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Literal

import numpy as np

from gazetools.io.atomic import sha256_of_file
from gazetools.io.source_file import path_seen_from
from gazetools.schemas.errors import VideoError
from gazetools.schemas.provenance import SourceVideo
from gazetools.video.source import VideoSource

_PROBE_BYTES = 1 << 20


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
        sha256=sha256 or sha256_of_file(Path(info.path)),
        rate=f"{info.rate.numerator}/{info.rate.denominator}",
        frame_count=reader.frame_count,
        counted_by=counted_by,
    )


def probe_digest(video: Path) -> str:
    """Size and sha256 of the first and last MiB, so that thousands of finished videos need not be read whole."""
    try:
        with video.open("rb") as file:
            size = video.stat().st_size
            digest = hashlib.sha256(file.read(_PROBE_BYTES))
            file.seek(max(size - _PROBE_BYTES, 0))
            digest.update(file.read(_PROBE_BYTES))
    except OSError as error:
        hint = "Check the path and its permissions."
        raise VideoError(f"Cannot read {video}: {error.strerror}.", hint=hint) from None
    return f"{size}:{digest.hexdigest()}"


@contextmanager
def hashing(path: Path) -> Iterator[Callable[[], str]]:
    """Compute the sha256 of the whole file in a thread; yields a function that waits for it."""
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="source-sha256")
    try:
        digest = pool.submit(sha256_of_file, path)

        def wait() -> str:
            try:
                return digest.result()
            except OSError as error:
                raise VideoError(f"Cannot read {path}: {error.strerror}.", hint="Check the file.") from error

        yield wait
    finally:
        pool.shutdown(wait=False)
