"""Cost of arms and probes: one run of many arms against the sum of its parts, many probes against runs of one probe.

    python benchmarks/train_arms.py [--probes 20] [--rounds 2]

Measures whole training epochs on one CPU thread with random weights, in CPU time (which other load changes less than
wall time): (1) an epoch of six arms against the sum of its parts, which are decoding, the encoder, and the arms' own
passes and steps; (2) an epoch of P probes on a frozen predictor against P epochs of one probe. The encoder has twelve
blocks and a probe two, so that a probe's step costs about half an encoder pass, as with ViT-L and four blocks. Runs
alternate; the results are the medians of the rounds' ratios. Prints one JSON document; takes about a minute on a quiet
core.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch

from gazetools.trainer import train
from gazetools.trainer.data.clips import ClipDataset
from gazetools.trainer.learn.learner import Learner
from gazetools.trainer.learn.loop import Loop
from gazetools.trainer.learn.trunk import Trunk
from gazetools.trainer.models.wrapper import AnticipativeWrapperHeatmap

RATE = 24

ARMS: list[Any] = [
    "none",
    "estimated",
    "zeros",
    "shuffled",
    {"name": "added", "fusion": "add"},
    {"name": "cross", "fusion": "cross_attention"},
]


def make_study(root: Path, *, videos: int, seconds: int) -> None:
    """Noise videos of 448x448 with heatmaps and two actions each."""
    random = np.random.default_rng(0)
    (root / "heatmaps").mkdir(parents=True)
    rows = ["video_id,start_timestamp,stop_timestamp,verb_class,noun_class"]
    for number in range(videos):
        name = f"P{number:02d}_01"
        with av.open(str(root / f"{name}.mp4"), "w") as file:
            stream = file.add_stream("libx264", rate=RATE, options={"preset": "ultrafast"})
            stream.width = stream.height = 448
            stream.pix_fmt = "yuv420p"
            base = random.integers(0, 255, (14, 14, 3), dtype=np.uint8).repeat(32, 0).repeat(32, 1)
            for frame in range(RATE * seconds):
                file.mux(stream.encode(av.VideoFrame.from_ndarray(np.roll(base, frame, 1), format="rgb24")))
            file.mux(stream.encode())
        np.savez(root / "heatmaps" / f"{name}.npz", heatmap=random.random((RATE * seconds, 64, 64), dtype=np.float32))
        rows += [f"{name},{start},{start + 0.5},{int(start) % 2},{int(start) % 3}" for start in (3.2, 4)]
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
                "resolution": 96,
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


class _Trained(Exception):
    """Raised at the end of the training epoch; the rest of a run is not measured here."""


def only_training(loop: Any) -> None:
    """Make every run end after its first training epoch."""
    train_epoch = loop.train_epoch

    def once(self: Any) -> None:
        train_epoch(self)
        raise _Trained

    loop.train_epoch = once


class Stopwatch:
    """Adds up the CPU seconds inside functions."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def watch(self, owner: Any, name: str, part: str) -> None:
        """Time every call of `owner.name` under `part`."""
        original: Callable[..., Any] = getattr(owner, name)

        def timed(*arguments: Any, **settings: Any) -> Any:
            begun = time.process_time()
            try:
                return original(*arguments, **settings)
            finally:
                self.seconds[part] = self.seconds.get(part, 0.0) + time.process_time() - begun

        setattr(owner, name, timed)

    def take(self) -> dict[str, float]:
        """The sums since the previous call."""
        found, self.seconds = self.seconds, {}
        return found


def main() -> None:
    """Run the benchmark and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=2)
    parser.add_argument("--probes", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    watch = Stopwatch()
    watch.watch(Loop, "train_epoch", "epoch")
    only_training(Loop)
    watch.watch(ClipDataset, "__getitem__", "decode")
    watch.watch(AnticipativeWrapperHeatmap, "encode", "encoder")
    watch.watch(Trunk, "context", "arms")
    for method in ("start_step", "learn", "end_step"):
        watch.watch(Learner, method, "arms")
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        make_study(root / "study", videos=options.videos, seconds=5)
        labels = iter(range(10**6))

        def epoch(**changes: Any) -> dict[str, float]:
            """CPU seconds of one training epoch, and of its parts."""
            watch.take()
            with suppress(_Trained):
                train(config(root / "study", root / str(next(labels)), **changes))
            return watch.take()

        epoch(train="probe")  # warms up
        rounds = []
        for _ in range(options.rounds):
            arms = epoch(arms=ARMS)
            one, several = epoch(train="probe"), epoch(train="probe", heads=options.probes)
            rounds.append({"arms": arms, "one_probe": one, "probes": several})
    ratios = {
        "arms_total_over_parts": [
            r["arms"]["epoch"] / sum(v for k, v in r["arms"].items() if k != "epoch") for r in rounds
        ],
        "probes_speedup": [options.probes * r["one_probe"]["epoch"] / r["probes"]["epoch"] for r in rounds],
    }
    found = {"arms": len(ARMS), "probes": options.probes, "torch": torch.__version__, "cpu_seconds": rounds}
    found |= {name: statistics.median(values) for name, values in ratios.items()}
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
