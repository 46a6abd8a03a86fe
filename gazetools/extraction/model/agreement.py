"""Compare the maps of a number type with those of float32: peaks, values of maps without a peak, in/out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gazetools.extraction.model.batches import BatchResult
from gazetools.schemas.precision import FLAT_RANGE, PEAK_CELLS, NumberType, TypeAgreement


def peak_distance(first_hw: npt.NDArray[np.float16], second_hw: npt.NDArray[np.float16]) -> int:
    """Cells along the longer axis between the peaks of two maps [H, W]; 0 for equal peaks.

    Every cell with the highest stored value is a peak. Of several, the two that are closest count: stored maps have
    float16's steps, and which of two equal values comes first says nothing about the model.
    """
    one, other = (np.argwhere(heatmap == heatmap.max()) for heatmap in (first_hw, second_hw))
    if len(one) * len(other) > 1 << 20:  # two plateaus: the first cells bound the memory, at worst too strictly
        one, other = one[:1024], other[:1024]
    return int(np.abs(one[:, None] - other[None]).max(axis=2).min())


def agreement(
    dtype: NumberType, exact: list[BatchResult], found: list[BatchResult], *, milliseconds_per_frame: float
) -> TypeAgreement:
    """Compare `found` with `exact`, float32's results for the same batches.

    A map with NaN or inf never gets here: `Pending.result` raises for it.
    """
    pairs = [
        (one, other) for a, b in zip(exact, found, strict=True) for one, other in zip(a.heatmap, b.heatmap, strict=True)
    ]
    flat = [float(one.max()) - float(one.min()) < FLAT_RANGE for one, _ in pairs]
    distances = [peak_distance(one, other) for (one, other), is_flat in zip(pairs, flat, strict=True) if not is_flat]
    differences = [
        float(np.abs(one.astype(np.float32) - other.astype(np.float32)).max())
        for (one, other), is_flat in zip(pairs, flat, strict=True)
        if is_flat
    ]
    inout = np.concatenate([np.abs(a.inout - b.inout) for a, b in zip(exact, found, strict=True)])
    return TypeAgreement(
        dtype=dtype,
        rows=len(pairs),
        flat_rows=sum(flat),
        moved_peaks=sum(distance > PEAK_CELLS for distance in distances),
        farthest_cells=max(distances, default=0),
        flat_difference=max(differences, default=0.0),
        inout_difference=None if np.isnan(inout).all() else float(inout.max()),
        milliseconds_per_frame=round(milliseconds_per_frame, 3),
    )
