"""Pieces across batches: what a device that works in parallel gets and when, and what an error costs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gazetools.extraction.clock import StageClock
from gazetools.extraction.inputs import VideoItem
from gazetools.extraction.model.batches import BatchResult, Pending
from gazetools.extraction.pieces import VideoTally, make_pieces
from gazetools.extraction.work import VideoWork, WorkerTools
from gazetools.heads.spec import VideoHeads
from gazetools.heads.table import HeadTable
from gazetools.progress import NoProgress
from gazetools.schemas.errors import VideoError
from gazetools.schemas.extract import ExtractOptions
from gazetools.schemas.video import Frame
from gazetools.store.pieces import PieceFolder

BATCH = 4


class _Reader:
    """Frames whose pixels tell their index; that of `broken` can't be decoded."""

    decode_seconds = 0.0

    def __init__(self, broken: int | None = None) -> None:
        self.broken = broken
        self.held: set[int] = set()

    def frames(self, wanted: np.ndarray) -> Iterator[Frame]:
        for index in wanted.tolist():
            if index == self.broken:
                raise VideoError(f"frame {index} can't be decoded.")
            self.held.add(index)
            yield Frame(index=index, pts_seconds=index / 10, rgb=np.full((40, 40, 3), index, np.uint8))

    def release(self, frame: Frame) -> None:
        self.held.remove(frame.index)


class _Runner:
    """Maps that show the frame's pixel; a log of what the device was given and what was waited for."""

    batch_size = fitting_batch_size = BATCH
    heatmap_shape = (2, 2)
    grid_hw = (4, 4)
    needs_boxes = False
    tokens_shape = None

    def __init__(self, log: list[Any], *, works_in_parallel: bool) -> None:
        self.log = log
        self.works_in_parallel = works_in_parallel

    def begin(self, images: list[np.ndarray], prompts: list[Any]) -> Pending:
        shown = [int(image[0, 0, 0]) for image in images]
        self.log.append(("given", *shown))

        return _Taken(self.log, shown)


@dataclass
class _Taken:
    log: list[Any]
    shown: list[int]

    def result(self) -> BatchResult:
        self.log.append(("taken", *self.shown))
        maps = np.stack([np.full((2, 2), value, np.float16) for value in self.shown])
        return BatchResult(heatmap=maps, inout=np.zeros(len(self.shown), np.float32))


class _Pieces(PieceFolder):
    """Tells when a piece is handed over to be written, and writes it."""

    log: list[Any]

    def save(self, number: int, piece: Any) -> None:
        super().save(number, piece)
        self.log.append(("saved", number))


def _heads(frames: list[int] | None) -> VideoHeads:
    """One person in `frames`; None: in every frame, without a box."""
    table = None
    if frames is not None:
        n = len(frames)
        table = HeadTable(
            source="made", frame=np.array(frames, np.int64), track_id=np.ones(n, np.int32),
            box_xyxy=np.tile([0.2, 0.2, 0.7, 0.7], (n, 1)), line=np.arange(n),
        )  # fmt: skip
    return VideoHeads(spec="test", table=table, sha256=None)


def _make(
    folder: Path,
    log: list[Any],
    counts: list[int],
    *,
    works_in_parallel: bool = True,
    reader: _Reader | None = None,
    people_in: list[int] | None = None,
) -> VideoTally:
    ends = np.cumsum(counts)
    parts = {number: np.arange(end - count, end) for number, (count, end) in enumerate(zip(counts, ends, strict=True))}
    pieces = _Pieces(folder, "clip", "key")
    pieces.log = log
    reader = reader or _Reader()
    tools: Any = SimpleNamespace(
        options=ExtractOptions(), runner=_Runner(log, works_in_parallel=works_in_parallel), progress=NoProgress(),
        clock=StageClock(),
    )  # fmt: skip
    tools.prompts = partial(WorkerTools.prompts, tools)
    video = VideoWork(
        item=VideoItem(video_id="clip", path=Path("clip.mp4")), source=reader, heads=_heads(people_in),  # type: ignore[arg-type]
        parts=list(parts.values()), pieces=pieces, key="key",
    )  # fmt: skip
    tally = make_pieces(tools, video, range(len(parts)), name="clip")
    assert not reader.held, "every frame's memory was given back"
    for number, part in parts.items():
        piece = pieces.load(number)
        rows = part if people_in is None else np.intersect1d(part, people_in)
        np.testing.assert_array_equal(piece.frame_index, part)
        np.testing.assert_array_equal(piece.rows.frame, rows)
        np.testing.assert_array_equal(piece.rows.heatmap[:, 0, 0], rows)
    return tally


