"""Gaze-LLE and gazelle-dinov3 in training: one tower, and the decoder that reads a head map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import nn

from gazetools.gazemodels.gazelle.decoder import Block, GazeDecoder, sincos_position_embedding
from gazetools.gazemodels.gazelle.model import GazelleModel, PictureBackbone
from gazetools.gazemodels.gazelle.preprocess import preprocess
from gazetools.gazemodels.gazelle.prompts import head_maps
from gazetools.gazemodels.gazelle.variants import PromptedConfig
from gazetools.schemas.errors import UsageError
from gazetools.schemas.finetune_model import FinetuneModel
from gazetools.trainer.finetune.dropping import Dropping, drop_paths
from gazetools.trainer.finetune.gaze_network import (
    Domain,
    GazeNetwork,
    NetworkInputs,
    TowerFeatures,
    shared_pictures,
)
from gazetools.trainer.finetune.head_sample import HeadSample, Pixels
from gazetools.trainer.finetune.lora import add_lora, merged_state
from gazetools.trainer.finetune.map_losses import GazeAnswer
from gazetools.trainer.finetune.rope_rescaling import stretched_towers

TowerTensors = Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]
"""From a tower's state dict to the tensors of a checkpoint, with their prefix."""


@dataclass(frozen=True, kw_only=True)
class PromptedInputs:
    """Makes inputs of networks that are prompted with head maps."""

    in_size: tuple[int, int]
    grid_hw: tuple[int, int]
    normalised: bool

    def __call__(self, samples: Sequence[HeadSample]) -> NetworkInputs:
        """Pictures, and head maps [N, rows, columns]."""
        firsts, index = shared_pictures(samples)
        pictures = [preprocess(_tensor(one.picture), self.in_size, normalised=self.normalised) for one in firsts]
        maps = head_maps([sample.box_shares for sample in samples], self.grid_hw)
        return NetworkInputs(pictures=torch.cat(pictures), picture_index=index, prompts=maps)


class PromptedNetwork(GazeNetwork):
    """A model whose scene tokens are prompted with a head map.

    `tower_tensors` gives the tower's part of a written file, which `metadata` describes.
    """

    def __init__(
        self,
        model: GazelleModel,
        settings: FinetuneModel,
        *,
        config: PromptedConfig,
        tower_tensors: TowerTensors,
        metadata: dict[str, str],
    ) -> None:
        super().__init__()
        self.settings, self.config = settings, config
        self.name, self.in_size, self.out_size = config.name, config.in_size, config.out_size
        self._tower_tensors, self._metadata = tower_tensors, metadata
        self.tower = model.backbone
        self.decoder = _decoder(model.decoder, config, settings)
        self.path_drops = drop_paths(_branches(self.decoder), settings.drop_path)
        self.inout_drop = Dropping(settings.inout_dropout, "value")
        if settings.inout_dropout and self.decoder.inout_head is not None and config.variant.inout_hidden is not None:
            self.inout_drop.on_input(self.decoder.inout_head.get_submodule("3"))
        if settings.trains == "lora":
            blocks = getattr(self.tower, "blocks", None)
            if not isinstance(blocks, nn.ModuleList):
                raise UsageError(
                    f"{self.name} has no transformer blocks that low-rank changes could be made to.",
                    hint="Set model.trains to decoder.",
                )
            add_lora(blocks, settings.lora)
        self.rope_varies = stretched_towers(self.towers(), settings.rope_rescale, lambda: self.training)
        self.start_epoch(0)

    @property
    def has_inout(self) -> bool:
        """Whether the model scores in/out."""
        return self.config.inout

    def towers(self) -> list[nn.Module]:
        """The one tower."""
        return [self.tower]

    def preprocessing(self) -> PromptedInputs:
        """Pictures, and head maps [N, rows, columns]."""
        return PromptedInputs(in_size=self.in_size, grid_hw=self.config.grid, normalised=self.config.normalised)

    def features(self, inputs: NetworkInputs) -> TowerFeatures:
        """[P, C, rows, columns]."""
        with nullcontext() if self.tower_learns else torch.no_grad():
            return TowerFeatures(pictures=cast(PictureBackbone, self.tower).features(inputs.pictures))

    def answer(self, inputs: NetworkInputs, features: TowerFeatures, domain: Domain) -> GazeAnswer:
        """Maps [N, *out_size] and in/out [N]."""
        decoder = self.decoder
        scene = decoder.scene_tokens(features.pictures.to(decoder.linear.weight.dtype))
        tokens = decoder.transformer(decoder.prompt(scene, inputs.picture_index, inputs.prompts)).float()
        inout = None
        if decoder.inout_head is not None:
            scores = decoder.inout_head.logits(tokens[:, 0]).float()
            inout = torch.sigmoid(scores) if domain == "probabilities" else scores
            tokens = tokens[:, 1:]
        # Antialiased resizing has no bfloat16 on CPUs, and losses are float32 in any case.
        maps = decoder.heatmap_head.logits(tokens, self.config.grid).float()
        return GazeAnswer(maps=decoder.resize(torch.sigmoid(maps) if domain == "probabilities" else maps), inout=inout)

    def tensors(self) -> dict[str, torch.Tensor]:
        """All weights, backbone included, by the names of the family's checkpoints."""
        return self._tower_tensors(merged_state(self.tower)) | self.decoder.state_dict()

    def metadata(self) -> dict[str, str]:
        """The description that a file of these tensors carries."""
        return dict(self._metadata)


def _decoder(loaded: GazeDecoder, config: PromptedConfig, settings: FinetuneModel) -> GazeDecoder:
    """The decoder that learns: loaded weights where they are kept, first weights of torch's layers elsewhere."""
    decoder = GazeDecoder(config)
    decoder.pos_embed.copy_(sincos_position_embedding(config.dim, config.grid))
    if settings.decoder == "kept":
        kept = loaded.state_dict()
        if settings.inout_head != "kept":
            kept = {key: value for key, value in kept.items() if "inout" not in key}
        decoder.load_state_dict({**decoder.state_dict(), **{k: v for k, v in kept.items() if k != "pos_embed"}})
        decoder.pos_embed.copy_(loaded.pos_embed)
    return decoder.float()


def _branches(decoder: GazeDecoder) -> list[nn.Module]:
    """Attention and MLP of each block, in the order in which they are computed."""
    blocks = [block for block in decoder.transformer if isinstance(block, Block)]
    return [branch for block in blocks for branch in (block.attn, block.mlp)]


def _tensor(picture: Pixels) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(picture))[None]
