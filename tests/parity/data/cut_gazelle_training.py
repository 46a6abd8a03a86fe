"""Cut the committed set of training vectors out of the full one; how the small files were made.

Losses and the two steps of gazelle-dinov3 are whole, with their images; of targets and augmentations some cases:

    python cut_gazelle_training.py FULL_SET -o FOLDER
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

WHOLE = ("losses", "dinov3_losses", "page_losses")
STEPS = ("dinov3_step_gazefollow_progressive", "dinov3_step_vat_distill")
KEPT_ROWS, KEPT_CASES, LARGEST = 5, 9, 96


def write(path: Path, spec: dict[str, Any]) -> None:
    path.write_text(json.dumps(spec, separators=(",", ":")) + "\n", encoding="utf-8")


def cut_targets(source: Path, output: Path) -> None:
    """The first rows of each size up to 96 cells."""
    spec, tensors = json.loads(source.read_text(encoding="utf-8")), load_file(source.with_suffix(".safetensors"))
    cases = [case for case in spec["cases"] if max(case["size"]) <= LARGEST and case["row"] < KEPT_ROWS]
    kept = {name: tensors[name][:KEPT_ROWS].clone() for name in {case["tensor"] for case in cases}}
    annotators = spec["annotators"][:1]
    kept |= {case["train_target"]: tensors[case["train_target"]] for case in annotators}
    write(output / source.name, {**spec, "cases": cases, "annotators": annotators, "cut_from": "the full set"})
    save_file(kept, output / source.with_suffix(".safetensors").name)


def cut_augment(source: Path, output: Path) -> None:
    """The first cases, and every single augmentation of the items that they use."""
    spec, tensors = json.loads(source.read_text(encoding="utf-8")), load_file(source.with_suffix(".safetensors"))
    cases = spec["cases"][:KEPT_CASES]
    items = {case["item"] for case in cases}
    single = [case for case in spec["single"] if case["item"] in items]
    names = {f"case{number}.{part}" for number in range(len(cases)) for part in ("image", "heatmap")}
    names |= {f"image{item}" for item in items} | {case["image"] for case in single if "image" in case}
    kept = {name: tensors[name] for name in sorted(names) if name in tensors}
    write(output / source.name, {**spec, "cases": cases, "single": single, "cut_from": "the full set"})
    save_file(kept, output / source.with_suffix(".safetensors").name)


def add_images(source: Path, output: Path) -> None:
    """A whole step and the images of the model's own file, of which the committed one has the first alone."""
    images = load_file(source.parent / "gazelle_dinov3_tiny_inout.safetensors")["images"]
    shutil.copyfile(source, output / source.name)
    tensors = load_file(source.with_suffix(".safetensors"))
    save_file({**tensors, "images": images}, output / source.with_suffix(".safetensors").name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("full", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    for name in WHOLE:
        for suffix in (".json", ".safetensors"):
            shutil.copyfile(
                *(folder / f"gazelle_training_{name}{suffix}" for folder in (arguments.full, arguments.output))
            )
    for name in STEPS:
        add_images(arguments.full / f"gazelle_training_{name}.json", arguments.output)
    cut_targets(arguments.full / "gazelle_training_page_targets.json", arguments.output)
    cut_augment(arguments.full / "gazelle_training_dinov3_augment.json", arguments.output)


if __name__ == "__main__":
    main()
