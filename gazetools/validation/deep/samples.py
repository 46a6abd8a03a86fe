"""Choose the maps of a store, a dataset or another tool's file that are compared with the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gazetools.gazemodels.gazelle.prompts import grow_to_cell
from gazetools.heads.prompts import prompts_of_frame
from gazetools.heads.spec import heads_for_video, open_heads
from gazetools.heatmaps.normalise import normalise
from gazetools.heatmaps.people import combine_people, weight
from gazetools.heatmaps.values import UINT8_MAX_ERROR, resize, scale_of, to_float32
from gazetools.sampling import spread
from gazetools.schemas.dataset import PackOptions
from gazetools.schemas.extract import ExtractOptions
from gazetools.schemas.store import Prompt
from gazetools.store import open_store
from gazetools.validation.deep.maps import Box, ChosenSamples, Maps, MapSample
from gazetools.validation.reading import layout_of
from gazetools.validation.subject import DeepCheck, StoreColumns, Subject

if TYPE_CHECKING:
    from gazetools.gazemodels.gazelle.model import GazelleModel
    from gazetools.video import VideoReader

_NEIGHBOURS = 32


class NoSamples(Exception):
    """No maps can be compared; the text says why."""


def choose_samples(subject: Subject, reader: VideoReader, model: GazelleModel, deep: DeepCheck) -> ChosenSamples:
    """Up to `deep.frames` samples spread over the video. Raises NoSamples."""
    if subject.stats is None:
        raise NoSamples("Its maps could not be read.")
    if subject.columns is not None:
        return _of_store(subject, subject.columns, reader, model, deep.frames)
    if subject.kind == "dataset" and deep.heads is None:
        return _of_dataset(subject, reader, model, deep.frames)
    return _with_boxes(subject, reader, model, deep)


def _of_store(
    subject: Subject, columns: StoreColumns, reader: VideoReader, model: GazelleModel, count: int
) -> ChosenSamples:
    frames = np.unique(columns.row_frame)
    frames = frames[(frames >= 0) & (frames < reader.frame_count)]
    known = {f: np.arange(*np.searchsorted(columns.row_frame, [f, f + 1])) for f in frames.tolist()}
    usable = [f for f in known if not (columns.row_prompt[known[f]] == Prompt.CROPPED).any()]
    if not usable:
        raise NoSamples("It has no rows whose prompt can be repeated.")
    samples = []
    with open_store(subject.path) as store:
        for position in spread(len(usable), count):
            frame = usable[position]
            rows = known[frame]
            tracks = columns.row_track[rows]
            others = {
                other: _prompts(columns, known[other], model.grid)
                for other in range(frame - _NEIGHBOURS, frame + _NEIGHBOURS + 1)
                if other in known and np.array_equal(columns.row_track[known[other]], tracks)
            }
            stored = store.read_heatmaps(int(rows[0]), int(rows[-1]) + 1).astype(np.float32)
            prompts = _prompts(columns, rows, model.grid)
            samples.append(MapSample(frame=frame, stored=stored, prompts=prompts, others=others))
    return ChosenSamples(samples=samples, expected=lambda raw, inout: raw, rounding=_half_rounding)


def _prompts(columns: StoreColumns, rows: npt.NDArray[np.intp], grid: tuple[int, int]) -> tuple[Box | None, ...]:
    return tuple(prompt_box(columns.row_box[row].tolist(), int(columns.row_prompt[row]), grid) for row in rows)


def prompt_box(box_xyxy: list[float], prompt: int, grid: tuple[int, int]) -> Box | None:
    """The box that the model received: as given, grown to a cell of the grid, or None."""
    if prompt == Prompt.NONE:
        return None
    box = (box_xyxy[0], box_xyxy[1], box_xyxy[2], box_xyxy[3])
    return grow_to_cell(box, grid) if prompt == Prompt.GROWN else box


def _of_dataset(subject: Subject, reader: VideoReader, model: GazelleModel, count: int) -> ChosenSamples:
    """Rows whose head boxes are stored with the dataset."""
    options = subject.options
    fitting = [s for s in subject.samples if s.frame < reader.frame_count and s.row < (subject.count or 0)]
    if options is None or not fitting:
        raise NoSamples("The dataset has kept no head boxes of its frames; give them with --heads.")
    if any(person.prompt == Prompt.CROPPED for sample in fitting for person in sample.people):
        raise NoSamples("Its model saw crops, which are not repeated here.")
    chosen = [fitting[position] for position in spread(len(fitting), count)]
    maps = read_rows(subject, [sample.row for sample in chosen])
    samples = [
        MapSample(
            frame=sample.frame,
            stored=maps[i : i + 1],
            prompts=tuple(prompt_box(list(p.box_xyxy), p.prompt, model.grid) for p in sample.people),
            used=tuple(place for place, p in enumerate(sample.people) if p.used),
        )
        for i, sample in enumerate(chosen)
    ]
    return ChosenSamples(
        samples=samples,
        expected=lambda raw, inout: as_packed(raw, inout, options, maps.shape[1:]),
        rounding=_rounding_of(subject),
    )


def _with_boxes(subject: Subject, reader: VideoReader, model: GazelleModel, deep: DeepCheck) -> ChosenSamples:
    """Rows of maps without head boxes of their own: row i is frame i, boxes come from `--heads`."""
    if deep.heads is None:
        raise NoSamples("It has no head boxes; give them with --heads file:PATH, or --heads whole.")
    options = ExtractOptions(heads=deep.heads)
    files = open_heads(options, [subject.video_id])
    info = reader.info
    boxes = heads_for_video(
        options, files, subject.video_id, width=info.width, height=info.height, frame_count=reader.frame_count
    )
    valid = np.ones(subject.count or 0, np.bool_) if subject.valid is None else subject.valid
    found = {}
    for row in np.flatnonzero(valid[: reader.frame_count]).tolist():
        people = prompts_of_frame(boxes, row, grid_hw=model.grid, small_heads="grow")
        if people.prompt_boxes:
            found[row] = tuple(people.prompt_boxes)
    if not found:
        raise NoSamples(f"{deep.heads} has no box for any of its rows.")
    rows = [list(found)[position] for position in spread(len(found), deep.frames)]
    maps = normalise(read_rows(subject, rows), "max")
    samples = [
        MapSample(frame=row, stored=maps[i : i + 1], prompts=found[row], others=found) for i, row in enumerate(rows)
    ]
    packed = PackOptions(normalize="max") if subject.options is None else subject.options
    return ChosenSamples(
        samples=samples,
        # how another tool scaled its maps is unknown: both sides are brought to the peak 1
        expected=lambda raw, inout: normalise(as_packed(raw, inout, packed, maps.shape[1:]), "max"),
        rounding=_rounding_of(subject),
    )


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
