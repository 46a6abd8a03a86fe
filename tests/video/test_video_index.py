"""The frame index from hand-written packet tables."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from gazetools.schemas.errors import UsageError
from gazetools.video import VideoReader
from gazetools.video.index import NO_PTS, PacketTable, damage_of_table, index_from_packets, needs_decoding
from tests.helpers.clips import write_clip


def table(
    pts: list[int],
    *,
    keys: tuple[int, ...] = (0,),
    discard: tuple[int, ...] = (),
    empty: tuple[int, ...] = (),
    corrupt: tuple[int, ...] = (),
    listed: int | None = None,
    promised_end_seconds: float | None = None,
    stopped: str | None = None,
) -> PacketTable:
    """Packets with these pts in decode order; the other arguments name positions."""
    count = len(pts)

    def flags(positions: tuple[int, ...]) -> np.ndarray:
        return np.isin(np.arange(count), positions)

    return PacketTable(
        pts=np.array(pts, np.int64),
        dts=np.arange(count, dtype=np.int64),
        size=np.where(flags(empty), 0, 100).astype(np.int64),
        key=flags(keys),
        discard=flags(discard),
        corrupt=flags(corrupt),
        listed=listed,
        promised_end_seconds=promised_end_seconds,
        stopped=stopped,
    )


def test_presentation_order_and_starts_of_an_open_gop() -> None:
    # I0 P3 B1 B2 | I6 B4 B5 P9 B7 B8: B4 and B5 are shown before the keyframe I6, so they belong to I0's GOP.
    index = index_from_packets(table([0, 3, 1, 2, 6, 4, 5, 9, 7, 8], keys=(0, 4)))
    assert index.pts.tolist() == list(range(10))
    assert index.packet_of_frame.tolist() == [0, 2, 3, 1, 5, 6, 4, 8, 9, 7]
    assert index.frame_of_packet.tolist() == [0, 3, 1, 2, 6, 4, 5, 9, 7, 8]
    assert index.key_packets[index.key_of_frame].tolist() == [0, 0, 0, 0, 0, 0, 4, 4, 4, 4]
    assert index.has_leading_pictures
    assert (index.frame_at(4), index.frame_at(10)) == (4, -1)


def test_closed_gops_have_no_leading_pictures() -> None:
    index = index_from_packets(table([0, 2, 1, 3, 5, 4], keys=(0, 3)))
    assert not index.has_leading_pictures
    assert index.key_of_frame.tolist() == [0, 0, 0, 1, 1, 1]


def test_discarded_and_empty_packets_are_no_frames() -> None:
    index = index_from_packets(table([-2, -1, 0, 1, 2], discard=(0, 1), empty=(3,)))
    assert index.pts.tolist() == [0, 2]
    assert index.packet_of_frame.tolist() == [2, 4]
    assert index.key_of_frame.tolist() == [0, 0]


def test_dropped_packets_leave_the_count_and_are_remembered() -> None:
    index = index_from_packets(table([5, 3, 4, 6]), dropped_packets=np.array([False, True, True, False]))
    assert index.pts.tolist() == [5, 6]
    assert index.ignored_pts == {3, 4}


def test_a_stream_without_keyframe_flags_starts_at_its_first_packet() -> None:
    assert index_from_packets(table([0, 1, 2], keys=())).key_packets.tolist() == [0]


@pytest.mark.parametrize(
    ("packets", "container", "reorder_depth", "expected"),
    [
        (table([0, 2, 1]), "mov,mp4", 2, False),
        (table([0, NO_PTS, 1]), "mov,mp4", 0, True),
        (table([0, 1, 1]), "mov,mp4", 0, True),
        (table([0, 0, 1], discard=(0,)), "mov,mp4", 0, False),  # the hidden one may share its time
        (table([0, 1, 2]), "avi", 1, True),  # AVI holds no pts: with B-frames they are guesses
        (table([0, 1, 2]), "avi", 0, False),
    ],
)
def test_when_times_must_come_from_decoding(
    packets: PacketTable, container: str, reorder_depth: int, expected: bool
) -> None:
    assert needs_decoding(packets, container=container, reorder_depth=reorder_depth) is expected


@pytest.mark.parametrize(
    ("packets", "container", "declared", "text"),
    [
        (table([0, 1, 2], listed=3), "mov,mp4", 3, None),
        (table([0, 1, 2], listed=3), "mov,mp4", 62, None),  # an edit list hides the rest: no damage
        (table([0, 1, 2], listed=600), "mov,mp4", 600, "truncated: the container lists 600 frames, 3 of them"),
        (table([0, 1]), "avi", 5, "truncated"),
        (table([0, 1], stopped="Input/output error"), "mpegts", None, "reading stopped after 2 packets: Input/output"),
        (table([0, 1, 2], promised_end_seconds=0.12), "matroska,webm", None, None),
        (table([0, 1, 2], promised_end_seconds=9.0), "matroska,webm", None, "the stream ends at 9.000 s"),
        (table([0, 1, 2], corrupt=(1,)), "mpegts", None, "1 of 3 packets are incomplete"),
    ],
)
def test_damage_that_the_table_shows(
    packets: PacketTable, container: str, declared: int | None, text: str | None
) -> None:
    reasons = damage_of_table(packets, container=container, declared=declared, time_base=Fraction(1, 25))
    if text is None:
        assert reasons == ()
    else:
        assert text in reasons[0]


def test_an_index_can_be_handed_over_before_the_first_reading_only(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", frames=40, width=64, height=48, fps=30)
    with VideoReader(path) as first, VideoReader(path) as second:
        second.adopt_index(first.frame_index)
        assert second.frame_index is first.frame_index
        assert np.array_equal(second.read([3, 30]), first.read([3, 30]))
        with pytest.raises(UsageError, match="has its frame index already"):
            first.adopt_index(second.frame_index)
