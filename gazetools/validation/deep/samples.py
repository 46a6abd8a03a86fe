"""Choose the maps of a store, a dataset or another tool's file that are compared with the model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gazetools.gazemodels.gazelle.prompts import grow_to_cell
from gazetools.gazemodels.interface import needs_boxes
from gazetools.heads.prompts import prompts_of_frame
from gazetools.heads.spec import heads_for_video, open_heads, track_roles
from gazetools.heatmaps.normalise import normalise
from gazetools.heatmaps.people import chosen_tracks, combine_people, weight
from gazetools.heatmaps.values import UINT8_MAX_ERROR, resize, scale_of, to_float32
from gazetools.sampling import nearest_indices, spread
from gazetools.schemas.dataset import PackOptions, SampledRow
from gazetools.schemas.extract import ExtractOptions
from gazetools.schemas.store import Prompt
from gazetools.store import open_store
from gazetools.validation.deep.maps import Box, ChosenSamples, Maps, MapSample, Prompts
from gazetools.validation.reading import layout_of
from gazetools.validation.subject import DeepCheck, StoreColumns, Subject

if TYPE_CHECKING:
    from gazetools.gazemodels import GazeModel
    from gazetools.video import VideoReader


class NoSamples(Exception):
    """No maps can be compared; the text says why."""


def choose_samples(subject: Subject, reader: VideoReader, model: GazeModel, deep: DeepCheck) -> ChosenSamples:
    """Up to `deep.frames` samples spread over the video. Raises NoSamples."""
    if subject.stats is None:
        raise NoSamples("Its maps could not be read.")
    if subject.columns is not None:
        return _of_store(subject, subject.columns, model, deep.frames)
    if subject.kind == "dataset" and deep.heads is None:
        return _of_dataset(subject, model, deep.frames)
    return _with_boxes(subject, reader, model, deep)


def _of_store(subject: Subject, columns: StoreColumns, model: GazeModel, count: int) -> ChosenSamples:
    frames = np.unique(columns.row_frame)
    known = {f: np.arange(*np.searchsorted(columns.row_frame, [f, f + 1])) for f in frames[frames >= 0].tolist()}
    usable = [f for f in known if not (columns.row_prompt[known[f]] == Prompt.CROPPED).any()]
    if not usable:
        raise NoSamples("It has no rows whose prompt can be repeated.")

    def sample(frame: int) -> MapSample:
        rows = known[frame]

        def elsewhere(other: int) -> Prompts | None:
            there = known.get(other)
            if there is None or not np.array_equal(columns.row_track[there], columns.row_track[rows]):
                return None
            return _prompts(columns, there, model.grid)

        with open_store(subject.path) as store:
            stored = store.read_heatmaps(int(rows[0]), int(rows[-1]) + 1).astype(np.float32)
        prompts = _prompts(columns, rows, model.grid)
        return MapSample(frame=frame, stored=stored, prompts=prompts, elsewhere=elsewhere)

    return ChosenSamples(
        samples=[sample(usable[position]) for position in spread(len(usable), count)],
        expected=lambda raw, inout: raw,
        rounding=_half_rounding,
        more=_nearest(usable, sample),
    )


def _nearest(frames: list[int], sample: Callable[[int], MapSample]) -> Callable[[int, int], MapSample | None]:
    """`ChosenSamples.more` of samples that can be made of any of `frames`, ascending."""
    known = np.array(frames, dtype=np.int64)

    def more(low: int, high: int) -> MapSample | None:
        inside = known[(known > low) & (known < high)]
        if not len(inside):
            return None
        return sample(int(inside[np.abs(inside - (low + high) / 2).argmin()]))

    return more


def _prompts(columns: StoreColumns, rows: npt.NDArray[np.intp], grid: tuple[int, int]) -> Prompts:
    return tuple(prompt_box(columns.row_box[row].tolist(), int(columns.row_prompt[row]), grid) for row in rows)


def prompt_box(box_xyxy: list[float], prompt: int, grid: tuple[int, int]) -> Box | None:
    """The box that the model received: as given, grown to a cell of the grid, or None."""
    if prompt == Prompt.NONE:
        return None
    box = (box_xyxy[0], box_xyxy[1], box_xyxy[2], box_xyxy[3])
    return grow_to_cell(box, grid) if prompt == Prompt.GROWN else box


def _of_dataset(subject: Subject, model: GazeModel, count: int) -> ChosenSamples:
    """Rows whose head boxes are stored with the dataset."""
    options = subject.options
    fitting = [s for s in subject.samples if s.row < (subject.count or 0)]
    if options is None or not fitting:
        raise NoSamples("The dataset has kept no head boxes of its frames; give them with --heads.")
    if any(person.prompt == Prompt.CROPPED for sample in fitting for person in sample.people):
        raise NoSamples("Its model saw crops, which are not repeated here.")
    by_frame = {sample.frame: sample for sample in fitting}
    size_hw = read_rows(subject, [fitting[0].row]).shape[1:]

    def prompts_of(kept: SampledRow) -> Prompts:
        return tuple(prompt_box(list(p.box_xyxy), p.prompt, model.grid) for p in kept.people)

    def sample(frame: int) -> MapSample:
        kept = by_frame[frame]

        def elsewhere(other: int) -> Prompts | None:
            there = by_frame.get(other)
            is_alike = there is not None and [p.track_id for p in there.people] == [p.track_id for p in kept.people]
            return prompts_of(there) if there is not None and is_alike else None

        used = tuple(place for place, p in enumerate(kept.people) if p.used)
        stored = read_rows(subject, [kept.row])
        return MapSample(frame=frame, stored=stored, prompts=prompts_of(kept), used=used, elsewhere=elsewhere)

    frames = sorted(by_frame)
    return ChosenSamples(
        samples=[sample(frames[position]) for position in spread(len(frames), count)],
        expected=lambda raw, inout: as_packed(raw, inout, options, size_hw),
        rounding=_rounding_of(subject),
        more=_nearest(frames, sample),
    )


def _with_boxes(subject: Subject, reader: VideoReader, model: GazeModel, deep: DeepCheck) -> ChosenSamples:
    """Rows of maps without head boxes of their own; boxes come from `--heads`, whose people are `--people`'s."""
    if deep.heads is None:
        raise NoSamples("It has no head boxes; give them with --heads file:PATH, or --heads whole.")
    row_of = _rows_by_frame(subject, reader)
    found = _people_by_frame(subject, reader, model, deep, list(row_of))
    if not any(people.prompts for people in found.values()):
        raise NoSamples(f"{deep.heads} has no box for any of its rows.")
    size_hw = read_rows(subject, [next(iter(row_of.values()))]).shape[1:]
    packed = PackOptions(normalize="max") if subject.options is None else subject.options
    if deep.people is not None:
        packed = packed.model_copy(update={"people": deep.people})
    is_stated = deep.people is not None or subject.options is not None

    def sample(frame: int) -> MapSample:
        people = found[frame]
        several = not is_stated and len(people.tracks) > 1

        def elsewhere(other: int) -> Prompts | None:
            there = found.get(other)
            return there.prompts if there is not None and there.tracks == people.tracks else None

        return MapSample(
            frame=frame,
            stored=normalise(read_rows(subject, [row_of[frame]]), "max"),
            prompts=people.prompts,
            tracks=people.tracks if several else (),
            elsewhere=elsewhere,
        )

    frames = sorted(found)
    return ChosenSamples(
        samples=[sample(frames[position]) for position in spread(len(frames), deep.frames)],
        # how another tool scaled its maps is unknown: both sides are brought to the peak 1
        expected=lambda raw, inout: normalise(as_packed(raw, inout, packed, size_hw), "max"),
        rounding=_rounding_of(subject),
        more=_nearest(frames, sample),
    )


