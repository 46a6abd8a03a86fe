"""Check weights strictly against a model's key names and shapes; one error lists everything that differs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from gazetools.gazemodels.families import other_family
from gazetools.gazemodels.gazelle.backbone import hub_shapes, transformers_key_table
from gazetools.gazemodels.gazelle.checkpoints import WeightFile, shorten
from gazetools.gazemodels.gazelle.config import DINOV2_BACKBONES, RELEASED_MODELS, BackboneConfig, GazelleConfig
from gazetools.gazemodels.gazelle.decoder import decoder_shapes, sincos_position_embedding
from gazetools.schemas.errors import CheckpointError

BACKBONE_PREFIX = "backbone.model."
"""Prefix of the hub's key names in a checkpoint that contains the backbone."""


def decoder_and_backbone(
    config: GazelleConfig, checkpoint: WeightFile, backbone: WeightFile | None, *, other_grid_allowed: bool = False
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Checked float32 tensors of the decoder (names of its checkpoints) and of the backbone (names of the hub).

    `backbone` holds DINOv2 weights under the hub's or transformers' names; None where the checkpoint has them
    (`backbone.model.*`). Where both have a backbone they must be equal. With `other_grid_allowed` the decoder's
    position embedding may be that of another input size: it is compared with the formula there and computed anew.

    Raises CheckpointError that lists every missing, unexpected, mis-shaped and non-finite tensor of both files.
    """
    if other := other_family(checkpoint.tensors, "Gaze-LLE"):
        raise CheckpointError(f"{checkpoint.path} {other[0]}.", hint=other[1], path=str(checkpoint.path))
    decoder, inside = {}, {}
    for key, tensor in checkpoint.tensors.items():
        if key.startswith(BACKBONE_PREFIX):
            inside[key.removeprefix(BACKBONE_PREFIX)] = tensor
        else:
            decoder[key] = tensor
    if not inside and backbone is None:
        raise CheckpointError(
            f"{checkpoint.path} has no backbone weights ({BACKBONE_PREFIX}*) and none are given.",
            hint=f"Add the weights of {config.backbone.name} with --backbone FILE (backbone=...).",
            path=str(checkpoint.path),
        )
    expected = decoder_shapes(config)
    own_grid = _grid_of(decoder.get("pos_embed"), config)
    if other_grid_allowed and own_grid is not None:
        expected["pos_embed"] = (config.dim, *own_grid)
    problems = WeightProblems()
    problems.compare(decoder, expected)
    if inside:
        problems.compare(inside, hub_shapes(config.backbone), prefix=BACKBONE_PREFIX)
    hub = _hub_names(backbone, config.backbone, problems) if backbone is not None else inside
    problems.raise_if_any(config, checkpoint, backbone)
    if backbone is not None:
        different = [key for key, value in inside.items() if key in hub and not torch.equal(value, hub[key])]
        if different:
            raise CheckpointError(
                f"{checkpoint.path} has a backbone of its own that differs from {backbone.path} in {len(different)} "
                f"tensors: {shorten(different)}.",
                hint="Leave out --backbone to use the checkpoint's own, or give a checkpoint of the decoder alone.",
            )
    if own_grid != config.grid:
        decoder["pos_embed"] = _other_position_embedding(decoder["pos_embed"], config, checkpoint.path)
    hub.pop("mask_token", None)  # used in pre-training only
    return {k: v.float() for k, v in decoder.items()}, {k: v.float() for k, v in hub.items()}


class WeightProblems:
    """What is wrong with the tensors of one or two files, collected for a single error."""

    def __init__(self) -> None:
        names = ("missing", "unexpected", "mis-shaped", "with NaN or infinity")
        self._keys: dict[str, list[str]] = {name: [] for name in names}

    def compare(
        self, found: Mapping[str, torch.Tensor], expected: Mapping[str, tuple[int, ...]], *, prefix: str = ""
    ) -> None:
        """Collect what differs between `found` and `expected`, whose mask token may be missing."""
        missing, unexpected, misshapen, not_finite = self._keys.values()
        unexpected += [f"{prefix}{key}" for key in found if key not in expected]
        for key, shape in expected.items():
            if (tensor := found.get(key)) is None:
                if not key.endswith("mask_token"):
                    missing.append(f"{prefix}{key}")
            elif tuple(tensor.shape) != shape:
                misshapen.append(f"{prefix}{key} is {list(tensor.shape)}, not {list(shape)}")
            elif not tensor.is_floating_point():
                misshapen.append(f"{prefix}{key} is {str(tensor.dtype).removeprefix('torch.')}, not floating")
            elif not bool(torch.isfinite(tensor).all()):
                not_finite.append(f"{prefix}{key}")

    def found(self) -> dict[str, list[str]]:
        """The first thousand keys of each kind of problem that there is, by a word for it."""
        return {name.replace("-", "_").split()[0]: keys[:1000] for name, keys in self._keys.items() if keys}

    def in_words(self) -> str:
        """Number and first keys of each kind of problem."""
        return "; ".join(f"{len(keys)} {name}: {shorten(keys)}" for name, keys in self._keys.items() if keys)

    def raise_if_any(self, config: GazelleConfig, checkpoint: WeightFile, backbone: WeightFile | None) -> None:
        """CheckpointError that names the files and every problem, if there is one."""
        if not self.found():
            return
        files = [file for file in (checkpoint, backbone) if file is not None]
        given = " and ".join(f"{file.path} ({describe_tensors(file.tensors)})" for file in files)
        raise CheckpointError(
            f"The weights do not fit {config.name} on {config.backbone.name}, input {config.in_size}. "
            f"Given: {given}. Tensors {self.in_words()}.",
            hint="Name the model that the files belong to, or give the files of this model.",
            **self.found(),
        )


def describe_tensors(tensors: Mapping[str, torch.Tensor]) -> str:
    """A few words that say what a state dict is, from its names and shapes."""
    shapes = {key: tuple(value.shape) for key, value in tensors.items()}
    decoder = {key: shape for key, shape in shapes.items() if not key.startswith("backbone.")}
    for name, released in RELEASED_MODELS.items():
        if decoder == decoder_shapes(released):
            return f"decoder of {name}" + (" with a backbone" if len(decoder) < len(shapes) else "")
    if any(key.startswith(("scene_branch_backbone.", "head_branch_backbone.")) for key in shapes):
        return "weights of PaGE, for --model page_vits and its like or the path itself"
    if "heatmap_head.0.weight" in shapes:
        width = shapes.get("linear.weight", (0, "?"))[1]
        inout = "with" if "inout_token.weight" in shapes else "without"
        return f"a Gaze-LLE decoder for {width} backbone channels, {inout} in/out"
    patch = shapes.get("patch_embed.proj.weight") or shapes.get("embeddings.patch_embeddings.projection.weight")
    if patch:
        layers = {
            key.split("layer." if "layer." in key else "blocks.")[-1].split(".")[0] for key in shapes if "mlp" in key
        }
        layout = "hub" if "patch_embed.proj.weight" in shapes else "transformers"
        known = [f", as {n}" for n, c in DINOV2_BACKBONES.items() if (c.embed_dim, c.depth) == (patch[0], len(layers))]
        return f"a ViT in {layout} layout, {patch[0]} channels, {len(layers)} layers{''.join(known)}"
    return f"{len(shapes)} tensors of no known model"


def _hub_names(file: WeightFile, config: BackboneConfig, problems: WeightProblems) -> dict[str, torch.Tensor]:
    """Backbone tensors under the hub's names; differences go to `problems` under the file's own names."""
    shapes = hub_shapes(config)
    if not any(key.startswith(("embeddings.", "encoder.layer.")) for key in file.tensors):
        problems.compare(file.tensors, shapes)
        return dict(file.tensors)
    nested = any(".attention.attention." in key for key in file.tensors)
    table = transformers_key_table(config, nested_attention=nested)

    def shape_of(hub_key: str, third: int | None) -> tuple[int, ...]:
        first, *rest = shapes[hub_key]
        return (first if third is None else first // 3, *rest)

    problems.compare(file.tensors, {key: shape_of(*source) for key, source in table.items()})
    parts: dict[str, list[torch.Tensor]] = {}
    for key, (hub_key, _) in table.items():
        if key in file.tensors:
            parts.setdefault(hub_key, []).append(file.tensors[key])
    try:
        return {key: values[0] if len(values) == 1 else torch.cat(values) for key, values in parts.items()}
    except RuntimeError:  # mis-shaped parts, which are in `problems`
        return {}


def _grid_of(pos_embed: torch.Tensor | None, config: GazelleConfig) -> tuple[int, int] | None:
    if pos_embed is None or pos_embed.ndim != 3 or pos_embed.shape[0] != config.dim:
        return None
    return int(pos_embed.shape[1]), int(pos_embed.shape[2])


def _other_position_embedding(stored: torch.Tensor, config: GazelleConfig, path: Path) -> torch.Tensor:
    grid = (int(stored.shape[1]), int(stored.shape[2]))
    tolerance = max(1e-4, 2 * torch.finfo(stored.dtype).eps)
    distance = (stored.float() - sincos_position_embedding(config.dim, grid)).abs().max().item()
    if distance > tolerance:
        raise CheckpointError(
            f"{path}: pos_embed of the {grid[0]}x{grid[1]} grid is {distance:.3g} away from the sine-cosine formula; "
            f"it cannot be computed for the {config.grid[0]}x{config.grid[1]} grid of in_size {config.in_size}.",
            hint="Leave in_size out to use the checkpoint's own input size.",
            path=str(path),
        )
    return sincos_position_embedding(config.dim, config.grid)
