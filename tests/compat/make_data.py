"""Make `data/` with the gazetools that is imported: python -m tests.compat.make_data FOLDER.

The committed folder was made by 0.1.0. It holds a store, one that was killed while it was made (its first piece is
left), datasets of every layout, and a training run that was stopped after its first epoch, next to the finished run.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import yaml

from tests.helpers.clips import write_boxes, write_clip
from tests.helpers.random_checkpoints import write_tiny_gazelle

FRAMES = 300
"""More than one piece of 256 frames."""
ACTIONS = """narration_id,video_id,start_timestamp,stop_timestamp,verb_class,noun_class
a0,clip,00:00:02.00,00:00:02.50,0,3
a1,clip,00:00:03.00,00:00:03.50,4,3
a2,other,00:00:02.20,00:00:02.90,0,7
a3,other,00:00:03.60,00:00:04.20,4,3
"""
EXTRACT = ("extract", "videos/clip.mp4", "--model", "tiny.safetensors", "--heads", "file:clip.csv", "--device", "cpu")
CONFIG = {
    "device": "cpu",
    "experiment": {
        "classifier": {"num_probe_blocks": 1, "num_heads": 2},
        "evaluation": {"held_out": 0},
        "data": {
            "base_path": "videos",
            "dataset_train": "actions.csv",
            "dataset_val": "actions.csv",
            "frames_per_clip": 4,
            "frames_per_second": 4,
            "resolution": 32,
            "train_anticipation_time_sec": [0.5, 1.0],
            "num_workers": 0,
            "use_heatmap": True,
            "heatmap_base_path": "dataset_npz",
        },
        "optimization": {"num_epochs": 2, "batch_size": 2, "multihead_kwargs": [{"lr": 1e-3}]},
    },
    "arms": ["none", "estimated", {"name": "added", "fusion": "add", "train": "heatmap"}],
    "model_kwargs": {
        "checkpoint": "random",
        "pretrain_kwargs": {
            "encoder": {"model_name": "vit_tiny_test", "depth": 1, "embed_dim": 24, "patch_size": 8},
            "predictor": {
                "model_name": "vit_heatmap_predictor",
                "num_frames": 16,
                "depth": 1,
                "num_heads": 2,
                "predictor_embed_dim": 24,
            },
        },
    },
}


def main() -> None:
    root = Path(sys.argv[1])
    root.mkdir(parents=True)
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    os.chdir(root)
    for name in ("clip", "other"):
        write_clip(Path("videos") / f"{name}.mp4", frames=FRAMES if name == "clip" else 150, width=64, height=48)
    write_boxes(Path("clip.csv"), frames=range(20, FRAMES), width=64, height=48)
    write_tiny_gazelle(Path("tiny.safetensors"), in_size=(56, 56), out_size=(8, 8))
    Path("actions.csv").write_text(ACTIONS)
    command = [sys.executable, "-m", "gazetools"]

    subprocess.run([*command, *EXTRACT, "-o", "store"], check=True, env=environment)
    running = subprocess.Popen([*command, *EXTRACT, "-o", "store_killed"], env=environment)
    while not list(Path("store_killed").rglob("*.h5*")) and running.poll() is None:
        time.sleep(0.001)
    running.send_signal(signal.SIGKILL)
    running.wait()

    for layout in ("npz", "npy", "hdf5"):
        few = [] if layout == "npz" else ["--fps", "1"]  # a file per frame: few of them
        pack = ["pack", "store", "-o", f"dataset_{layout}", "--layout", layout, "--normalize", "max", *few]
        subprocess.run([*command, *pack], check=True, env=environment)

    for folder, epochs in (("run", 2), ("run_stopped", 1)):
        config = json.loads(json.dumps(CONFIG)) | {"folder": folder}
        Path("config.yaml").write_text(yaml.safe_dump(config))
        process = subprocess.Popen([*command, "train", "--config", "config.yaml"], env=environment)
        if epochs == 1:
            while not (Path(folder) / "metrics.jsonl").exists() and process.poll() is None:
                time.sleep(0.001)
            process.send_signal(signal.SIGTERM)
        process.wait()
    # what nothing reads again, so that the folder stays small
    for folder in ("run/checkpoints", "run/frame_indexes", "run_stopped/frame_indexes"):
        shutil.rmtree(folder)
    for old in sorted(Path("run_stopped/checkpoints").glob("step-*"))[:-1]:
        shutil.rmtree(old)
    for piece in sorted(Path("store_killed").rglob("piece_*"))[1:]:
        piece.unlink()


if __name__ == "__main__":
    main()
