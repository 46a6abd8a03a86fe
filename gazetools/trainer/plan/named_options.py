"""Sentences about options that change what a run trains on or keeps; plan, result and report name them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def named_options(config: Mapping[str, Any]) -> list[str]:
    """One sentence for each option that is on in a dumped config, as in result.json; [] for a plain run."""
    data, settings = config["experiment"]["data"], config["experiment"].get("optimization", {})
    found = []
    if views := data.get("train_views"):
        found.append(
            f"Fixed-view augmentation (train_views: {views}): each training clip is shown in {views} views, drawn once "
            "for all epochs and trainings."
        )
    elif data.get("train_transform") == "evaluation":
        found.append("No augmentation (train_transform: evaluation): training clips look as validation's do.")
    if stop := settings.get("early_stopping"):
        found.append(
            f"Early stopping: a model ends after {stop['patience']} epoch(s) in a row whose held-out loss is not more "
            f"than {stop['min_delta']:g} below the lowest."
        )
    if ema := settings.get("ema"):
        found.append(
            f"Averaged weights (ema, decay {ema['decay']:g}): what is measured and kept is the exponential moving "
            "average of the weights."
        )
    if weights := settings.get("class_weights"):
        kind = weights["kind"] + (f", beta {weights['beta']:g}" if weights["kind"] == "effective_number" else "")
        found.append(
            f"Class weights ({kind}): rare classes count more in the training loss; measured losses are unweighted."
        )
    return found
