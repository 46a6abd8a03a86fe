"""PaGE in training: towers for scene and head, and the decoder in which both attend to each other."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from gazetools.gazemodels.head_crops import relative
from gazetools.gazemodels.page.decoder import head_rects
from gazetools.gazemodels.page.model import PageModel
from gazetools.gazemodels.page.names import canonical_tensors
from gazetools.gazemodels.page.preprocess import head_input, pixel_box, scene_input
from gazetools.gazemodels.vit.blocks import VitBlock
from gazetools.gazemodels.vit.image import ImageTower
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
from gazetools.trainer.finetune.head_sample import HeadSample
from gazetools.trainer.finetune.lora import add_lora, merged_state
from gazetools.trainer.finetune.map_losses import GazeAnswer
from gazetools.trainer.finetune.rope_rescaling import stretched_towers

_CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class PageInputs:
    """Makes inputs of PaGE's networks."""

    in_size: tuple[int, int]
    head_in_size: tuple[int, int]
    grid_hw: tuple[int, int]

    def __call__(self, samples: Sequence[HeadSample]) -> NetworkInputs:
        """Pictures, head crops, and rectangles [N, 4] on the scene's grid. UsageError for a box without a pixel."""
        firsts, index = shared_pictures(samples)
        frames = [torch.from_numpy(np.ascontiguousarray(sample.picture))[None] for sample in firsts]
        crops, boxes = [], []
        for sample, number in zip(samples, index.tolist(), strict=True):
            width, height = sample.size_wh
            pixels = pixel_box(sample.box_shares, (height, width), where="head box")
            crops.append(head_input(frames[number], [pixels], self.head_in_size, _CPU))
            boxes.append(relative(pixels, (height, width)))
        return NetworkInputs(
            pictures=torch.cat([scene_input([frame], self.in_size, _CPU, "exact") for frame in frames]),
            picture_index=index,
            prompts=head_rects(boxes, self.grid_hw),
            heads=torch.cat(crops),
        )


