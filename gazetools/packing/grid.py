"""The grid of a packed video: which frame each row shows, and which maps and weights it is made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gazetools.heatmaps.people import chosen_tracks, weight
from gazetools.io.source_file import find_source, folder_of_id, not_there
from gazetools.sampling import nearest_indices
from gazetools.schemas.dataset import InOut, PackOptions
from gazetools.schemas.errors import DataFileError, UsageError
from gazetools.schemas.picture_times import PictureTimes
from gazetools.store import StoreReader
from gazetools.store.order import check_order

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
_PTS_TOLERANCE_SECONDS = 1e-4
_TIE_SECONDS = 1e-6


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The T rows of one packed video, each made of the chosen people's rows of one processed frame."""

    chosen: Ints
    """[R] indices of the store's rows that are used, ascending."""
    start: Ints
    """[T] position in `chosen` where each grid row's people begin."""
    stop: Ints
    """[T] position where they end (not included); equal to `start` where the row has no map of its own."""
    weights: npt.NDArray[np.float32] | None
    """[R] factor of each chosen row, None for `--inout keep`."""
    inout: npt.NDArray[np.float32]
    """[T] largest in/out probability of the row's people, NaN where there are none."""
    pts_seconds: Floats
    """[T] time of the shown frame, or of the grid point where none is shown; NaN where unknown."""
    before: Ints
    """[T] grid row whose map is shown: the row itself, or an earlier one for a filled row; -1 for none."""
    after: Ints
    """[T] grid row that is blended with `before`: a later one, or `before` itself where nothing is blended."""
    blend: npt.NDArray[np.float32]
    """[T] share of `after` in 0..1."""
    uses_future: bool
    """True where a row is filled from a later frame."""

    def __len__(self) -> int:
        return len(self.start)

    @property
    def valid(self) -> npt.NDArray[np.bool_]:
        """bool [T]: the row has a map computed from its own frame."""
        return self.stop > self.start


def plan_grid(store: StoreReader, options: PackOptions, warnings: list[str]) -> Grid:
    """The grid of `store`; adds to `warnings`. DataFileError where person or inout lack, or columns contradict."""
    check_order(store)
    chosen = _chosen_rows(store, options.people)
    weights = _weights(store, chosen, options.inout)
    shown, pts = _shown_frames(store, options, warnings)
    # rows are ascending in frame: each processed frame's people are one range of `chosen`
    frames = store.row_frame[chosen]
    starts = np.searchsorted(frames, store.frames.index, side="left")
    stops = np.searchsorted(frames, store.frames.index, side="right")
    # `shown` is -1 for no frame, whose range, the last entry, is empty
    start, stop = np.append(starts, 0)[shown], np.append(stops, 0)[shown]
    inout = _largest_inout(store.row_inout[chosen], start, stop)
    before, after, blend = _fill(stop > start, pts, options.missing)
    filled = (stop == start) & (before >= 0)
    inout[filled] = ((1 - blend) * inout[before] + blend * inout[after])[filled]
    return Grid(
        chosen=chosen,
        start=start,
        stop=stop,
        weights=weights,
        inout=inout,
        pts_seconds=pts,
        before=before,
        after=after,
        blend=blend,
        uses_future=bool((filled & (after > np.arange(len(start)))).any()),
    )


def _chosen_rows(store: StoreReader, people: str) -> Ints:
    tracks = chosen_tracks(store.tracks, people)
    if tracks is None:
        return np.arange(len(store), dtype=np.int64)
    if not tracks:
        known = ", ".join(f"{track} ({role})" for track, role in list(store.tracks.items())[:20]) or "none"
        raise DataFileError(
            f"{store.video_id!r} has no person {people!r}; its people are: {known}.",
            hint="Choose one with --people, or max or mean for all.",
        )
    return np.flatnonzero(np.isin(store.row_track_id, tracks))


def _weights(store: StoreReader, chosen: Ints, rule: InOut) -> npt.NDArray[np.float32] | None:
    inout = store.row_inout[chosen]
    if rule != "keep" and np.isnan(inout).any():
        raise DataFileError(
            f"{store.video_id!r} has no inout: the model {store.provenance.model.name} gives none.",
            hint="Pack with --inout keep, or extract with a model whose name ends in _inout.",
        )
    return weight(inout, rule)


