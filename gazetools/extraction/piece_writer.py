"""Commit pieces in a thread beside the model, one at a time."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from gazetools.extraction.clock import StageClock
from gazetools.schemas.store import Piece
from gazetools.store.pieces import PieceFolder


class PieceWriter:
    """Writes pieces in order. At most one is under way, so memory is bounded and an error comes up one piece later.

    Leaving the block waits for the last piece. Where the block is left by an error, what is under way is still
    finished (a piece is either committed or was never there) and its own error, if any, gives way to the first one.
    """

    def __init__(self, pieces: PieceFolder, clock: StageClock) -> None:
        self._pieces = pieces
        self._clock = clock
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="piece-writer")
        self._last: Future[None] | None = None

    def __enter__(self) -> PieceWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._wait()
        finally:
            self._pool.shutdown()

    def save(self, number: int, piece: Piece) -> None:
        """Commit `piece` soon. Raises FaultError where the piece before could not be written."""
        self._wait()
        self._last = self._pool.submit(self._write, number, piece)

    def _wait(self) -> None:
        if self._last is not None:
            with self._clock.stage("write_wait"):
                self._last.result()
            self._last = None

    def _write(self, number: int, piece: Piece) -> None:
        began = time.perf_counter()
        self._pieces.save(number, piece)
        self._clock.write_busy += time.perf_counter() - began
