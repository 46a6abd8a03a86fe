"""`CHECKS`: every check of one video's heatmaps, in the order in which they run."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gazetools.schemas.findings import Finding
from gazetools.validation.checks import counts, frozen, origin, sync, time, values, video
from gazetools.validation.checks.annotations import check_coverage
from gazetools.validation.deep.check import check_deep
from gazetools.validation.subject import Subject

Check = Callable[[Subject], Iterable[Finding]]
"""Receives a loaded subject, with its video decoded where that is at hand; findings are added to it one by one."""

CHECKS: list[Check] = [
    origin.check_provenance,
    values.check_finite,
    values.check_range,
    values.check_axes,
    values.check_orientation,
    values.check_content,
    values.check_normalisation,
    values.check_inout,
    values.check_boxes,
    time.check_order,
    time.check_times,
    time.check_against_video,
    video.check_counts,
    video.check_remarks,
    video.check_colour,
    video.check_repeats,
    video.check_clock,
    frozen.check_frozen,
    origin.check_people,
    sync.check_sync,
    check_deep,  # needs the findings about the video's identity
    counts.check_count,  # after the content, which tells a cut from another rate
    check_coverage,
]
"""A check from outside is appended here, and its codes are added to `catalogue.CATALOGUE`."""
