"""Scores of heatmaps against annotated gaze targets."""
