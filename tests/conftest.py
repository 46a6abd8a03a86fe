"""Fixtures that several test folders share: a small clip with head boxes, and a tiny random gaze model."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest

from tests.helpers.clips import write_boxes, write_clip


def pytest_configure(config: pytest.Config) -> None:
    """Make tests independent of what started them, and of the cache of an earlier run.

    A shell ignores Ctrl-C in what it starts in the background, and children inherit that; tests send the signal.
    """
    if "GAZETOOLS_CACHE" not in os.environ:
        os.environ["GAZETOOLS_CACHE"] = cache = tempfile.mkdtemp(prefix="gazetools-tests-")
        config.add_cleanup(lambda: shutil.rmtree(cache, ignore_errors=True))
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 frames of 96x64 at 30 fps with a moving square."""
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", frames=40)


@pytest.fixture(scope="session")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people in every frame of `clip` but 5 to 9, where there is nobody."""
    return write_boxes(tmp_path_factory.mktemp("boxes") / "clip.csv", frames=[f for f in range(40) if not 5 <= f < 10])


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-describing Gaze-LLE of random weights: 56x56 input, 4x4 grid, 64x64 maps, with in/out."""
    from tests.helpers.random_checkpoints import write_tiny_gazelle

    return write_tiny_gazelle(tmp_path_factory.mktemp("model") / "tiny.safetensors")
