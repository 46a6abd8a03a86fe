"""Our gazelle-dinov3 against its repository's loop, one frame at a time: seconds per frame by model and people.

python benchmarks/gazelle_dinov3_model.py --upstream CLONE --dinov3 CLONE --threads 1 --json

CLONE is a working copy of PINTO0309/gazelle-dinov3, and for `--dinov3` of facebookresearch/dinov3 at the commit that
it pins. Without one, upstream is stood in for by the network that `gazetools` builds. Either way the repository's loop
is: preprocess the frame and run the whole model, once per person. Weights are random. Both are measured in turns, so
that a change in the machine's load affects both; the median over the rounds of the ratio is reported.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from gazetools.gazemodels import GazeModel, load_gaze_model
from gazetools.gazemodels.gazelle_dinov3.variants_dinov3 import DINOV3_MODELS
from tests.helpers.random_dinov3 import random_dinov3_tensors
from tests.helpers.upstream_dinov3 import upstream_network

BOXES = [(0.1 + 0.2 * i, 0.2, 0.25 + 0.2 * i, 0.4) for i in range(4)]


def _timed(call: Callable[[], object]) -> float:
    """CPU seconds, which other load on the machine changes less than wall seconds."""
    began = time.process_time()
    call()
    return time.process_time() - began


def _their_loop(network: torch.nn.Module | None, ours: GazeModel, frame: np.ndarray, people: int) -> Callable[[], None]:
    def run() -> None:
        for box in BOXES[:people]:
            inputs = ours.preprocess(frame[None])
            with torch.inference_mode():
                if network is None:
                    ours(inputs, [[box]])
                else:
                    network({"images": inputs, "bboxes": [[box]]})

    return run


def _measure(name: str, arguments: argparse.Namespace) -> list[dict[str, object]]:
    tensors = random_dinov3_tensors(DINOV3_MODELS[name], 0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "random.pt"
        torch.save(tensors, path)
        ours = load_gaze_model(name, checkpoint=str(path), device="cpu")
    theirs = upstream_network(name, tensors, arguments.upstream, arguments.dinov3) if arguments.upstream else None
    frame = np.random.default_rng(0).integers(0, 256, (448, 796, 3), dtype=np.uint8)
    rows: list[dict[str, object]] = []
    for people in arguments.people:
        loop = _their_loop(theirs, ours, frame, people)
        pairs = []
        for turn in range(arguments.rounds + 1):  # the first round warms up
            ours_s = _timed(lambda people=people: ours(frame[None], [BOXES[:people]]))  # type: ignore[misc]
            theirs_s = _timed(loop)
            if turn:
                pairs.append((ours_s, theirs_s))
        rows.append(
            {
                "model": name,
                "people": people,
                "upstream": "its own network" if theirs is not None else "our network, once per person",
                "ours_s": round(statistics.median(a for a, _ in pairs), 3),
                "theirs_s": round(statistics.median(b for _, b in pairs), 3),
                "ratio": round(statistics.median(b / a for a, b in pairs), 2),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["gazelle_dinov3_vits16_inout", "gazelle_hgnetv2_atto"])
    parser.add_argument("--upstream", type=Path, help="working copy of PINTO0309/gazelle-dinov3")
    parser.add_argument("--dinov3", type=Path, help="working copy of facebookresearch/dinov3, for the three hub models")
    parser.add_argument("--people", nargs="+", type=int, default=[1, 4], help="at most 4")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = [row for name in arguments.models for row in _measure(name, arguments)]
    machine = {"cpu": torch.backends.cpu.get_cpu_capability(), "torch": torch.__version__, "os": platform.system()}
    if arguments.json:
        print(json.dumps({"machine": machine, "threads": arguments.threads, "rows": rows}))
        return
    for row in rows:
        print("  ".join(f"{key} {value}" for key, value in row.items()))


if __name__ == "__main__":
    main()
