"""`demo`: scenes -> extract -> validate -> pack -> train through the real command line, with a closing table."""

from __future__ import annotations

import csv
import io
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from gazetools.demo.scenes import render_scenes
from gazetools.io.atomic import atomic_path, check_writable_folder, write_bytes_atomic
from gazetools.io.json_files import write_json_atomic
from gazetools.schemas.errors import FaultError


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """One command of the demo."""

    command: list[str]
    exit_code: int
    seconds: float
    document: dict[str, Any]


@dataclass
class DemoResult:
    """What the demo made; also in `result.json`."""

    folder: Path
    steps: list[StepResult] = field(default_factory=list)
    summary: list[tuple[str, str]] = field(default_factory=list)


def run_demo(
    folder: Path, *, clips: int = 6, seconds: float = 8.0, seed: int = 0, say: Callable[[str], None]
) -> DemoResult:
    """Render scenes and run every command of the pipeline on them as a user would.

    The gaze model and the video encoder have random weights (released ones can't be shipped): the demo shows that
    the whole path works and where everything lies, not that gaze was read.

    Raises FaultError where a command fails, with its message.
    """
    check_writable_folder(folder, option="--output")
    result = DemoResult(folder=folder)
    say(f"rendering {clips} clips of {seconds:g} s into {folder / 'scenes'}")
    began = time.monotonic()
    ids = render_scenes(folder / "scenes", clips=clips, seconds=seconds, seed=seed)
    result.summary.append(("scenes", f"{clips} clips, {clips * seconds:g} s, in {time.monotonic() - began:.1f} s"))
    model = _write_model(folder / "gazelle_random.safetensors", seed)
    config = _write_training_config(folder, ids, seed)
    store, dataset, videos = folder / "store", folder / "dataset", folder / "scenes" / "videos"

    def run(*arguments: str | Path) -> dict[str, Any]:
        step = _run_command([str(a) for a in arguments], say)
        result.steps.append(step)
        return step.document

    report = run("extract", videos, "-o", store, "--model", model, "--heads", f"file:{folder / 'scenes' / 'heads'}")
    rows = sum(item["rows"] for item in report["items"])
    frames = sum(item["frames"] for item in report["items"])
    result.summary.append(("extract", f"{rows} heatmaps of {frames} frames"))
    findings = run("validate", store, "--videos", videos)["findings"]
    result.summary.append(("validate store", _severities(findings)))
    run("pack", store, "-o", dataset, "--normalize", "max")
    findings = run("validate", dataset, "--videos", videos, "--annotations", folder / "scenes" / "actions.csv")[
        "findings"
    ]
    result.summary.append(("validate dataset", _severities(findings)))
    trained = run("train", "--config", config)
    result.summary.append(("train", _training_line(trained)))
    overlay = folder / "overlay.png"
    run("preview", videos / f"{ids[0]}.mp4", "--heatmaps", store, "-o", overlay, "--frames", "4")
    result.summary.append(("picture", str(overlay)))
    write_json_atomic(
        folder / "result.json",
        {
            "weights": "random",
            "commands": [shlex.join(["gazetools", *step.command]) for step in result.steps],
            "seconds": {f"{k}_{step.command[0]}": round(step.seconds, 2) for k, step in enumerate(result.steps)},
            "summary": dict(result.summary),
        },
    )
    return result


def _write_model(path: Path, seed: int) -> Path:
    """A self-describing tiny Gaze-LLE of random weights."""
    from safetensors.torch import save_file

    from gazetools.gazelle.random_init import random_model_tensors, tiny_config

    config = tiny_config(inout=True, in_size=(112, 112))
    with atomic_path(path) as temp:
        save_file(random_model_tensors(config, seed), temp, metadata=config.to_metadata())
    return path


def _write_training_config(folder: Path, ids: list[str], seed: int) -> Path:
    """A config of the usual shape: the last quarter of the clips validates, tau is half a second."""
    held_out = set(ids[-max(1, len(ids) // 4) :])
    with (folder / "scenes" / "actions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    place = rows[0].index("video_id")
    for name, keep in (("train", False), ("val", True)):
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(
            [rows[0], *(row for row in rows[1:] if (row[place] in held_out) == keep)]
        )
        write_bytes_atomic(folder / "scenes" / f"actions_{name}.csv", text.getvalue().encode())
    config = {
        "folder": str(folder / "run"),
        "tag": "demo",
        "seed": seed,
        "device": "cpu",
        "experiment": {
            "classifier": {"num_probe_blocks": 2, "num_heads": 2},
            "data": {
                "base_path": str(folder / "scenes" / "videos"),
                "dataset_train": str(folder / "scenes" / "actions_train.csv"),
                "dataset_val": str(folder / "scenes" / "actions_val.csv"),
                "anchor": "start",
                "anticipation_time_sec": [0.5, 0.5],
                "frames_per_clip": 8,
                "frames_per_second": 8,
                "resolution": 64,
                "random_resize_scale": [0.5, 1.0],
                "num_workers": 0,
                "use_heatmap": True,
                "heatmap_base_path": str(folder / "dataset"),
            },
            "optimization": {
                "num_epochs": 2,
                "batch_size": 2,
                "train": "all_but_encoder",
                "multihead_kwargs": [{"lr": 1e-3, "weight_decay": 1e-2}],
            },
        },
        "model_kwargs": {
            "checkpoint": "random",
            "pretrain_kwargs": {
                "encoder": {"model_name": "vit_tiny_test"},
                "predictor": {
                    "model_name": "vit_heatmap_predictor",
                    "num_frames": 32,
                    "depth": 2,
                    "num_heads": 2,
                    "predictor_embed_dim": 48,
                    "num_mask_tokens": 2,
                    "heatmap_patch_size": 16,
                },
            },
        },
    }
    path = folder / "train.yaml"
    write_bytes_atomic(path, yaml.safe_dump(config, sort_keys=False).encode())
    return path


def _training_line(document: dict[str, Any]) -> str:
    return ", ".join(f"{key} {document['metrics'][key]:.3f}" for key in sorted(document["metrics"]) if "loss" in key)


def _run_command(command: list[str], say: Callable[[str], None]) -> StepResult:
    say(f"$ gazetools {shlex.join(command)}")
    began = time.monotonic()
    # its progress bars and messages go straight to our stderr
    done = subprocess.run([sys.executable, "-m", "gazetools", *command, "--json"], stdout=subprocess.PIPE, check=False)
    try:
        document = json.loads(done.stdout)
    except ValueError:
        document = {}
    if done.returncode not in (0, 1) or "error" in document:
        message = document.get("error", {}).get("message", f"exit code {done.returncode}")
        raise FaultError(f"The demo's step {command[0]} failed: {message}", hint="Run the printed command by hand.")
    return StepResult(command=command, exit_code=done.returncode, seconds=time.monotonic() - began, document=document)


def _severities(findings: list[dict[str, Any]]) -> str:
    counts = {kind: sum(f["severity"] == kind for f in findings) for kind in ("error", "warning", "note")}
    return ", ".join(f"{count} {kind}s" for kind, count in counts.items())
