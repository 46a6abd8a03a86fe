"""The PyAV back end: plans which packets to decode for the wanted frames, and retries carefully before giving up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gazetools.schemas.errors import VideoError
from gazetools.video.feed import FeedError
from gazetools.video.index import FrameIndex
from gazetools.video.session import DecodeFault, DecodeSession

_SEEK_COST_PACKETS = 12
"""Decoding this many packets costs about as much as a seek, which empties and refills the decoder's threads."""


class PyavSource:
    """Decoded frames by index. Not safe for use by several threads at once."""

    def __init__(self, path: Path, *, stream_index: int, index: FrameIndex, threads: int) -> None:
        self._path, self._stream_index, self._threads = path, stream_index, threads
        self.index = index
        self._session: DecodeSession | None = None
        self._last_delivered = -2
        self._preroll = index.preroll

    def close(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    def frames(self, wanted: Sequence[int], *, skip: bool = True) -> Iterator[tuple[int, Any]]:
        """Yield (index, av.VideoFrame) for the strictly ascending `wanted`; VideoError names a frame that fails."""
        for run in self._runs(wanted) if len(wanted) else ():
            follows = 0 < int(run[0]) - self._last_delivered <= _SEEK_COST_PACKETS
            yield from self._run(run, drain=not follows, skip=skip)

    def sound_frames(self, wanted: Sequence[int], lost: set[int]) -> Iterator[tuple[int, Any]]:
        """As `frames`, without those that can't be decoded: their indices are added to `lost`.

        A broken packet costs its own frame. Where it stays in the way, others refer to it: then those decoded before it
        are delivered, and the others up to the next keyframe are lost.
        """
        rest = np.array(wanted, np.int64)
        known_bad = -1
        while len(rest):
            done = 0
            try:
                for pair in self.frames(rest.tolist()):
                    done += 1
                    yield pair
                return
            except VideoError as error:
                rest, failed, found = rest[done:], int(rest[done]), error.details.get("packet")
            bad = -1 if found is None else int(found)
            own = rest == (failed if bad < 0 else int(self.index.frame_of_packet[bad]))
            if bad >= 0 and (bad == known_bad or not own.any()):
                own = self.index.key_of_frame[rest] == self.index.key_of_frame[failed]
                before = own & (self.index.packet_of_frame[rest] < bad)
                if before.all():  # the packet is needed for none of them, and yet they fail
                    own, before = rest == failed, np.zeros(len(rest), np.bool_)
                yield from self.sound_frames(rest[before].tolist(), lost)
                lost |= set(rest[own & ~before].tolist())
            else:
                lost |= set(rest[own].tolist())
            rest, known_bad = rest[~own], bad

    def _runs(self, wanted: Sequence[int]) -> Iterator[Sequence[int]]:
        """Cut `wanted` where seeking is cheaper than decoding on."""
        if self.index.ordinal or (isinstance(wanted, range) and wanted.step == 1):
            yield wanted
            return
        frames = np.asarray(wanted, np.int64)
        starts = self.index.key_packets[np.maximum(self.index.key_of_frame[frames] - self._preroll, 0)]
        packets = self.index.packet_of_frame[frames]
        cuts = np.flatnonzero(starts[1:] > np.maximum.accumulate(packets)[:-1] + _SEEK_COST_PACKETS) + 1
        for part in np.split(frames, cuts):
            yield part.tolist()

    def _run(self, run: Sequence[int], *, drain: bool, skip: bool) -> Iterator[tuple[int, Any]]:
        done = 0
        try:
            session = self._positioned(int(run[0]))
            for index, frame in session.deliver(run, drain=drain, skip=skip):
                self._last_delivered = index
                done += 1
                yield index, frame
        except DecodeFault as fault:
            self.close()
            yield from self._run_carefully(run[done:], fault)
        except FeedError as error:
            self.close()
            yield from self._run_carefully(run[done:], DecodeFault(int(run[done]), str(error), packet=None))

    def _positioned(self, frame: int) -> DecodeSession:
        """A session that reaches `frame` by decoding on, or by seeking where that is cheaper."""
        if self._session is None:
            self._session = self._open(self._threads)
        session = self._session
        key_number = int(self.index.key_of_frame[frame])
        start = int(self.index.key_packets[max(key_number - self._preroll, 0)])
        if not session.can_reach(frame) or start > session.position + _SEEK_COST_PACKETS:
            session.begin(key_number, preroll=self._preroll)
        return session

    def _open(self, threads: int) -> DecodeSession:
        return DecodeSession(self._path, stream_index=self._stream_index, index=self.index, threads=threads)

    def _run_carefully(self, run: Sequence[int], fault: DecodeFault) -> Iterator[tuple[int, Any]]:
        """Deliver `run` with one thread and without skipping, starting further back while that may help."""
        own = int(self.index.key_of_frame[int(run[0])])
        done = 0
        session = self._open(1)
        try:
            for preroll in sorted({min(keys, own) for keys in (0, 1, 4, own)}):
                try:
                    session.begin(own, preroll=preroll)
                    for index, frame in session.deliver(run, drain=True, skip=False):
                        self._last_delivered = index
                        self._preroll = max(self._preroll, min(preroll, 1))
                        done += 1
                        yield index, frame
                    return
                except DecodeFault as latest:
                    # The same packet failing again, however far back decoding starts, is damage.
                    hopeless = latest.packet is not None and latest.packet == fault.packet and preroll > 0
                    fault = latest
                    if done or hopeless:
                        break
                except FeedError as error:
                    fault = DecodeFault(int(run[done]), str(error), packet=None)
        finally:
            session.close()
        if done:
            yield from self._run_carefully(run[done:], fault)
            return
        raise VideoError(
            f"{self._path}: frame {fault.frame_index} of {len(self.index)} cannot be decoded: {fault.reason}.",
            hint="The file is damaged there; copy or download it again, or leave that part out.",
            path=str(self._path),
            frame_index=fault.frame_index,
            packet=fault.packet,
        )
