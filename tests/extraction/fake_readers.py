"""Readers that hang, crash, leak or leave on the video `clip.mp4`, and read any other as VideoReader does."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gazetools.schemas.video import Frame
from gazetools.video import VideoReader

BAD_FRAME = 6


class _Fake(VideoReader):
    def __init__(self, path: str, **settings: Any) -> None:
        super().__init__(path, **settings)
        self.bad = Path(path).name == "clip.mp4"

    def frames(self, indices: Any = None) -> Iterator[Frame]:
        for frame in super().frames(indices):
            if self.bad and frame.index >= BAD_FRAME:
                self.misbehave()
            yield frame

    def misbehave(self) -> None:
        raise NotImplementedError


class CrashingReader(_Fake):
    def misbehave(self) -> None:
        os.kill(os.getpid(), signal.SIGSEGV)


class CrashingOnce(_Fake):
    def __init__(self, path: str, **settings: Any) -> None:
        super().__init__(path, **settings)
        self.mark = Path(path).parent / "crash"
        self.bad = True

    def misbehave(self) -> None:
        if self.mark.exists():
            self.mark.unlink()
            os.kill(os.getpid(), signal.SIGSEGV)


class CrashingWhileOpening(_Fake):
    def __init__(self, path: str, **settings: Any) -> None:
        super().__init__(path, **settings)
        if self.bad:
            os.kill(os.getpid(), signal.SIGSEGV)

    def misbehave(self) -> None:
        raise AssertionError("never opened")


class HangingReader(_Fake):
    def misbehave(self) -> None:
        time.sleep(3600)


class HangingWithTheLock(_Fake):
    """Native code that waits without letting go of the interpreter lock, as decord does (dmlc/decord#373)."""

    def misbehave(self) -> None:
        ctypes.PyDLL(None).sleep(3600)


class LeakingReader(_Fake):
    def misbehave(self) -> None:
        kept = []
        while True:
            kept.append(np.empty(256 << 20, np.uint8))  # address space, not pages: fast


class ExitingReader(_Fake):
    def misbehave(self) -> None:
        os._exit(3)
