"""What can be written as an ONNX file: a module with named tensors, and what a family of models offers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from gazetools.gazemodels.interface import GazeModel
from gazetools.schemas.export import Compat, GraphPart
from gazetools.schemas.provenance import RuntimeRecord

Arrays: TypeAlias = "dict[str, npt.NDArray[Any]]"
"""Tensors by name."""
EXAMPLE_FRAMES = 2
"""Frames that the examples of a people step belong to."""


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a graph."""

    name: str
    shape: tuple[int | str, ...]
    """A word is the name of an axis of any length."""
    dtype: Literal["float32", "int64"] = "float32"

    def with_axis(self, name: str, length: int) -> TensorSpec:
        """The same tensor with a fixed length of the axis `name`."""
        return TensorSpec(self.name, tuple(length if n == name else n for n in self.shape), self.dtype)


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A module that can be traced, and the names of what goes in and out."""

    part: GraphPart
    module: nn.Module
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    people_axis: str
    """Axis of `inputs` and `outputs` that counts people; empty in a frame part."""
    example: Callable[[int], tuple[torch.Tensor, ...]]
    """Seeded inputs for so many people (frames, in the frame step of a pipeline), on the CPU. Where a people part
    receives what the frame part computes, it is that of `frame.example(EXAMPLE_FRAMES)`."""

    def run(self, tensors: tuple[torch.Tensor, ...]) -> Arrays:
        """Outputs of the module itself, as arrays by name."""
        with torch.no_grad():
            out = self.module(*tensors)
        found = (out,) if isinstance(out, torch.Tensor) else tuple(out)
        return {spec.name: tensor.numpy() for spec, tensor in zip(self.outputs, found, strict=True)}

    def named(self, tensors: tuple[torch.Tensor, ...]) -> Arrays:
        """`tensors`, inputs in order, as arrays by name."""
        return {spec.name: np.ascontiguousarray(t.numpy()) for spec, t in zip(self.inputs, tensors, strict=True)}


@dataclass(frozen=True)
class PixelFacts:
    """What pixels the files of a family receive, for their metadata."""

    colour_order: Literal["BGR", "RGB"]
    value_range: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class Session(Protocol):
    """An ONNX file that a program has loaded."""

    @property
    def program(self) -> str:
        """Name and version, such as `onnxruntime 1.32.0`."""

    def run(self, inputs: Mapping[str, npt.NDArray[Any]]) -> Arrays:
        """All outputs by name. Raises FaultError where the program fails."""


@dataclass(frozen=True)
class OnRuntime:
    """Where a model is computed instead of in torch."""

    record: RuntimeRecord
    device: torch.device
    dtype: torch.dtype


class GraphForm(Protocol):
    """How the models of one family are cut into graphs; a plugin's model offers its own by `graph_form()`."""

    family: str
    """Interface of the exported files, as docs/runtimes.md names it."""
    pixels: PixelFacts
    picture: torch.Tensor | None
    """What examples and answers show, BGR in 0..255 [1, 3, *in_size]; None: a made picture, always the same."""

    def whole(self, compat: Compat) -> Graph:
        """The graph of one exported file: one frame and its people."""

    def split(self, compat: Compat) -> tuple[Graph, Graph]:
        """The graphs of two exported files: once per frame, and per person."""

    def steps(self) -> tuple[Graph, Graph]:
        """The graphs that the pipeline runs for the two steps of the model: batches of frames, then their people."""

    def answer(self, people: int) -> Arrays:
        """What the model itself, called as the pipeline calls it, computes for `whole(...).example(people)`."""

    def on_sessions(self, frame: Session, people: Session, where: OnRuntime) -> GazeModel:
        """The model with its two steps computed by `steps()` in other programs; its own layers may be dropped."""
