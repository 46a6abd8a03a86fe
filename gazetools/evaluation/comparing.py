"""Several models on one truth: one report each, and paired differences to the first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gazetools._version import __version__
from gazetools.evaluation.run import Scoring
from gazetools.evaluation.scores import MEANS, HeadScore, blocks_of, mean_estimate
from gazetools.schemas.evaluation import Difference, EvaluationTable

_Key = tuple[str, int, str]
_OWN_HEADS = "p_head"


def compared(scorings: Sequence[Scoring], *, resamples: int) -> EvaluationTable:
    """The reports in their order, and for every mean the difference of each further model to the first.

    A difference is taken over the heads that both models were scored on; its interval draws whole blocks, and the same
    for both models, so that it is narrower than the two models' own intervals suggest. In/out AP is no mean over heads,
    and P.Head one over the heads that a model chooses itself: they have no difference here.
    """
    first, *others = scorings
    differences = [
        difference for other in others for difference in _differences(first.rows, other, resamples=resamples)
    ]
    return EvaluationTable(
        tool_version=__version__,
        truth=first.report.truth,
        reports=[scoring.report for scoring in scorings],
        differences=differences,
    )


def _differences(first: list[HeadScore], other: Scoring, *, resamples: int) -> list[Difference]:
    ours = dict(zip(_keys(first), first, strict=True))
    pairs = [(ours[key], row) for key, row in zip(_keys(other.rows), other.rows, strict=True) if key in ours]
    if not pairs:
        return []
    block = blocks_of([row for _, row in pairs])
    found = []
    for metric in dict.fromkeys([*MEANS, *(name for _, row in pairs for name in row.more if name != _OWN_HEADS)]):
        values = np.array([row.value(metric) - base.value(metric) for base, row in pairs], np.float64)
        defined = np.isfinite(values)
        if defined.any():
            difference = mean_estimate(values[defined], block[defined], resamples)
            found.append(Difference(predicted=other.report.predicted, metric=metric, difference=difference))
    return found


def _keys(rows: Sequence[HeadScore]) -> list[_Key]:
    """What tells a row of one truth: its place in the annotations; of stores video, frame and place in the frame."""
    seen: dict[tuple[str, int], int] = {}
    keys = []
    for row in rows:
        at = (row.video_id, row.frame)
        seen[at] = seen.get(at, -1) + 1
        keys.append((*at, row.place or str(seen[at])))
    return keys
