"""What is unusual about the decoded video itself: worth knowing before times and counts are trusted."""

from __future__ import annotations

import numpy as np

from gazetools.validation.subject import Subject

_GAP_PERIODS = 2.5
_UNEVEN = 0.02
"""Share of a period by which frame distances must differ to count as variable rate (rounding to ms is less)."""
_ROUNDING_SECONDS = 1.1e-3


def check_video(subject: Subject) -> None:
    """Notes on declared counts, late starts, gaps, and variable frame rate."""
    video = subject.video
    if video is None:
        return
    if video.declared_frames is not None and video.declared_frames != video.decoded_frames:
        subject.report(
            "video-count-declared",
            f"{video.path} declares {video.declared_frames} frames, {video.decoded_frames} decode.",
        )
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
