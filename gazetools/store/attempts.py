"""A journal of attempts that ended with their process, so that a video that ends every run is given up."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import ValidationError

from gazetools.io.json_files import read_json, write_json_atomic
from gazetools.schemas.base import StrictModel
from gazetools.schemas.errors import DataFileError, VideoError
from gazetools.schemas.store import WORK_FOLDER

MOST_ATTEMPTS = 3
"""Number of consecutive attempts that may die before another piece is finished; the next one is refused, once."""


class _Journal(StrictModel):
    key: str
    finished: int
    attempts: int


@contextmanager
def attempted(root: Path, video_id: str, part: str, *, key: str, finished: int) -> Iterator[None]:
    """Journal an attempt at `part` of a video (a share, its first pass) while the block runs; hold that part's lock.

    Only the death of the process leaves the entry behind for the next attempt to count, in this run or another.
    Attempts with another `key` (options) and those before the latest of the `finished` pieces do not count.

    Raises VideoError instead of the attempt after `MOST_ATTEMPTS`. That is a result, so the next attempt is made.
    """
    path = root / WORK_FOLDER / f"{_digest(video_id)}_{_digest(part)[:8]}.attempts"
    died = 0
    with suppress(DataFileError, ValidationError):  # not there, or of another version
        before = _Journal.model_validate(read_json(path, max_bytes=1 << 16))
        if before.key == key and before.finished >= finished:
            died = before.attempts
    if died >= MOST_ATTEMPTS:
        path.unlink(missing_ok=True)
        raise VideoError(
            f"{video_id} was given up: {died} attempts in a row ended with their process (killed, crashed or out of "
            "memory) before anything more was finished.",
            hint="Watch the memory while it runs, or leave the video out; the same command tries it again.",
        )
    # Not fsynced, which short videos would wait for: a power cut that loses it costs one more attempt.
    write_json_atomic(path, _Journal(key=key, finished=finished, attempts=died + 1).model_dump(), durable=False)
    try:
        yield
    finally:
        _end(path)


def forget_attempts(root: Path, video_ids: Iterable[str]) -> None:
    """Remove the attempts of videos whose failure is reported, or whose workers were ended in order."""
    for video_id in video_ids:
        for path in (root / WORK_FOLDER).glob(f"{_digest(video_id)}_*.attempts"):
            _end(path)


def _end(path: Path) -> None:
    with suppress(OSError):  # a file that stays counts as one death
        path.unlink(missing_ok=True)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
