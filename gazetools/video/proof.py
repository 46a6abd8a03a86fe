"""Build a stream's frame index and prove it at both ends by decoding, so that its count is that of decodable frames."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gazetools.schemas.errors import VideoError
from gazetools.schemas.video import Remark, VideoInfo
from gazetools.video.asf import lacking_bytes
from gazetools.video.avi import empty_chunks
from gazetools.video.feed import fault_text
from gazetools.video.gaps import gap_remark, has_one_rate
from gazetools.video.index import (
    NO_PTS,
    FrameIndex,
    PacketTable,
    damage_of_table,
    demux_packets,
    index_from_decoding,
    index_from_packets,
    is_flush,
    needs_decoding,
)
from gazetools.video.matroska import missing_bytes, structure_fault
from gazetools.video.probe import choose_stream, import_av, open_container, prepare_decoder
from gazetools.video.session import DecodeFault, DecodeSession


def build_index(path: Path, info: VideoInfo, *, threads: int) -> FrameIndex:
    """The proven index of the stream `info` describes; VideoError if no frame can be decoded or none has a time."""
    av = import_av()
    with open_container(path) as container:
        stream = choose_stream(container, path, info.stream_index)
        reorder_depth = int(getattr(stream.codec_context, "has_b_frames", 0) or 0)
        table = demux_packets(av, container, stream)
    table, fault = _compared_with_file(path, info, table)
    declared = info.declared_frame_count
    damage = damage_of_table(table, container=info.container, declared=declared, time_base=info.time_base)
    if needs_decoding(table, container=info.container, reorder_depth=reorder_depth):
        return _with_remarks(info, _index_by_decoding(av, path, info, table, damage), fault)
    dropped = np.zeros(len(table), np.bool_)
    index = index_from_packets(table, damage=damage, by_slots=_has_slots(info, table))
    with _session(path, info, index, threads=1) as session:
        index = _prove_head(index, session, dropped)
    with _session(path, info, index, threads=threads) as session:
        index = _prove_tail(path, info, index, session, dropped)
    if len(index) == 0:
        raise VideoError(
            f"{path}: not one of its {len(table)} packets gives a frame that can be decoded.",
            hint="The file is damaged; copy or download it again.",
            path=str(path),
        )
    return _with_remarks(info, index, fault)


def _compared_with_file(path: Path, info: VideoInfo, table: PacketTable) -> tuple[PacketTable, str | None]:
    """The table with what the bytes of the file say about missing packets, and what is wrong with its structure.

    The bytes are read only where packets seem to be missing: those of a whole file are read once, by the demuxer.
    """
    if info.container == "avi" and (info.declared_frame_count or 0) > len(table):
        return replace(table, empty_chunks=empty_chunks(path, info.stream_index)), None
    if info.container == "asf":
        return replace(table, missing_bytes=lacking_bytes(path)), None
    times = np.unique(table.pts[table.pts != NO_PTS])
    steps = np.diff(times)
    if "matroska" not in info.container.split(","):
        return table, None
    if len(steps) < 3 or steps.max() < 1.5 * np.median(steps):
        lacks = missing_bytes(path)  # cut near its end, or a few frames are left: nothing else shows it
        return replace(table, missing_bytes=lacks), None
    seconds = steps * float(info.time_base)
    if (fault := structure_fault(path)) is None or not has_one_rate(seconds, float(np.median(seconds))):
        return table, fault
    # What follows a hole refers to lost pictures until the next keyframe, and so do the pictures shown before that.
    corrupt, broken = table.corrupt.copy(), False
    latest, usual, key_pts = int(table.pts[0]), 1.5 * float(np.median(steps)), NO_PTS
    for place in range(len(table)):
        pts, first_of_hole = int(table.pts[place]), int(table.pts[place]) - latest > _reordering(table, usual)
        broken = (broken or first_of_hole) and not table.key[place]
        key_pts = pts if table.key[place] and first_of_hole else NO_PTS if table.key[place] else key_pts
        corrupt[place] |= broken or pts < key_pts
        latest = max(latest, pts)
    return replace(table, corrupt=corrupt), fault


def _reordering(table: PacketTable, usual: float) -> float:
    """Largest step forward of a packet's time that the reordering of a whole stream makes."""
    return usual + float(np.maximum(np.maximum.accumulate(table.pts) - table.pts, 0).max())


def _has_slots(info: VideoInfo, table: PacketTable) -> bool:
    """Whether the packets' times are guesses, and their places in the file give the times: AVI."""
    dts = table.dts[table.size > 0]
    return info.container == "avi" and bool((dts != NO_PTS).all()) and bool((np.diff(dts) > 0).all())


def _with_remarks(info: VideoInfo, index: FrameIndex, fault: str | None) -> FrameIndex:
    """The index with what is worth telling about the file."""
    if empty := index.packets.empty_chunks + index.packets.uncoded:
        chunks = f"{empty} of its {len(index.packets) + index.packets.empty_chunks} chunks hold no picture"
        text = f"{chunks}: the recorder dropped frames there; all others keep their times"
        steps = np.diff(index.ticks)
        after = np.flatnonzero(steps > 1.5 * np.median(steps)) + 1 if len(steps) else steps
        return replace(index, remarks=(Remark(code="video-empty-chunks", text=text, frames=tuple(after.tolist())),))
    seconds = index.ticks * info.time_base.numerator / info.time_base.denominator
    gaps = gap_remark(seconds, fault)
    return index if gaps is None else replace(index, remarks=(gaps,))


