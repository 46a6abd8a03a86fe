"""Are the numbers of the maps, of inout and of the boxes what they must be?"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gazetools.heatmaps.normalise import NORMALISATIONS
from gazetools.heatmaps.people import INSIDE
from gazetools.schemas.provenance import GROUND_TRUTH
from gazetools.schemas.store import Prompt
from gazetools.validation.subject import Subject

_SUM_TOLERANCE = 0.01
_PEAK_TOLERANCE = 0.005
"""uint8 steps are 0.004, float16 steps below 1 are 0.0005."""

_RATIO_TOLERANCE = 0.05
"""Of side ratios; maps of a 16:9 video are 64x36, 57x32 and the like."""


def check_finite(subject: Subject) -> None:
    """No NaN and no infinity."""
    if (stats := subject.stats) is None:
        return
    nan = np.isnan(stats.low) | np.isnan(stats.high)
    infinite = (np.isinf(stats.low) | np.isinf(stats.high)) & ~nan
    for code, bad, what in (("nan-values", nan, "NaN"), ("inf-values", infinite, "infinities")):
        if bad.any():
            subject.report(code, f"{int(bad.sum())} of {len(stats)} maps have {what}.", subject.frames_of_rows(bad))


def check_range(subject: Subject) -> None:
    """Values in 0..1."""
    if (stats := subject.stats) is None:
        return
    negative = stats.low < 0
    if negative.any():
        subject.report(
            "negative-values",
            f"{int(negative.sum())} of {len(stats)} maps go below 0, to {np.nanmin(stats.low):.4g}.",
            subject.frames_of_rows(negative),
        )
    # a float32 quotient x / x may be off by its last digit
    above = stats.high > 1 + 1e-6
    if above.any():
        code = "scale-unknown" if subject.kind == "foreign" else "above-one"
        message = f"{int(above.sum())} of {len(stats)} maps go above 1, to {np.nanmax(stats.high):.4g}."
        subject.report(code, message, subject.frames_of_rows(above))


def check_content(subject: Subject) -> None:
    """Rows that count as maps are neither all zero nor constant; rows that don't are zero unless filled."""
    if (stats := subject.stats) is None or not len(stats):
        return
    valid = _valid(subject)
    zero = valid & (stats.high == 0) & (stats.low == 0) & ~_dimmed_to_zero(subject)
    if zero.any():
        frames = subject.frames_of_rows(zero)
        subject.report("zero-maps", f"{int(zero.sum())} of {len(stats)} maps are all zero.", frames)
    constant = valid & (stats.low == stats.high) & (stats.high > 0)
    if constant.any() and subject.size_hw != (1, 1):
        frames = subject.frames_of_rows(constant)
        subject.report("constant-maps", f"{int(constant.sum())} of {len(stats)} maps are constant.", frames)
    if subject.options is not None and subject.options.missing == "zero":
        odd = ~valid & ((stats.high != 0) | (stats.low != 0))
        if odd.any():
            frames = subject.frames_of_rows(odd)
            subject.report("nonzero-without-frame", f"{int(odd.sum())} rows without a frame hold maps.", frames)


def check_orientation(subject: Subject) -> None:
    """H and W are not exchanged, as far as sides of different length tell."""
    if subject.size_hw is None:
        return
    height, width = subject.size_hw
    provenance, video = subject.provenance, subject.video
    if subject.kind == "store" and provenance is not None:
        made = tuple(provenance.model.out_size)
        if made == (width, height) and height != width:
            subject.report(
                "maps-transposed", f"Its maps are {height}x{width} (HxW), its model makes {made[0]}x{made[1]}."
            )
    elif video is not None and _mirror_ratio((height, width), video.size_hw):
        subject.report(
            "maps-transposed",
            f"Its maps are {height}x{width} (HxW), the frames of its video {video.size_hw[0]}x{video.size_hw[1]}.",
        )


def _mirror_ratio(maps_hw: tuple[int, int], frame_hw: tuple[int, int]) -> bool:
    """Are the sides in the frame's ratio only when exchanged?"""
    exchanged = maps_hw[0] * frame_hw[0] / (maps_hw[1] * frame_hw[1])
    as_they_are = maps_hw[0] * frame_hw[1] / (maps_hw[1] * frame_hw[0])
    return abs(np.log(exchanged)) < _RATIO_TOLERANCE < abs(np.log(as_they_are)) / 3


