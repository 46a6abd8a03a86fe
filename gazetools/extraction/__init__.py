"""Video to raw heatmaps: plan the inputs, run the model over every frame, commit one store file per video."""

from gazetools.extraction.run import extract

__all__ = ["extract"]
