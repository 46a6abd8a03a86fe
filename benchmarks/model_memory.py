"""Memory of a gaze model, loaded and called once: the process's peak against its weights and live tensors.

python benchmarks/model_memory.py --json

Every model has a process of its own, and every number of people another one. `baseline` is the resident memory after
torch, numpy and gazetools are imported and the picture is made; peaks are above it (VmHWM, reset before the call).
`activations` is the largest sum of living tensors that are no weights, counted in a further process after every
operation that torch dispatches; scratch memory inside an operation is not in it. Weights are random, in .safetensors.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

MIB = 1 << 20
BOXES = [(0.40, 0.20, 0.50, 0.38), (0.10, 0.25, 0.18, 0.42), (0.70, 0.30, 0.76, 0.44), (0.85, 0.10, 0.95, 0.30)]
MODELS = ("page_vits", "gazelle_dinov3_vits16_inout", "gazelle_dinov2_vitb14_inout")


def write_weights(model: str, path: Path) -> None:
    """A file of random weights of a released shape."""
    from safetensors.torch import save_file

    if model.startswith("page_"):
        from gazetools.gazemodels.page.config import PAGE_MODELS
        from tests.helpers.page_weights import page_tensors

        tensors = page_tensors(PAGE_MODELS[model])
    elif model.startswith("gazelle_dinov2"):
        from gazetools.gazemodels.gazelle.config import released_config
        from tests.helpers.random_checkpoints import random_model_tensors

        tensors = random_model_tensors(released_config(model), 0)
    else:
        from gazetools.gazemodels.gazelle_dinov3.variants_dinov3 import DINOV3_MODELS
        from tests.helpers.random_dinov3 import random_dinov3_tensors

        tensors = random_dinov3_tensors(DINOV3_MODELS[model], 0)
    save_file({key: value.contiguous() for key, value in tensors.items()}, path)


def _kib(name: str) -> int:
    """A line of /proc/self/status in bytes."""
    with Path("/proc/self/status").open() as file:
        return 1024 * int(next(line for line in file if line.startswith(f"{name}:")).split()[1])


def _modules(model: Any) -> list[Any]:
    import torch

    return [part for part in vars(model).values() if isinstance(part, torch.nn.Module)]


def _storages(model: Any) -> dict[int, int]:
    """Address -> bytes of every piece of memory that weights and buffers have."""
    tensors = [t for part in _modules(model) for t in (*part.parameters(), *part.buffers())]
    return {t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in tensors}


def _largest_live(model: Any, call: Any) -> int:
    """The largest sum of bytes of living tensors during a call, without those of the weights."""
    from torch.multiprocessing.reductions import StorageWeakRef
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    weights, live = _storages(model), {}
    most = 0

    class Count(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal most
            out = func(*args, **(kwargs or {}))
            for tensor in tree_leaves(out):
                if hasattr(tensor, "untyped_storage"):
                    storage = tensor.untyped_storage()
                    if storage._cdata not in weights:
                        live[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
            for key in [key for key, (ref, _) in live.items() if ref.expired()]:
                del live[key]
            most = max(most, sum(size for _, size in live.values()))
            return out

    with Count():
        call()
    return most


def measure(model_name: str, path: str, people: int, *, count: bool) -> dict[str, int]:
    """In a process of its own: memory of loading and of one call, or with `count` the live tensors of the call."""
    import numpy as np
    import torch

    from gazetools.gazemodels import load_gaze_model
    from gazetools.gazemodels.gazelle import loading as _gazelle  # noqa: F401 - imports are no part of the figures
    from gazetools.gazemodels.gazelle_dinov3 import loading as _dinov3  # noqa: F401
    from gazetools.gazemodels.page import loading as _page  # noqa: F401

    torch.set_num_threads(1)
    frame = np.random.default_rng(0).integers(0, 256, (1, 1080, 1920, 3), dtype=np.uint8)
    torch.zeros(8, 8) @ torch.zeros(8, 8)
    baseline = _kib("VmRSS")
    model = load_gaze_model(model_name, checkpoint=path, device="cpu")
    loaded, loading = _kib("VmRSS"), _kib("VmHWM")

    def call() -> None:
        model(frame, [BOXES[:people]])

    found = {"weights": sum(_storages(model).values())}
    if count:
        return found | {"activations": _largest_live(model, call)}
    Path("/proc/self/clear_refs").write_text("5")
    call()
    peak = _kib("VmHWM")
    return found | {"loaded": loaded - baseline, "loading": loading - baseline, "peak": peak - baseline}


def _in_child(model: str, path: Path, people: int, *more: str) -> dict[str, int]:
    command = [sys.executable, __file__, "--child", model, str(path), str(people), *more]
    found: dict[str, int] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--people", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--count", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        model, path, people = arguments.child
        print(json.dumps(measure(model, path, int(people), count=arguments.count)))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for model in arguments.models:
            path = Path(folder) / f"{model}.safetensors"
            write_weights(model, path)
            for people in arguments.people:
                found = _in_child(model, path, people) | _in_child(model, path, people, "--count")
                needed = found["weights"] + found["activations"]
                rows.append({"model": model, "people": people, **found, "peak_over_needed": found["peak"] / needed})
            path.unlink()
    if arguments.json:
        print(json.dumps(rows))
        return
    for row in rows:
        sizes = "  ".join(
            f"{name} {row[name] / MIB:6.0f}" for name in ("weights", "activations", "loading", "loaded", "peak")
        )
        print(f"{row['model']:30} {row['people']} people  {sizes} MiB  peak is {row['peak_over_needed']:.2f} times")


if __name__ == "__main__":
    main()
