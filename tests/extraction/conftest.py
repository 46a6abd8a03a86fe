"""A model whose number types move peaks by a known distance, and a run of extract with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import gazetools
from gazetools.extraction.model import number_types, runners
from gazetools.gazemodels import GazeOutput, LoadSettings, register, registry
from gazetools.gazemodels.devices import resolve_dtype
from gazetools.schemas.precision import PrecisionChoice
from gazetools.store import open_store

CPU = torch.device("cpu")


class ShiftingModel:
    """Looks at the head; what a number type does to the gaze is in `SHIFT`, how long a frame takes in `SECONDS`."""

    shift: dict[torch.dtype, int]
    seconds: dict[torch.dtype, float]
    clock = 0.0
    loads: list[str]
    weights_sha256 = {"checkpoint": "ab" * 32}  # noqa: RUF012 - the interface's plain attribute
    implementation, name, backbone_name = "tests 1", "fake", "none"
    in_size, out_size, grid, has_inout = (64, 64), (64, 64), (32, 32), True
    settings: dict[str, Any] = {}  # noqa: RUF012 - the interface's plain attribute

    def __init__(self, settings: LoadSettings) -> None:
        self.loads.append(settings.dtype)
        self.device = CPU
        self.dtype = resolve_dtype(settings.dtype, self.device)

    def preprocess(self, images: Any) -> Any:
        return torch.as_tensor(images)

    def __call__(self, images: Any, boxes: Any) -> GazeOutput:
        ShiftingModel.clock += self.seconds[self.dtype] * len(images)
        people = [(i, box) for i, some in enumerate(boxes) for box in some]
        maps = torch.full((len(people), 64, 64), 0.1)
        for row, (_, box) in enumerate(people):
            x, y = (0.5, 0.5) if box is None else ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
            maps[row, int(y * 63), min(63, int(x * 43) + self.shift[self.dtype])] = 0.9
        index = torch.tensor([i for i, _ in people], dtype=torch.int64)
        return GazeOutput(maps, torch.full((len(people),), 0.5), index)


@pytest.fixture
def shifting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[ShiftingModel]:
    """A model whose bfloat16 moves peaks by 20 cells, on a CPU that seems to have fast types; an empty cache."""
    monkeypatch.setenv("GAZETOOLS_CACHE", str(tmp_path / "cache"))
    ShiftingModel.shift = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 20}
    ShiftingModel.seconds = {torch.float32: 0.004, torch.float16: 0.002, torch.bfloat16: 0.001}
    ShiftingModel.loads, ShiftingModel.clock = [], 0.0
    # The time that the comparison reads is that of the model alone, on a busy machine too.
    monkeypatch.setattr(number_types, "time", SimpleNamespace(perf_counter=lambda: ShiftingModel.clock))
    monkeypatch.setattr(registry, "_LOADERS", {})
    register("fake", ShiftingModel)
    monkeypatch.setattr(runners, "WORTH_MILLISECONDS", 0.0)
    monkeypatch.setattr(runners, "worthwhile_types", lambda model: ["float16", "bfloat16"])
    return ShiftingModel


@pytest.fixture
def extract_clip(clip: Path, boxes: Path, tmp_path: Path) -> Callable[..., PrecisionChoice | None]:
    """Extract the clip with the shifting model into a store; the dtype's choice as the store file records it."""

    def run(store: str = "store", **more: Any) -> PrecisionChoice | None:
        report = gazetools.extract(clip, tmp_path / store, **{"model": "fake", "heads": f"file:{boxes}", **more})
        assert report.exit_code == 0, report.items
        with open_store(tmp_path / store / "clip.h5") as reader:
            made = reader.provenance.model
            assert made.precision is None or made.precision.dtype == made.dtype
            return made.precision

    return run
