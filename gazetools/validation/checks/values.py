"""Checks of numbers: maps, inout and head boxes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from gazetools.heatmaps.normalise import NORMALISATIONS
from gazetools.heatmaps.people import INSIDE
from gazetools.heatmaps.values import UINT8_SCALE
from gazetools.schemas.findings import Finding
from gazetools.schemas.store import Prompt
from gazetools.validation.subject import Subject

_SUM_TOLERANCE = 0.01
_PEAK_TOLERANCE = 0.005  # uint8 steps are 0.004, float16 steps below 1 are 0.0005
_RATIO_TOLERANCE = 0.05
"""Difference of the logarithms of two side ratios that count as equal; maps of a 16:9 video are 64x36, 57x32, ..."""


def check_finite(subject: Subject) -> Iterator[Finding]:
    """No NaN and no infinity."""
    if (stats := subject.stats) is None:
        return
    nan = np.isnan(stats.low) | np.isnan(stats.high)
    infinite = (np.isinf(stats.low) | np.isinf(stats.high)) & ~nan
    yield from subject.about_rows("nan-values", nan, "maps have NaN.")
    yield from subject.about_rows("inf-values", infinite, "maps have infinities.")
    if subject.bad_tokens is not None:
        yield from subject.about_rows("tokens-not-finite", subject.bad_tokens, "rows have tokens that are not finite.")


def check_range(subject: Subject) -> Iterator[Finding]:
    """Values lie in 0..1."""
    if (stats := subject.stats) is None or not len(stats):
        return
    low, high = np.fmin.reduce(stats.low), np.fmax.reduce(stats.high)  # without NaN
    yield from subject.about_rows("negative-values", stats.low < 0, f"maps go below 0, to {low:.4g}.")
    code = "scale-unknown" if subject.kind == "foreign" else "above-one"
    # a float32 quotient x / x may be off by its last digit
    yield from subject.about_rows(code, stats.high > 1 + 1e-6, f"maps go above 1, to {high:.4g}.")
    if subject.kind == "foreign" and 0 < high <= UINT8_SCALE * (1 + 1e-6):
        text = f"No map goes above {high:.4g} = 1/255: masks of 0 and 1 stored as uint8, whose 255 is read as 1?"
        yield subject.finding("scale-unknown", text)


def check_axes(subject: Subject) -> Iterator[Finding]:
    """Another tool's maps don't have the video's frames on their last axis, as [H,W,T] has."""
    if subject.kind != "foreign" or subject.video is None or subject.size_hw is None:
        return
    frames, width = subject.video.decoded_frames, subject.size_hw[1]
    if subject.count != frames == width:
        yield subject.finding(
            "maps-ambiguous",
            f"{subject.path} was read as {subject.count} maps of {subject.size_hw[0]}x{width}, but its last axis has "
            f"{frames}, as many as the video has frames: are the maps [H,W,T]? Then pass --axes HWT.",
        )


def check_content(subject: Subject) -> Iterator[Finding]:
    """Rows that count as maps are neither all zero nor constant; other rows are zero unless `missing` fills them."""
    if (stats := subject.stats) is None or not len(stats):
        return
    is_zero = (stats.high == 0) & (stats.low == 0)
    zero = subject.has_map & is_zero & ~_may_be_zero(subject)
    yield from subject.about_rows("zero-maps", zero, "maps are all zero.")
    if subject.size_hw != (1, 1):
        constant = subject.has_map & (stats.low == stats.high) & (stats.high > 0)
        yield from subject.about_rows("constant-maps", constant, "maps are constant.")
    if subject.options is not None and subject.options.missing == "zero":
        odd = ~subject.has_map & ~is_zero
        message = f"{int(odd.sum())} rows without a frame hold maps."
        yield from subject.about_frames("nonzero-without-frame", subject.frames_of_rows(odd), message)


