"""The frame index: the packets of a stream, the frame of each, and the keyframe to decode it from."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from gazetools.schemas.video import Remark
from gazetools.video.mpeg4 import LONGEST, uncoded_test

NO_PTS = -(2**63)
"""FFmpeg's AV_NOPTS_VALUE: the packet carries no time."""

_HEADER_STATES_END = {"flv", "mxf"}
"""Containers whose header states the end of the longest stream, and that have no list of packets."""
_SAME_END_SECONDS = 0.5
"""Ends that differ by less are the same: a container may count its last packets or not."""

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class PacketTable:
    """Every packet of one stream in decode order, as one demux pass delivers them. All arrays have length P."""

    pts: Int64
    """Presentation times in ticks of the stream's time base; NO_PTS where there is none."""
    dts: Int64
    """Decoding times in ticks; NO_PTS where there is none."""
    size: Int64
    """Bytes of payload; packets of 0 bytes hold no picture and are never decoded."""
    key: npt.NDArray[np.bool_]
    discard: npt.NDArray[np.bool_]
    """Whether the packet is fed to the decoder and gives no frame: hidden by an edit list, or without a picture."""
    corrupt: npt.NDArray[np.bool_]
    """Whether the demuxer says that part of the packet is missing from the file."""
    listed: int | None
    """Packets that the container's own table lists for the stream, None where it has no such table."""
    promised_end_seconds: float | None
    """End of the stream as the container states it, None where it does not."""
    stopped: str | None
    """Why demuxing ended before the end of the file, None if it did not."""
    empty_chunks: int = 0
    """Chunks without data that the file has in addition to these packets (AVI: frames that the recorder dropped)."""
    uncoded: int = 0
    """Packets that hold no picture (MPEG-4: frames that are dropped, or equal to the one before)."""
    missing_bytes: int = 0
    """Bytes that the file lacks by its own statement (Matroska, ASF)."""

    def __len__(self) -> int:
        return len(self.pts)


@dataclass(frozen=True, kw_only=True)
class FrameIndex:
    """T frames in presentation order over the P packets of `packets`.

    `ordinal` means that packets do not carry the frames' times (none, duplicates, or guesses of the demuxer): the times
    then come from decoding everything once, and frames are found by counting from the start.
    """

    packets: PacketTable
    pts: Int64
    """[T] presentation times that the decoded frames carry, in ticks, ascending; frames are found by them."""
    packet_of_frame: Int64
    """[T] position of the frame's packet; 0 where ordinal."""
    frame_of_packet: Int64
    """[P] index of the packet's frame, -1 where it has none."""
    key_packets: Int64
    """[K] positions of the packets at which decoding can start, ascending."""
    key_of_frame: Int64
    """[T] position within key_packets of the last keyframe from which the frame can be decoded."""
    ordinal: bool = False
    frames_have_pts: bool = True
    """False where decoded frames carry no times of their own, and frame i was given the time slot of packet i."""
    preroll: int = 0
    """Number of keyframes to start earlier than necessary: 1 where the first pictures after an open-GOP keyframe name
    references from before it, which the strict decoder reports as errors unless it has decoded them."""
    ignored_pts: frozenset[int] = frozenset()
    """Times of packets at the ends of the stream whose frames cannot be decoded and are not counted."""
    damage: tuple[str, ...] = ()
    slots: Int64 | None = None
    """[T] true times in ticks where `pts` are guesses of the demuxer (AVI, which stores none): the chunks' places."""
    remarks: tuple[Remark, ...] = ()
    """What is worth telling about a file that can be used."""

    @property
    def ticks(self) -> Int64:
        """[T] presentation times of the frames in ticks, ascending."""
        return self.pts if self.slots is None else self.slots

    @property
    def counted_by(self) -> str:
        """How the frames were counted: `decoding` or `index` (proven at both ends by decoding)."""
        return "decoding" if self.ordinal else "index"

    @property
    def has_leading_pictures(self) -> bool:
        """True if a frame is shown before the keyframe that precedes it in decode order (open GOP)."""
        last_key = np.searchsorted(self.key_packets, self.packet_of_frame, side="right") - 1
        return bool((np.maximum(last_key, 0) > self.key_of_frame).any())

    def __len__(self) -> int:
        return len(self.pts)

    def frame_at(self, pts: int) -> int:
        """Index of the frame with exactly this time, -1 if there is none."""
        position = int(np.searchsorted(self.pts, pts))
        return position if position < len(self.pts) and int(self.pts[position]) == pts else -1


