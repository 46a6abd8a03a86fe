"""Compare number types of a gaze model on real frames, and choose the fastest that gives the gaze of float32."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from gazetools.extraction.model.agreement import agreement
from gazetools.extraction.model.batches import BatchResult, BatchRunner
from gazetools.gazemodels.devices import cpu_computes_bfloat16
from gazetools.gazemodels.interface import GazeModel
from gazetools.heads.prompts import FramePrompts
from gazetools.schemas.errors import FaultError, UsageError
from gazetools.schemas.precision import LEAST_ROWS, NumberType, TypeAgreement

CHECK_FRAMES = 24
"""Frames that `--dtype auto` compares."""
WORTH_MILLISECONDS = 100.0
"""On a CPU a model that takes less than this per frame in float32 stays in float32: little to gain, much to time."""
_LEAST_GAIN = 1.05
"""A type must be so many times as fast as a more exact one to be chosen in its place."""
_BY_EXACTNESS: tuple[NumberType, ...] = ("tf32", "float16", "bfloat16")
MakeRunner = Callable[[NumberType], BatchRunner]


@dataclass(frozen=True, kw_only=True)
class PeopleFrames:
    """Frames [H, W, 3] uint8 RGB of one video, each with the people in it."""

    video_id: str
    images: list[npt.NDArray[np.uint8]]
    prompts: list[FramePrompts]


@dataclass(frozen=True, kw_only=True)
class TypeComparison:
    """Number types against float32 on the same frames."""

    float32_milliseconds_per_frame: float
    compared: list[TypeAgreement]

    def best(self) -> tuple[NumberType, str]:
        """The number type to use, and the reason in words."""
        exact_time = self.float32_milliseconds_per_frame
        agreeing = {one.dtype: one for one in self.compared if one.agrees}
        word: NumberType = "float32"
        fastest = exact_time
        for other in _BY_EXACTNESS:
            if other in agreeing and agreeing[other].milliseconds_per_frame * _LEAST_GAIN < fastest:
                word, fastest = other, agreeing[other].milliseconds_per_frame
        if word != "float32":
            chosen = agreeing[word]
            return word, (
                f"{word} gives the gaze of float32 on {chosen.rows} maps and takes {fastest:.1f} ms per frame "
                f"instead of {exact_time:.1f}"
            )
        if agreeing:
            return word, f"no number type that agrees with float32 ({', '.join(agreeing)}) is faster"
        if max((one.peak_rows for one in self.compared), default=0) < LEAST_ROWS:
            return word, f"fewer than {LEAST_ROWS} maps with a peak could be compared"
        return word, f"no other number type agrees with float32 (compared: {_words(self.compared)})"

    @property
    def is_evidence(self) -> bool:
        """Whether enough was compared to be remembered for other videos."""
        return any(one.peak_rows >= LEAST_ROWS for one in self.compared)


def _words(compared: Sequence[TypeAgreement]) -> str:
    return ", ".join(one.dtype for one in compared)


def worthwhile_types(model: GazeModel) -> list[NumberType]:
    """Number types that may be faster than float32 on the model's device; [] where there is nothing to choose.

    That is so for models without weights, for one that chose a number type itself, and for a CPU without instructions
    for bfloat16.
    """
    if not model.weights_sha256 or model.dtype != torch.float32:
        return []
    if model.device.type == "cuda":
        return list(_BY_EXACTNESS)
    return ["bfloat16"] if cpu_computes_bfloat16() else []


def computable_types(device: torch.device) -> list[NumberType]:
    """All number types but float32 that the kind of device computes, however slowly."""
    return [word for word in _BY_EXACTNESS if word != "tf32" or device.type == "cuda"]


def compare_types(
    exact: BatchRunner, make: MakeRunner, words: Sequence[NumberType], sample: PeopleFrames
) -> TypeComparison:
    """Run the frames through `exact`, a runner in float32, and through one of each other type.

    A type that the model refuses, or in which it gives NaN, is listed as refused.
    """
    expected, exact_time = _timed(exact, sample.images, sample.prompts)
    compared = []
    for word in words:
        try:
            found, took = _timed(make(word), sample.images, sample.prompts)
        except (UsageError, FaultError) as error:
            compared.append(TypeAgreement(dtype=word, refused=error.message))
            continue
        compared.append(agreement(word, expected, found, milliseconds_per_frame=took))
    return TypeComparison(float32_milliseconds_per_frame=round(exact_time, 3), compared=compared)


def milliseconds_of_a_frame(runner: BatchRunner, sample: PeopleFrames) -> float:
    """Time of the model for the first frame, after one more that warms up."""
    return _timed(runner, sample.images[:1], sample.prompts[:1])[1]


def _timed(
    runner: BatchRunner, images: list[npt.NDArray[np.uint8]], prompts: list[FramePrompts]
) -> tuple[list[BatchResult], float]:
    """The results in batches, and milliseconds per frame without the first call, which allocates and compiles."""
    runner.begin(images[:1], prompts[:1]).result()
    began, results = time.perf_counter(), []
    for start in range(0, len(images), runner.batch_size):
        stop = start + runner.batch_size
        results.append(runner.begin(images[start:stop], prompts[start:stop]).result())
    return results, (time.perf_counter() - began) * 1000 / max(1, len(images))
