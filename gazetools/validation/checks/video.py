"""Checks of the decoded video itself: what is unusual about its frames and times."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from gazetools.schemas.findings import Finding
from gazetools.schemas.video import HDR_TRANSFERS
from gazetools.validation.subject import Subject
from gazetools.video.gaps import GAP_PERIODS, uneven_steps

_WIDE = ("bt2020", "smpte431", "smpte432")
_DEEP = re.compile(r"p(9|1\d)(le|be)?$|p0?1\d|16(le|be)$|rgb48|rgba64")
"""Pixel formats of more than 8 bits, such as yuv420p10le and p010le."""
_MIN_PATTERN = 5  # Repeats at one distance from which on they count as a pattern


def check_counts(subject: Subject) -> Iterator[Finding]:
    """Declared frames and packets are as many as decoded frames."""
    if (video := subject.video) is None:
        return
    decoded = video.decoded_frames
    if video.declared_frames is not None and video.declared_frames != decoded:
        message = f"{video.path} declares {video.declared_frames} frames, {decoded} decode."
        yield subject.finding("video-count-declared", message)
    if video.packets != decoded:
        lost = video.packets - video.hidden_packets - decoded
        parts = [f"{video.hidden_packets} are hidden by an edit list"] if video.hidden_packets else []
        parts += [f"{lost} give no frame"] if lost > 0 else []
        parts += [f"{-lost} frames come without one"] if lost < 0 else []
        message = f"{video.path} has {video.packets} packets, {decoded} frames decode: {', '.join(parts)}."
        yield subject.finding("video-packets-differ", message)


def check_remarks(subject: Subject) -> Iterator[Finding]:
    """The file's structure is sound, and no chunk is empty."""
    for remark in subject.video.remarks if subject.video is not None else ():
        if remark.code != "video-gaps":  # `check_clock` finds more of them
            yield subject.finding(remark.code, f"{subject.path.stem}: {remark.text}.", remark.frames or None)


def check_colour(subject: Subject) -> Iterator[Finding]:
    """The model saw SDR pictures of BT.709; what else a video has was converted."""
    stated = None if subject.provenance is None else subject.provenance.video
    info = stated if subject.video is None else subject.video.info
    if info is None:
        return
    tags = f"transfer {info.colour_transfer}, primaries {info.colour_primaries}"
    if info.colour_transfer in HDR_TRANSFERS:
        if stated is None or subject.is_ground_truth:
            yield subject.finding("video-hdr", f"HDR ({tags}); gazetools reads it tone-mapped to SDR.")
        elif stated.tone_mapping in (None, "none"):
            how = "a version that did not know HDR" if stated.tone_mapping is None else "--hdr raw"
            yield subject.finding("video-hdr-raw", f"HDR ({tags}), and its maps were made by {how}.")
        else:
            yield subject.finding("video-hdr", f"HDR ({tags}), tone-mapped to SDR ({stated.tone_mapping}).")
    elif info.colour_primaries in _WIDE:
        yield subject.finding("video-wide-gamut", f"Wide gamut ({tags}), not converted to BT.709.")
    elif info.colour_transfer == "unspecified" and _DEEP.search(info.pixel_format):
        yield subject.finding("video-colour-untagged", f"{info.pixel_format} without a tag of its transfer function.")


def check_repeats(subject: Subject) -> Iterator[Finding]:
    """No picture is shown twice in a row: a camera or a decoder stood still, or frames were added to reach a rate."""
    if (video := subject.video) is None:
        return
    same = video.luma_digests[1:] == video.luma_digests[:-1]
    repeated = np.flatnonzero(same) + 1
    if not len(repeated):
        return
    edges = np.flatnonzero(np.diff(np.concatenate([[False], same, [False]]).astype(np.int8)))
    longest = int((edges[1::2] - edges[::2]).max()) + 1
    message = f"{len(repeated)} of {video.decoded_frames} frames repeat the previous picture, up to {longest} in a row"
    distances = np.diff(repeated)
    if len(repeated) >= _MIN_PATTERN and (distances == distances[0]).all() and distances[0] > 1:
        period, rate = int(distances[0]), float(video.rate)
        message += f"; each {period}th is one, as where {rate * (period - 1) / period:.2f} fps were made {rate:.2f}"
    yield subject.finding("video-frames-repeated", message + ".", repeated)


def check_clock(subject: Subject) -> Iterator[Finding]:
    """The video begins at 0, without gaps, at a constant frame rate."""
    video = subject.video
    if video is None or len(pts := video.pts_seconds) < 3:
        return
    steps = np.diff(pts)
    period = float(np.median(steps))
    if pts[0] > 0.5 * period:
        message = f"Its first frame is at {pts[0]:.4f} s ({pts[0] / period:.1f} periods)."
        yield subject.finding("video-starts-late", message)
    gaps = np.flatnonzero(steps > GAP_PERIODS * period) + 1
    if len(gaps):
        yield subject.finding("video-gaps", f"{len(gaps)} gaps, the longest of {steps.max():.3f} s.", gaps)
    uneven = uneven_steps(steps, period)
    uneven[gaps - 1] = False
    if uneven.any():
        message = f"{float(uneven.mean()):.1%} of its frame distances differ from {period:.5f} s"
        rates = f"{1 / period:.2f} fps; declared {float(video.rate):.2f}"
        yield subject.finding("video-rate-varies", f"{message} ({rates}).")