def check_orientation(subject: Subject) -> Iterator[Finding]:
    """H and W are not exchanged, as far as sides of different length show it."""
    if subject.size_hw is None:
        return
    height, width = subject.size_hw
    maps = f"Its maps are {height}x{width} (HxW)"
    if subject.kind == "store" and subject.provenance is not None:
        made = tuple(subject.provenance.model.out_size)
        if made == (width, height) and height != width:
            yield subject.finding("maps-transposed", f"{maps}, its model makes {made[0]}x{made[1]}.")
    elif subject.video is not None and _fits_only_exchanged((height, width), subject.video.size_hw):
        frame_height, frame_width = subject.video.size_hw
        yield subject.finding("maps-transposed", f"{maps}, the frames of its video {frame_height}x{frame_width}.")


def _fits_only_exchanged(maps_hw: tuple[int, int], frame_hw: tuple[int, int]) -> bool:
    """Whether the sides of the maps are in the frame's ratio only when exchanged."""
    exchanged = maps_hw[0] * frame_hw[0] / (maps_hw[1] * frame_hw[1])
    as_they_are = maps_hw[0] * frame_hw[1] / (maps_hw[1] * frame_hw[0])
    return abs(np.log(exchanged)) < _RATIO_TOLERANCE < abs(np.log(as_they_are)) / 3


def check_normalisation(subject: Subject) -> Iterator[Finding]:
    """Sum, peak and range are those of the recorded normalisation, times the recorded inout weight."""
    stats, entry, options = subject.stats, subject.entry, subject.options
    if stats is None or entry is None or options is None or not len(stats):
        return
    rule = NORMALISATIONS[entry.normalisation]
    wanted = np.ones(len(stats))
    if options.inout == "weight" and subject.inout is not None:
        wanted = np.where(np.isnan(subject.inout), 1.0, subject.inout).astype(np.float64)
    off = np.zeros(len(stats), np.bool_)
    if rule.total is not None:
        off |= np.abs(stats.total - rule.total * wanted) > _SUM_TOLERANCE
    if rule.peak is not None:
        off |= np.abs(stats.high - rule.peak * wanted) > _PEAK_TOLERANCE
    if rule.low is not None:
        off |= np.abs(stats.low - rule.low) > _PEAK_TOLERANCE
    bad = off & subject.has_map & (stats.high > 0) & np.isfinite(stats.high) & np.isfinite(stats.low)
    first = (stats.high if rule.total is None else stats.total)[bad.argmax()]
    text = f"maps do not {rule.promise} although packed with {entry.normalisation}; the first has {first:.4g}."
    yield from subject.about_rows("normalisation-off", bad, text)


def check_inout(subject: Subject) -> Iterator[Finding]:
    """Every inout is a probability or NaN."""
    if (inout := subject.inout) is None or not len(inout):
        return
    bad = ~np.isnan(inout) & ~((inout >= 0) & (inout <= 1))
    text = f"inout values are outside 0..1, such as {inout[bad.argmax()]:.4g}."
    yield from subject.about_rows("inout-out-of-range", bad, text)


def check_boxes(subject: Subject) -> Iterator[Finding]:
    """Boxes lie inside their frame, and prompts are known numbers."""
    if (columns := subject.columns) is None or not len(columns.row_box):
        return
    unknown = ~np.isin(columns.row_prompt, list(Prompt))
    message = f"{int(unknown.sum())} rows have the prompts {np.unique(columns.row_prompt[unknown]).tolist()}."
    yield from subject.about_frames("prompt-unknown", subject.frames_of_rows(unknown), message)
    x0, y0, x1, y1 = columns.row_box.T
    bad = ~((x0 >= 0) & (x0 < x1) & (x1 <= 1) & (y0 >= 0) & (y0 < y1) & (y1 <= 1))
    first = [round(float(value), 4) for value in columns.row_box[bad.argmax()]]
    yield from subject.about_rows("box-out-of-range", bad, f"boxes are not inside their frame, such as {first}.")


def _may_be_zero(subject: Subject) -> npt.NDArray[np.bool_]:
    """[N] rows that are rightly zero: ground truth outside the frame, and maps made dim by `--inout gate|weight`."""
    if subject.inout is not None and subject.kind == "store":
        return (subject.inout == 0) & subject.is_ground_truth
    if subject.inout is None or subject.options is None or subject.options.inout == "keep":
        return np.zeros(subject.row_count, dtype=np.bool_)
    return subject.inout < (INSIDE if subject.options.inout == "gate" else 1e-3)