def _shown_frames(store: StoreReader, options: PackOptions, warnings: list[str]) -> tuple[Ints, Floats]:
    """Position among the processed frames (-1 for none) and time of each grid row."""
    index, processed_pts = store.frames.index, store.frames.pts_seconds
    native = options.align == "native"
    grid_pts = processed_pts.copy() if native else _pts_of_decoded_frames(store, warnings)
    if options.fps is None:
        shown = np.full(len(grid_pts), -1, dtype=np.int64)
        shown[slice(None) if native else index] = np.arange(len(index))
        return shown, grid_pts
    known = grid_pts[np.isfinite(grid_pts)]
    if not len(known):
        return np.zeros(0, np.int64), np.zeros(0)
    # points up to the last frame; the small term keeps a last point that rounding puts just after it
    steps = int(np.floor((known[-1] - known[0]) * options.fps + 1e-6)) + 1
    grid_pts = known[0] + np.arange(steps) / options.fps
    if not len(index):
        return np.full(steps, -1, np.int64), grid_pts
    # a grid point half-way between two frames takes the earlier one, however the tie is rounded
    nearest = nearest_indices(processed_pts, grid_pts - _TIE_SECONDS)
    period = float(np.median(np.diff(processed_pts))) if len(index) > 1 else 0.0
    reach = 0.5 * max(1 / options.fps, period) + _PTS_TOLERANCE_SECONDS
    close = np.abs(processed_pts[nearest] - grid_pts) <= reach
    return np.where(close, nearest, -1), np.where(close, processed_pts[nearest], grid_pts)


def _pts_of_decoded_frames(store: StoreReader, warnings: list[str]) -> Floats:
    """[T] times of all decoded frames: those of processed frames from the store, the others from the video."""
    video = store.provenance.video
    pts = np.full(video.frame_count, np.nan)
    pts[store.frames.index] = store.frames.pts_seconds
    missing = int(np.isnan(pts).sum())
    if not missing:
        return pts
    from gazetools.video import VideoReader
    from gazetools.video.frame_clock import times_or_recorded

    source = find_source(video, folder_of_id(store.path, store.video_id))
    path = Path(video.path) if source is None else source.path
    try:
        if source is None:
            reason = not_there(video)
        elif not source.is_same:
            reason = f"{path} has changed since it was extracted"
        else:
            times = times_or_recorded(path, PictureTimes(), video).for_reader()
            with VideoReader(path, stream_index=video.stream_index, **times) as reader:
                found = np.asarray(reader.pts_seconds, dtype=np.float64)
            if len(found) == len(pts) and np.allclose(
                found[store.frames.index], store.frames.pts_seconds, rtol=0, atol=_PTS_TOLERANCE_SECONDS
            ):
                return found
            reason = f"{path} now has other frames"
    except (UsageError, OSError) as error:
        reason = f"{path} can't be read ({error})"
    warnings.append(f"{missing} frames were not processed and have no time (NaN): {reason}.")
    return pts


def _largest_inout(inout: npt.NDArray[np.float32], start: Ints, stop: Ints) -> npt.NDArray[np.float32]:
    """[T] largest inout of each range [start, stop), NaN where it is empty or all NaN."""
    result = np.full(len(start), np.nan, dtype=np.float32)
    for offset in range(int((stop - start).max(initial=0))):
        there = start + offset < stop
        result[there] = np.fmax(result[there], inout[start[there] + offset])
    return result


def _fill(valid: npt.NDArray[np.bool_], pts: Floats, rule: str) -> tuple[Ints, Ints, npt.NDArray[np.float32]]:
    """(before, after, blend) of every row, as in Grid. Only `interpolate` fills rows before the first map."""
    rows = np.arange(len(valid), dtype=np.int64)
    own = np.where(valid, rows, -1)
    blend = np.zeros(len(valid), dtype=np.float32)
    if rule == "zero" or not valid.any():
        return own, own, blend
    before = np.maximum.accumulate(own)
    if rule == "hold":
        return before, before, blend
    after = np.minimum.accumulate(np.where(valid, rows, len(valid))[::-1])[::-1]
    before, after = np.where(before < 0, after, before), np.where(after == len(valid), before, after)
    clock = pts if np.isfinite(pts).all() else rows.astype(np.float64)
    span = clock[after] - clock[before]
    share = np.divide(clock - clock[before], span, out=np.zeros(len(valid)), where=span > 0)
    return before, after, np.clip(share, 0.0, 1.0).astype(np.float32)
