"""The packets of one stream from any position, each checked against the index before it is used."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gazetools.schemas.errors import VideoError
from gazetools.video.index import NO_PTS, PacketTable, is_flush
from gazetools.video.probe import choose_stream, import_av, open_container, prepare_decoder


class FeedError(Exception):
    """The file gave other packets than the index says, or could not be read."""


class PacketFeed:
    """Delivers packets in decode order; `position` is that of the next packet in `table`.

    `threads` and `pixels` as in `prepare_decoder`.
    """

    def __init__(self, path: Path, *, stream_index: int, table: PacketTable, threads: int, pixels: bool = True) -> None:
        self._path, self._stream_index, self._table = path, stream_index, table
        self._threads, self._pixels = threads, pixels
        self._av = import_av()
        self._container: Any = None
        self._reopen()

    def _reopen(self) -> None:
        self.close()
        self._container = open_container(self._path)
        self._stream = choose_stream(self._container, self._path, self._stream_index)
        self.context = prepare_decoder(self._stream, threads=self._threads, pixels=self._pixels)
        self._packets: Iterator[Any] = self._container.demux(self._stream)
        self._put_back: Any = None
        self.position = 0

    def close(self) -> None:
        """Close the file; safe to call twice."""
        self._packets = iter(())
        if self._container is not None:
            self._container.close()
            self._container = None

    def next_packet(self) -> Any:
        """The packet at `position`, None after the last one; FeedError where the file disagrees with the table."""
        if self.position >= len(self._table):
            return None
        packet = self._put_back if self._put_back is not None else self._demux()
        self._put_back = None
        if packet is None:
            raise FeedError(f"the file ends at packet {self.position} of {len(self._table)}; was it changed?")
        pts = NO_PTS if packet.pts is None else packet.pts
        if pts != self._table.pts[self.position] or packet.size != self._table.size[self.position]:
            raise FeedError(f"packet {self.position} is not the one that the index has; was the file changed?")
        self.position += 1
        return packet

    def _demux(self) -> Any:
        try:
            packet = next(self._packets, None)
        except self._av.error.FFmpegError as error:
            raise FeedError(f"packet {self.position} cannot be read: {error.strerror}") from error
        return None if packet is None or is_flush(packet) else packet

    def go_to(self, target: int) -> None:
        """Make packet `target` the next one, with an empty decoder: by seeking, at worst from the start of the file.

        Seeking is only a guess in some containers, so the packets that follow are identified; a seek that lands behind
        the target is repeated further back.
        """
        for ticks in self._seek_times(target):
            try:
                self._container.seek(ticks, stream=self._stream, backward=True)
                self._packets = self._container.demux(self._stream)
                if self._read_up_to(target):
                    return
            except (self._av.error.FFmpegError, OverflowError, FeedError):
                continue
        self._reopen()
        while self.position < target:
            self.next_packet()

    def _seek_times(self, target: int) -> list[int]:
        """Times to seek to, best guess first. MP4's table is ordered by dts, that of most others by pts."""
        if target == 0 or self._container is None:
            return []
        keys = np.flatnonzero(self._table.key[: target + 1])[::-1][:3]
        column = self._table.dts if "mp4" in self._container.format.name.split(",") else self._table.pts
        return [int(column[key]) for key in keys if column[key] != NO_PTS]

    def _read_up_to(self, target: int) -> bool:
        wanted = (int(self._table.pts[target]), int(self._table.size[target]))
        while (packet := self._demux()) is not None:
            pts = NO_PTS if packet.pts is None else packet.pts
            if (pts, packet.size) == wanted:
                if np.count_nonzero((self._table.pts == wanted[0]) & (self._table.size == wanted[1])) != 1:
                    return False
                self._put_back = packet
                self.position = target
                return True
            places = np.flatnonzero(self._table.pts == pts)
            if len(places) == 1 and places[0] > target:
                return False
        return False


def fault_text(error: Exception) -> str:
    """One line with the message of FFmpeg or of the feed."""
    return error.message if isinstance(error, VideoError) else str(getattr(error, "strerror", None) or error)
