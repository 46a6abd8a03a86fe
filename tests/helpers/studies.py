"""Run folders of finished trainings whose hits are made up, for reports on studies that nobody has to train."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Hits = Mapping[str, npt.NDArray[Any]]
"""Arm -> bool [N] whether the clip is answered right."""


def write_run(
    folder: Path,
    hits: Mapping[str, Hits],
    *,
    label: npt.NDArray[Any],
    video: npt.NDArray[Any],
    seed: int = 0,
    config: Mapping[str, Any] | None = None,
    own_seeds: Mapping[str, int] | None = None,
) -> Path:
    """Write a run folder with `hits` (split -> arm -> bool [N]) of the only task, `action`.

    `video` holds the number of each clip's participant, who has one video. `own_seeds` are arms' seeds that differ from
    the run's.
    """
    names = [f"P{number:02d}_01" for number in range(int(video.max()) + 1)]
    arms = list(next(iter(hits.values())))
    classes = int(label.max()) + 1
    for split, by_arm in hits.items():
        for arm, right in by_arm.items():
            path = folder / "predictions" / arm / f"{split}.npz"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(
                path,
                clip=np.arange(len(label)),
                row=np.arange(len(label)) + 2,
                video=video.astype(np.int32),
                label_action=label.astype(np.int32),
                rank_action=np.where(right, 0, classes - 1).astype(np.int32),
                classes_action=np.arange(classes),
                train_count_action=np.full(classes, 50),
                video_ids=np.frombuffer("\n".join(names).encode(), np.uint8),
                train_video_ids=np.frombuffer(b"P90_01", np.uint8),
                top_action=np.tile(np.arange(min(classes, 5)), (len(label), 1)),
                score_action=np.zeros((len(label), min(classes, 5))),
                has_heatmap=np.ones(len(label), bool),
                clip_names=np.frombuffer(("\n" * (len(label) - 1)).encode(), np.uint8),
            )
    settings: dict[str, Any] = {
        "seed": seed,
        "arms": [{"name": arm} for arm in arms],
        "experiment": {"data": {"anticipation_time_sec": [1.0, 1.0]}, "evaluation": {"held_out": 0.1}},
        **(config or {}),
    }
    learners = {arm: {"arm": arm, "seed": (own_seeds or {}).get(arm, seed), "head": 0} for arm in arms}
    result = {
        "status": "done",
        "config": settings,
        "random_weights": False,
        "failed": {},
        "anchor_rule": "anchor: start",
        "notes": [],
        "model": {"learners": learners},
        "best_by_learner": {arm: {"metric": "held_out_action_recall5", "value": 1.0, "epoch": 1} for arm in arms},
        "final": {arm: {split: {"clips": len(label)} for split in hits} for arm in arms},
    }
    (folder / "result.json").write_text(json.dumps(result))
    return folder
