"""Speed of reading labelled gaze at the benchmarks' real sizes, and of scoring heads.

    python benchmarks/gaze_labels.py [--share 1.0] [--folder DIR] [--json]

Writes made-up annotations: ChildPlay with 401 clips of 300 frames (120,300 frames, about 290,000 labelled heads),
GazeFollow with 125,557 pictures of one head, the same as prepared JSON, GOO-Real with 2,500 entries as a pickle. Each
is read once; times are of the CPU. Then 2,000 heads of ChildPlay are scored by both of its protocols.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from gazetools.annotations.childplay import COLUMNS
from gazetools.annotations.label_files import read_labels
from gazetools.evaluation import evaluate

CLIPS, FRAMES, PICTURES, ENTRIES = 401, 300, 125_557, 2500


def _childplay(root: Path, clips: int) -> Path:
    draw, folder = random.Random(0), root / "childplay" / "annotations" / "test"
    folder.mkdir(parents=True)
    for number in range(clips):
        video, start = f"video{number // 4:03d}", 1000 * number
        clip = f"{video}_{start}-{start + FRAMES}"
        rows = [",".join(COLUMNS)]
        for frame in range(1, FRAMES + 1):
            for person in range(3 if frame % 3 else 2):
                place = f"{draw.uniform(0, 1500):.2f},{draw.uniform(0, 800):.2f},100.5,120.5"
                said = draw.choice(["inside_visible"] * 9 + ["outside_frame", "gaze_shift"])
                rows.append(
                    f"{clip},{frame},{person},{place},{said},{draw.uniform(0, 1900):.1f},{draw.uniform(0, 1000):.1f}"
                )
        (folder / f"{clip}.csv").write_text("\n".join(rows) + "\n")
        pictures = root / "childplay" / "images" / clip
        pictures.mkdir(parents=True)
        cv2.imwrite(str(pictures / f"{video}_{start}.jpg"), np.zeros((1080, 1920, 3), np.uint8))
    return folder


def _gazefollow(root: Path, pictures: int) -> Path:
    draw, path = random.Random(0), root / "train_annotations_release.txt"
    cv2.imwrite(str(root / "0.jpg"), np.zeros((480, 640, 3), np.uint8))
    with path.open("w") as file:
        for number in range(pictures):
            name = f"train/{number // 1000:08d}/{number:08d}.jpg"
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            copy = root / f"{number // 1000 + 1}.jpg"  # a file has a limited number of links
            if not copy.exists():
                copy.write_bytes((root / "0.jpg").read_bytes())
            os.link(copy, root / name)
            file.write(
                f"{name},1,0,0,1,1,{draw.random()},{draw.random()},{draw.random()},0.5,9,9,80,99,1,source,meta\n"
            )
    return path


def _prepared(root: Path, pictures: int) -> Path:
    head = {"bbox": [9, 9, 80, 99], "bbox_norm": [0.1, 0.1, 0.2, 0.3], "gazex_norm": [0.5], "gazey_norm": [0.5]}
    frames = [
        {"path": f"train/{n}.jpg", "width": 640, "height": 480, "heads": [{**head, "inout": 1, "head_id": 0}]}
        for n in range(pictures)
    ]
    path = root / "train_preprocessed.json"
    path.write_text(json.dumps(frames))
    return path


def _gooreal(root: Path, entries: int) -> Path:
    draw = np.random.default_rng(0)
    listed = [
        {
            "filename": f"{n}.png", "width": 640, "height": 480, "hx": 100, "hy": 90,
            "gaze_cx": 300.0, "gaze_cy": 200.0, "gaze_item": 3, "gazeIdx": 2, "seg": [[1.0, 2.0] * 40] * 24,
            "ann": {"bboxes": draw.uniform(10, 400, (25, 4)), "labels": np.arange(25)},
        }
        for n in range(entries)
    ]  # fmt: skip
    path = root / "testrealhumans.pickle"
    path.write_bytes(pickle.dumps(listed))
    return path


def _score(root: Path, folder: Path) -> float:
    """Heads of ChildPlay per CPU second, AUCs by both protocols."""
    heads = sum(len(picture.heads) for picture in read_labels(folder, images=root / "childplay").pictures)
    maps = np.random.default_rng(0).random((heads, 64, 64), dtype=np.float32).astype(np.float16)
    np.savez(root / "maps.npz", heatmap=maps, inout=np.linspace(0, 1, heads))
    began = time.process_time()
    report = evaluate(str(root / "maps.npz"), folder, images=str(root / "childplay"), resamples=0)
    return sum(report.counts.values()) / (time.process_time() - began)


def main() -> None:
    """Write, read, score; print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        root = Path(name)
        made: dict[str, tuple[Callable[[Path, int], Path], int, Path | None]] = {
            "ChildPlay": (_childplay, CLIPS, root / "childplay"),
            "GazeFollow": (_gazefollow, PICTURES, root),
            "prepared JSON": (_prepared, PICTURES, None),
            "GOO-Real, pickle": (_gooreal, ENTRIES, None),
        }
        for form, (write, count, images) in made.items():
            path = write(root, max(1, int(count * arguments.share)))
            began = time.process_time()
            labels = read_labels(path, images=images)
            read = time.process_time()
            heads = sum(1 for _ in labels.for_training().heads)
            found[form] = {"heads": heads, "read_s": read - began, "cut_s": time.process_time() - read}
        few = _childplay(root / "few", 3)
        found["scoring"] = {"heads_per_s": _score(root / "few", few)}
    if arguments.json:
        print(json.dumps(found, indent=2))
        return
    for form, figures in found.items():
        print(form, ", ".join(f"{key} {value:.1f}" for key, value in figures.items()))


if __name__ == "__main__":
    main()