@dataclass(frozen=True)
class _People:
    """The people of a frame whose maps make its one map."""

    tracks: tuple[int, ...]
    prompts: Prompts


def _people_by_frame(
    subject: Subject, reader: VideoReader, model: GazeModel, deep: DeepCheck, frames: list[int]
) -> dict[int, _People]:
    """People of the frames that have any, from `--heads`. NoSamples where --people names nobody of the box file."""
    options = ExtractOptions(heads=deep.heads or "whole", **deep.box_files.model_dump())
    files = open_heads(options, [subject.video_id])
    info = reader.info
    # boxes of a video that was cut since then: the cut is what is to be found
    count = max([reader.frame_count, *(frame + 1 for frame in frames)])
    boxes = heads_for_video(
        options,
        files,
        subject.video_id,
        width=info.width,
        height=info.height,
        frame_count=count,
        pts_seconds=reader.pts_seconds if count == reader.frame_count else None,
    )
    roles = track_roles(boxes)
    wanted = None if deep.people is None else chosen_tracks(roles, deep.people)
    if wanted is not None and not wanted:
        listed = ", ".join(map(str, sorted(roles)[:20]))
        raise NoSamples(f"--people {deep.people} names nobody of {deep.heads}, which has the tracks {listed}.")
    found = {}
    for frame in frames:
        people = prompts_of_frame(
            boxes,
            frame,
            grid_hw=model.grid,
            small_heads="grow",
            needs_boxes_in=(info.height, info.width) if needs_boxes(model) else None,
        )
        pairs = zip(people.track_id.tolist(), people.prompt_boxes, strict=True)
        if chosen := [(track, box) for track, box in pairs if wanted is None or track in wanted]:
            found[frame] = _People(tuple(track for track, _ in chosen), tuple(box for _, box in chosen))
    return found


