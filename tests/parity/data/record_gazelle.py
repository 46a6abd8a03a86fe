"""Record golden vectors of Gaze-LLE by running the public implementation; how the small committed sets were made.

Needs clones of fkryan/gazelle and facebookresearch/dinov2, torch, torchvision, timm 1.0.15 (whose decoder blocks have
the LayerNorm eps of the released weights) and pillow, none of which the tests need:

    python record_gazelle.py --gazelle CLONE --dinov2 CLONE -o FOLDER
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

NOTES = [
    "bboxes: per image a list of [xmin, ymin, xmax, ymax] in 0..1, or null",
    "heatmap and inout are concatenated over images; split with counts",
    "made by record_gazelle.py with the public code",
]

BOXES = {
    "normal": [0.1, 0.2, 0.55, 0.7],
    "none": None,
    "full_frame": [0.0, 0.0, 1.0, 1.0],
    "degenerate_xy": [0.42, 0.42, 0.43, 0.43],
    "touch_right_bottom": [0.7, 0.6, 1.0, 1.0],
    "touch_left_top": [0.0, 0.0, 0.3, 0.4],
    "beyond_right_bottom": [0.6, 0.5, 1.2, 1.3],
    "trap_negative_wraps_to_empty": [-0.3, 0.1, 0.5, 0.9],
}

VARIANTS: dict[str, dict[str, Any]] = {
    # Rows and columns differ, and differ from the stored position embedding's square grid.
    "tiny_wide_inout": {
        "backbone": {"img_size": 70, "embed_dim": 24, "depth": 2, "num_heads": 2},
        "gazelle": {"inout": True, "dim": 16, "num_layers": 3, "in_size": [42, 70], "out_size": [24, 40]},
        "people": [
            ["normal", "none", "full_frame"],
            ["degenerate_xy"],
            [
                "touch_right_bottom",
                "touch_left_top",
                "beyond_right_bottom",
                "half_ties",
                "trap_negative_wraps_to_empty",
            ],
        ],
        "seed": 1101,
    },
    # As many patches as stored ones but not the same sides: the hub resamples here too.
    "tiny_tall": {
        "backbone": {"img_size": 28, "embed_dim": 16, "depth": 1, "num_heads": 4},
        "gazelle": {"inout": False, "dim": 16, "num_layers": 2, "in_size": [56, 14], "out_size": [16, 16]},
        "people": [["none", "normal"], ["half_ties"], ["touch_left_top"]],
        "seed": 1102,
    },
    # The stored grid itself: nothing is resampled, and the heatmap keeps its size.
    "tiny_native": {
        "backbone": {"img_size": 42, "embed_dim": 16, "depth": 1, "num_heads": 2},
        "gazelle": {"inout": True, "dim": 16, "num_layers": 1, "in_size": [42, 42], "out_size": [6, 6]},
        "people": [["normal"], ["full_frame", "none"]],
        "seed": 1103,
    },
}


def _half_ties(grid: tuple[int, int]) -> list[float]:
    """Corners exactly between two cells, where rounding half to even matters."""
    rows, columns = grid
    return [0.5 / columns, 0.5 / rows, 1.5 / columns, 2.5 / rows]


def record_model(name: str, spec: dict[str, Any], out: Path, provenance: dict[str, Any]) -> None:
    from dinov2.models.vision_transformer import DinoVisionTransformer
    from gazelle.backbone import DinoV2Backbone
    from gazelle.model import GazeLLE

    torch.manual_seed(spec["seed"])
    backbone_settings = {
        **spec["backbone"],
        "init_values": 1e-5,
        "interpolate_antialias": False,
        "interpolate_offset": 0.1,
    }
    vit = DinoVisionTransformer(patch_size=14, mlp_ratio=4, block_chunks=0, **backbone_settings)
    backbone = DinoV2Backbone.__new__(DinoV2Backbone)
    torch.nn.Module.__init__(backbone)
    backbone.model = vit
    settings = dict(spec["gazelle"])
    in_size, out_size = tuple(settings.pop("in_size")), tuple(settings.pop("out_size"))
    model = GazeLLE(backbone, in_size=in_size, out_size=out_size, **settings).eval()
    grid = (in_size[0] // 14, in_size[1] // 14)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            parameter.add_(torch.randn_like(parameter) * (0.02 + 0.08 * torch.rand(()).item()))
            if key.endswith("gamma"):
                parameter.add_(0.5 * torch.randn_like(parameter))
            if key.endswith("model.pos_embed"):
                parameter.add_(0.3 * torch.randn_like(parameter))
        boxes = {**BOXES, "half_ties": _half_ties(grid)}
        tags = [tag for people in spec["people"] for tag in people]
        bboxes = [[boxes[tag] for tag in people] for people in spec["people"]]
        images = torch.randn(len(bboxes), 3, *in_size)
        seen: dict[str, torch.Tensor] = {}
        model.transformer.register_forward_pre_hook(lambda _m, a: seen.__setitem__("tokens_in", a[0].clone()))
        model.transformer.register_forward_hook(lambda _m, _a, o: seen.__setitem__("tokens_out", o.clone()))
        model.heatmap_head.register_forward_hook(lambda _m, _a, o: seen.__setitem__("heatmap_lowres", o.clone()))
        given = {"images": images, "bboxes": [[tuple(b) if b else None for b in people] for people in bboxes]}
        first = model(given)
        # Rescale the last layers so that outputs spread over most of 0..1.
        logits = torch.logit(seen["heatmap_lowres"].double(), eps=1e-12)
        model.heatmap_head[1].weight *= 1.5 / float(logits.std())
        if model.inout:
            inout_logits = torch.logit(torch.cat(first["inout"]).double())
            factor = 1.5 / float(inout_logits.std())
            model.inout_head[3].weight *= factor
            model.inout_head[3].bias *= factor
            model.inout_head[3].bias -= factor * float(inout_logits.mean())
        result = model(given)
        block_in = torch.randn(2, 6, settings["dim"]) * 0.003
        tensors = {
            "images": images,
            "backbone_feat": backbone(images),
            "dino_pos_embed": vit.interpolate_pos_encoding(
                torch.empty(1, 1 + grid[0] * grid[1], vit.embed_dim), in_size[0], in_size[1]
            ),
            "head_maps": torch.cat(model.get_input_head_maps(given["bboxes"])),
            "heatmap": torch.cat(result["heatmap"]),
            "eps_probe.in": block_in,
            "eps_probe.out": model.transformer[0](block_in),
            **seen,
        }
        if model.inout:
            tensors["inout"] = torch.cat(result["inout"])
    state = model.state_dict()
    tensors |= {f"sd.{key}": value for key, value in state.items()}
    save_file({k: v.detach().contiguous().clone() for k, v in tensors.items()}, out / f"gazelle_{name}.safetensors")
    ranges = {
        key: [float(tensors[key].min()), float(tensors[key].max())] for key in ("heatmap", "inout") if key in tensors
    }
    _write(out / f"gazelle_{name}.json", {
        "fixture": f"gazelle_{name}",
        "config": {"backbone": backbone_settings, "gazelle": spec["gazelle"]},
        "seed": spec["seed"], "bboxes": bboxes, "person_tags": tags, "counts": [len(p) for p in bboxes],
        "grid": list(grid), "state_dict_prefix": "sd.", "state_dict_keys": list(state),
        "decoder_layernorm_eps": model.transformer[0].norm1.eps, "value_range": ranges,
        "notes": NOTES, "provenance": provenance,
    })  # fmt: skip


def record_preprocess(out: Path, provenance: dict[str, Any]) -> None:
    from gazelle.backbone import DinoV2Backbone
    from PIL import Image

    rng = np.random.default_rng(1201)
    cases, tensors = [], {}
    for i, (height, width, in_size) in enumerate([(97, 131, (28, 42)), (20, 31, (56, 42)), (42, 42, (42, 42))]):
        # A gradient with noise: an error of the sampling positions shows as well as one of the filter.
        ramp = np.linspace(0, 255, width)[None, :, None] * np.linspace(0.3, 1, height)[:, None, None]
        image = np.clip(ramp + rng.normal(0, 40, (height, width, 3)), 0, 255).astype(np.uint8)
        transform = DinoV2Backbone.get_transform(None, in_size)
        tensors[f"image{i}"] = torch.from_numpy(image)
        tensors[f"output{i}"] = transform(Image.fromarray(image)).contiguous()
        cases.append({"image": f"image{i}", "output": f"output{i}", "image_hw": [height, width], "in_size": in_size})
    save_file(tensors, out / "gazelle_preprocess.safetensors")
    _write(out / "gazelle_preprocess.json", {
        "fixture": "gazelle_preprocess", "seed": 1201, "cases": cases, "notes": NOTES[2:], "provenance": provenance,
    })  # fmt: skip


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gazelle", type=Path, required=True)
    parser.add_argument("--dinov2", type=Path, required=True)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--seed-offset", type=int, default=0, help="another set of the same shapes")
    arguments = parser.parse_args()
    sys.path[:0] = [str(arguments.gazelle), str(arguments.dinov2)]
    torch.set_num_threads(1)
    provenance = {
        "upstream": ["fkryan/gazelle", "facebookresearch/dinov2"],
        "versions": {n: importlib.metadata.version(n) for n in ("torch", "torchvision", "timm", "numpy", "pillow")},
        "device": "cpu", "dtype": "float32",
    }  # fmt: skip
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, spec in VARIANTS.items():
        record_model(name, {**spec, "seed": spec["seed"] + arguments.seed_offset}, arguments.out, provenance)
    record_preprocess(arguments.out, provenance)


if __name__ == "__main__":
    main()
