"""Record golden vectors of V-JEPA 2's predictor, wrapper, probe and evaluation transform by running the public code;
how the small sets were made.

Needs a clone of facebookresearch/vjepa2, torch, safetensors, OpenCV and Pillow; timm, einops and torchvision may be
absent (only drop path at rate 0, and nothing of the other two, is used here):

    python record_vjepa.py --vjepa2 CLONE -o FOLDER
"""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import sys
import types
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

SIDE, PATCH, TUBELET, RATE = 24, 8, 2, 5
ENCODER = {
    "img_size": [SIDE, SIDE], "patch_size": PATCH, "num_frames": 4, "tubelet_size": TUBELET, "embed_dim": 24,
    "depth": 2, "num_heads": 2, "mlp_ratio": 4, "use_rope": True, "uniform_power": True,
}  # fmt: skip
PREDICTOR = {
    "img_size": SIDE, "patch_size": PATCH, "num_frames": 12, "tubelet_size": TUBELET, "embed_dim": 24,
    "predictor_embed_dim": 28, "depth": 2, "num_heads": 2, "use_mask_tokens": True, "num_mask_tokens": 3,
    "use_rope": True, "uniform_power": True, "use_sdpa": True, "use_silu": False, "wide_silu": False,
}  # fmt: skip
WRAPPERS = {
    "out_frames2_steps1": {"num_output_frames": 2, "num_steps": 1},
    "out_frames4_steps2": {"num_output_frames": 4, "num_steps": 2},
    "out_no_encoder": {"num_output_frames": 2, "num_steps": 2, "no_encoder": True},
}
CLASSIFIER = {"num_verbs": 5, "num_nouns": 6, "num_actions": 9, "embed_dim": 24, "num_heads": 3, "depth": 4}


def stub_unused_packages() -> None:
    layers = types.ModuleType("timm.models.layers")
    layers.drop_path = lambda x, *_, **__: x  # type: ignore[attr-defined]
    einops = types.ModuleType("einops")
    einops.rearrange = None  # type: ignore[attr-defined]
    packages = {"timm": types.ModuleType("timm"), "timm.models": types.ModuleType("timm.models")}
    vision = types.ModuleType("torchvision")
    vision.transforms = types.ModuleType("torchvision.transforms")  # type: ignore[attr-defined]
    vision.transforms.functional = types.ModuleType("torchvision.transforms.functional")
    packages |= {"torchvision": vision, "torchvision.transforms": vision.transforms}
    packages["torchvision.transforms.functional"] = vision.transforms.functional
    sys.modules.update({**packages, "timm.models.layers": layers, "einops": einops})


