"""The V-JEPA 2.1 predictor: modality embeddings, one or four levels, and a head for context tokens."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gazetools.schemas.errors import UsageError
from gazetools.trainer.models.encoder21 import LEVELS, interpolation_factor
from gazetools.trainer.models.predictor import VisionTransformerPredictorHeatmap

_MODALITY_STD = 1e-6


class VisionTransformerPredictorHeatmap21(VisionTransformerPredictorHeatmap):
    """Predicts the tokens of one level, or of four levels side by side along the channels.

    Without a heatmap it computes what V-JEPA 2.1's predictor does (facebookresearch/vjepa2 204698b,
    app/vjepa_2_1/models/predictor.py). Heatmap tokens get no modality embedding: they have one of their own.

    Args:
        levels: 1 or 4: levels of the encoder that the predictor reads and predicts (`n_output_distillation`).
        teacher_embed_dim: channels of the predicted tokens in all; None: those that are read.
        return_all_tokens: whether there is a head for context tokens.
        modality_embedding: whether a learned vector is added to context and mask tokens, one for videos and one for
            images.
        interpolate_rope: as for VideoEncoder21, for the predictor's own square grid.
        settings: the other arguments, as for VisionTransformerPredictorHeatmap.
    """

    interleaved = True

    def __init__(
        self,
        *,
        embed_dim: int = 1024,
        predictor_embed_dim: int = 384,
        levels: int = LEVELS,
        teacher_embed_dim: int | None = None,
        return_all_tokens: bool = False,
        modality_embedding: bool = True,
        interpolate_rope: bool = False,
        **settings: Any,
    ) -> None:
        if levels not in (1, LEVELS):
            raise UsageError(f"n_output_distillation is 1 or {LEVELS} levels, got {levels}.")
        self._levels = levels
        self._output_width = teacher_embed_dim or levels * embed_dim
        super().__init__(embed_dim=embed_dim, predictor_embed_dim=predictor_embed_dim, **settings)
        self._scale = interpolation_factor(self.grid, self.patch_size) if interpolate_rope else 1.0
        width = predictor_embed_dim
        self.video_mod_embed: nn.Parameter | None = None
        self.img_mod_embed: nn.Parameter | None = None
        if modality_embedding:
            self.video_mod_embed = nn.Parameter(torch.empty(1, 1, width).normal_(std=_MODALITY_STD))
            self.img_mod_embed = nn.Parameter(torch.empty(1, 1, width).normal_(std=_MODALITY_STD))
        self.predictor_proj_context: nn.Linear | None = None
        if return_all_tokens:
            self.predictor_proj_context = nn.Linear(width, self.output_width)
            nn.init.trunc_normal_(self.predictor_proj_context.weight, std=0.02)
            nn.init.zeros_(self.predictor_proj_context.bias)

    @property
    def input_width(self) -> int:
        """Channels of the context tokens: those of all levels."""
        return self._levels * self.embed_dim

    @property
    def output_width(self) -> int:
        """Channels of the predicted tokens."""
        return self._output_width

    @property
    def position_scale(self) -> float:
        """What rows and columns are multiplied by, those of heatmap tokens included."""
        return self._scale

    def _make_embed(self, width: int) -> nn.Module:
        if self._levels == 1:
            return nn.Linear(self.embed_dim, width)
        return nn.Sequential(nn.Linear(self.input_width, self.embed_dim), nn.GELU(), nn.Linear(self.embed_dim, width))

    def _modality(self, *, image: bool) -> Tensor | None:
        return self.img_mod_embed if image else self.video_mod_embed

    def _context_output(self, tokens: Tensor) -> Tensor | None:
        return None if self.predictor_proj_context is None else self.predictor_proj_context(tokens)