def check_normalisation(subject: Subject) -> None:
    """Sum, peak and range are those that the recorded normalisation gives, times the recorded inout weight."""
    stats, entry, options = subject.stats, subject.entry, subject.options
    if stats is None or entry is None or options is None or not len(stats):
        return
    rule = NORMALISATIONS[entry.normalisation]
    wanted = np.ones(len(stats))
    if options.inout == "weight" and subject.inout is not None:
        wanted = np.where(np.isnan(subject.inout), 1.0, subject.inout).astype(np.float64)
    checked = _valid(subject) & (stats.high > 0) & np.isfinite(stats.high) & np.isfinite(stats.low)
    off = np.zeros(len(stats), np.bool_)
    if rule.total is not None:
        off |= np.abs(stats.total - rule.total * wanted) > _SUM_TOLERANCE
    if rule.peak is not None:
        off |= np.abs(stats.high - rule.peak * wanted) > _PEAK_TOLERANCE
    if rule.low is not None:
        off |= np.abs(stats.low - rule.low) > _PEAK_TOLERANCE
    bad = checked & off
    if bad.any():
        worst = (stats.high if rule.total is None else stats.total)[bad][0]
        subject.report(
            "normalisation-off",
            f"{int(bad.sum())} of {len(stats)} maps do not {rule.promise} although packed with {entry.normalisation}; "
            f"the first has {worst:.4g}.",
            subject.frames_of_rows(bad),
        )


def check_inout(subject: Subject) -> None:
    """A probability or NaN."""
    if subject.inout is None:
        return
    bad = ~np.isnan(subject.inout) & ~((subject.inout >= 0) & (subject.inout <= 1))
    if bad.any():
        message = f"{int(bad.sum())} of {len(bad)} inout values are outside 0..1, such as {subject.inout[bad][0]:.4g}."
        subject.report("inout-out-of-range", message, subject.frames_of_rows(bad))


def check_boxes(subject: Subject) -> None:
    """Boxes inside their frame, prompts that mean something."""
    if (columns := subject.columns) is None:
        return
    unknown = ~np.isin(columns.row_prompt, [int(prompt) for prompt in Prompt])
    if unknown.any():
        values = sorted({int(value) for value in columns.row_prompt[unknown]})
        subject.report(
            "prompt-unknown", f"{int(unknown.sum())} rows have the prompts {values}.", subject.frames_of_rows(unknown)
        )
    x0, y0, x1, y1 = columns.row_box.T
    inside = (x0 >= 0) & (x0 < x1) & (x1 <= 1) & (y0 >= 0) & (y0 < y1) & (y1 <= 1)
    bad = ~inside
    if bad.any():
        first = [round(float(value), 4) for value in columns.row_box[bad][0]]
        message = f"{int(bad.sum())} of {len(bad)} boxes are not inside their frame, such as {first}."
        subject.report("box-out-of-range", message, subject.frames_of_rows(bad))


def _valid(subject: Subject) -> npt.NDArray[np.bool_]:
    if subject.stats is None:
        raise AssertionError("called without maps")
    count = len(subject.stats)
    if subject.valid is not None and len(subject.valid) == count:
        return subject.valid
    return np.ones(count, dtype=np.bool_)


def _dimmed_to_zero(subject: Subject) -> npt.NDArray[np.bool_]:
    """Rows that `--inout gate|weight` may rightly have made zero."""
    count = len(subject.stats) if subject.stats is not None else 0
    if subject.kind == "store" and subject.provenance is not None and subject.inout is not None:
        # a ground truth whose target is outside the frame is a map of zeros
        return (subject.inout == 0) & np.bool_(subject.provenance.model.name == GROUND_TRUTH)
    if subject.options is None or subject.options.inout == "keep" or subject.inout is None:
        return np.zeros(count, dtype=np.bool_)
    return subject.inout < (INSIDE if subject.options.inout == "gate" else 1e-3)
