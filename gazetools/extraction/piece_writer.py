"""Write pieces in a second thread, while the next ones are computed."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor

from gazetools.extraction.clock import StageClock
from gazetools.schemas.store import Piece
from gazetools.store.pieces import PieceFolder


class PieceWriter:
    """Writes pieces in order, one at a time; leaving the block waits for the last, and the first error is raised."""

    def __init__(self, pieces: PieceFolder, clock: StageClock) -> None:
        self._pieces = pieces
        self._clock = clock
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="piece-writer")
        self._previous: Future[None] | None = None

    def __enter__(self) -> PieceWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._wait()
        finally:
            self._pool.shutdown()

    def save(self, number: int, piece: Piece) -> None:
        """Begin to write a piece. Raises FaultError where the previous one could not be written."""
        self._wait()
        self._previous = self._pool.submit(self._write, number, piece)

    def _wait(self) -> None:
        if self._previous is not None:
            with self._clock.stage("write_wait"):
                self._previous.result()
            self._previous = None

    def _write(self, number: int, piece: Piece) -> None:
        began = time.perf_counter()
        self._pieces.save(number, piece)
        self._clock.write_busy += time.perf_counter() - began