def demux_packets(av: Any, container: Any, stream: Any) -> PacketTable:
    """Read the packets of `stream` to the end of the file without decoding any."""
    rows: list[tuple[int, int, int, bool, bool, bool]] = []
    stopped = None
    is_uncoded, uncoded = _uncoded_test(stream), 0
    header_states_end = container.format.name in _HEADER_STATES_END
    others_end = 0.0
    try:
        for packet in container.demux(*(container.streams if header_states_end else (stream,))):
            if is_flush(packet):
                continue
            if packet.stream.index != stream.index:
                if packet.pts is not None:
                    others_end = max(others_end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
                continue
            pts, dts = (NO_PTS if time is None else time for time in (packet.pts, packet.dts))
            hidden = packet.is_discard
            if is_uncoded is not None and 0 < packet.size <= LONGEST and is_uncoded(bytes(packet)):
                hidden, uncoded = True, uncoded + 1
            rows.append((pts, dts, packet.size, packet.is_keyframe, hidden, packet.is_corrupt))
    except av.error.FFmpegError as error:
        stopped = str(getattr(error, "strerror", None) or error)
    # Only MP4's own table lists every packet; it does so after edit lists too, where the declared count does not.
    listed = len(stream.index_entries) if "mp4" in container.format.name.split(",") else None
    promised = _end_in_tags(stream)
    if header_states_end and container.duration:
        of_all = container.duration / av.time_base
        promised = of_all if of_all > others_end + _SAME_END_SECONDS else None  # else the sound is as long as that
    numbers = np.array(rows, np.int64).reshape(-1, 6).T
    pts_p, dts_p, size_p = np.ascontiguousarray(numbers[:3])
    key_p, discard_p, corrupt_p = np.ascontiguousarray(numbers[3:]).astype(np.bool_)
    return PacketTable(
        pts=pts_p,
        dts=dts_p,
        size=size_p,
        key=key_p,
        discard=discard_p,
        corrupt=corrupt_p,
        listed=listed,
        promised_end_seconds=promised,
        stopped=stopped,
        uncoded=uncoded,
    )


def _end_in_tags(stream: Any) -> float | None:
    """End of a track in seconds; Matroska writers note it in a tag such as 00:00:02.400000000."""
    match = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", str(stream.metadata.get("DURATION", "")).strip())
    return int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3]) if match else None


def _uncoded_test(stream: Any) -> Callable[[bytes], bool] | None:
    """A test for packets without a picture; None for codecs that have none.

    With B-frames there may be such packets in place of pictures that are packed into the packet before (DivX): then
    everything is decoded once, and frames are counted as they come.
    """
    context = stream.codec_context
    if context.name != "mpeg4" or context.has_b_frames:
        return None
    return uncoded_test(bytes(context.extradata or b""))


def is_flush(packet: Any) -> bool:
    """True for the empty packet that PyAV appends at the end of a stream."""
    return packet.size == 0 and packet.pts is None and packet.dts is None


