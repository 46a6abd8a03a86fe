"""Score heatmaps against ground truth: stores, GazeFollow, VideoAttentionTarget, ChildPlay, GOO-Real, own labels."""

from gazetools.evaluation.comparing import compared
from gazetools.evaluation.run import evaluate, evaluate_models

__all__ = ["compared", "evaluate", "evaluate_models"]
