"""What is unusual about the decoded video itself: worth knowing before times and counts are trusted."""

from __future__ import annotations

import numpy as np

from gazetools.validation.subject import Subject, VideoTruth

_GAP_PERIODS = 2.5
_UNEVEN = 0.02
"""Share of a period by which frame distances must differ to count as variable rate (rounding to ms is less)."""
_ROUNDING_SECONDS = 1.1e-3
_MIN_PATTERN = 5
"""Repeats at one distance from which on they are taken for a pattern."""


def check_video(subject: Subject) -> None:
    """Notes on packet and declared counts, repeated pictures, late starts, gaps, and variable frame rate."""
    video = subject.video
    if video is None:
        return
    if video.declared_frames is not None and video.declared_frames != video.decoded_frames:
        subject.report(
            "video-count-declared",
            f"{video.path} declares {video.declared_frames} frames, {video.decoded_frames} decode.",
        )
    if video.packets != video.decoded_frames:
        lost = video.packets - video.hidden_packets - video.decoded_frames
        parts = [f"{video.hidden_packets} are hidden by an edit list"] if video.hidden_packets else []
        parts += [f"{lost} give no frame of their own"] if lost > 0 else []
        parts += [f"{-lost} frames come without one"] if lost < 0 else []
        message = f"{video.path} has {video.packets} packets, {video.decoded_frames} frames decode: "
        subject.report("video-packets-differ", message + ", ".join(parts) + ".")
    _check_repeats(subject, video)
    pts = video.pts_seconds
    if len(pts) < 3:
        return
    steps = np.diff(pts)
    period = float(np.median(steps))
    if pts[0] > 0.5 * period:
        subject.report("video-starts-late", f"Its first frame is at {pts[0]:.4f} s ({pts[0] / period:.1f} periods).")
    gaps = np.flatnonzero(steps > _GAP_PERIODS * period) + 1
    if len(gaps):
        subject.report("video-gaps", f"{len(gaps)} gaps, the longest of {steps.max():.3f} s.", gaps)
    uneven = np.abs(steps - period) > np.maximum(_UNEVEN * period, _ROUNDING_SECONDS)
    uneven[gaps - 1] = False
    if uneven.any():
        share = float(uneven.mean())
        subject.report(
            "video-rate-varies",
            f"{share:.1%} of its frame distances differ from {period:.5f} s ({1 / period:.2f} fps; declared "
            f"{float(video.rate):.2f}).",
        )


def _check_repeats(subject: Subject, video: VideoTruth) -> None:
    """Pictures that are shown again: a camera or a decoder that stood still, or frames added to reach another rate."""
    same = video.luma_digests[1:] == video.luma_digests[:-1]
    repeated = np.flatnonzero(same) + 1
    if not len(repeated):
        return
    edges = np.flatnonzero(np.diff(np.concatenate([[False], same, [False]]).astype(np.int8)))
    longest = int((edges[1::2] - edges[::2]).max()) + 1
    message = f"{len(repeated)} of {video.decoded_frames} frames repeat the picture before, up to {longest} in a row"
    distances = np.diff(repeated)
    if len(repeated) >= _MIN_PATTERN and (distances == distances[0]).all() and distances[0] > 1:
        period, rate = int(distances[0]), float(video.rate)
        message += f"; each {period}th is one, as where {rate * (period - 1) / period:.2f} fps were made {rate:.2f}"
    subject.report("video-frames-repeated", message + ".", repeated)
