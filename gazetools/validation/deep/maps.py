"""Stored heatmaps as evidence: the recorded model runs again on sampled frames and on the frames around them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gazetools.validation.deep.frames import CHANGES
from gazetools.validation.subject import Floats
from gazetools.video import VideoReader

if TYPE_CHECKING:
    from gazetools.gazemodels import GazeModel

Maps = npt.NDArray[np.float32]
Box = tuple[float, float, float, float]
Prompts = tuple[Box | None, ...]
_EXACT_TOLERANCE, _EXACT_NOISE = 0.05, 0.005
_HALF_TOLERANCE, _HALF_NOISE = 0.25, 0.02  # Tolerance and noise for maps that were computed in bfloat16 or float16
_MAX_PERMUTED_PEOPLE = 4
ALONE = "of person "
"""First words of the change that says that the maps show one person alone; a track id follows."""


@dataclass(frozen=True, kw_only=True)
class MapSample:
    """The stored maps of one frame and the prompts of its people."""

    frame: int
    stored: Maps
    """[M, H, W]: one map per person in a store, one in all elsewhere."""
    prompts: Prompts
    """The head box that the model received for each person of the frame; None: no box."""
    used: tuple[int, ...] | None = None
    """People that the stored maps are made of, as positions in `prompts`; None for all."""
    tracks: tuple[int, ...] = ()
    """Track id of each of `prompts` where the stored maps may be those of one of them; else empty."""
    elsewhere: Callable[[int], Prompts | None] = lambda frame: None
    """Prompts of the same people in another frame; None where unknown. A moved row keeps its box, a moved map does
    not."""


Expected = Callable[[Maps, npt.NDArray[np.float32]], Maps]
"""Raw maps [P, h, w] and inout [P] of a frame's people -> the maps [M, H, W] that the file should hold."""


@dataclass(frozen=True, kw_only=True)
class ChosenSamples:
    """The stored maps to compare, and how they came about."""

    samples: list[MapSample]
    expected: Expected
    rounding: Callable[[Maps], float]
    """Mean error of a map as it is stored."""
    more: Callable[[int, int], MapSample | None] = lambda low, high: None
    """A further sample, near the middle of the frames low < frame < high; None where there is none."""


