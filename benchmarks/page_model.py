"""PaGE alone, frame and boxes to heatmaps: ours against the repository's own code, in turns, on one thread.

git clone https://github.com/OctopusWen/PaGE && python benchmarks/page_model.py --upstream PaGE --json

Weights are random and the same on both sides, and the results are compared. Without --upstream (whose code needs timm,
torchvision and transformers) ours runs alone. Upstream is called in two ways: `loop` is its inference script, one frame
and one person per call; `batch` passes all people of a frame at once, which its model can do too. Preprocessing is
part of both: from one 1080p picture in memory.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[1]))
from gazetools.gazemodels.page.config import PAGE_MODELS, PageConfig
from gazetools.gazemodels.page.loading import load_page
from tests.helpers.page_weights import page_tensors

BOXES = [(0.40, 0.20, 0.50, 0.38), (0.10, 0.25, 0.18, 0.42), (0.70, 0.30, 0.76, 0.44), (0.85, 0.10, 0.95, 0.30)]
Maps = list[np.ndarray]  # type: ignore[type-arg]


def _upstream(folder: Path, config: PageConfig, tensors: dict[str, torch.Tensor]) -> Any:
    """The repository's model with our random weights; its towers are transformers' DINOv3 modules, as it loads them."""
    sys.path.insert(0, str(folder))
    from page.backbone import DinoV3HFBackbone  # type: ignore[import-not-found]
    from page.fusion import SimpleBackboneWrapper  # type: ignore[import-not-found]
    from page.page_model import PaGE  # type: ignore[import-not-found]
    from transformers import DINOv3ViTConfig, DINOv3ViTModel

    tower = config.tower
    shape = DINOv3ViTConfig(**tower.model_dump(), key_bias=False)
    with tempfile.TemporaryDirectory() as place:
        DINOv3ViTModel(shape).save_pretrained(place)
        sides = [
            SimpleBackboneWrapper(DinoV3HFBackbone(model_path=place, in_size=size))
            for size in (config.scene_in_size, config.head_in_size)
        ]
    model = PaGE(*sides, inout=True)
    renamed = {
        key.replace("_branch_backbone.model.", "_branch_backbone.backbone.model."): tensors[key] for key in tensors
    }
    model.load_state_dict(renamed, strict=True)
    return model.eval()


def _ways(arguments: argparse.Namespace, frame: np.ndarray) -> dict[str, Callable[[int], Maps]]:  # type: ignore[type-arg]
    """Name -> call that computes the maps of the first so many people of the frame."""
    config = PAGE_MODELS[arguments.model]
    tensors = page_tensors(config)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "random.safetensors"
        save_file(tensors, path)
        ours = load_page(arguments.model, checkpoint=path, device=arguments.device, dtype=arguments.dtype)

    def run_ours(people: int) -> Maps:
        return list(ours(frame[None], [BOXES[:people]]).heatmap.float().cpu().numpy())

    ways: dict[str, Callable[[int], Maps]] = {"ours": run_ours}
    if arguments.upstream is None:
        return ways
    from PIL import Image

    device = ours.device
    theirs = _upstream(arguments.upstream, config, tensors).to(device)
    picture = Image.fromarray(frame)

    @torch.inference_mode()
    def call(boxes: list[tuple[float, float, float, float]]) -> Maps:
        made = theirs.preprocess(picture, boxes)
        for name in ("images", "head_images"):
            made[name] = [value.to(device) for value in made[name]]
        with torch.autocast(device.type, dtype=ours.dtype, enabled=ours.dtype != torch.float32):
            return list(theirs(made)["heatmap"][0].float().cpu().numpy())

    ways["upstream, loop"] = lambda people: [one for box in BOXES[:people] for one in call([box])]
    ways["upstream, batch"] = lambda people: call(BOXES[:people])
    return ways


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="page_vits", choices=list(PAGE_MODELS))
    parser.add_argument("--upstream", type=Path, help="clone of OctopusWen/PaGE; default: ours alone")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--people", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    frame = np.random.default_rng(0).integers(0, 256, (1080, 1920, 3), dtype=np.uint8)
    ways = _ways(arguments, frame)
    taken: dict[tuple[str, int], list[tuple[float, float]]] = {}
    difference = 0.0
    for turn in range(arguments.rounds + 1):  # the first round warms up, and its results are compared
        for people in arguments.people:
            first: Maps = []
            for name, way in ways.items():
                began, began_cpu = time.perf_counter(), time.process_time()
                maps = way(people)
                spent = time.perf_counter() - began, time.process_time() - began_cpu
                if turn:
                    taken.setdefault((name, people), []).append(spent)
                first = first or maps
                difference = max(difference, max(float(np.abs(a - b).max()) for a, b in zip(first, maps, strict=True)))
    seconds = {key: [statistics.median(column) for column in zip(*times, strict=True)] for key, times in taken.items()}
    rows = [
        {
            "way": name,
            "people": people,
            "wall_seconds": round(wall, 4),
            "cpu_seconds": round(cpu, 4),
            "ours_is_faster": round(cpu / seconds["ours", people][1], 2),
            "ours_is_faster_wall": round(wall / seconds["ours", people][0], 2),
        }
        for (name, people), (wall, cpu) in seconds.items()
    ]
    result = {
        "model": arguments.model,
        "device": arguments.device,
        "dtype": arguments.dtype,
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "processor": platform.processor(),
        "torch": torch.__version__,
        "rows": rows,
        "largest_difference": difference,
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
    if arguments.json:
        print(json.dumps(result))
        return
    for row in rows:
        print(f"{row['way']:16} {row['people']} people  {row['wall_seconds']:8.3f} s  x{row['ours_is_faster']}")
    print(f"largest difference of two maps: {difference:.2g}; peak {result['peak_memory_mb']} MB")


if __name__ == "__main__":
    main()
