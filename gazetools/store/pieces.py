"""Finished pieces of a video that is still being extracted: the work that a killed run keeps."""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from pathlib import Path

import numpy as np

from gazetools.io.atomic import atomic_path
from gazetools.io.folders import remove_if_empty
from gazetools.schemas.provenance import TakenOver
from gazetools.schemas.store import WORK_FOLDER, Piece, Rows
from gazetools.store.columns import FINGERPRINTS, FRAMES, ROWS

_COLOURS = "colours"
_TOKENS = "tokens"
_TAKEN_OVER = "taken_over"
UNCHANGED = "none"
"""Colours of SDR video, whose pieces don't state any; versions up to 0.2 knew no others."""


class PieceFolder:
    """Pieces of one video made with one options key: `STORE/.work/<hash of id and key>/piece_<k>.npz`."""

    def __init__(self, root: Path, video_id: str, options_key: str) -> None:
        self.path = root / WORK_FOLDER / hashlib.sha256(f"{video_id}\0{options_key}".encode()).hexdigest()[:32]
        self.colours = UNCHANGED
        """How pictures are made of the file's values; pieces of other pictures do not count. Set once it is open."""
        self._kept: dict[int, Piece] = {}

    def piece_path(self, number: int) -> Path:
        return self.path / f"piece_{number:06d}.npz"

    def exists(self, number: int) -> bool:
        """Whether piece `number` has been committed or kept, by its name only."""
        return number in self._kept or self.piece_path(number).exists()

    @property
    def finished(self) -> int:
        """Number of committed pieces, by their names."""
        return sum(1 for _ in self.path.glob("piece_*.npz"))

    def keep(self, number: int, piece: Piece) -> None:
        """Keep in memory only the one piece of a short video: it is joined at once, and a killed run loses no more."""
        self._kept[number] = piece

    def load_if_good(self, number: int) -> Piece | None:
        """Piece `number`, or None where it is missing; one that can't be read or is of other pictures is removed."""
        if not self.exists(number):
            return None
        try:
            return self.load(number)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            self.piece_path(number).unlink(missing_ok=True)
            return None

    def save(self, number: int, piece: Piece) -> None:
        """Commit one piece atomically. The zip's CRC32 finds damage on load."""
        columns = {column.name: getattr(piece.rows, column.name) for column in ROWS}
        columns |= {column.name: getattr(piece, column.name) for column in (*FRAMES, *FINGERPRINTS)}
        if piece.rows.tokens is not None:
            columns[_TOKENS] = piece.rows.tokens
        columns["batch_size"] = np.int64(piece.batch_size)
        if piece.taken_over is not None:
            columns[_TAKEN_OVER] = np.array(piece.taken_over.model_dump_json())
        if self.colours != UNCHANGED:
            columns[_COLOURS] = np.array(self.colours)
        with atomic_path(self.piece_path(number)) as temp, temp.open("wb") as file:
            np.savez(file, **columns)

    def load(self, number: int) -> Piece:
        if number in self._kept:
            return self._kept[number]
        with np.load(self.piece_path(number), allow_pickle=False) as archive:  # noqa: TID251 - our own file
            colours = str(archive[_COLOURS]) if _COLOURS in archive else UNCHANGED
            if colours != self.colours:
                raise ValueError(f"{self.piece_path(number)} has the colours {colours}, not {self.colours}")
            rows = Rows(**{column.name: archive[column.name] for column in ROWS}, tokens=archive.get(_TOKENS))
            frames = {column.name: archive[column.name] for column in (*FRAMES, *FINGERPRINTS)}
            text = archive.get(_TAKEN_OVER)
            origin = None if text is None else TakenOver.model_validate_json(str(text))
            return Piece(rows=rows, batch_size=int(archive["batch_size"]), taken_over=origin, **frames)

    def remove(self) -> None:
        """Remove all pieces; called after the store file is committed."""
        self._kept.clear()
        shutil.rmtree(self.path, ignore_errors=True)
        remove_if_empty(self.path.parent)
