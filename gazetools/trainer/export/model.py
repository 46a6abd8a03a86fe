"""Export of encoder and trained predictor, in the layouts in which V-JEPA 2 is released.

A folder has transformers' layout of VJEPA2Model, which transformers loads by `from_pretrained`; it knows V-JEPA 2.0
only. A file `.pt` has Meta's layout, of both versions. What V-JEPA 2 does not have (heatmap weights, probe) is next to
it under names of its own, and is in no model's way.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import IO, Any, cast

import torch
from torch import Tensor

from gazetools.io.atomic import atomic_folder, atomic_path
from gazetools.io.json_files import dumps
from gazetools.io.raw_file import ErrorHidingFile
from gazetools.schemas.errors import UsageError
from gazetools.schemas.training import TrainingConfig
from gazetools.trainer.folder.checkpoints import WEIGHTS_FORMAT, load_checkpoint
from gazetools.trainer.models.build import HEATMAP_PREFIXES, load_pretrained
from gazetools.trainer.models.keys import to_upstream
from gazetools.trainer.models.sizes import encoder_size, replace_settings
from gazetools.trainer.models.transformers_folder import (
    CONFIG_NAME,
    WEIGHTS_NAME,
    to_folder_names,
    with_checkpoint_sizes,
)
from gazetools.trainer.plan.config import load_config

PREFIX = "module.backbone."
"""What Meta's training code puts before every key."""
OWN_NAME = "gazetools.safetensors"
"""File of a folder with the heatmap weights and the probe."""
_OWN_ENTRIES = ("heatmap", "probe")


def export_model(checkpoint: Path, output: Path) -> dict[str, Any]:
    """Write encoder and predictor of the best weights at `checkpoint` to `output`, a folder or a file `.pt`.

    The encoder never trains: it is read again from `model_kwargs.checkpoint` of the run's config, in float32.

    Returns the layout and the path. Raises UsageError where the run has no predictor, a folder is asked for and the
    model is V-JEPA 2.1, or `output` is there already; errors of the checkpoint as `load_pretrained`.
    """
    state = load_checkpoint(checkpoint)
    if state["format"] != WEIGHTS_FORMAT:
        raise UsageError(f"{checkpoint} holds a whole training state.", hint="Export a folder below checkpoints/best.")
    config = with_checkpoint_sizes(load_config(state["config"]))
    if not state["predictor"]:
        raise UsageError("The run has no predictor (no_predictor): there is nothing to export but its encoder.")
    is_file = output.suffix in (".pt", ".pth")
    if not is_file and config.model_kwargs.pretrain_kwargs.use_v2_1:
        raise UsageError(
            f"--export-model {output}: transformers (5.23) knows V-JEPA 2.0 only, and this model is V-JEPA 2.1.",
            hint=f"Name a file: --export-model {output}.pt has Meta's layout, which V-JEPA 2's own code loads.",
        )
    if output.exists() and (is_file or not output.is_dir() or any(output.iterdir())):
        raise UsageError(f"{output} exists already.", hint="Choose a new name.")
    encoder = load_pretrained(replace_settings(config, encoder={"dtype": "float32", "compile": False})).encoder
    weights = {
        "encoder": {name: value.detach() for name, value in encoder.state_dict().items()},
        "predictor": {n: v for n, v in state["predictor"].items() if not n.startswith(HEATMAP_PREFIXES)},
        "heatmap": {n: v for n, v in state["predictor"].items() if n.startswith(HEATMAP_PREFIXES)},
        "probe": state["probe"],
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    if is_file:
        _write_file(output, config, weights)
    else:
        _write_folder(output, config, weights)
    return {"model_file": str(output), "layout": "meta" if is_file else "transformers"}


def _write_file(output: Path, config: TrainingConfig, weights: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Meta's layout under the entries that the config names, so that it loads with the same config."""
    pretrain = config.model_kwargs.pretrain_kwargs
    content: dict[str, Any] = {
        pretrain.encoder.checkpoint_key: _prefixed(to_upstream(weights["encoder"])),
        pretrain.predictor.checkpoint_key: _prefixed(to_upstream(weights["predictor"])),
        **{f"gazetools_{name}": dict(weights[name]) for name in _OWN_ENTRIES if weights[name]},
    }
    with atomic_path(output) as temp:
        file = ErrorHidingFile(temp)  # torch would tell of a full disk as of a fault of its own
        with closing(file):
            torch.save(content, cast(IO[bytes], file))
        file.raise_error()


def _prefixed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{PREFIX}{name}": value.contiguous().clone() for name, value in weights.items()}


def _write_folder(output: Path, config: TrainingConfig, weights: Mapping[str, Mapping[str, Tensor]]) -> None:
    from safetensors.torch import save_file

    named = to_folder_names({"encoder": weights["encoder"], "predictor": weights["predictor"]})
    own = {f"{part}.{name}": value for part in _OWN_ENTRIES for name, value in weights[part].items()}
    with atomic_folder(output) as stage:
        for name, tensors in ((WEIGHTS_NAME, named), (OWN_NAME, own)):
            # Cloned: tensors of one file may share memory, which safetensors refuses.
            save_file({k: v.contiguous().clone() for k, v in tensors.items()}, stage / name, metadata={"format": "pt"})
        (stage / CONFIG_NAME).write_text(dumps(_facts(config, weights)), encoding="utf-8")


def _facts(config: TrainingConfig, weights: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Any]:
    """transformers' config.json of the model; sizes of the predictor are those of its weights."""
    pretrain, predictor = config.model_kwargs.pretrain_kwargs, weights["predictor"]
    size, data = encoder_size(pretrain.encoder), config.experiment.data
    blocks = {name.split(".")[1] for name in predictor if name.startswith("predictor_blocks.")}
    return {
        "architectures": ["VJEPA2Model"],
        "model_type": "vjepa2",
        "dtype": "float32",
        "crop_size": data.resolution,
        "frames_per_clip": data.frames_per_clip,
        "patch_size": pretrain.encoder.patch_size,
        "tubelet_size": pretrain.encoder.tubelet_size,
        "hidden_size": size.embed_dim,
        "num_hidden_layers": size.depth,
        "num_attention_heads": size.num_heads,
        "mlp_ratio": size.mlp_ratio,
        "layer_norm_eps": 1e-6,
        "qkv_bias": True,
        "hidden_act": "gelu",
        "in_chans": 3,
        "pred_hidden_size": predictor["predictor_norm.weight"].shape[0],
        "pred_num_hidden_layers": len(blocks),
        "pred_num_attention_heads": pretrain.predictor.num_heads,
        "pred_num_mask_tokens": sum(name.startswith("mask_tokens.") for name in predictor),
        "pred_mlp_ratio": 4.0,
    }
