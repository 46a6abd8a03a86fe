"""Training clips and metric, compared with V-JEPA 2's own code: alternated rounds, medians of ratios.

    python benchmarks/train_data.py VIDEO --vjepa2 CLONE [--rounds 5] [--resolution 256] [--json]

Both decode the same 32 frames and transform them to the model's input, as one loader worker does. `evaluation`: resize
and centre crop; `training`: random resized crop and flip; `augmented`: with RandAugment and erasing. CLONE is a clone
of facebookresearch/vjepa2, which runs unchanged and needs decord, OpenCV and Pillow. Replacements are used for
torchvision's two conversions if it is not installed, and always for webdataset and pandas (nothing here uses them). As
in a loader's worker, torch has one thread; decord uses every core, as V-JEPA 2 sets it; ours uses one thread
(`1 thread`) or every core. `metric` is one step of class-mean recall for EPIC-KITCHENS' verbs, nouns and actions.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import statistics
import sys
import tempfile
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gazetools.trainer.data.augment import draw_augmentation
from gazetools.trainer.data.geometry import View, evaluation_view, training_view
from gazetools.trainer.data.transforms import erase, transform_frames
from gazetools.trainer.learn.metrics import TaskMetrics
from gazetools.video import VideoReader

SCALE, RATIO, ERASED = (0.3, 1.0), (3 / 4, 4 / 3), 0.25
FRAMES, STRIDE = 32, 3
CLASSES = (97, 300, 3568)


def stand_in_for_absent_packages() -> None:
    """Replace modules that V-JEPA 2 imports and that are not installed; conversions as torchvision defines them."""
    webdataset = types.ModuleType("webdataset")
    webdataset.PipelineStage = object  # type: ignore[attr-defined]
    sys.modules.setdefault("webdataset", webdataset)
    if importlib.util.find_spec("pandas") is None:
        sys.modules["pandas"] = types.ModuleType("pandas")
    if importlib.util.find_spec("torchvision") is not None:
        return
    from PIL import Image

    class ToPILImage:
        def __call__(self, frame: np.ndarray) -> Any:
            return Image.fromarray(frame)

    class ToTensor:
        def __call__(self, image: Any) -> torch.Tensor:
            return torch.from_numpy(np.array(image, copy=True)).permute(2, 0, 1).contiguous().float().div(255)

    class Compose:
        def __init__(self, steps: list[Any]) -> None:
            self.steps = steps

        def __call__(self, value: Any) -> Any:
            for step in self.steps:
                value = step(value)
            return value

    vision = types.ModuleType("torchvision")
    transforms = types.ModuleType("torchvision.transforms")
    transforms.ToPILImage, transforms.ToTensor, transforms.Compose = ToPILImage, ToTensor, Compose  # type: ignore[attr-defined]
    transforms.functional = types.ModuleType("torchvision.transforms.functional")  # type: ignore[attr-defined]
    vision.transforms = transforms  # type: ignore[attr-defined]
    sys.modules |= {
        "torchvision": vision,
        "torchvision.transforms": transforms,
        "torchvision.transforms.functional": transforms.functional,
    }


def places(count: int) -> list[list[int]]:
    """Four clips of 32 frames at stride 3, in a fixed shuffled order."""
    if count < FRAMES * STRIDE:
        raise SystemExit(f"The video has {count} frames; at least {FRAMES * STRIDE} are needed.")
    starts = np.linspace(0, max(count - FRAMES * STRIDE, 0), 4).astype(int)
    shuffled = np.random.default_rng(0).permutation(starts)
    return [(start + np.arange(FRAMES) * STRIDE).tolist() for start in shuffled]


def upstream_clip(path: Path, side: int, mode: str) -> Callable[[list[int]], torch.Tensor]:
    from decord import VideoReader as DecordReader
    from decord import cpu

    loader = importlib.import_module("evals.action_anticipation_frozen.dataloader")
    transform = loader.make_transforms(
        training=mode != "evaluation",
        random_resize_scale=SCALE,
        random_resize_aspect_ratio=RATIO,
        auto_augment=mode == "augmented",
        reprob=ERASED if mode == "augmented" else 0.0,
        crop_size=side,
    )
    reader = DecordReader(str(path), num_threads=-1, ctx=cpu(0))
    return lambda indices: transform(reader.get_batch(indices).asnumpy())


def our_clip(path: Path, side: int, mode: str, threads: int) -> Callable[[list[int]], torch.Tensor]:
    reader = VideoReader(path, threads=threads)
    random = np.random.default_rng(0)

    def clip(indices: list[int]) -> torch.Tensor:
        size = (reader.info.height, reader.info.width)
        frames = (frame.rgb for frame in reader.frames(indices))
        if mode == "evaluation":
            return transform_frames(frames, evaluation_view(size, side), side)
        view = training_view(size, random, scale=SCALE, aspect_ratio=RATIO, flip=True)
        if mode == "training":
            return transform_frames(frames, view, side)
        drawn = draw_augmentation(random, size)
        view = View(**{**vars(view), "warp": drawn.warp})
        return erase(transform_frames(frames, view, side, photometric=drawn.photometric), random, probability=ERASED)

    return clip


def largest_difference(path: Path, side: int) -> float:
    """Largest difference of a training clip without augmentation, with the same crop and no flip.

    decord and PyAV decode equal frames.
    """
    transforms = importlib.import_module("src.datasets.utils.video.transforms")
    with VideoReader(path) as reader:
        frames = reader.read(places(reader.frame_count)[0])
    view = training_view(
        (frames.shape[1], frames.shape[2]), np.random.default_rng(1), scale=SCALE, aspect_ratio=RATIO, flip=False
    )
    original = transforms._get_param_spatial_crop
    transforms._get_param_spatial_crop = lambda *_, **__: (view.top, view.left, view.height, view.width)
    try:
        loader = importlib.import_module("evals.action_anticipation_frozen.dataloader")
        transform = loader.VideoTransform(training=True, random_horizontal_flip=False, crop_size=side)
        expected = transform(frames)
    finally:
        transforms._get_param_spatial_crop = original
    return float((transform_frames(frames, view, side) - expected).abs().max())


def alternate(jobs: dict[str, Callable[[], object]], rounds: int, per_job: int) -> dict[str, dict[str, float]]:
    """Median seconds of wall and CPU time per unit, and ratios of the first job's to each (above 1 = faster)."""
    wall: dict[str, list[float]] = {name: [] for name in jobs}
    cpu: dict[str, list[float]] = {name: [] for name in jobs}
    for number in range(rounds + 1):
        for name, job in jobs.items():
            started, used = time.perf_counter(), time.process_time()
            job()
            if number:  # the first round warms caches
                wall[name].append((time.perf_counter() - started) / per_job)
                cpu[name].append((time.process_time() - used) / per_job)
    peer = next(iter(jobs))
    return {
        name: {
            "per_second": 1 / statistics.median(wall[name]),
            "cpu_ms": 1000 * statistics.median(cpu[name]),
            "wall_ratio": statistics.median(a / b for a, b in zip(wall[peer], wall[name], strict=True)),
            "cpu_ratio": statistics.median(a / b for a, b in zip(cpu[peer], cpu[name], strict=True)),
        }
        for name in jobs
    }


