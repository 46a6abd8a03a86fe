"""Decode a run of packets into exactly the wanted frames, and stop at the first sign of damage."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from gazetools.video.feed import FeedError, PacketFeed, fault_text
from gazetools.video.index import NO_PTS, FrameIndex
from gazetools.video.probe import import_av

# Decoders whose skipped non-reference pictures leave all others bit-identical (tested against full decoding).
_SKIPS_EXACTLY = {"h264", "hevc"}


class DecodeFault(Exception):
    """The first wanted frame that cannot be delivered, why, and the packet at fault (None where it is not known)."""

    def __init__(self, frame_index: int, reason: str, *, packet: int | None) -> None:
        super().__init__(reason)
        self.frame_index, self.reason, self.packet = frame_index, reason, packet


class _BadPacket(Exception):
    def __init__(self, reason: str, packet: int | None) -> None:
        super().__init__(reason)
        self.packet = packet


class DecodeSession:
    """One open file with its decoder, always in a state known packet by packet; `pixels` as in `prepare_decoder`.

    With one thread an error belongs to the very packet that was fed, so frames decoded before it are still good
    (`careful`); with several threads a session ends at its first error and the caller tries again carefully.
    """

    def __init__(self, path: Path, *, stream_index: int, index: FrameIndex, threads: int, pixels: bool = True) -> None:
        self._index = index
        self._av = import_av()
        self.careful = threads == 1
        self._feed = PacketFeed(path, stream_index=stream_index, table=index.packets, threads=threads, pixels=pixels)
        self._start_pts = NO_PTS
        self._trusted = 0
        self._expected: list[int] = []
        """Heap of frames whose packets were fed and not skipped, and which the decoder has not delivered."""
        self._ready: dict[int, Any] = {}
        self._fault: _BadPacket | None = None
        self._ended = True
        self._ordinal = 0
        self._skipping = self._interlaced = False

    def close(self) -> None:
        self._ready.clear()
        self._ended = True
        self._feed.close()

    def adopt(self, index: FrameIndex) -> None:
        """Continue with another index over the same packets."""
        self._index = index
        self._ended = True

    def begin(self, key_number: int, *, preroll: int = 0, leading: bool = False) -> None:
        """Start decoding so that everything from keyframe `key_number` (of `index.key_packets`) on is right.

        Decoding starts `preroll` keyframes earlier, and what comes before `key_number` is neither delivered nor judged;
        `leading` also feeds the pictures that are shown before the keyframe where decoding starts.
        """
        self._ready.clear()
        self._expected.clear()
        self._fault = None
        self._ended = True
        self._trusted = int(self._index.key_packets[key_number])
        start = int(self._index.key_packets[max(key_number - preroll, 0)])
        self._feed.go_to(start)
        self._start_pts = NO_PTS if leading or self._index.ordinal else int(self._index.packets.pts[start])
        self._ordinal = 0
        self._skipping = False
        self._feed.context.skip_frame = "DEFAULT"
        self._ended = False

    @property
    def position(self) -> int:
        """Position of the next packet to be fed; everything before it is decoded or skipped."""
        return self._feed.position

    def can_reach(self, frame: int) -> bool:
        """True if decoding on from here delivers `frame`."""
        if self._ended:
            return False
        if self._index.ordinal:
            return frame in self._ready or frame >= self._ordinal
        if frame in self._ready or frame in self._expected:
            return True
        place = int(self._index.packet_of_frame[frame])
        return place >= max(self._feed.position, self._trusted) and int(self._index.pts[frame]) >= self._start_pts

    def deliver(self, wanted: Sequence[int], *, drain: bool, skip: bool) -> Iterator[tuple[int, Any]]:
        """Yield (frame index, decoded frame) for the strictly ascending, reachable `wanted`, at least one.

        DecodeFault is raised for the first that does not come. `drain` empties the decoder after the last needed packet
        instead of feeding more, which ends the session's run; `skip` leaves out pictures neither wanted nor references.
        """
        last, last_packet = int(wanted[-1]), self._last_packet(wanted)
        chosen = wanted if isinstance(wanted, range) else frozenset(int(frame) for frame in wanted)
        may_skip = skip and not (self._index.ordinal or self._interlaced) and self._feed.context.name in _SKIPS_EXACTLY
        for raw in wanted:
            frame = int(raw)
            while frame not in self._ready:
                if self._fault is not None:
                    raise DecodeFault(frame, str(self._fault), packet=self._fault.packet)
                if self._ended:
                    raise DecodeFault(frame, "the decoder did not deliver it", packet=None)
                self._step(chosen, may_skip=may_skip, drain=drain, last_packet=last_packet)
                # Keep what is wanted, and what lies ahead for a call that continues from here.
                for stale in [i for i in self._ready if i not in chosen and (i <= last or self._ended)]:
                    del self._ready[stale]
            yield frame, self._ready.pop(frame)

    def first_frame(self) -> int:
        """Index of the first frame that comes after `begin`; DecodeFault on an error before it."""
        while not self._ready:
            if self._fault is not None or self._ended:
                raise DecodeFault(0, str(self._fault or "no frame came"), packet=None)
            self._step(range(len(self._index)), may_skip=False, drain=False, last_packet=len(self._index.packets))
        return min(self._ready)

    def run_to_end(self, *, unskipped: int) -> None:
        """Decode to the end of the file and require every frame of it; DecodeFault on the first error.

        Pictures that are no reference are skipped, except among the last `unskipped` packets.
        """
        may_skip = self._feed.context.name in _SKIPS_EXACTLY
        first_unskipped = len(self._index.packets) - unskipped
        while not self._ended:
            self._step((), may_skip=may_skip, drain=False, last_packet=first_unskipped)
            self._ready.clear()
        if self._fault is not None:
            raise DecodeFault(len(self._index) - 1, str(self._fault), packet=self._fault.packet)
        if self._expected:
            owed = self._expected[0]
            raise DecodeFault(owed, "decoding does not give it", packet=int(self._index.packet_of_frame[owed]))

    def collect_to_end(self) -> set[int]:
        """Decode to the end of the file or the first error; returns the frames that were decoded."""
        came: set[int] = set()
        while not self._ended:
            self._step((), may_skip=False, drain=False, last_packet=len(self._index.packets))
            came.update(self._ready)
            self._ready.clear()
        return came

    def _last_packet(self, wanted: Sequence[int]) -> int:
        if self._index.ordinal or (isinstance(wanted, range) and len(wanted) == len(self._index)):
            return len(self._index.packets) - 1
        return int(self._index.packet_of_frame[list(wanted)].max())

    def _step(self, chosen: Any, *, may_skip: bool, drain: bool, last_packet: int) -> None:
        try:
            if drain and self._feed.position > last_packet:
                arrived = self._finish()
            else:
                arrived = self._feed_one(chosen, may_skip=may_skip, last_packet=last_packet)
            self._accept(arrived)
        except (FeedError, _BadPacket) as error:
            self._stop(error)

    def _finish(self) -> list[Any]:
        self._ended = True
        try:
            return list(self._feed.context.decode(None))
        except self._av.error.FFmpegError as error:
            raise _BadPacket(fault_text(error), None) from error

    def _feed_one(self, chosen: Any, *, may_skip: bool, last_packet: int) -> list[Any]:
        place = self._feed.position
        packet = self._feed.next_packet()
        if packet is None:
            return self._finish()
        if packet.size == 0 or self._index.packets.pts[place] < self._start_pts:
            # A picture shown before the keyframe where this run began refers to what was not decoded.
            return []
        if self._index.packets.corrupt[place] and place >= self._trusted:
            raise _BadPacket("its packet is incomplete in the file", place)
        frame = int(self._index.frame_of_packet[place])
        skipping = may_skip and place < last_packet and frame not in chosen
        if skipping != self._skipping:
            self._feed.context.skip_frame = "NONREF" if skipping else "DEFAULT"
            self._skipping = skipping
        if frame >= 0 and not skipping and place >= self._trusted:
            heapq.heappush(self._expected, frame)
        try:
            return list(self._feed.context.decode(packet))
        except self._av.error.FFmpegError as error:
            if place < self._trusted:
                return []
            raise _BadPacket(fault_text(error), place) from error

    def _accept(self, arrived: list[Any], *, before: int | None = None) -> None:
        """Keep decoded frames; with `before`, only those whose packets precede it."""
        for frame in arrived:
            self._interlaced = self._interlaced or bool(frame.interlaced_frame)
            index = self._identify(frame)
            if index is None:
                continue
            place = int(self._index.packet_of_frame[index])
            if place < self._trusted or (before is not None and place >= before):
                continue
            if frame.is_corrupt:
                raise _BadPacket("the decoder marks it as corrupt", place)
            while self._expected and self._expected[0] <= index:
                owed = heapq.heappop(self._expected)
                if owed != index:
                    packet = int(self._index.packet_of_frame[owed])
                    raise _BadPacket(f"frame {owed} was decoded but not delivered", packet)
            self._ready[index] = frame

    def _identify(self, frame: Any) -> int | None:
        if self._index.ordinal:
            index, self._ordinal = self._ordinal, self._ordinal + 1
            late = index < len(self._index) and self._index.frames_have_pts and frame.pts != int(self._index.pts[index])
            if index >= len(self._index) or late:
                raise _BadPacket(f"frame {index} (pts {frame.pts}) is not what it was when frames were counted", None)
            return index
        if frame.pts is None:
            raise _BadPacket("a decoded frame carries no time", None)
        if (index := self._index.frame_at(frame.pts)) >= 0:
            return index
        if frame.pts in self._index.ignored_pts:
            return None
        raise _BadPacket(f"a frame with the unknown time {frame.pts} was decoded", None)

    def _stop(self, error: Exception) -> None:
        """End the run. Frames whose packets precede the bad one are kept where the bad one is known for certain."""
        packet = error.packet if isinstance(error, _BadPacket) else None
        self._fault = _BadPacket(str(error), packet)
        if self.careful and packet is not None and not self._ended and not self._index.ordinal:
            self._expected = [f for f in self._expected if int(self._index.packet_of_frame[f]) < packet]
            heapq.heapify(self._expected)
            with suppress(_BadPacket, self._av.error.FFmpegError):
                self._accept(list(self._feed.context.decode(None)), before=packet)
        self._ended = True