def perturb(module: nn.Module, seed: int) -> nn.Module:
    """Noise of std 0.02..0.1 on every parameter, so that none is at a special value."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            scale = float(torch.empty(1).uniform_(0.02, 0.1, generator=generator))
            parameter.add_(torch.randn(parameter.shape, generator=generator) * scale)
    return module.eval()


def write(folder: Path, name: str, spec: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    provenance = {
        "upstream": {"facebookresearch/vjepa2": "c2963a47433ecca0ad4f06ec28bcfa8cb5b5cefb"},
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "device": "cpu",
        "dtype": "float32",
        "notes": ["made by record_vjepa.py with the public code"],
    }
    text = json.dumps({"fixture": name, **spec, "provenance": provenance}, indent=1)
    (folder / f"{name}.json").write_text(text + "\n")
    (folder / f"{name}.safetensors").write_bytes(save({k: v.contiguous().clone() for k, v in tensors.items()}))


def record_wrapper(folder: Path) -> None:
    vision_transformer = importlib.import_module("src.models.vision_transformer")
    predictor_module = importlib.import_module("src.models.predictor")
    custom = "evals.action_anticipation_frozen.modelcustom.vit_encoder_predictor_concat_ar"
    torch.manual_seed(903)
    norm = partial(nn.LayerNorm, eps=1e-6)
    encoder = vision_transformer.VisionTransformer(qkv_bias=True, norm_layer=norm, **ENCODER)
    perturb(encoder, 7)
    predictor = perturb(predictor_module.vit_predictor(**PREDICTOR), 8)
    tensors = {
        "video": torch.randn(2, 3, 4, SIDE, SIDE),
        "anticipation_times": torch.tensor([0.5, 1.0], dtype=torch.float64),
    }
    cases = []
    with torch.no_grad():
        tensors["encoder_output"] = encoder(tensors["video"])
        for name, settings in WRAPPERS.items():
            wrapper = importlib.import_module(custom).AnticipativeWrapper(
                encoder, predictor, frames_per_second=RATE, crop_size=SIDE, patch_size=PATCH, tubelet_size=TUBELET,
                **settings,
            )  # fmt: skip
            tensors[name] = wrapper.eval()(tensors["video"], tensors["anticipation_times"])
            cases.append({"output": name, "wrapper_kwargs": settings, "shape": list(tensors[name].shape)})
    times = tensors["anticipation_times"]
    spec = {
        "seed": 903, "frames_per_second": RATE, "crop_size": SIDE, "patch_size": PATCH, "tubelet_size": TUBELET,
        "encoder": ENCODER, "predictor": PREDICTOR, "norm_eps": 1e-6, "anticipation_times": times.tolist(),
        "anticipation_steps": (times * RATE / TUBELET).to(torch.int64).tolist(), "cases": cases,
        "encoder_state_dict_prefix": "enc.", "predictor_state_dict_prefix": "pred.",
        "encoder_keys": list(encoder.state_dict()), "predictor_keys": list(predictor.state_dict()),
    }  # fmt: skip
    tensors |= {f"enc.{k}": v for k, v in encoder.state_dict().items()}
    tensors |= {f"pred.{k}": v for k, v in predictor.state_dict().items()}
    write(folder, "vjepa_wrapper_small", spec, tensors)


def record_classifier(folder: Path) -> None:
    models = importlib.import_module("evals.action_anticipation_frozen.models")
    torch.manual_seed(904)
    verbs, nouns, actions = (dict.fromkeys(range(CLASSIFIER[f"num_{n}"])) for n in ("verbs", "nouns", "actions"))
    sizes = {name: CLASSIFIER[name] for name in ("embed_dim", "num_heads", "depth")}
    probe = models.AttentiveClassifier(verbs, nouns, actions, use_activation_checkpointing=False, **sizes)
    perturb(probe, 9)
    x = torch.randn(3, 17, CLASSIFIER["embed_dim"])
    with torch.no_grad():
        tensors = {"x": x, "pooled": probe.pooler(x), **{f"output.{k}": v for k, v in probe(x).items()}}
    tensors |= {f"sd.{k}": v for k, v in probe.state_dict().items()}
    spec = {
        "seed": 904, "config": CLASSIFIER, "mlp_ratio": 4, "norm_eps": 1e-5, "outputs": ["verb", "noun", "action"],
        "state_dict_prefix": "sd.", "state_dict_keys": list(probe.state_dict()),
    }  # fmt: skip
    write(folder, "attentive_classifier_small", spec, tensors)


def record_predictor(folder: Path) -> None:
    torch.manual_seed(905)
    predictor = perturb(importlib.import_module("src.models.predictor").vit_predictor(**PREDICTOR), 10)
    grid = (SIDE // PATCH) ** 2
    positions = PREDICTOR["num_frames"] // TUBELET
    context = torch.arange(4 * grid).repeat(2, 1)
    ahead = torch.stack([torch.arange(grid) + 4 * grid, torch.arange(grid) + (positions - 1) * grid])
    scattered = torch.stack([torch.randperm(positions * grid) for _ in range(2)])
    cases = {
        "anticipate": (context, ahead, None),
        "anticipate_mask0": (context, ahead, 0),
        "target_before_context": (context + 2 * grid, torch.arange(grid).repeat(2, 1), None),
        "scattered_unsorted": (scattered[:, :19], scattered[:, 19:30], None),
    }
    tensors, listed = {}, []
    with torch.no_grad():
        for name, (masks_x, masks_y, mask_index) in cases.items():
            x = torch.randn(2, masks_x.shape[1], PREDICTOR["embed_dim"])
            chosen = {} if mask_index is None else {"mask_index": mask_index}
            output = predictor(x, masks_x, masks_y, **chosen)
            tensors |= {
                f"{name}.x": x,
                f"{name}.masks_x": masks_x,
                f"{name}.masks_y": masks_y,
                f"{name}.output": output,
            }
            listed.append({"name": name, "mask_index": mask_index})
    state = predictor.state_dict()
    tensors |= {f"sd.{k}": v for k, v in state.items()}
    spec = {
        "seed": 905, "config": PREDICTOR, "norm_eps": 1e-6, "cases": listed, "state_dict_prefix": "sd.",
        "state_dict_keys": list(state),
    }  # fmt: skip
    write(folder, "vjepa_predictor_small", spec, tensors)


def record_transforms(folder: Path) -> None:
    transforms = importlib.import_module("src.datasets.utils.video.transforms")
    volume = importlib.import_module("src.datasets.utils.video.volume_transforms")
    crop, mean, std = 9, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    short = int(crop * 256 / 224)
    generator = torch.Generator().manual_seed(906)
    tensors, cases = {}, []
    # wide, tall, a short side that is right already, and one smaller than the crop
    for index, (count, height, width) in enumerate([(2, 19, 33), (1, 31, 17), (1, short, 15), (1, 7, 8)]):
        clip = torch.randint(0, 256, (count, height, width, 3), generator=generator, dtype=torch.uint8)
        resize = transforms.Resize(short, interpolation="bilinear")
        rest = [transforms.CenterCrop(size=(crop, crop)), volume.ClipToTensor(), transforms.Normalize(mean, std)]
        resized = resize([frame.numpy() for frame in clip])
        output = transforms.Compose([resize, *rest])([frame.numpy() for frame in clip])
        tensors |= {f"clip{index}": clip, f"resized{index}": torch.stack([torch.from_numpy(f) for f in resized])}
        tensors[f"output{index}"] = output
        names = {name: f"{name}{index}" for name in ("clip", "resized", "output")}
        cases.append({**names, "crop_size": crop, "short_side": short, "resized_hw": list(resized[0].shape[:2])})
    write(folder, "video_transforms_small", {"seed": 906, "cases": cases}, tensors)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vjepa2", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    stub_unused_packages()
    sys.path.insert(0, str(arguments.vjepa2))
    record_predictor(arguments.output)
    record_transforms(arguments.output)
    record_wrapper(arguments.output)
    record_classifier(arguments.output)


if __name__ == "__main__":
    main()
