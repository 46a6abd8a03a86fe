"""Reliability of in/out probabilities: bins of the calibration curve, expected calibration error, Brier score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gazetools.evaluation.scores import HeadScore, blocks_of, estimate, mean_estimate
from gazetools.metrics.bootstrap import drawn_clusters
from gazetools.schemas.evaluation import Reliability, ReliabilityBin

BINS = 10


def reliability(rows: Sequence[HeadScore], *, resamples: int) -> Reliability | None:
    """The reliability over all rows whose truth and probability are known; None where there is none.

    Ten bins of equal width over 0..1 (Naeini et al. 2015, "Obtaining well calibrated probabilities using Bayesian
    binning": ECE). A score outside 0..1 counts in the bin at that end.
    """
    truth, score = np.array([(row.inout_true, row.inout_score) for row in rows], np.float64).T
    defined = np.isfinite(truth) & np.isfinite(score)
    if not defined.any():
        return None
    truth, score, block = truth[defined], score[defined], blocks_of(rows)[defined]
    _, block = np.unique(block, return_inverse=True)
    place = np.clip((score * BINS).astype(np.int64), 0, BINS - 1)
    blocks = int(block.max()) + 1
    cell = block * BINS + place
    counts, scores, inside = (
        np.bincount(cell, weights, minlength=blocks * BINS).reshape(blocks, BINS)
        for weights in (np.ones_like(truth), score, truth)
    )
    errors = []
    for drawn in drawn_clusters(blocks, resamples):
        weights = np.bincount(drawn, minlength=blocks)
        errors.append(float(np.abs(weights @ scores - weights @ inside).sum() / (weights @ counts).sum()))
    value = float(np.abs(scores.sum(0) - inside.sum(0)).sum() / len(truth))
    bins = [
        ReliabilityBin(
            low=number / BINS,
            high=(number + 1) / BINS,
            count=int(count),
            score=float(total / count) if count else None,
            share_inside=float(yes / count) if count else None,
        )
        for number, (count, total, yes) in enumerate(zip(counts.sum(0), scores.sum(0), inside.sum(0), strict=True))
    ]
    return Reliability(
        bins=bins,
        ece=estimate(value, errors, len(truth)),
        brier=mean_estimate((score - truth) ** 2, block, resamples),
        share_inside=float(truth.mean()),
    )
