"""Time and memory of a report of EPIC-KITCHENS-100's size: 5 arms, 8 trainings, 6 horizons, 9,668 clips, 3 tasks.

    python benchmarks/report_size.py [--trainings 8] [--horizons 6]

The run folders are made up (uniform hits, saved scores as a run saves them); reading them is part of the time.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from gazetools.trainer.report.run import report

ARMS = ("none", "zeros", "shuffled", "estimated", "ground_truth")
CLASSES = {"verb": 97, "noun": 300, "action": 3568}
CLIPS, VIDEOS, PEOPLE = 9668, 138, 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trainings", type=int, default=8)
    parser.add_argument("--horizons", type=int, default=6)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = [make_run(Path(folder) / f"run{seed}", seed, given.horizons) for seed in range(given.trainings)]
        began = time.perf_counter()
        found = report(runs, output=Path(folder) / "report", examples=0)
        took = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{took:.1f} s, peak {peak:.2f} GiB, verdict {found['primary']['verdict']}, {len(found['contrasts'])} contrasts"
    )


def make_run(folder: Path, seed: int, horizons: int) -> Path:
    """A run folder with predictions of every arm on val_start and the horizons."""
    shared, random = np.random.default_rng(0), np.random.default_rng([1, seed])
    labels = {task: shared.zipf(1.3, CLIPS) % count for task, count in CLASSES.items()}
    video = np.sort(shared.integers(0, VIDEOS, CLIPS))
    names = "\n".join(f"P{number % PEOPLE + 1:02d}_{number:03d}" for number in range(VIDEOS)).encode()
    splits = ["val_start", *(f"horizon_{0.5 * (number + 1):g}" for number in range(horizons))]
    for arm in ARMS:
        for split in splits:
            arrays = {"clip": np.arange(CLIPS), "row": np.arange(CLIPS) + 2, "video": video.astype(np.int32)}
            for task, count in CLASSES.items():
                kept = count if task != "action" and split == "val_start" else min(count, 100)
                arrays |= {
                    f"label_{task}": labels[task].astype(np.int32),
                    f"rank_{task}": random.integers(0, 20, CLIPS).astype(np.int32),
                    f"classes_{task}": np.arange(count),
                    f"train_count_{task}": np.full(count, 50),
                    f"top_{task}": np.zeros((CLIPS, kept), np.int32),
                    f"score_{task}": np.zeros((CLIPS, kept), np.float32),
                }
            arrays |= {"has_heatmap": np.ones(CLIPS, bool), "video_ids": np.frombuffer(names, np.uint8)}
            arrays |= {"train_video_ids": np.frombuffer(b"P90_01", np.uint8)}
            path = folder / "predictions" / arm / f"{split}.npz"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(path, **arrays)
    data = {"anticipation_time_sec": [1.0, 1.0]}
    settings = {"seed": seed, "arms": [{"name": arm} for arm in ARMS]}
    result = {
        "status": "done", "random_weights": False, "failed": {}, "anchor_rule": "anchor: start", "notes": [],
        "config": {**settings, "experiment": {"data": data, "evaluation": {"held_out": 0.1}}},
        "model": {"learners": {arm: {"arm": arm, "seed": seed, "head": 0} for arm in ARMS}},
        "best_by_learner": {arm: {"metric": "held_out_action_recall5", "value": 1.0, "epoch": 1} for arm in ARMS},
        "final": {arm: {split: {"clips": CLIPS} for split in splits} for arm in ARMS},
    }  # fmt: skip
    (folder / "result.json").write_text(json.dumps(result))
    return folder


if __name__ == "__main__":
    main()
