"""How far outputs of a program lie from those of the PyTorch model, and how far they may."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from gazetools.gazemodels.runtimes.graphs import EXAMPLE_FRAMES, Arrays, Graph, Session
from gazetools.schemas.errors import FaultError

TOLERANCE = {"float32": 1e-4, "bfloat16": 0.05, "float16": 0.02}
"""Number type of a runtime -> largest difference of heat maps and in/out scores (both 0..1) to float32 in torch."""
PEOPLE = (1, 3)
"""Numbers of people of a check; graphs are traced with two."""


def check_steps(frame: tuple[Graph, Session], people: tuple[Graph, Session], dtype: str) -> float:
    """Largest difference of the pipeline's two sessions, the second on the output of the first, to their modules.

    Raises FaultError beyond `TOLERANCE` of `dtype`.
    """
    scene = frame[1].run(frame[0].named(frame[0].example(EXAMPLE_FRAMES)))
    worst = 0.0
    for count in PEOPLE:
        tensors = people[0].example(count)
        found = people[1].run({**people[0].named(tensors), **scene})
        worst = max(worst, _difference(found, people[0].run(tensors)))
    return _within(worst, dtype, people[1].program)


def check_files(
    graphs: tuple[Graph, ...], sessions: Sequence[Session], wanted: Callable[[int], Arrays], counts: Sequence[int]
) -> float:
    """Largest difference of exported files to what the model answers with so many people.

    With two files the second runs on the output of the first. Raises FaultError beyond the tolerance of float32.
    """
    worst = 0.0
    for count in counts:
        found: Arrays = {}
        for graph, session in zip(graphs, sessions, strict=True):
            found = session.run({**graph.named(graph.example(count)), **found})
        worst = max(worst, _difference(found, wanted(count)))
    return _within(worst, "float32", sessions[-1].program)


def _within(worst: float, dtype: str, program: str) -> float:
    limit = TOLERANCE[dtype]
    if not worst <= limit:
        raise FaultError(
            f"{program} computes other numbers than PyTorch: difference {worst:.2g}, allowed {limit:g} ({dtype}).",
            hint="Use --runtime torch, and report it with the versions of both.",
        )
    return worst


def _difference(found: Arrays, wanted: Arrays) -> float:
    """Largest absolute difference; infinity where names, shapes or finiteness differ."""
    if found.keys() != wanted.keys() or any(found[n].shape != wanted[n].shape for n in wanted):
        return float("inf")
    if not all(np.isfinite(a).all() for a in found.values()):
        return float("inf")
    return max(float(np.abs(found[n] - wanted[n]).max(initial=0.0)) for n in wanted)
