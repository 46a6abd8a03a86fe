"""Gaze-target models behind one narrow interface: Gaze-LLE, two controls, and whatever is registered."""

from gazetools.gazemodels.registry import load_gaze_model, model_names, register

__all__ = ["load_gaze_model", "model_names", "register"]
