"""Batches of frames through the gaze model: splitting, staging on a GPU, crops around small heads."""
