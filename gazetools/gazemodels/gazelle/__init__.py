"""Gaze-LLE, implemented here against the public checkpoint format; `loading.load_model` makes a model."""
