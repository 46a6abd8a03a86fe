"""The list of videos, filled by a thread and kept on the disk, so that 10,000 videos are there at once the next time.

An entry counts while modification time and size of the file that decides about it (a store's sidecar) are unchanged.
"""

from __future__ import annotations

import dataclasses
import hashlib
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from gazetools._version import __version__
from gazetools.gazemodels.weights import cache_folder
from gazetools.io.closing import Closing
from gazetools.io.json_files import read_json, write_json_atomic
from gazetools.schemas.errors import GazetoolsError
from gazetools.viewer.file_stamp import FileStamp
from gazetools.viewer.roots import MapRoot, VideoLine

_VERSION = 1
_FIRST_LOOK_SECONDS = 1.0
"""Where the disk knows the list, the first picture goes before the look at the folder."""
_MOST_BYTES = 256 << 20


class VideoLines(Closing):
    """Stamp and line of every video of a root.

    What the disk has of an earlier call is there at once; a thread compares it with the folder and reads what is new.
    """

    def __init__(self, root: MapRoot) -> None:
        self._root = root
        self._file = cache_folder().parent / "viewer" / f"{_name_of(root)}.json"
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._lines: dict[str, tuple[FileStamp, VideoLine]] = self._kept()
        self._stamps = {video_id: stamp for video_id, (stamp, _) in self._lines.items()}
        self.version = 0
        """Grows whenever the list has changed."""
        if not self._stamps:
            self._stamps = root.stamps()
        self._looked, self._took = 0.0, 0.0
        self._thread = threading.Thread()
        self.look_again()

    def look_again(self) -> None:
        """Let a thread see which videos there are now and read what is new, unless one does or has just done so.

        A folder is looked at during at most a twentieth of the time.
        """
        with self._lock:
            if self._thread.is_alive() or time.monotonic() < self._looked + 20 * self._took:
                return
            self._thread = threading.Thread(target=self._look, name="gazetools-list", daemon=True)
            self._thread.start()

    def _look(self) -> None:
        if self._lines and not self._looked:
            self._stopped.wait(_FIRST_LOOK_SECONDS)
        begin = time.monotonic()
        try:
            stamps = self._root.stamps()
        except GazetoolsError:  # such as a manifest that is being written: the next look will see it
            stamps = self._stamps
        with self._lock:
            self.version += stamps != self._stamps
            self._stamps = stamps
        self._fill()
        self._looked = time.monotonic()
        self._took = self._looked - begin

    def lines(self) -> dict[str, VideoLine | None]:
        """All lines by id, in no order; None: not read yet."""
        with self._lock:
            return {video_id: self._line(video_id) for video_id in self._stamps}

    def waiting(self) -> int:
        """Number of videos whose line is not read yet."""
        return len(self._missing())

    def close(self) -> None:
        """Stop reading."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def _line(self, video_id: str) -> VideoLine | None:
        known = self._lines.get(video_id)
        return known[1] if known is not None and known[0] == self._stamps.get(video_id) else None

    def _missing(self) -> list[str]:
        with self._lock:
            return [video_id for video_id in self._stamps if self._line(video_id) is None]

    def _fill(self) -> None:
        missing = self._missing()
        for video_id in missing:
            if self._stopped.is_set():
                return
            try:
                line = self._root.line(video_id)
            except GazetoolsError as error:
                line = VideoLine(problem=error.message)
            with self._lock:
                self._lines[video_id] = (self._stamps[video_id], line)
                self.version += 1
        if missing:
            self._write()

    def _write(self) -> None:
        with self._lock:
            kept = {name: self._lines[name] for name in self._stamps if name in self._lines}
        videos = {name: [*stamp, dataclasses.asdict(line)] for name, (stamp, line) in kept.items()}
        with suppress(GazetoolsError, OSError):  # a cache that can't be written costs time only
            document = {"version": _VERSION, "tool": __version__, "root": str(self._root.path), "videos": videos}
            write_json_atomic(self._file, document, durable=False)

    def _kept(self) -> dict[str, tuple[FileStamp, VideoLine]]:
        """What the file on the disk has; nothing where there is none, or of another version."""
        with suppress(GazetoolsError, KeyError, TypeError, ValueError):
            document = read_json(self._file, max_bytes=_MOST_BYTES)
            if (document["version"], document["tool"]) == (_VERSION, __version__):
                return dict(_entries(document["videos"].items()))
        return {}


def _entries(items: Iterable[tuple[str, Any]]) -> Iterable[tuple[str, tuple[FileStamp, VideoLine]]]:
    for name, (mtime_ns, size, line) in items:
        yield name, (FileStamp(mtime_ns, size), VideoLine(**line))


def _name_of(root: MapRoot) -> str:
    """A file name of its own for each root and kind."""
    return hashlib.sha256(
        f"{root.kind}:{root.only}:{root.path.resolve()}".encode(errors="surrogateescape")
    ).hexdigest()[:32]
