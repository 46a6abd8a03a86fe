"""Words for files of labelled gaze: their kinds, and the benchmarks' protocols by which they are scored."""

from __future__ import annotations

from typing import Literal

Protocol = Literal["gazefollow", "videoattentiontarget", "childplay", "gooreal"]
"""Benchmark whose definitions of metrics are used."""
LabelKind = Literal["auto", "gazefollow", "videoattentiontarget", "childplay", "gooreal", "points"]
"""Form of a file of labels: a benchmark's (as released or as Gaze-LLE's scripts prepare it), or clicked points in CSV.
`auto`: found by the name and the content."""
