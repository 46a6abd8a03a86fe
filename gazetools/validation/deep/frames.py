"""Fingerprints of sampled frames against the video: is it the same video, from the same frame on, upright?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from gazetools.schemas.store import FINGERPRINT_SIZE
from gazetools.validation.subject import Floats
from gazetools.video import VideoReader
from gazetools.video.fingerprint import fingerprint

Thumbnails = npt.NDArray[np.uint8]
_TOLERANCE_LEVELS = 4.0
"""Mean difference of grey levels; decoding again gives 0, re-encoding 1 to 3, another scene tens."""
_NOISE_LEVELS = 0.02


class FingerprintEvidence:
    """Stored thumbnails, compared with thumbnails of decoded frames by mean absolute difference of grey levels.

    Args:
        reader: the video.
        index: [S] decoded-frame index of each stored thumbnail, ascending.
        thumbnails: uint8 [S, 32, 32].
    """

    tolerance = _TOLERANCE_LEVELS
    noise = _NOISE_LEVELS
    max_shift = 64

    def __init__(self, reader: VideoReader, index: npt.NDArray[np.int64], thumbnails: Thumbnails) -> None:
        self.frames = [int(i) for i in index]
        self._reader = reader
        self._stored = thumbnails.astype(np.float32)
        self._seen: dict[int, npt.NDArray[np.float32]] = {}

    def distances(self, samples: Sequence[int], shifts: Sequence[int]) -> Floats:
        """See Evidence."""
        self._look_at(self.frames[s] + k for s in samples for k in shifts)
        table = np.full((len(samples), len(shifts)), np.nan)
        for row, s in enumerate(samples):
            for column, k in enumerate(shifts):
                if (thumbnail := self._seen.get(self.frames[s] + k)) is not None:
                    table[row, column] = np.abs(self._stored[s] - thumbnail).mean()
        return table

    def transformed(self, samples: Sequence[int]) -> dict[str, Floats]:
        """See Evidence: how frames look when a rotation or a mirror in the metadata is ignored or applied twice."""
        result = {}
        for name, undo in CHANGES.items():
            values = [
                np.abs(undo(self._stored[s]) - self._seen[self.frames[s]]).mean()
                if self.frames[s] in self._seen
                else np.nan
                for s in samples
            ]
            result[name] = np.array(values, dtype=np.float64)
        return result

    def _look_at(self, frames: Iterable[int]) -> None:
        wanted = sorted({f for f in frames if 0 <= f < self._reader.frame_count} - self._seen.keys())
        for frame in self._reader.frames(wanted):
            self._seen[frame.index] = fingerprint(frame.rgb).astype(np.float32)


def usable(index: npt.NDArray[np.int64], thumbnails: Thumbnails) -> bool:
    """Are these fingerprints that can be compared? Uniform ones (a black lead-in) tell nothing."""
    return bool(
        len(index)
        and len(index) == len(thumbnails)
        and thumbnails.shape[1:] == (FINGERPRINT_SIZE, FINGERPRINT_SIZE)
        and (np.diff(index) > 0).all()
        and (thumbnails.reshape(len(thumbnails), -1).std(axis=1) > 1).any()
    )


def _upright(maps: npt.NDArray[np.float32], turns: int) -> npt.NDArray[np.float32]:
    return np.rot90(maps, turns, axes=(-2, -1))


CHANGES = {
    "mirrored": lambda maps: maps[..., ::-1],
    "flipped": lambda maps: maps[..., ::-1, :],
    "rotated by 180": lambda maps: maps[..., ::-1, ::-1],
    "transposed": lambda maps: maps.swapaxes(-1, -2),
    "rotated by 90": lambda maps: _upright(maps, 1),
    "rotated by 270": lambda maps: _upright(maps, 3),
}
"""Name -> its inverse on [..., H, W]; the last three only where H = W."""
