"""Gaze models behind one narrow interface: Gaze-LLE, two controls, and what is registered or an entry point."""

from gazetools.gazemodels.interface import Backend, Boxes, GazeModel, GazeOutput, Images, Loader, LoadSettings
from gazetools.gazemodels.registry import load_gaze_model, model_names, register, register_backend

__all__ = [
    "Backend",
    "Boxes",
    "GazeModel",
    "GazeOutput",
    "Images",
    "LoadSettings",
    "Loader",
    "load_gaze_model",
    "model_names",
    "register",
    "register_backend",
]