def metric_jobs(steps: int) -> dict[str, Callable[[], object]]:
    import torch.distributed as dist

    upstream = importlib.import_module("evals.action_anticipation_frozen.metrics")
    if not dist.is_initialized():
        store = Path(tempfile.mkdtemp()) / "store"
        dist.init_process_group("gloo", init_method=f"file://{store}", rank=0, world_size=1)
    generator = torch.Generator().manual_seed(0)
    logits = [torch.randn(2, count, generator=generator) for count in CLASSES]
    labels = [torch.randint(0, count, (2,), generator=generator) for count in CLASSES]

    def theirs() -> object:
        metrics = [upstream.ClassMeanRecall(count, torch.device("cpu")) for count in CLASSES]
        return [[m(x, y) for m, x, y in zip(metrics, logits, labels, strict=True)] for _ in range(steps)]

    def ours() -> object:
        metrics = [TaskMetrics(count) for count in CLASSES]
        for _ in range(steps):
            for metric, x, y in zip(metrics, logits, labels, strict=True):
                metric.update(x, y)
                metric.values()
        return metrics

    return {"upstream": theirs, "gazetools": ours}


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path, nargs="?")
    parser.add_argument("--vjepa2", type=Path, help="clone of facebookresearch/vjepa2")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clips", type=int, default=4, help="clips per round, at most 4")
    parser.add_argument("--resolution", type=int, default=256)
    parser.add_argument("--modes", nargs="*", default=["evaluation", "training", "augmented"])
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()
    if arguments.video is None or arguments.vjepa2 is None:
        print("train_data.py needs a VIDEO and --vjepa2 CLONE; skipped.")
        return
    torch.set_num_threads(1)
    stand_in_for_absent_packages()
    sys.path.insert(0, str(arguments.vjepa2))
    with VideoReader(arguments.video) as reader:
        clips = places(reader.frame_count)[: arguments.clips]
    report: dict[str, Any] = {"largest_difference": largest_difference(arguments.video, arguments.resolution)}
    for mode in arguments.modes:
        makers = {
            "upstream": upstream_clip(arguments.video, arguments.resolution, mode),
            "gazetools, 1 thread": our_clip(arguments.video, arguments.resolution, mode, 1),
            "gazetools, all cores": our_clip(arguments.video, arguments.resolution, mode, 0),
        }
        jobs = {name: lambda make=make: [make(indices) for indices in clips] for name, make in makers.items()}  # type: ignore[misc]
        report[mode] = alternate(jobs, arguments.rounds, len(clips))
    report["metric"] = alternate(metric_jobs(5), arguments.rounds, 5)
    if arguments.json:
        print(json.dumps(report, indent=2))
        return
    print(f"largest difference of a training clip: {report.pop('largest_difference'):.2e}")
    for job, rows in report.items():
        print(f"{job:22}{'per s':>9}{'cpu ms':>10}{'wall ratio':>12}{'cpu ratio':>11}")
        for name, row in rows.items():
            figures = f"{row['per_second']:9.2f}{row['cpu_ms']:10.1f}{row['wall_ratio']:12.2f}{row['cpu_ratio']:11.2f}"
            print(f"  {name:20}{figures}")


if __name__ == "__main__":
    main()
