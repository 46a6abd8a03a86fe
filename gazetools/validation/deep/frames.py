"""Stored fingerprints of sampled frames as evidence on whether the video is the same, unshifted and upright."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from gazetools.schemas.store import FINGERPRINT_SIZE
from gazetools.validation.subject import Floats, Ints
from gazetools.video import VideoReader
from gazetools.video.fingerprint import fingerprint

Thumbnails = npt.NDArray[np.uint8]
_WIDEST = 20_000  # frames to search on either side: 11 minutes at 30 fps, 20 MB


class FingerprintEvidence:
    """Stored thumbnails uint8 [S, 32, 32] of frames `index` [S], ascending, compared by mean grey-level difference.

    `chosen` are the positions of those that are compared at first.
    """

    tolerance = 4.0  # decoding again gives 0, re-encoding 0.2 to 3, another scene tens
    noise = 0.02

    def __init__(self, reader: VideoReader, index: Ints, thumbnails: Thumbnails, chosen: Sequence[int]) -> None:
        self.frames = [int(index[i]) for i in chosen]
        self.frame_count = reader.frame_count
        self.max_shift = max(64, min(reader.frame_count, _WIDEST))
        self._reader, self._index, self._thumbnails = reader, index, thumbnails
        self._places = list(chosen)
        self._seen: dict[int, Thumbnails] = {}

    @property
    def spent(self) -> int:
        return len(self._seen)

    def distances(self, samples: Sequence[int], shifts: Sequence[int]) -> Floats:
        self._decode(self.frames[s] + k for s in samples for k in shifts)
        rows = [[self._distance(self._stored(s), self.frames[s] + k) for k in shifts] for s in samples]
        return np.array(rows, dtype=np.float64).reshape(len(samples), len(shifts))

    def transformed(self, samples: Sequence[int]) -> dict[str, Floats]:
        """See Evidence; such changes arise when a rotation or a mirror in the metadata is ignored or applied twice."""
        return {
            name: np.array([self._distance(undo(self._stored(s)), self.frames[s]) for s in samples], dtype=np.float64)
            for name, undo in CHANGES.items()
        }

    def between(self, low: int, high: int) -> int | None:
        inside = np.flatnonzero((self._index > low) & (self._index < high))
        if not len(inside):
            return None
        place = int(inside[np.abs(self._index[inside] - (low + high) / 2).argmin()])
        self._places.append(place)
        self.frames.append(int(self._index[place]))
        return len(self.frames) - 1

    def _stored(self, sample: int) -> npt.NDArray[np.float32]:
        return self._thumbnails[self._places[sample]].astype(np.float32)

    def _distance(self, stored: npt.NDArray[np.float32], frame: int) -> float:
        """NaN for a frame outside the video."""
        shown = self._seen.get(frame)
        return np.nan if shown is None else float(np.abs(stored - shown).mean())

    def _decode(self, frames: Iterable[int]) -> None:
        wanted = sorted({f for f in frames if 0 <= f < self._reader.frame_count} - self._seen.keys())
        for frame in self._reader.frames(wanted):
            self._seen[frame.index] = fingerprint(frame.rgb)


def usable(index: Ints, thumbnails: Thumbnails) -> bool:
    """Whether these fingerprints can be compared: consistent, and not all uniform as in a black lead-in."""
    return bool(
        len(index)
        and len(index) == len(thumbnails)
        and thumbnails.shape[1:] == (FINGERPRINT_SIZE, FINGERPRINT_SIZE)
        and (np.diff(index) > 0).all()
        and (thumbnails.reshape(len(thumbnails), -1).std(axis=1) > 1).any()
    )


CHANGES: dict[str, Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]] = {
    "mirrored": lambda maps: maps[..., ::-1],
    "flipped": lambda maps: maps[..., ::-1, :],
    "rotated by 180": lambda maps: maps[..., ::-1, ::-1],
    "transposed": lambda maps: maps.swapaxes(-1, -2),
    "rotated by 90": lambda maps: np.rot90(maps, 1, axes=(-2, -1)),
    "rotated by 270": lambda maps: np.rot90(maps, 3, axes=(-2, -1)),
}
"""Name -> its inverse on [..., H, W]; the last three only where H = W."""