def _order(log: list[Any], *events: Any) -> list[int]:
    return [log.index(event) for event in events]


def test_a_device_beside_has_the_next_pieces_first_batch_before_this_ones_last_is_waited_for(tmp_path: Path) -> None:
    log: list[Any] = []
    _make(tmp_path, log, [6, 6])
    device = [event for event in log if event[0] != "saved"]
    assert device == [
        ("given", 0, 1, 2, 3), ("given", 4, 5), ("taken", 0, 1, 2, 3),
        ("given", 6, 7, 8, 9), ("taken", 4, 5), ("given", 10, 11), ("taken", 6, 7, 8, 9), ("taken", 10, 11),
    ]  # fmt: skip


def test_on_the_cpu_a_piece_is_committed_before_the_next_one_is_computed(tmp_path: Path) -> None:
    """A batch takes seconds there and nothing idles meanwhile: a kill must not find a finished piece unwritten."""
    log: list[Any] = []
    _make(tmp_path, log, [6, 6, 6], works_in_parallel=False)
    order = _order(log, ("taken", 4, 5), ("given", 6, 7, 8, 9), ("taken", 10, 11), ("given", 12, 13, 14, 15))
    assert order == sorted(order)
    assert _order(log, ("saved", 0), ("saved", 1)) < _order(log, ("given", 12, 13, 14, 15), ("given", 16, 17))


PEOPLE = [
    ([], [5, 5, 5], "nobody anywhere: pieces without rows"),
    ([0, 1, 2, 3, 4], [5, 9, 5], "nobody in the next two pieces"),
    ([4, 5, 13], [5, 9, 5], "one person at each edge"),
    ([4], [5, 1, 1, 1], "pieces shorter than a batch follow"),
    ([*range(19)], [4, 8, 3, 4], "pieces of whole batches"),
]


@pytest.mark.parametrize("works_in_parallel", [True, False])
@pytest.mark.parametrize(("people_in", "counts", "why"), PEOPLE, ids=[why for *_, why in PEOPLE])
def test_every_row_lands_in_its_piece(
    people_in: list[int], counts: list[int], why: str, works_in_parallel: bool, tmp_path: Path
) -> None:
    tally = _make(tmp_path, [], counts, works_in_parallel=works_in_parallel, people_in=people_in)
    assert tally.rows == len([frame for frame in people_in if frame < sum(counts)])


def test_a_piece_is_not_put_off_by_frames_without_people(tmp_path: Path) -> None:
    log: list[Any] = []
    reader = _Reader()
    frames = reader.frames

    def logged(wanted: np.ndarray) -> Iterator[Frame]:
        for frame in frames(wanted):
            log.append(("read", frame.index))
            yield frame

    reader.frames = logged  # type: ignore[method-assign]
    _make(tmp_path, log, [5, 40], reader=reader, people_in=[0, 1, 2, 3, 4])
    assert log.index(("taken", 4)) < log.index(("read", 5 + BATCH))


@pytest.mark.parametrize("works_in_parallel", [True, False])
@pytest.mark.parametrize("broken", [6, 8, 11])
def test_a_frame_that_cannot_be_decoded_costs_no_piece_before_it(
    broken: int, works_in_parallel: bool, tmp_path: Path
) -> None:
    with pytest.raises(VideoError, match=f"frame {broken}"):
        _make(tmp_path, [], [6, 6], works_in_parallel=works_in_parallel, reader=_Reader(broken))
    pieces = PieceFolder(tmp_path, "clip", "key")
    assert pieces.load_if_good(0) is not None
    assert not pieces.exists(1)
