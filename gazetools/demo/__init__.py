"""Synthetic third-person scenes with known gaze, and the whole pipeline run on them."""
