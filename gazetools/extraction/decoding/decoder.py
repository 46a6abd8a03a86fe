"""Two disposable decoding processes: a hang, a crash or a leak in native code costs at most one video."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from gazetools.extraction.decoding.child_reader import ChildReader
from gazetools.extraction.decoding.costs import Declared, cost_by_size
from gazetools.extraction.decoding.process import DecoderDied, DecodeSettings, DecodingProcess
from gazetools.io.closing import Closing
from gazetools.schemas.errors import UsageError

__all__ = ["DecodeSettings", "Decoder", "ReadAhead"]

_VIDEOS_PER_CHILD = 50
_IDLE_RING_BYTES = 256 << 20
"""Most shared memory that the process without a video keeps."""


@dataclass(frozen=True, kw_only=True)
class ReadAhead:
    """The frames of a video that will probably be requested first; the video need not be open yet."""

    frames: int
    fps: float | None = None
    stride: int | None = None
    start: float | None = None
    end: float | None = None
    """The four arguments of `gazetools.sampling.choose_frames`."""


class Decoder(Closing):
    """Decoding processes of a worker: one reads the present video, the other one can open the next video meanwhile."""

    def __init__(self, settings: DecodeSettings | None = None) -> None:
        self.settings = settings or DecodeSettings()
        self._present = DecodingProcess(self.settings)
        self._next: DecodingProcess | None = None
        self._opening: Path | None = None
        """The video that `_next` opens; None: no video."""

    def close(self) -> None:
        """End the processes."""
        self._present.close()
        if self._next is not None:
            self._next.close()

    @property
    def deaths(self) -> int:
        """Number of decoding processes that crashed, hung or ran out of memory so far."""
        return self._present.deaths + (self._next.deaths if self._next is not None else 0)

    def open(self, path: Path, *, batch_size: int) -> ChildReader:
        """Open a video for batches of `batch_size` frames, the previous one closed; VideoError: it can't be read."""
        if self._next is None or self._opening != path:
            self._recycle(self._present)
            return ChildReader(self._present, path, batch_size=batch_size)
        self._present.forget_frames(above_bytes=_IDLE_RING_BYTES)
        self._present, self._next, self._opening = self._next, self._present, None
        return ChildReader(self._present, path, batch_size=batch_size, opening=True)

    def open_ahead(self, path: Path, read_ahead: ReadAhead | None = None) -> None:
        """Begin to open the next video and to decode `read_ahead` in the other process; `open` raises errors."""
        if self._opening == path:
            return
        if self._next is None:
            self._next = DecodingProcess(self.settings)
        elif self._opening is not None:
            self._next.stop()  # its answer belongs to a video that nobody wants any more
        self._recycle(self._next)
        self._opening = None
        with suppress(DecoderDied):
            first = None if read_ahead is None else asdict(read_ahead)
            self._next.ask_to_open(path, read_ahead=first)
            self._opening = path

    def declared(self, path: Path) -> Declared | None:
        """The facts that a container declares; None where it can't be opened."""
        try:
            self._present.ask(do="estimate", path=str(path), times=self.settings.times.for_reader())
            answer = self._present.answer(self.settings.timeout_seconds)
        except (DecoderDied, UsageError):
            return None
        return Declared(**{name: answer[name] for name in ("frames", "pixels", "seconds", "transfer")})

    def estimate(self, path: Path) -> int:
        """Declared frames x pixels; by file size where the container can't be opened or declares none."""
        declared = self.declared(path)
        return (declared.frames * declared.pixels if declared else 0) or cost_by_size(path)

    @staticmethod
    def _recycle(process: DecodingProcess) -> None:
        """Replace a process after many videos, since decoders leak memory."""
        if process.videos >= _VIDEOS_PER_CHILD:
            process.stop()
        process.videos += 1
