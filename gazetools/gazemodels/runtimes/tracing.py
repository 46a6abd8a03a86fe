"""A graph as an ONNX file: traced by torch, named, described by metadata, checked by onnx."""

from __future__ import annotations

import logging
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch

from gazetools.gazemodels.runtimes.graphs import Graph
from gazetools.io.atomic import sha256_of_file
from gazetools.schemas.errors import FaultError
from gazetools.schemas.excerpt import shortened
from gazetools.schemas.export import METADATA_PREFIX

ONE_FILE_BYTES = 1_900_000_000
"""Numbers beyond this size go to a file of their own: ONNX files hold at most 2 GiB."""
_TRACED_PEOPLE = 2
"""With one, what belongs to the frame would be traced as if it belonged to the person."""


def data_path_of(path: Path) -> Path:
    """Where the numbers of a large ONNX file are."""
    return path.with_name(path.name + ".data")


def write_graph(
    graph: Graph, path: Path, *, opset: int, people: int | Literal["dynamic"], entries: dict[str, str]
) -> None:
    """Write `graph` to `path` in a folder that exists, with external data next to it where it is large.

    The names of both are part of the file: move them together, without renaming. The exporter is torch's tracing one,
    since the other writes operator set 18 and cannot convert what it writes to 17 (torch 2.13).

    Raises FaultError where torch or onnx refuse the graph.
    """
    import onnx

    graph = graph if people == "dynamic" else _fixed(graph, people)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        traced = Path(folder) / "traced.onnx"
        try:
            _trace(graph, traced, opset, _TRACED_PEOPLE if people == "dynamic" else people)
            model = onnx.load(str(traced))
            _describe(model, graph, entries)
            if sum(len(tensor.raw_data) for tensor in model.graph.initializer) > ONE_FILE_BYTES:
                _save_large(model, path)
            else:
                onnx.save(model, str(path))
            onnx.checker.check_model(str(path))
        except (onnx.checker.ValidationError, AssertionError, RuntimeError, ValueError) as error:
            raise FaultError(f"The graph cannot be written as ONNX: {shortened(error, 400)}.") from error


def _fixed(graph: Graph, people: int) -> Graph:
    inputs, outputs = (
        tuple(spec.with_axis(graph.people_axis, people) for spec in specs) for specs in (graph.inputs, graph.outputs)
    )
    return replace(graph, inputs=inputs, outputs=outputs)


def _trace(graph: Graph, path: Path, opset: int, people: int) -> None:
    specs = (*graph.inputs, *graph.outputs)
    axes = {s.name: {i: n for i, n in enumerate(s.shape) if isinstance(n, str)} for s in specs}
    logger, level = logging.getLogger("torch.onnx"), logging.getLogger("torch.onnx").level
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # about shapes of the trace: the file is run with other numbers of people
        logger.setLevel(logging.ERROR)
        try:
            torch.onnx.export(
                graph.module.eval(),
                graph.example(people),
                str(path),
                input_names=[spec.name for spec in graph.inputs],
                output_names=[spec.name for spec in graph.outputs],
                dynamic_axes={name: some for name, some in axes.items() if some},
                opset_version=opset,
                dynamo=False,
            )
        finally:
            logger.setLevel(level)


def _describe(model: Any, graph: Graph, entries: dict[str, str]) -> None:
    """Metadata, and the shapes of inputs and outputs as the graph states them."""
    import onnx

    onnx.helper.set_model_props(model, entries)
    for values, specs in ((model.graph.input, graph.inputs), (model.graph.output, graph.outputs)):
        for value, spec in zip(values, specs, strict=True):
            shape = value.type.tensor_type.shape
            del shape.dim[:]
            for length in spec.shape:
                dim = shape.dim.add()
                if isinstance(length, str):
                    dim.dim_param = length
                else:
                    dim.dim_value = length


def _save_large(model: Any, path: Path) -> None:
    """Save the file with its data next to it, whose sha256 the metadata then have."""
    import onnx

    data = data_path_of(path)
    onnx.save(model, str(path), save_as_external_data=True, all_tensors_to_one_file=True, location=data.name)
    small = onnx.load(str(path), load_external_data=False)
    entries = {entry.key: entry.value for entry in small.metadata_props}
    onnx.helper.set_model_props(small, entries | {METADATA_PREFIX + "data_sha256": sha256_of_file(data)})
    path.write_bytes(small.SerializeToString())
