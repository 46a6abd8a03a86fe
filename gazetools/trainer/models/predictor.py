"""The V-JEPA 2 predictor, with gaze heatmaps in addition to its video tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gazetools.schemas.errors import UsageError
from gazetools.schemas.training_model import Fusion, HeatmapPositions, Temporal
from gazetools.trainer.models.blocks import NORM_EPS, VideoBlocks, init_like_upstream
from gazetools.trainer.models.fusion import FUSIONS, HeatmapFusion, HeatmapInput, check_fusion, reads_scene_tokens
from gazetools.trainer.models.heatmap_tokens import HeatmapTokens
from gazetools.trainer.models.scene_tokens import SceneTokens

NUM_FRAMES_KEY = "model_kwargs.pretrain_kwargs.predictor.num_frames"


@dataclass(frozen=True, kw_only=True)
class TargetTimes:
    """Where in time the targets of a prediction lie, next to their position ids."""

    offset: Tensor | None = None
    """Fractions of a time step [B] added to the targets' times; None: whole steps."""
    last_step: float | None = None
    """The last time step of all targets, where it is known on the host; None: read from them, waiting for a GPU."""


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """Output of a predictor; W is its `output_width`."""

    targets: Tensor
    """[B, Ny, W] in the order of `masks_y`."""
    context: Tensor | None
    """[B, Nx, W] in the order of `masks_x`; None where the predictor has no head for them, or they are not wanted."""