class PageNetwork(GazeNetwork):
    """A PaGE. Its heatmap head is the two convolutions of the file again, which inference keeps as their product."""

    needs_boxes = True

    def __init__(self, model: PageModel, settings: FinetuneModel, heatmap_head: dict[str, torch.Tensor]) -> None:
        """`heatmap_head`: tensors `0.weight` [D, D, 2, 2], `0.bias` [D] and `1.weight` [1, D, 1, 1] of the file."""
        super().__init__()
        config = model.config
        if settings.inout_head != "kept" or settings.decoder != "kept":
            raise UsageError(
                f"{config.name} keeps its decoder and in/out head.", hint="Set model.decoder and inout_head to kept."
            )
        self.settings, self.config = settings, config
        self.name, self.in_size, self.out_size = config.name, model.in_size, config.out_size
        self.target_sigma = target_sigma(config.out_size)
        self.tower_scene: ImageTower = model.scene_tower
        self.tower_head: ImageTower = model.head_tower
        self.decoder = model.decoder
        del self.decoder.heatmap
        self.up_weight = nn.Parameter(heatmap_head["0.weight"].clone())
        self.up_bias = nn.Parameter(heatmap_head["0.bias"].clone())
        self.score_weight = nn.Parameter(heatmap_head["1.weight"].clone())
        self._add_drops()
        if settings.trains == "lora":
            for tower in self.towers():
                add_lora(tower.get_submodule("blocks"), settings.lora)
        self.rope_varies = stretched_towers(self.towers(), settings.rope_rescale, lambda: self.training)
        self.start_epoch(0)

    def _add_drops(self) -> None:
        settings = self.settings
        blocks = [block for block in self.decoder.modules() if isinstance(block, VitBlock)]
        branches: list[nn.Module] = [part for block in blocks for part in (block.attention, block.mlp)]
        self.path_drops = drop_paths(branches, settings.drop_path)
        if settings.inout_dropout and self.decoder.inout is not None:
            Dropping(settings.inout_dropout, "value").on_input(self.decoder.inout[2])
        if settings.feature_dropout:
            for projection in (self.decoder.scene_proj, self.decoder.head_proj):
                Dropping(settings.feature_dropout, "channel").on_input(projection)

    @property
    def has_inout(self) -> bool:
        """Whether the model scores in/out."""
        return self.decoder.inout is not None

    def towers(self) -> list[nn.Module]:
        """Those of scene and head."""
        return [self.tower_scene, self.tower_head]

    def preprocessing(self) -> PageInputs:
        """Pictures, head crops, and rectangles [N, 4] on the scene's grid."""
        return PageInputs(in_size=self.in_size, head_in_size=self.config.head_in_size, grid_hw=self.config.grid)

    def features(self, inputs: NetworkInputs) -> TowerFeatures:
        """Patch tokens [P, T, C] of pictures and [N, T', C] of heads."""
        assert inputs.heads is not None
        with nullcontext() if self.tower_learns else torch.no_grad():
            return TowerFeatures(pictures=self.tower_scene(inputs.pictures), heads=self.tower_head(inputs.heads))

    def answer(self, inputs: NetworkInputs, features: TowerFeatures, domain: Domain) -> GazeAnswer:
        """Maps [N, *out_size] and in/out [N]."""
        scene, head, _, _ = self.tokens(inputs, features)
        maps = self._heatmap_logits(scene)
        inout = self.decoder.inout_logits(scene, head)
        inout = None if inout is None else inout.float()
        if domain == "logits":
            return GazeAnswer(maps=maps, inout=inout)
        return GazeAnswer(maps=torch.sigmoid(maps), inout=None if inout is None else torch.sigmoid(inout))

    def tokens(
        self, inputs: NetworkInputs, features: TowerFeatures
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Scene and head tokens after the interaction [N, T, D], then patches after each projection [P or N, K, D]."""
        decoder, front = self.decoder, self.config.front
        assert features.heads is not None
        scenes = decoder.scene_tokens(features.pictures.float())
        heads = decoder.head_tokens(features.heads.float())
        scene, head = decoder.interact(
            decoder.scene_self(scenes)[inputs.picture_index], decoder.head_self(heads), inputs.prompts
        )
        return scene, head, scenes[:, front:], heads[:, front:]

    def _heatmap_logits(self, scene_ntd: torch.Tensor) -> torch.Tensor:
        """The transposed 2x2 convolution of stride 2 and the 1x1 convolution, then the resize, float32 [N, H, W]."""
        cells = scene_ntd[:, self.config.front :].float()
        pixels = torch.einsum("iokl,o->ikl", self.up_weight, self.score_weight.flatten()).flatten(1)
        values = (cells @ pixels + self.up_bias @ self.score_weight.flatten()).float()  # resized in float32 only
        maps = F.pixel_shuffle(values.transpose(1, 2).unflatten(2, self.config.grid), 2)
        if tuple(maps.shape[-2:]) != self.out_size:
            maps = F.interpolate(maps, self.out_size, mode="bilinear", align_corners=False, antialias=True)
        return maps[:, 0]

    def tensors(self) -> dict[str, torch.Tensor]:
        """All weights in the layout of the hub's files."""
        head = {"0.weight": self.up_weight, "0.bias": self.up_bias, "1.weight": self.score_weight}
        towers = {"scene": merged_state(self.tower_scene), "head": merged_state(self.tower_head)}
        return canonical_tensors(self.config, self.decoder.state_dict(), head, towers)

    def metadata(self) -> dict[str, str]:
        """The description that a file of these tensors carries."""
        return self.config.to_metadata()


def target_sigma(out_size: tuple[int, int]) -> int:
    """Standard deviation of a target in cells: 3 times round(size / 64), at least 3.

    OctopusWen/PaGE multiplies by round(size / 64), which is 0 for maps of 32 cells and fewer; there it stays 3.
    """
    return 3 * max(1, round(max(out_size) / 64))
