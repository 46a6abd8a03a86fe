"""The maps of one packed video, block by block, in memory that does not grow with its length."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from gazetools.heatmaps.normalise import NORMALISATIONS, Maps, Normalisation
from gazetools.heatmaps.people import combine_people
from gazetools.heatmaps.values import resize, to_float32, to_stored
from gazetools.packing.grid import Grid, Ints
from gazetools.schemas.dataset import PackOptions
from gazetools.schemas.errors import DataFileError
from gazetools.store import StoreReader

_BLOCK_BYTES = 16 << 20
_MAX_BLOCK_FRAMES = 128
_MAX_ROWS_AT_ONCE = 1024
_MAX_GAP = 16  # up to so many unwanted rows between two wanted ones are read too: faster than a second read
_HALF_ONE = 0x3C00


@dataclass(frozen=True, kw_only=True)
class PackedMaps:
    """The maps of one video as its dataset will hold them; nothing is read before `blocks` is iterated."""

    store: StoreReader
    grid: Grid
    options: PackOptions
    size_hw: tuple[int, int]
    _inverse: list[npt.NDArray[np.float32]] = field(default_factory=list)
    """[2, n] scale and offset of each block's rows."""

    @property
    def _rule(self) -> Normalisation:
        return NORMALISATIONS[self.options.normalize]

    def blocks(self) -> Iterator[npt.NDArray[np.generic]]:
        """Blocks [n, H, W] in grid order; n sums to T. DataFileError for raw maps outside 0..1 or unfit for dtype."""
        step = max(1, min(_MAX_BLOCK_FRAMES, _BLOCK_BYTES // (self.size_hw[0] * self.size_hw[1] * 4)))
        for begin in range(0, len(self.grid), step):
            block = slice(begin, min(begin + step, len(self.grid)))
            sources = np.unique(np.concatenate([self.grid.before[block], self.grid.after[block]]))
            sources = sources[sources >= 0]
            if self._is_copied(sources):
                raw = self._read_rows(self.grid.chosen[self.grid.start[sources]])
                yield self._laid_out(raw, sources, block)
            else:
                maps, inverse = self._finished(sources)
                if self._rule.members:
                    self._keep_inverse(inverse, sources, block)
                rows = self._laid_out(maps, sources, block).astype(np.float32, copy=False)
                sums_to_one = self._rule.total is not None
                yield to_stored(rows, self.options.dtype, sums_to_one=sums_to_one, where=self.store.video_id)

    def _is_copied(self, sources: Ints) -> bool:
        """Whether these grid rows show single raw maps bit by bit."""
        return (
            self.options.dtype == "float16"
            and self.options.normalize == "none"
            and self.options.missing != "interpolate"
            and self.grid.weights is None
            and self.store.heatmap_shape == self.size_hw
            and int(self._people(sources).max(initial=0)) <= 1
        )

    def _people(self, sources: Ints) -> Ints:
        """Number of people in each of these grid rows."""
        return self.grid.stop[sources] - self.grid.start[sources]

    def _finished(self, sources: Ints) -> tuple[Maps, npt.NDArray[np.float32]]:
        """Finished maps of the grid rows `sources`, and [2, n] scale and offset to undo that; empty without inverse."""
        counts = self._people(sources)
        parts = [np.zeros((0, *self.size_hw), dtype=np.float32)]
        inverse = [np.zeros((2, 0), dtype=np.float32)]
        temperature = self.options.temperature
        for part in _parts(counts):
            wanted, people = sources[part], counts[part]
            ends = np.cumsum(people)
            # start of each frame, then its first, second ... person
            positions = np.repeat(self.grid.start[wanted] - (ends - people), people) + np.arange(ends[-1])
            raw = self._read_rows(self.grid.chosen[positions])
            weights = None if self.grid.weights is None else self.grid.weights[positions]
            maps, largest = combine_people(to_float32(raw, 1.0), ends - people, weights, rule=self.options.people)
            maps = resize(maps, self.size_hw)
            if self._rule.members:
                numbers = self._rule.inverse(maps, temperature)
                numbers = numbers if largest is None else self._rule.weighted(*numbers, largest, temperature)
                inverse.append(np.stack(numbers).astype(np.float32))
            maps = self._rule.apply(maps, temperature)
            parts.append(maps if largest is None else maps * largest[:, None, None])
        return parts[1] if len(parts) == 2 else np.concatenate(parts), np.concatenate(inverse, axis=1)

    def _keep_inverse(self, inverse: npt.NDArray[np.float32], sources: Ints, block: slice) -> None:
        """Keep scale and offset of a block's rows; NaN where nothing is shown or two maps are blended."""
        before = self.grid.before[block]
        blended = (self.grid.after[block] > before) & (self.grid.blend[block] > 0)
        rows = np.full((2, len(before)), np.nan, np.float32)
        there = (before >= 0) & ~blended
        rows[:, there] = inverse[:, np.searchsorted(sources, before[there])]
        self._inverse.append(rows)

    @property
    def member_names(self) -> tuple[str, ...]:
        """Names of the members, in their order."""
        return ("valid", "inout", "pts_seconds", *self._rule.members)

    def members(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays [T] next to the maps, complete once `blocks` has been iterated."""
        inverse = np.concatenate([np.zeros((2, 0), np.float32), *self._inverse], axis=1)
        arrays = (self.grid.valid, self.grid.inout, self.grid.pts_seconds, *(row.copy() for row in inverse))
        return dict(zip(self.member_names, arrays, strict=False))

    def rows(self, start: int, stop: int) -> dict[str, npt.NDArray[Any]]:
        """Rows start to stop (not included) of the members, once `blocks` has passed them."""
        return {name: array[start:stop] for name, array in self.members().items()}

    def _laid_out(self, maps: npt.NDArray[np.floating], sources: Ints, block: slice) -> npt.NDArray[np.floating]:
        """The rows of a block: their own maps, filled ones, zeros."""
        before, after, blend = self.grid.before[block], self.grid.after[block], self.grid.blend[block]
        if len(sources) == len(before) and bool((before == after).all()):
            return maps
        rows = np.zeros((len(before), *self.size_hw), dtype=maps.dtype)
        there = before >= 0
        rows[there] = maps[np.searchsorted(sources, before[there])]
        mixed = there & (after > before) & (blend > 0)
        if mixed.any():
            share = blend[mixed][:, None, None]
            rows[mixed] = (1 - share) * rows[mixed] + share * maps[np.searchsorted(sources, after[mixed])]
        return rows

    def _read_rows(self, rows: Ints) -> npt.NDArray[np.float16]:
        """Raw maps of the store rows `rows` (ascending, repeats allowed), checked to be in 0..1."""
        parts = [np.zeros((0, *self.store.heatmap_shape), dtype=np.float16)]
        for run in np.split(rows, np.flatnonzero(np.diff(rows) > _MAX_GAP) + 1) if len(rows) else []:
            low, high = int(run[0]), int(run[-1]) + 1
            for begin in range(low, high, _MAX_ROWS_AT_ONCE):
                end = min(begin + _MAX_ROWS_AT_ONCE, high)
                inside = run[(run >= begin) & (run < end)] - begin
                maps = self.store.read_heatmaps(begin, end)
                parts.append(maps if np.array_equal(inside, np.arange(end - begin)) else maps[inside])
        raw = parts[1] if len(parts) == 2 else np.concatenate(parts)
        # one pass over the bits finds everything outside 0..1: signs, NaN and infinities are larger numbers
        if int(raw.view(np.uint16).max(initial=0)) > _HALF_ONE:
            bad = ~((raw >= 0) & (raw <= 1)).all(axis=(1, 2))  # minus zero is allowed
            if bad.any():
                frames = np.unique(self.store.row_frame[rows[bad]])
                raise DataFileError(
                    f"{self.store.video_id!r} has raw heatmaps outside 0..1 or NaN at frames {frames[:10].tolist()}.",
                    hint="Run gazetools validate, then extract this video again with --overwrite.",
                )
        return raw


def _parts(counts: Ints) -> Iterator[slice]:
    """Slices of frames with at most _MAX_ROWS_AT_ONCE people together (a single frame may have more)."""
    begin = total = 0
    for position, count in enumerate(counts.tolist()):
        if total and total + count > _MAX_ROWS_AT_ONCE:
            yield slice(begin, position)
            begin, total = position, 0
        total += count
    if begin < len(counts):
        yield slice(begin, len(counts))