def _rows_by_frame(subject: Subject, reader: VideoReader) -> dict[int, int]:
    """Row of each decoded frame that has a map; by their times where the rows are not the video's frames."""
    count, options, pts = subject.count or 0, subject.options, subject.pts_seconds
    has_map = subject.has_map
    if options is None or (options.align == "video" and options.fps is None):
        return {row: row for row in np.flatnonzero(has_map).tolist()}
    if pts is None or len(pts) != count:
        raise NoSamples("Its rows have no times, by which they could be found in the video.")
    rows = np.flatnonzero(has_map & np.isfinite(pts))
    frames = nearest_indices(reader.pts_seconds, pts[rows])
    return dict(zip(frames.tolist(), rows.tolist(), strict=True))


def as_packed(raw: Maps, inout: npt.NDArray[np.float32], options: PackOptions, size_hw: tuple[int, ...]) -> Maps:
    """[1, H, W]: one map of the people of a frame, made as `pack` makes it."""
    maps, largest = combine_people(raw, np.zeros(1, np.int64), weight(inout, options.inout), rule=options.people)
    maps = normalise(resize(maps, (size_hw[0], size_hw[1])), options.normalize, temperature=options.temperature)
    return maps if largest is None else maps * largest[:, None, None]


def read_rows(subject: Subject, rows: list[int]) -> Maps:
    """Maps of a dataset or another tool's file as float32."""
    with layout_of(subject).open(subject.path) as maps:
        stored = maps.read(np.array(rows, dtype=np.int64))
    scale = subject.entry.scale if subject.entry else scale_of(stored.dtype, subject.path)
    return to_float32(stored, scale)


def _rounding_of(subject: Subject) -> Callable[[Maps], float]:
    dtype = subject.entry.dtype if subject.entry else "float16"
    return (lambda maps: UINT8_MAX_ERROR) if dtype == "uint8" else _half_rounding


def _half_rounding(maps: Maps) -> float:
    return float(np.abs(maps).mean()) * 2.0**-12