def _session(path: Path, info: VideoInfo, index: FrameIndex, *, threads: int) -> closing[DecodeSession]:
    return closing(DecodeSession(path, stream_index=info.stream_index, index=index, threads=threads, pixels=False))


def _without(index: FrameIndex, dropped: Any, reason: str) -> FrameIndex:
    damage = (*index.damage, reason)
    return index_from_packets(index.packets, dropped_packets=dropped, damage=damage, by_slots=index.slots is not None)


def _prove_head(index: FrameIndex, session: DecodeSession, dropped: Any) -> FrameIndex:
    """Drop the frames before the first one that decodes from the first usable keyframe."""
    first_error = ""
    for key_number, place in enumerate(index.key_packets):
        try:
            # With leading pictures first: those after an IDR keyframe can be decoded (RADL).
            session.begin(key_number, leading=True)
            first = session.first_frame()
        except DecodeFault as fault:
            first_error = first_error or f" ({fault.reason})"
            try:
                session.begin(key_number)
                first = session.first_frame()
            except DecodeFault:
                continue
        gone = (index.packets.pts < index.pts[first]) | (np.arange(len(index.packets)) < place)
        gone &= index.frame_of_packet >= 0
        if not gone.any():
            return index
        dropped |= gone
        reason = f"{int(gone.sum())} frames at the start cannot be decoded: they refer to pictures that are missing"
        return _without(index, dropped, reason + first_error)
    dropped |= True
    return _without(index, dropped, "no keyframe can be decoded" + first_error)


def _prove_tail(path: Path, info: VideoInfo, index: FrameIndex, session: DecodeSession, dropped: Any) -> FrameIndex:
    """Drop the frames at the end that do not decode from the last keyframes."""
    if len(index) == 0:
        return index
    for key_number in range(len(index.key_packets) - 1, -1, -1):
        for preroll in (0, 1) if key_number else (0,):
            try:
                session.begin(key_number, preroll=preroll)
                session.run_to_end(unskipped=_CLOSE_TO_END)
                return replace(index, preroll=preroll)
            except DecodeFault as fault:
                reason = fault.reason
        # Frames that decode from this keyframe to the end of the file, before the first error.
        with _session(path, info, index, threads=1) as careful:
            careful.begin(key_number, preroll=1)
            good = careful.collect_to_end()
        own = (index.key_of_frame >= key_number) & ~np.isin(np.arange(len(index)), list(good))
        gone = np.zeros(len(index.packets), np.bool_)
        gone[index.packet_of_frame[own]] = True
        if not gone.any():
            return index
        dropped |= gone
        index = _without(index, dropped, f"{int(gone.sum())} frames at the end cannot be decoded ({reason})")
        if good:
            return index
        session.adopt(index)
    return index


_CLOSE_TO_END = 24
"""Number of packets at the end that the proof decodes without skipping pictures that are no reference."""


def _index_by_decoding(av: Any, path: Path, info: VideoInfo, table: PacketTable, damage: tuple[str, ...]) -> FrameIndex:
    """Decode everything once; the frames before the first error count, with the times they carry."""
    pts: list[int] = []
    with open_container(path) as container:
        stream = choose_stream(container, path, info.stream_index)
        context = prepare_decoder(stream, threads=1, pixels=False)
        try:
            for packet in container.demux(stream):
                if packet.size == 0 and not is_flush(packet):
                    continue
                for frame in context.decode(packet):
                    if frame.is_corrupt:
                        raise av.error.InvalidDataError(0, "the decoder marks a frame as corrupt")
                    pts.append(NO_PTS if frame.pts is None else frame.pts)
        except av.error.FFmpegError as error:
            damage = (*damage, f"only the first {len(pts)} frames can be decoded ({fault_text(error)})")
    of_frames = np.array(pts, np.int64)
    if info.container != "avi" and pts and (of_frames != NO_PTS).all() and (np.diff(of_frames) >= 0).all():
        return index_from_decoding(table, of_frames, frames_have_pts=True, damage=damage)
    # AVI stores no presentation times; FFmpeg's guesses differ by version. Its pictures fill equal time slots in
    # decode order, so the i-th frame shown has the i-th slot.
    slots = table.dts[table.size > 0][: len(pts)]
    timed = 0 < len(slots) == len(pts) and (slots != NO_PTS).all() and (np.diff(slots) > 0).all()
    if info.container == "avi" and timed:
        return index_from_decoding(table, slots.copy(), frames_have_pts=False, damage=damage)
    raise VideoError(
        f"{path}: its {len(pts)} decoded frames carry no ascending times (container {info.container}), so no frame "
        "can be matched to a time.",
        hint="Put the stream into a container with times, such as: ffmpeg -fflags +genpts -r 30 -i IN -c copy OUT.mp4",
        path=str(path),
    )
