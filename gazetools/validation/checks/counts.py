"""Check of the number of frames; times and content tell a cut video from one at another rate."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gazetools.schemas.findings import Finding
from gazetools.validation.rates import mistake_of
from gazetools.validation.subject import Subject, VideoTruth, stated_frames

_MIN_DIFFERENCE = 5  # Frames between two counts; a smaller difference may be a lost tail instead of another rate


def check_count(subject: Subject) -> Iterator[Finding]:
    """The heatmaps are of as many frames as the video decodes to.

    A difference that a known mistake of rate gives is reported as that mistake, unless the times of the rows or the
    content (`Subject.content`) show that frames are missing at one place.
    """
    video, stated = subject.video, stated_frames(subject)
    if video is None or stated is None or stated == video.decoded_frames:
        return
    what = "The store was made from" if subject.columns is not None else "The heatmaps have"
    counts = f"{what} {stated} frames, the video decodes to {video.decoded_frames}"
    if mistake := _mistake_of_rate(subject, stated, video):
        yield subject.finding("rate-mismatch", f"{counts}: {mistake}.")
        return
    message, frames = _where(subject, stated, video.decoded_frames)
    yield subject.finding("frame-count-mismatch", f"{counts}: {message}.", frames)


def _mistake_of_rate(subject: Subject, stated: int, video: VideoTruth) -> str | None:
    """The known mistake that gives this count; None where times or content show that it is none."""
    decoded, content = video.decoded_frames, subject.content
    if abs(stated - decoded) < _MIN_DIFFERENCE or not decoded:
        return None
    if not (mistake := mistake_of(stated / decoded, within=1 / decoded, rate=float(video.rate))):
        return None
    if content is not None and content.kind == "drifting":
        return mistake
    if content is not None and content.identifiable and content.kind in ("aligned", "shifted", "jumping"):
        return None
    pts = subject.pts_seconds if subject.columns is None else subject.columns.frame_pts
    if pts is None or not np.isfinite(pts).any():
        return f"as where {mistake}, or where one of the two was cut; --deep with --model can tell"
    return mistake if subject.has_finding("pts-drift") else None


def _where(subject: Subject, stated: int, decoded: int) -> tuple[str, range]:
    """Text about where the difference lies, as far as the content tells, and the rows or frames without a partner."""
    content, size = subject.content, abs(stated - decoded)
    lacking = range(min(stated, decoded), max(stated, decoded))
    if content is not None and content.kind == "shifted" and content.shifts == (decoded - stated,) * 2:
        if stated > decoded:
            return f"the video was cut, its first {size} frames are missing", range(size)
        return f"the first {size} frames have no map", range(size)
    if content is not None and content.kind == "jumping":
        places = ", ".join(str(jump.first) for jump in content.jumps)
        return f"frames are missing amid them, see frame {places}", lacking
    if stated < decoded:
        return f"the last {size} have no map", lacking
    if content is not None and content.kind == "aligned" and content.identifiable:
        return f"the video was cut, its last {size} frames are missing", lacking
    return f"{size} too many", lacking