class VisionTransformerPredictorHeatmap(nn.Module):
    """Predicts video tokens at target positions from context tokens and, optionally, gaze heatmaps.

    Without a heatmap it computes exactly what V-JEPA 2's predictor does (facebookresearch/vjepa2
    src/models/predictor.py). With one, `fusion` names a class of gazetools.trainer.models.fusion.FUSIONS; all but
    `interleave` equal V-JEPA 2 before the first step.

    Args:
        img_size: side of the square crop in pixels (or a pair of equal sides).
        num_frames: frames for which positions exist; targets after them raise UsageError.
        num_mask_tokens: learned target tokens; `mask_index` (modulo their number) is the default one.
        use_heatmap: whether the predictor has heatmap tokens.
        heatmap_resolution: side of the heatmap in pixels; None: that of the image.
        heatmap_patch_size: pixels per heatmap token; None: `patch_size`.
        multiscale: patch sizes of several grids, instead of `heatmap_patch_size`.
        temporal: as for HeatmapTokens.
        heatmap_positions: as for HeatmapTokens.
        scene_tokens: cells per side and channels of a gaze model's tokens, for a fusion that reads them.
    """

    interleaved: ClassVar[bool] = False
    """Rotary positions as version 2.1 has them; see `video_rotation`."""

    def __init__(
        self,
        *,
        img_size: int | tuple[int, int] | list[int],
        patch_size: int = 16,
        num_frames: int = 64,
        tubelet_size: int = 2,
        embed_dim: int = 1024,
        predictor_embed_dim: int = 384,
        depth: int = 12,
        num_heads: int = 12,
        num_mask_tokens: int = 10,
        zero_init_mask_tokens: bool = True,
        mask_index: int = 1,
        use_sdpa: bool = True,
        use_activation_checkpointing: bool = False,
        use_heatmap: bool = False,
        heatmap_resolution: int | None = None,
        heatmap_patch_size: int | None = None,
        fusion: Fusion = "interleave",
        multiscale: Sequence[int] | None = None,
        temporal: Temporal = "tubelet",
        heatmap_positions: HeatmapPositions = "shared",
        scene_tokens: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        side = _square_side(img_size, patch_size)
        self.embed_dim, self.mask_index, width = embed_dim, mask_index, predictor_embed_dim
        self.tubelet_size, self.patch_size = tubelet_size, patch_size
        self.grid, self.steps = side // patch_size, num_frames // tubelet_size
        self.predictor_embed = self._make_embed(width)
        self.mask_tokens = nn.ParameterList(torch.zeros(1, 1, width) for _ in range(num_mask_tokens))
        self.predictor_blocks = VideoBlocks(
            width=width, depth=depth, num_heads=num_heads, sdpa=use_sdpa, checkpointing=use_activation_checkpointing,
            interleaved=self.interleaved,
        )  # fmt: skip
        self.predictor_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.predictor_proj = nn.Linear(width, self.output_width)
        self.fusion: Fusion = fusion if use_heatmap else "none"
        check_fusion(self.fusion, temporal=temporal, heatmap_positions=heatmap_positions)
        self.heatmap_tokens: HeatmapTokens | SceneTokens | None = None
        self.heatmap_fusion: HeatmapFusion | None = None
        if reads_scene_tokens(self.fusion):
            assert scene_tokens is not None, "the plan of the arms has settled their size"
            self.heatmap_tokens = SceneTokens(dim=width, size=scene_tokens, tubelet_size=tubelet_size)
        elif self.fusion != "none":
            self.heatmap_tokens = HeatmapTokens(
                dim=width, resolution=heatmap_resolution or side, tubelet_size=tubelet_size, temporal=temporal,
                patch_sizes=multiscale or [heatmap_patch_size or patch_size], positions=heatmap_positions,
            )  # fmt: skip
        if self.fusion != "none":
            self.heatmap_fusion = FUSIONS[fusion](width=width, num_heads=num_heads, depth=depth)
        init_like_upstream(self, self.predictor_blocks)
        if self.heatmap_fusion is not None:
            self.heatmap_fusion.reset()
        if not zero_init_mask_tokens:
            for token in self.mask_tokens:
                nn.init.trunc_normal_(token, std=0.02)

    @property
    def input_width(self) -> int:
        """Channels of the context tokens."""
        return self.embed_dim

    @property
    def output_width(self) -> int:
        """Channels of the predicted tokens."""
        return self.embed_dim

    @property
    def position_scale(self) -> float:
        """What rows and columns are multiplied by."""
        return 1.0

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the weights."""
        return self.predictor_norm.weight.dtype

    def _make_embed(self, width: int) -> nn.Module:
        """The layer from context tokens to the width of the blocks."""
        return nn.Linear(self.embed_dim, width)

    def _modality(self, *, image: bool) -> Tensor | None:
        """What is added to all tokens of the video, [1, 1, width]; None: nothing."""
        return None

    def _context_output(self, tokens: Tensor) -> Tensor | None:
        """The head of context tokens [B, Nx, width]."""
        return None

    def forward(
        self,
        x: Tensor,
        masks_x: Tensor,
        masks_y: Tensor,
        heatmap: Tensor | None = None,
        *,
        mask_index: int | None = None,
        target_time_offset: Tensor | None = None,
        reach: float | None = None,
    ) -> Tensor:
        """The predicted tokens [B, Ny, output_width] at `masks_y`, in its order; arguments as for `predict`."""
        times = TargetTimes(offset=target_time_offset, last_step=reach)
        return self.predict(x, masks_x, masks_y, heatmap, mask_index=mask_index, times=times).targets

    def predict(
        self,
        x: Tensor,
        masks_x: Tensor,
        masks_y: Tensor,
        heatmap: Tensor | None = None,
        *,
        mask_index: int | None = None,
        times: TargetTimes = TargetTimes(),
        image: bool = False,
        with_context: bool = False,
    ) -> Predicted:
        """Tokens at `masks_y` and, where they are wanted and the predictor has a head for them, the context's own.

        Args:
            x: context tokens [B, Nx, input_width].
            masks_x: their position ids t * grid^2 + row * grid + column, int64 [B, Nx].
            masks_y: position ids to predict, int64 [B, Ny].
            heatmap: [B, T, H, W] in 0..1 of the context's frames, the first at time step 0; None: V-JEPA 2 itself. For
                `fusion: gaze_tokens` scene tokens as `SceneTokens` receives them.
            mask_index: which mask token, modulo their number; None: the one given at construction.
            times: fractions of a time step, and the last step where it is known.
            image: whether the context is a single image, which has a modality embedding of its own in version 2.1.
            with_context: whether to compute the output at `masks_x`.

        Raises UsageError where a target lies beyond `num_frames`, or a heatmap is given to a predictor without one.
        """
        self._check_reach(_last_step(masks_y, times, self.grid))
        context_count = masks_x.shape[1]
        token = self.mask_tokens[(self.mask_index if mask_index is None else mask_index) % len(self.mask_tokens)]
        embedded = self.predictor_embed(x)
        targets = token.to(embedded.dtype).expand(len(x), masks_y.shape[1], -1)
        positions_y = self._positions(masks_y)
        if times.offset is not None:
            positions_y[..., 0] += times.offset.to(positions_y)[:, None]
        maps, fusion = self._maps(heatmap, masks_x), self.heatmap_fusion
        if maps is not None and fusion is not None:
            embedded = fusion.change_context(embedded, maps)
        if (modality := self._modality(image=image)) is not None:
            embedded, targets = (part + modality.to(part.dtype) for part in (embedded, targets))
        tokens, positions, step_keys = [embedded, targets], [self._positions(masks_x), positions_y], [masks_x, masks_y]
        if maps is not None and fusion is not None and (extra := fusion.extra_tokens(maps)) is not None:
            heat, heat_positions, heat_steps = extra
            tokens.append(heat.to(embedded.dtype))
            positions.append(heat_positions.expand(len(x), -1, -1))
            # A key just below the step's first video token keeps a step's heatmap tokens in order before it.
            fraction = torch.arange(heat.shape[1], device=x.device) / (heat.shape[1] + 1) - 1
            step_keys.append((heat_steps.double() * self.grid**2 + fraction).expand(len(x), -1))
        order = torch.argsort(torch.cat([key.double() for key in step_keys], dim=1), dim=1, stable=True)
        sequence = _take(torch.cat(tokens, dim=1), order)
        places = _take(torch.cat(positions, dim=1), order)
        steering = {} if maps is None or fusion is None else fusion.block_arguments(maps, order, places)
        sequence = self.predictor_blocks.run(sequence, places, **steering)
        # Heatmap tokens are behind context and targets in this order, so that neither head sees them.
        sequence = _take(self.predictor_norm(sequence), torch.argsort(order, dim=1))
        return Predicted(
            targets=self.predictor_proj(sequence[:, context_count : context_count + masks_y.shape[1]]),
            context=self._context_output(sequence[:, :context_count]) if with_context else None,
        )

    def _positions(self, ids: Tensor) -> Tensor:
        cells = self.grid * self.grid
        places = torch.stack([ids // cells, ids % cells // self.grid, ids % self.grid], dim=-1).float()
        if self.position_scale != 1.0:
            places[..., 1:] *= self.position_scale
        return places

    def _maps(self, heatmap: Tensor | None, masks_x: Tensor) -> HeatmapInput | None:
        if heatmap is None:
            return None
        if self.heatmap_tokens is None:
            raise UsageError(
                "A heatmap was given to a predictor without heatmap tokens.",
                hint="Set model_kwargs.pretrain_kwargs.predictor.fusion=interleave and use_heatmap=true.",
            )
        return HeatmapInput(
            grids=self.heatmap_tokens(heatmap),
            video_grid=self.grid,
            own_positions=self.heatmap_tokens.own_positions,
            video_ids=masks_x,
            position_scale=self.position_scale,
            interleaved=self.interleaved,
        )

    def _check_reach(self, last_step: float) -> None:
        if last_step > self.steps - 1:
            raise UsageError(
                f"The prediction reaches time step {last_step:g}, but the predictor's {self.steps} steps end at "
                f"{self.steps - 1}.",
                hint=f"Raise {NUM_FRAMES_KEY}, or shorten the anticipation time.",
            )


def _square_side(img_size: int | Sequence[int], patch_size: int) -> int:
    height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
    if height != width or height % patch_size:
        raise UsageError(
            f"The predictor needs a square crop, a multiple of patch_size {patch_size}, got {height}x{width}.",
            hint="Change experiment.data.resolution or model_kwargs.pretrain_kwargs.encoder.patch_size.",
        )
    return height


def _last_step(masks_y: Tensor, times: TargetTimes, grid: int) -> float:
    """The last time step of position ids, with the largest fraction of a step that is added."""
    if times.last_step is not None:
        return times.last_step
    return int(masks_y.max()) // (grid * grid) + (float(times.offset.max()) if times.offset is not None else 0.0)


def _take(values_bnd: Tensor, order_bn: Tensor) -> Tensor:
    return torch.gather(values_bnd, 1, order_bn.unsqueeze(-1).expand(-1, -1, values_bnd.shape[-1]))


def vit_heatmap_predictor(**kwargs: Any) -> VisionTransformerPredictorHeatmap:
    """The predictor with heatmap tokens by the name that configs use; arguments as for the class."""
    return VisionTransformerPredictorHeatmap(**{"use_heatmap": True, **kwargs})
