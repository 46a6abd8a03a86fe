"""Cut the committed set of V-JEPA 2.1's vectors out of the full one; how the small files were made.

Everything is an exact subset: the first clip of `vjepa21_wrapper_tiny_hier`, whose encoder and predictor weights are
also those of the files of the encoder and the predictor, and two releases of `vjepa21_keys`:

    python cut_vjepa21.py FULL_SET -o FOLDER
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

SOURCE, KEPT_RELEASES = "vjepa21_wrapper_tiny_hier", ("vit_base", "vit_gigantic")
PRESENTED = ("provenance", "tolerance", "float64_distance", "norm_eps", "seed", "notes")


def write(path: Path, spec: dict[str, Any]) -> None:
    path.write_text(json.dumps(spec, separators=(",", ":")) + "\n", encoding="utf-8")


def cut_wrapper(spec: dict[str, Any], tensors: dict[str, torch.Tensor], output: Path) -> dict[str, torch.Tensor]:
    weights = ("enc.", "pred.")
    first = {name: value if name.startswith(weights) else value[:1].clone() for name, value in tensors.items()}
    cases = [{**case, "shape": [1, *case["shape"][1:]]} for case in spec["cases"]]
    kept = {"anticipation_times": spec["anticipation_times"][:1], "anticipation_steps": spec["anticipation_steps"][:1]}
    shapes = {"tensors": {}} if "tensors" in spec else {}
    write(output / "vjepa21_wrapper_small.json", {**spec, **kept, **shapes, "cases": cases, "cut_from": SOURCE})
    save_file(first, output / "vjepa21_wrapper_small.safetensors")
    return first


def cut_encoder(spec: dict[str, Any], first: dict[str, torch.Tensor], output: Path) -> None:
    patch, width = spec["patch_size"], spec["encoder"]["embed_dim"]
    cases = [
        {"name": name, "input": "video", "output": name, "interpolate_rope": on, "return_hierarchical": True,
         "shape": list(first[name].shape)}
        for name, on in (("encoder_output", True), ("encoder_output_no_interpolation", False))
    ]  # fmt: skip
    made = {
        **{key: spec[key] for key in PRESENTED if key in spec},
        "tolerance": {"output": spec["tolerance"]["encoder_output*"]},
        "config": spec["encoder"],
        "hierarchical_layers": spec["hierarchical_layers"],
        "pretrained_grid_size": 256 // patch,
        "rope_dim_per_axis": 2 * (width // spec["encoder"]["num_heads"] // 3 // 2),
        "cases": cases,
        "state_dict_prefix": "enc.",
        "state_dict_keys": spec["encoder_keys"],
        "shared_tensors": "vjepa21_wrapper_small.safetensors",
        "cut_from": SOURCE,
    }
    write(output / "vjepa21_encoder_small.json", made)


def cut_predictor(spec: dict[str, Any], first: dict[str, torch.Tensor], output: Path) -> None:
    """What the wrapper predicts from the clip, at the ids that its rule gives; its output has the last channels."""
    grid = spec["crop_size"] // spec["patch_size"]
    context, width = first["encoder_output"], spec["encoder"]["embed_dim"]
    ahead = context.shape[1] + grid * grid * spec["anticipation_steps"][0]
    tensors, cases = {}, []
    for name, frames in (("out_frames2_steps1", 2), ("out_frames4_steps1", 4)):
        count = grid * grid * (frames // spec["tubelet_size"])
        tensors |= {
            f"{name}.x": context.clone(),
            f"{name}.masks_x": torch.arange(context.shape[1])[None],
            f"{name}.masks_y": torch.arange(ahead, ahead + count)[None],
            f"{name}.output": first[name][:, -count:].clone(),
        }
        cases.append(
            {"name": name, "inputs": name, "mask_index": None, "mod": "video", "interpolate_rope": False}
        )  # fmt: skip
    levels = spec["predictor"]["n_output_distillation"]
    made = {
        **{key: spec[key] for key in PRESENTED if key in spec},
        "tolerance": {"output": spec["tolerance"]["out_*"]},
        "config": spec["predictor"],
        "levels": levels,
        "input_width": levels * width,
        "output_width": levels * width,
        "last_channels": width,
        "grid": grid,
        "temporal_positions": spec["predictor"]["num_frames"] // spec["tubelet_size"],
        "cases": cases,
        "state_dict_prefix": "pred.",
        "state_dict_keys": spec["predictor_keys"],
        "shared_tensors": "vjepa21_wrapper_small.safetensors",
        "cut_from": SOURCE,
    }
    write(output / "vjepa21_predictor_small.json", made)
    save_file(tensors, output / "vjepa21_predictor_small.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("full", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    spec = json.loads((options.full / f"{SOURCE}.json").read_text(encoding="utf-8"))
    spec.pop("sensitivity", None)
    first = cut_wrapper(spec, load_file(options.full / f"{SOURCE}.safetensors"), options.output)
    cut_encoder(spec, first, options.output)
    cut_predictor(spec, first, options.output)
    keys = json.loads((options.full / "vjepa21_keys.json").read_text(encoding="utf-8"))
    kept = {name: model for name, model in keys["models"].items() if model["arch"].startswith(KEPT_RELEASES)}
    write(options.output / "vjepa21_keys.json", {**keys, "models": kept})


if __name__ == "__main__":
    main()
