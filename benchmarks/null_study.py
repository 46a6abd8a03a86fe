"""How often a report calls noise a difference: real small trainings on heatmaps of noise, all splits of 3 against 3.

    python benchmarks/null_study.py [--trainings 16] [--folder null_study]

Every training of the arm `estimated` is one of the same method, so any three of them against any other three have no
true difference: a verdict `gain` or `loss` is an error. The trainings are kept in the folder and resumed.
"""

from __future__ import annotations

import argparse
import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import yaml
from scipy.stats import t as student

from gazetools.metrics.crossed import ArmHits, contrast
from gazetools.metrics.verdicts import verdict_of
from gazetools.scenes.clips import render_scenes
from gazetools.scenes.settings import SceneSettings
from gazetools.trainer import train
from gazetools.trainer.report.compare import Comparison
from gazetools.trainer.report.load import load_study

PEOPLE, VIDEOS = 12, 36


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trainings", type=int, default=16)
    parser.add_argument("--folder", type=Path, default=Path("null_study"))
    parser.add_argument("--epochs", type=int, default=6)
    given = parser.parse_args()
    config = prepare(given.folder, given.trainings, given.epochs)
    train(config)
    study = load_study([given.folder / "run"])
    comparison = Comparison(study=study, k=1)
    models = study.of("estimated", "val_start")
    hits = comparison.hits(models, "val_start", "action")
    clips = comparison.clips("val_start", "action")
    recalls = [100 * float(clips.weight @ one) for one in hits.values()]
    print(f"{len(models)} trainings, recall@1 {np.mean(recalls):.1f} %, sd {np.std(recalls, ddof=1):.1f} points")
    print(f"{comparison.counts('val_start')}, intervals over {comparison.level}s")
    count_verdicts(list(hits.values()), clips)


def count_verdicts(hits: list[np.ndarray], clips: object) -> None:
    """Count the verdicts of all splits of three against three other trainings."""
    verdicts: Counter[str] = Counter()
    lacking = people_alone = 0
    for six in itertools.combinations(range(len(hits)), 6):
        for first in itertools.combinations(six, 3):
            if first[0] != six[0]:
                continue  # each split once
            second = [one for one in six if one not in first]
            arms = [ArmHits(seeds=list(own), hits=np.stack([hits[one] for one in own])) for own in (first, second)]
            # Paired by place, as two arms of the same three trainings would be.
            paired = [ArmHits(seeds=range(3), hits=arm.hits) for arm in arms]
            found = contrast(*paired, clips)
            verdicts[verdict_of(found, margin=None, saturated=False, varies="training")] += 1
            lacking += not found.low <= 0 <= found.high
            people_alone += abs(found.value) > student.ppf(0.975, found.df_clusters) * found.var_clusters**0.5
    total = verdicts.total()
    shares = ", ".join(f"{name} {100 * count / total:.1f} %" for name, count in verdicts.most_common())
    print(f"{total} splits of 3 against 3: {shares}; the interval lacks 0 in {100 * lacking / total:.1f} %")
    print(f"an interval over people alone would lack 0 in {100 * people_alone / total:.1f} %")


def prepare(folder: Path, trainings: int, epochs: int) -> dict:
    """Scenes, maps of noise and the config of a study on them."""
    scenes = folder / "scenes"
    if not (scenes / "scenes.json").is_file():
        settings = SceneSettings(width=160, height=90, fps=5, keyframe_every=5, people=(1, 1), participants=PEOPLE)
        render_scenes(scenes, clips=VIDEOS, seconds=16.0, seed=3, settings=settings)
    maps = folder / "maps"
    maps.mkdir(exist_ok=True)
    lines = (scenes / "actions.csv").read_text().splitlines()
    for number, path in enumerate(sorted((scenes / "videos").glob("*.mp4"))):
        noise = np.random.default_rng(number).random((80, 8, 8)).astype(np.float16)
        np.savez(maps / f"{path.stem}.npz", heatmap=noise)
    header, rows = lines[0], lines[1:]
    column = header.split(",").index("video_id")
    held = {f"P{number:02d}" for number in range(PEOPLE // 2 + 1, PEOPLE + 1)}
    for name, wanted in (("train", False), ("val", True)):
        chosen = [row for row in rows if (row.split(",")[column][:3] in held) == wanted]
        (folder / f"{name}.csv").write_text("\n".join([header, *chosen]) + "\n")
    return yaml.safe_load(f"""
folder: {folder / "run"}
device: cpu
seeds: {trainings}
log_every: 1000
arms: [none, estimated]
experiment:
  classifier: {{num_probe_blocks: 1, num_heads: 2}}
  evaluation: {{held_out: 0.2}}
  data:
    base_path: {scenes / "videos"}
    dataset_train: {folder / "train.csv"}
    dataset_val: {folder / "val.csv"}
    anchor: start
    frames_per_clip: 4
    frames_per_second: 5
    resolution: 32
    train_views: 4
    num_workers: 0
    use_heatmap: true
    heatmap_base_path: {maps}
    heatmap_frame_tolerance: 80
  optimization:
    num_epochs: {epochs}
    batch_size: 16
    use_focal_loss: false
    train: all_but_encoder
    multihead_kwargs: [{{lr: 3e-3}}]
model_kwargs:
  checkpoint: random
  pretrain_kwargs:
    encoder: {{model_name: vit_tiny_test, depth: 1, embed_dim: 24, patch_size: 8}}
    predictor: {{model_name: vit_heatmap_predictor, num_frames: 32, depth: 1, num_heads: 2, predictor_embed_dim: 24}}
""")


if __name__ == "__main__":
    main()