def damage_of_table(
    table: PacketTable, *, container: str, declared: int | None, time_base: Fraction
) -> tuple[str, ...]:
    """Reasons why packets are missing that the container states; empty where nothing contradicts."""
    reasons = []
    if table.stopped:
        reasons.append(f"reading stopped after {len(table)} packets: {table.stopped}")
    expected = table.listed
    if expected is None and declared is not None and container in {"avi", "flv", "asf"}:
        expected = declared
    there = len(table) + table.empty_chunks
    if expected is not None and there < expected:
        empty = f" ({table.empty_chunks} of them empty)" if table.empty_chunks else ""
        # which chunks an AVI lacks is not known, and the place of a chunk is its time
        early = "; of chunks lost amid it, all later times are too early" if container == "avi" else ""
        reasons.append(
            f"truncated: the container lists {expected} frames, {there} of them are in the file{empty}{early}"
        )
    states_end = "matroska" in container.split(",") or container in _HEADER_STATES_END
    if states_end and table.promised_end_seconds is not None and len(table) > 1:
        times = np.sort(table.pts[table.pts != NO_PTS]) * float(time_base)
        # The end counts from time 0 or from the first frame, by writer; one frame may be long.
        missing = table.promised_end_seconds - float(times[-1]) - 2 * float(np.diff(times).max(initial=0.0))
        if missing > _SAME_END_SECONDS:
            reasons.append(
                f"truncated: the container says that the stream ends at {table.promised_end_seconds:.3f} s, "
                f"its last frame is at {times[-1]:.3f} s"
            )
    if table.missing_bytes and not reasons:
        reasons.append(f"truncated: the file lacks {table.missing_bytes:,} bytes")
    if table.corrupt.any():
        reasons.append(f"{int(table.corrupt.sum())} of {len(table)} packets are incomplete")
    return tuple(reasons)


def needs_decoding(table: PacketTable, *, container: str, reorder_depth: int) -> bool:
    """True where packet times cannot identify frames: missing, duplicate or guessed (AVI with B-frames)."""
    shown = table.pts[(table.size > 0) & ~table.discard]
    if container == "avi" and reorder_depth > 0:
        return True
    return bool((shown == NO_PTS).any()) or len(np.unique(shown)) != len(shown)


def index_from_packets(
    table: PacketTable,
    *,
    dropped_packets: npt.NDArray[np.bool_] | None = None,
    damage: tuple[str, ...] = (),
    by_slots: bool = False,
) -> FrameIndex:
    """The index of a stream whose packets carry unique times; `dropped_packets` [P] have no decodable frame.

    `by_slots`: the times of packets are guesses (AVI); the i-th frame shown has the time slot of the i-th packet.
    """
    shown = (table.size > 0) & ~table.discard
    dropped = np.zeros(len(table), np.bool_) if dropped_packets is None else dropped_packets
    ignored = frozenset(table.pts[shown & dropped].tolist())
    shown &= ~dropped
    positions = np.flatnonzero(shown)
    packet_of_frame = positions[np.argsort(table.pts[positions], kind="stable")].astype(np.int64)
    pts = table.pts[packet_of_frame]
    frame_of_packet = np.full(len(table), -1, np.int64)
    frame_of_packet[packet_of_frame] = np.arange(len(packet_of_frame))
    keys = np.flatnonzero(table.key & (table.size > 0)).astype(np.int64)
    keys = keys if len(keys) else np.zeros(1, np.int64)
    key_of_frame = np.maximum(np.searchsorted(keys, packet_of_frame, side="right") - 1, 0)
    # A picture shown before its keyframe (leading picture of an open GOP) may refer to the GOP before.
    while (leading := (key_of_frame > 0) & (table.pts[keys[key_of_frame]] > pts)).any():
        key_of_frame = key_of_frame - leading
    return FrameIndex(
        packets=table,
        pts=pts,
        packet_of_frame=packet_of_frame,
        frame_of_packet=frame_of_packet,
        key_packets=keys,
        key_of_frame=key_of_frame.astype(np.int64),
        ignored_pts=ignored,
        damage=damage,
        slots=np.sort(table.dts[packet_of_frame]) if by_slots else None,
    )


def index_from_decoding(
    table: PacketTable, pts: Int64, *, frames_have_pts: bool, damage: tuple[str, ...]
) -> FrameIndex:
    """The index of a stream whose frames were all decoded once, with their times in presentation order."""
    zeros = np.zeros(len(pts), np.int64)
    return FrameIndex(
        packets=table,
        pts=pts,
        packet_of_frame=zeros,
        frame_of_packet=np.full(len(table), -1, np.int64),
        key_packets=np.zeros(1, np.int64),
        key_of_frame=zeros,
        ordinal=True,
        frames_have_pts=frames_have_pts,
        damage=damage,
    )
