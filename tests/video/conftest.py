"""Paths and helpers shared by the tests of the video reader."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest

MEDIA = Path(__file__).parent.parent / "media"


def find_video(name: str) -> Path | None:
    """The committed video of this name, or the one below GAZETOOLS_DATA; None where neither is there."""
    folders = [MEDIA / "made", MEDIA / "codecs"]
    if root := os.environ.get("GAZETOOLS_DATA"):
        folders += [Path(root) / "codecs", Path(root) / "real"]
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def need_video(name: str) -> Path:
    """`find_video`; the test is skipped where the video is not there."""
    path = find_video(name)
    if path is None:
        pytest.skip(f"{name} is not committed (size): set GAZETOOLS_DATA to a folder with codecs/ and real/")
    return path


@pytest.fixture
def made() -> Path:
    """Folder of the videos made for these tests."""
    return MEDIA / "made"


@pytest.fixture
def decode_plainly() -> Callable[[Path], npt.NDArray[np.uint8]]:
    """The independent reference: all frames through PyAV's own loop, no index, no seek, no skipping, one thread."""

    def decode(path: Path) -> npt.NDArray[np.uint8]:
        with av.open(str(path)) as container:
            stream = container.streams.best("video")
            stream.codec_context.thread_type = "NONE"
            return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)])

    return decode


@pytest.fixture
def packet_places() -> Callable[[Path], list[tuple[int, int, bool]]]:
    """(byte position, size, is keyframe) of every packet of the best video stream, in decode order."""

    def places(path: Path) -> list[tuple[int, int, bool]]:
        with av.open(str(path)) as container:
            stream = container.streams.best("video")
            return [(p.pos, p.size, p.is_keyframe) for p in container.demux(stream) if p.size]

    return places
