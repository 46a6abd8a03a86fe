"""Score heatmaps against ground truth: stores, GazeFollow, VideoAttentionTarget."""

from gazetools.evaluation.run import evaluate

__all__ = ["evaluate"]
