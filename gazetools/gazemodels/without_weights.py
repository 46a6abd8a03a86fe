"""The models that need no download: their names, and the sentence that names two of them where weights are missing."""

from __future__ import annotations

TINY = "gazelle_tiny"
"""Our small model, whose weights are part of the package."""
CONTROLS = ("centre-prior", "head-direction")
"""Models without weights, which `gazetools.gazemodels.baselines` has."""
RUNS_NOW = (
    f"Two models run now, without weights to fetch: {TINY} (small, part of gazetools) and {CONTROLS[0]} (a control "
    "that does not look at the picture); neither stands for a released model."
)
