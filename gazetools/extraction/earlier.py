"""Rows of a finished store made with other head boxes: those that the model would compute again alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gazetools.heads.prompts import FramePrompts
from gazetools.io.closing import Closing
from gazetools.schemas.provenance import TakenOver
from gazetools.schemas.store import Rows
from gazetools.store import StoreReader


@dataclass(frozen=True, kw_only=True)
class KnownPart:
    """What is known of one piece without a frame of it."""

    computed: npt.NDArray[np.bool_]
    """[F] frames of the piece that must be decoded and computed."""
    pts_seconds: npt.NDArray[np.float64]
    """[F] times of all frames of the piece."""
    fingerprints: dict[int, npt.NDArray[np.uint8]]
    """Sampled frame -> its fingerprint uint8 [32, 32]."""
    rows: Rows
    """Rows of the frames that are not computed, with the track ids of the new boxes."""
    origin: TakenOver
    """The store that they come from, with the numbers of frames and rows of this piece."""
    batch_size: int
    """Frames per batch that fitted into memory when they were computed."""


class EarlierRows(Closing):
    """A finished store of the same video, model and options, made with other head boxes.

    A batch is the unit: its numbers depend in their last bits on all frames and boxes in it (matrix products of other
    sizes round in another order). A batch of which no frame and no box has changed keeps its rows bit for bit; every
    other one is computed. So the result equals that of a full extraction.

    Boxes are equal where their float32 values are, as stores hold them (1/10,000 of a pixel at 4K).
    """

    def __init__(self, store: StoreReader, origin: TakenOver, batch_size: int) -> None:
        self._store = store
        self._origin = origin
        self._batch_size = batch_size
        self._backoffs = {record["piece"]: record["batch_size"] for record in store.provenance.batch_size_backoffs}

    def close(self) -> None:
        self._store.close()

    def changed(self, frames: npt.NDArray[np.int64], people: Sequence[FramePrompts]) -> npt.NDArray[np.bool_]:
        """[F] which `frames` of a piece are in a batch that must be computed; `people` [F] are the new boxes."""
        new = {frame: found for frame, found in zip(frames.tolist(), people, strict=True) if len(found.track_id)}
        start, stop = self._rows_of(frames)
        old, places = np.unique(self._store.row_frame[start:stop], return_index=True)
        first = dict(zip(old.tolist(), (start + places).tolist(), strict=True))
        before = {tuple(batch) for batch in self._batches(first)}
        computed = [
            frame
            for batch in self._batches(new)
            if tuple(batch) not in before or not all(self._same(first[frame], frame, new[frame]) for frame in batch)
            for frame in batch
        ]
        return np.isin(frames, computed)

    def part(
        self,
        number: int,
        frames: npt.NDArray[np.int64],
        people: Sequence[FramePrompts],
        computed: npt.NDArray[np.bool_],
    ) -> KnownPart:
        """What is known of piece `number` with `frames` [F], of which `changed` said that some are `computed` [F]."""
        kept = [
            (frame, found) for frame, found, again in zip(frames.tolist(), people, computed, strict=True) if not again
        ]
        index = self._store.frames
        begin = int(np.searchsorted(index.index, frames[0]))
        sampled = np.flatnonzero(np.isin(index.fingerprint_index, frames))
        rows = self._rows(frames, {frame: found.track_id for frame, found in kept if len(found.track_id)})
        return KnownPart(
            computed=computed,
            pts_seconds=index.pts_seconds[begin : begin + len(frames)],
            fingerprints={int(index.fingerprint_index[i]): index.fingerprint[i] for i in sampled},
            rows=rows,
            origin=self._origin.model_copy(update={"frames": int((~computed).sum()), "rows": len(rows)}),
            batch_size=min(self._backoffs.get(number, self._batch_size), self._batch_size),
        )

    def _rows_of(self, frames: npt.NDArray[np.int64]) -> tuple[int, int]:
        """Rows [start, stop) of a piece with `frames`."""
        start, stop = np.searchsorted(self._store.row_frame, [frames[0], frames[-1] + 1]).tolist()
        return start, stop

    def _batches(self, frames: Iterable[int]) -> list[list[int]]:
        """The frames of a piece that have people, in batches as extraction makes them."""
        listed = list(frames)
        return [listed[i : i + self._batch_size] for i in range(0, len(listed), self._batch_size)]

    def _same(self, row: int, frame: int, people: FramePrompts) -> bool:
        """Whether the model received the same of `frame`, whose rows begin at `row`; ids may differ, not the order."""
        store, stop = self._store, row + len(people.track_id)
        return bool(
            (store.row_frame[row : stop + 1] == frame).sum() == len(people.track_id)
            and (store.row_box[row:stop] == people.box_xyxy).all()
            and (store.row_prompt[row:stop] == people.prompt).all()
        )

    def _rows(self, frames: npt.NDArray[np.int64], kept: dict[int, npt.NDArray[np.int32]]) -> Rows:
        """Rows of those frames of a piece with `frames` that are `kept`, with their new track ids."""
        store = self._store
        start, stop = self._rows_of(frames) if kept else (0, 0)
        chosen = np.isin(store.row_frame[start:stop], list(kept))
        return Rows(
            frame=store.row_frame[start:stop][chosen],
            track_id=np.concatenate([np.zeros(0, np.int32), *kept.values()]),
            box_xyxy=store.row_box[start:stop][chosen],
            inout=store.row_inout[start:stop][chosen],
            prompt=store.row_prompt[start:stop][chosen],
            heatmap=store.read_heatmaps(start, stop)[chosen],
            tokens=None if store.tokens_shape is None else store.read_tokens(start, stop)[chosen],
        )


def in_frame_order(first: Rows, second: Rows) -> Rows:
    """The rows of both, in the order of frames; no frame has rows in both."""
    order = np.argsort(np.concatenate([first.frame, second.frame]), kind="stable")
    columns: dict[str, Any] = {}
    for name in Rows.__dataclass_fields__:
        one, other = getattr(first, name), getattr(second, name)
        columns[name] = None if one is None else np.concatenate([one, other])[order]
    return Rows(**columns)
