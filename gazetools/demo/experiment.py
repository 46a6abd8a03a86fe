"""The files of the demo's experiment: annotations of training and validation, true gaze of person 1, the config."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from gazetools.demo.plan import ARMS, PRIMARY_ARM, PRIMARY_HORIZON_SECONDS, DemoPlan
from gazetools.io.atomic import write_bytes_atomic

_PERSON = 1  # track id of the person whose actions and gaze the experiment is about
_COLUMNS = ("narration_id", "video_id", "start_timestamp", "stop_timestamp", "action_class", "narration")
_SIDE = 64  # side of the clip's frames and of the heatmaps in pixels

_ARM: dict[str, dict[str, Any]] = {
    "none": {"fusion": "none"},
    "zeros": {"control": "zeros"},
    "shuffled": {"control": "shuffled"},
    "estimated": {},
    "ground_truth": {"source": "ground_truth"},
}
"""Settings of each arm; those of the rest are the defaults."""


def write_experiment(folder: Path, plan: DemoPlan, ids: list[str]) -> None:
    """Write `experiment/` with its `train.yaml` next to `scenes/` in `folder`.

    The only task is which object person 1 will handle next (`action_class` is the scenes' noun). Training has no clip
    of the validation's kitchens. Equal arguments give equal bytes.
    """
    scenes, target = folder / "scenes", folder / "experiment"
    actions = [
        [*(row[name] for name in _COLUMNS[:4]), row["noun_class"], row["noun"]]
        for row in _read_csv(scenes / "actions.csv")
    ]
    for name, validates in (("train", False), ("val", True)):
        _write_csv(target / f"{name}.csv", _COLUMNS, [row for row in actions if plan.held_out(row[1]) == validates])
    columns = ("frame", "x", "y", "inout")
    for video_id in ids:
        name = f"gaze/{video_id}.csv"
        own = [row for row in _read_csv(scenes / name) if int(row["track_id"]) == _PERSON]
        _write_csv(target / name, columns, [[row[column] for column in columns] for row in own])
    write_bytes_atomic(target / "train.yaml", yaml.safe_dump(training_config(folder, plan), sort_keys=False).encode())


def training_config(folder: Path, plan: DemoPlan) -> dict[str, Any]:
    """The config of `gazetools train`: a frozen random encoder, five arms on the same clips."""
    return {
        "folder": str(folder / "run"),
        "seed": plan.seed,
        "seeds": list(plan.seeds),
        "primary": {"contrast": f"{PRIMARY_ARM} - none"},
        "device": "cpu",
        "log_every": 1000,
        "arms": [{"name": arm, **_ARM[arm]} for arm in ARMS],
        "experiment": {
            "classifier": {"num_probe_blocks": 1, "num_heads": 2},
            "data": _data_settings(folder, plan),
            # Two or three held-out videos would choose by chance; the learning rate falls to 0 in the last epoch.
            "evaluation": {"choose": "last", "held_out": 0.0, "horizons": list(plan.horizons)},
            "optimization": {
                "num_epochs": plan.epochs,
                "batch_size": plan.batch_size,
                "use_focal_loss": False,
                "train": "all_but_encoder",
                "clip_grad_norm": 1.0,
                "multihead_kwargs": [
                    {"lr": 3e-3, "start_lr": 1e-4, "final_lr": 0.0, "weight_decay": 0.05, "warmup": 2}
                ],
            },
        },
        "model_kwargs": {
            "checkpoint": "random",
            "wrapper_kwargs": {"no_encoder": True},
            "pretrain_kwargs": {
                # Four tokens per time step instead of 16: among few of them attention finds the heatmap's token early.
                "encoder": {"model_name": "vit_tiny_test", "patch_size": _SIDE // 2},
                "predictor": {
                    "model_name": "vit_heatmap_predictor",
                    "num_frames": 32,
                    "depth": 1,
                    "num_heads": 2,
                    "predictor_embed_dim": 48,
                    "num_mask_tokens": 2,
                    # One token per time step sees the whole map: it learns in some hundred steps, a grid needs more.
                    "heatmap_patch_size": _SIDE,
                },
            },
        },
    }


def _data_settings(folder: Path, plan: DemoPlan) -> dict[str, Any]:
    target = folder / "experiment"
    return {
        "base_path": str(folder / "scenes" / "videos"),
        "dataset_train": str(target / "train.csv"),
        "dataset_val": str(target / "val.csv"),
        "anchor": "start",
        "anticipation_time_sec": [PRIMARY_HORIZON_SECONDS] * 2,
        "train_anticipation_time_sec": [min(plan.horizons), max(plan.horizons[:-1], default=1.0)],
        "frames_per_clip": 4,
        "frames_per_second": 5,
        "resolution": _SIDE,
        # Fixed anticipation times, so that every clip is encoded once for all trainings and epochs.
        "train_views": plan.views,
        # The whole frame everywhere: objects lie at its edges, too.
        "evaluation_crop": "whole",
        "random_resize_scale": [1.0, 1.0],
        "random_resize_aspect_ratio": [plan.scenes.aspect] * 2,
        "random_horizontal_flip": False,
        "num_workers": 0,
        "use_heatmap": True,
        "heatmap_base_path": str(folder / "dataset"),
        "heatmap_sources": {"ground_truth": {"path": str(target / "gaze")}},
    }


def _read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _write_csv(path: Path, columns: Sequence[str], rows: list[list[str]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    write_bytes_atomic(path, text.getvalue().encode())
