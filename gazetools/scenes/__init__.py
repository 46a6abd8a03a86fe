"""Synthetic third-person kitchens with known gaze: people look at objects, and their hands then reach for them."""

from gazetools.scenes.clips import render_scenes
from gazetools.scenes.picture import PersonTruth, Scene
from gazetools.scenes.settings import (
    FPS,
    GENERATOR_VERSION,
    HEIGHT,
    NOUNS,
    TEST_SEED,
    VERBS,
    WIDTH,
    SceneSettings,
)

__all__ = [
    "FPS",
    "GENERATOR_VERSION",
    "HEIGHT",
    "NOUNS",
    "TEST_SEED",
    "VERBS",
    "WIDTH",
    "PersonTruth",
    "Scene",
    "SceneSettings",
    "render_scenes",
]
