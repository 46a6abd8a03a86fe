"""What arms and probes cost: one run of many against the parts of it and against runs of one.

Measures, on the CPU with random weights: (1) decoding, the encoder, and the arms' own passes each alone, against a run
of all arms; (2) one run of P probes on a frozen predictor against P runs. Prints one JSON document.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch

from gazetools.trainer import train
from gazetools.trainer.arms.learner import Learner, Trunk
from gazetools.trainer.data.clips import ClipDataset
from gazetools.trainer.models.wrapper import AnticipativeWrapperHeatmap

ARMS: list[Any] = [
    "none",
    "estimated",
    "zeros",
    "shuffled",
    {"name": "added", "fusion": "add"},
    {"name": "cross", "fusion": "cross_attention"},
]


def make_study(root: Path, *, videos: int, seconds: int) -> None:
    """Noise videos of 448x448 with heatmaps and three actions each."""
    random = np.random.default_rng(0)
    (root / "heatmaps").mkdir(parents=True)
    rows = ["video_id,start_timestamp,stop_timestamp,verb_class,noun_class"]
    for number in range(videos):
        name = f"P{number:02d}_01"
        with av.open(str(root / f"{name}.mp4"), "w") as file:
            stream = file.add_stream("libx264", rate=30)
            stream.width = stream.height = 448
            stream.pix_fmt = "yuv420p"
            base = random.integers(0, 255, (14, 14, 3), dtype=np.uint8).repeat(32, 0).repeat(32, 1)
            for frame in range(30 * seconds):
                file.mux(stream.encode(av.VideoFrame.from_ndarray(np.roll(base, frame, 1), format="rgb24")))
            file.mux(stream.encode())
        np.savez(root / "heatmaps" / f"{name}.npz", heatmap=random.random((30 * seconds, 64, 64), dtype=np.float32))
        rows += [f"{name},{start},{start + 0.5},{start % 2},{start % 3}" for start in (3, 4, 5)]
    (root / "actions.csv").write_text("\n".join(rows) + "\n")


def config(root: Path, folder: Path, **changes: Any) -> dict[str, Any]:
    """A small model whose encoder, as in the real ones, costs about as much as an arm."""
    return {
        "folder": str(folder),
        "device": "cpu",
        "log_every": 10**6,
        "arms": changes.get("arms", []),
        "experiment": {
            "classifier": {"num_probe_blocks": 2, "num_heads": 3},
            "evaluation": {"held_out": 0},
            "data": {
                "base_path": str(root),
                "dataset_train": str(root / "actions.csv"),
                "dataset_val": str(root / "actions.csv"),
                "max_val_clips": 1,
                "frames_per_clip": 16,
                "resolution": 128,
                "num_workers": 0,
                "use_heatmap": True,
                "heatmap_base_path": str(root / "heatmaps"),
            },
            "optimization": {
                "num_epochs": 1,
                "batch_size": 4,
                "train": changes.get("train", "all_but_encoder"),
                "multihead_kwargs": [{"lr": 10.0**-k} for k in range(3, 3 + changes.get("heads", 1))],
            },
        },
        "model_kwargs": {
            "checkpoint": "random",
            "pretrain_kwargs": {
                "encoder": {"model_name": "vit_tiny"},
                "predictor": {
                    "model_name": "vit_heatmap_predictor",
                    "num_frames": 32,
                    "depth": 4,
                    "num_heads": 3,
                    "predictor_embed_dim": 192,
                },
            },
        },
    }


class Stopwatch:
    """Adds up the seconds inside functions."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def watch(self, owner: type[Any], name: str, part: str) -> None:
        """Time every call of `owner.name` under `part`."""
        original: Callable[..., Any] = getattr(owner, name)

        def timed(*arguments: Any, **settings: Any) -> Any:
            begun = time.perf_counter()
            try:
                return original(*arguments, **settings)
            finally:
                self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - begun

        setattr(owner, name, timed)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=4)
    parser.add_argument("--probes", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = {"videos": options.videos, "torch": torch.__version__, "rounds": []}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        make_study(root / "study", videos=options.videos, seconds=7)

        def seconds(label: str, **changes: Any) -> float:
            begun = time.perf_counter()
            train(config(root / "study", root / label, **changes))
            return time.perf_counter() - begun

        watch = Stopwatch()
        watch.watch(ClipDataset, "__getitem__", "decode")
        watch.watch(AnticipativeWrapperHeatmap, "encode", "encoder")
        watch.watch(Trunk, "context", "arms")
        for method in ("learn", "end_step"):
            watch.watch(Learner, method, "arms")
        for number in range(options.rounds):
            watch.seconds.clear()
            together = seconds(f"arms{number}", arms=ARMS)
            parts = dict(watch.seconds)
            several = seconds(f"probes{number}", heads=options.probes, train="probe")
            singles = sum(seconds(f"probe{number}-{k}", train="probe") for k in range(options.probes))
            found["rounds"].append(
                {
                    "arms_seconds": together,
                    "parts_seconds": parts,
                    "total_over_parts": together / sum(parts.values()),
                    "probes_speedup": singles / several,
                }
            )
    for key in ("total_over_parts", "probes_speedup"):
        found[f"median_{key}"] = statistics.median(entry[key] for entry in found["rounds"])
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