class MapEvidence:
    """Stored maps, compared with maps computed anew.

    The distance of two maps is their mean absolute difference, less the `rounding` of the stored type, over the sum of
    their mean absolute deviations: 0 for equal maps, about 1 for unrelated ones, at any scale.
    """

    max_shift = 32

    def __init__(self, reader: VideoReader, model: GazeModel, chosen: ChosenSamples, *, exact: bool) -> None:
        self.frames = [sample.frame for sample in chosen.samples]
        self.frame_count = reader.frame_count
        self.tolerance = _EXACT_TOLERANCE if exact else _HALF_TOLERANCE
        self.noise = _EXACT_NOISE if exact else _HALF_NOISE
        self._reader, self._model, self._chosen = reader, model, chosen
        self._samples = list(chosen.samples)
        self._computed: dict[tuple[int, Prompts], tuple[Maps, npt.NDArray[np.float32]]] = {}

    @property
    def spent(self) -> int:
        return len(self._computed)

    def distances(self, samples: Sequence[int], shifts: Sequence[int]) -> Floats:
        pairs = {(s, k): self._prompts(s, k) for s in samples for k in shifts}
        self._compute((self.frames[s] + k, prompts) for (s, k), listed in pairs.items() for prompts in listed)
        table = np.full((len(samples), len(shifts)), np.nan)
        for row, s in enumerate(samples):
            for column, k in enumerate(shifts):
                found = [
                    self._distance(self._samples[s].stored, self._made_of(s, *self._computed[key]))
                    for prompts in pairs[s, k]
                    if (key := (self.frames[s] + k, prompts)) in self._computed
                ]
                table[row, column] = min(found, default=np.nan)
        return table

    def transformed(self, samples: Sequence[int]) -> dict[str, Floats]:
        """See Evidence: flipped and transposed maps, maps of other people of the frame, or of one person alone."""
        result = {name: [self._undone(s, undo) for s in samples] for name, undo in CHANGES.items()}
        result["swapped"] = [self._swapped(s) for s in samples]
        for track in sorted({track for s in samples for track in self._samples[s].tracks}):
            result[f"{ALONE}{track}"] = [self._alone(s, track) for s in samples]
        return {name: np.array(distances, dtype=np.float64) for name, distances in result.items()}

    def between(self, low: int, high: int) -> int | None:
        if (sample := self._chosen.more(low, high)) is None:
            return None
        self._samples.append(sample)
        self.frames.append(sample.frame)
        return len(self.frames) - 1

    def _prompts(self, sample: int, shift: int) -> list[Prompts]:
        """The sample's own prompts, and those of its people in the shifted frame where they differ."""
        own = self._samples[sample].prompts
        there = self._samples[sample].elsewhere(self.frames[sample] + shift)
        return [own] if there is None or there == own else [own, there]

    def _compute(self, wanted: Iterable[tuple[int, Prompts]]) -> None:
        by_frame: dict[int, set[Prompts]] = {}
        for index, prompts in wanted:
            if 0 <= index < self._reader.frame_count and (index, prompts) not in self._computed:
                by_frame.setdefault(index, set()).add(prompts)
        for frame in self._reader.frames(sorted(by_frame)):
            listed = sorted(by_frame[frame.index], key=repr)
            out = self._model(frame.rgb[None], [[box for prompts in listed for box in prompts]])
            # rounded as in the store, before any further step
            maps = out.heatmap.float().cpu().numpy().astype(np.float16).astype(np.float32)
            inout = np.full(len(maps), np.nan, np.float32) if out.inout is None else out.inout.float().cpu().numpy()
            at = 0
            for prompts in listed:
                part = slice(at, at + len(prompts))
                self._computed[frame.index, prompts] = maps[part], inout[part]
                at += len(prompts)

    def _undone(self, sample: int, undo: Callable[[Maps], Maps]) -> float:
        stored = undo(self._samples[sample].stored)
        key = (self.frames[sample], self._samples[sample].prompts)
        if key not in self._computed:
            return np.nan
        computed = self._made_of(sample, *self._computed[key])
        return self._distance(stored, computed) if stored.shape == computed.shape else np.inf

    def _swapped(self, sample: int) -> float:
        """Smallest distance over all ways to assign the maps to other people."""
        key = (self.frames[sample], self._samples[sample].prompts)
        if key not in self._computed or not 2 <= len(key[1]) <= _MAX_PERMUTED_PEOPLE:
            return np.inf
        raw, inout = self._computed[key]
        orders = [list(order) for order in itertools.permutations(range(len(raw)))][1:]
        stored = self._samples[sample].stored
        return min(self._distance(stored, self._made_of(sample, raw[order], inout[order])) for order in orders)

    def _alone(self, sample: int, track: int) -> float:
        """Distance to the map of one person of the frame."""
        chosen = self._samples[sample]
        key = (chosen.frame, chosen.prompts)
        if key not in self._computed or track not in chosen.tracks:
            return np.inf
        raw, inout = self._computed[key]
        place = [chosen.tracks.index(track)]
        return self._distance(chosen.stored, self._chosen.expected(raw[place], inout[place]))

    def _made_of(self, sample: int, raw: Maps, inout: npt.NDArray[np.float32]) -> Maps:
        """The maps that the file should hold of a sample, from the maps of all people of its frame."""
        used = self._samples[sample].used
        people = slice(None) if used is None else list(used)
        return self._chosen.expected(raw[people], inout[people])

    def _distance(self, stored: Maps, computed: Maps) -> float:
        if stored.shape != computed.shape:
            return np.inf
        pairs = zip(stored, computed, strict=True)
        return float(np.mean([_map_distance(a, b, self._chosen.rounding(a)) for a, b in pairs]))


def _map_distance(a: Maps, b: Maps, rounding: float) -> float:
    gap = max(float(np.abs(a - b).mean()) - rounding, 0.0)
    spread = float(np.abs(a - a.mean()).mean() + np.abs(b - b.mean()).mean())
    if not np.isfinite(gap):
        return np.inf
    return gap / spread if spread > 1e-9 else float(gap > 1e-9)
