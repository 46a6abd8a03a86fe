"""Anticipation: encoder tokens of the observed clip plus predicted tokens of the future, optionally with gaze."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gazetools.schemas.errors import UsageError
from gazetools.schemas.training import Compat
from gazetools.trainer.models.predictor import TargetTimes, VisionTransformerPredictorHeatmap


@dataclass(frozen=True, kw_only=True)
class Anticipation:
    """What probes read, and the predictor's whole output; W is the predictor's `output_width`."""

    tokens: Tensor
    """[B, N, D]: the encoder's (unless no_encoder), then those predicted in each step."""
    predicted: Tensor | None = None
    """[B, `predicted_count`, W] of all steps; None without a predictor."""
    context: Tensor | None = None
    """[B, Nx, W]: the first step's output at the observed tokens, where it was asked for and there is a head."""


class AnticipativeWrapperHeatmap(nn.Module):
    """Encoder and predictor as one model whose output an attentive probe reads.

    It computes what facebookresearch/vjepa2 evals/action_anticipation_frozen/modelcustom/
    vit_encoder_predictor_concat_ar.py does, with an optional heatmap. With `compat` other than `none` anticipation
    times are cut to whole tubelets, as there, so that near times give equal outputs; otherwise the rotary time of the
    targets is exact.

    Of an encoder and predictor with several levels (V-JEPA 2.1), the output has the last D channels. So it has of a
    predictor of one level whose output is wider than D, which is a slice of its teacher's channels, as upstream. What a
    further step reads are all channels with several levels, and the last D with one.

    Args:
        encoder: video [B, 3, T, H, W] -> tokens [B, N, `output_width`]; has `embed_dim` D.
        predictor: the predictor; None only with `no_predictor`.
        num_output_frames: frames predicted per step, at least one tubelet.
        num_steps: predictions in a row, each with the previous one as input; tokens and heatmap move on in the window
            while position ids stay, as upstream.
        no_encoder: leave the encoder's tokens out of the output.
        no_predictor: leave the predicted tokens out of the output.
    """

    def __init__(
        self,
        encoder: nn.Module,
        predictor: VisionTransformerPredictorHeatmap | None,
        *,
        frames_per_second: float,
        crop_size: int,
        patch_size: int = 16,
        tubelet_size: int = 2,
        no_predictor: bool = False,
        num_output_frames: int = 2,
        num_steps: int = 1,
        no_encoder: bool = False,
        compat: Compat = "none",
    ) -> None:
        super().__init__()
        if predictor is None and not no_predictor:
            raise ValueError("a predictor is needed unless no_predictor is set")
        self.encoder = encoder
        self.predictor = predictor
        self.embed_dim: int = encoder.embed_dim  # type: ignore[assignment]
        self.grid, self.patch_size = crop_size // patch_size, patch_size
        self.tubelet_size = tubelet_size
        self.frames_per_second = frames_per_second
        self.no_predictor = no_predictor
        self.no_encoder = no_encoder
        self.num_output_frames = max(num_output_frames, tubelet_size)
        self.num_steps = num_steps
        self.compat = compat

    @property
    def takes_heatmap(self) -> bool:
        """Whether forward can use a heatmap."""
        return not self.no_predictor and self.predictor is not None and self.predictor.heatmap_tokens is not None

    def forward(self, video: Tensor, anticipation_times: Tensor, heatmap: Tensor | None = None) -> Tensor:
        """Tokens [B, N, D]: the encoder's (unless no_encoder), then those predicted in each step.

        Args:
            video: [B, 3, T, H, W], normalised.
            anticipation_times: seconds [B] from the end of the clip to what is predicted.
            heatmap: [B, T, H, W] in 0..1, one map per frame of the video; None: as V-JEPA 2.
        """
        return self.anticipate(self.encode(video), anticipation_times, heatmap).tokens

    def encode(self, video: Tensor) -> Tensor:
        """Encoder tokens [B, N, output_width]; no graph is recorded where the encoder is frozen.

        Raises UsageError for a video whose grid is not the predictor's square one.
        """
        grid = tuple(side // self.patch_size for side in video.shape[-2:])
        if self.predictor is not None and not self.no_predictor and grid != (self.grid, self.grid):
            raise UsageError(
                f"The predictor counts positions on a grid of {self.grid}x{self.grid} patches, the video has "
                f"{grid[0]}x{grid[1]}: it would read them at wrong places.",
                hint="Give square clips of experiment.data.resolution pixels.",
            )
        frozen = not any(p.requires_grad for p in self.encoder.parameters())
        with torch.no_grad() if frozen else nullcontext():
            tokens: Tensor = self.encoder(video)
        return tokens.to(self.encode_dtype) if self.predictor is not None else tokens

    @property
    def encode_dtype(self) -> torch.dtype:
        """Dtype of encoded tokens: that of the predictor, since the encoder may have narrower weights."""
        if self.predictor is not None:
            return self.predictor.dtype
        return next(self.encoder.parameters()).dtype

    def anticipate(
        self,
        context: Tensor,
        anticipation_times: Tensor,
        heatmap: Tensor | None = None,
        *,
        with_context: bool = False,
    ) -> Anticipation:
        """Tokens as of `forward`, and the whole predictions, from the encoder's tokens `context` [B, N, output_width].

        Without a predictor the tokens are the encoder's as they are. `with_context` asks for the output at the observed
        tokens, too.
        """
        if self.no_predictor or self.predictor is None:
            return Anticipation(tokens=context)
        batch, count, _ = context.shape
        cells = self.grid * self.grid
        if count % cells:
            raise ValueError(f"{count} context tokens are not whole time steps of {cells} tokens")
        if heatmap is not None and -(-heatmap.shape[-3] // self.tubelet_size) != count // cells:
            raise ValueError(f"{heatmap.shape[-3]} heatmaps do not fit {count // cells} time steps of the video")
        whole_steps, fraction = self.anticipation_steps(anticipation_times)
        predicted_count = cells * (self.num_output_frames // self.tubelet_size)
        device = context.device
        masks_x = torch.arange(count, device=device).expand(batch, -1)
        # What is known on the host is computed there, and copied without waiting for what the device computes.
        last_whole_step = (count + predicted_count) // cells + int(whole_steps.max()) - 1
        last_step = last_whole_step + (0.0 if fraction is None else float(fraction.max()))
        first = (count + cells * whole_steps).to(device, non_blocking=True)
        offset = None if fraction is None else fraction.to(device, non_blocking=True)
        times = TargetTimes(offset=offset, last_step=last_step)
        masks_y = torch.arange(predicted_count, device=device) + first[:, None]
        outputs = [] if self.no_encoder else [context[..., -self.embed_dim :]]
        window, maps = context, heatmap
        predictions: list[Tensor] = []
        of_context: Tensor | None = None
        for step in range(self.num_steps):
            wanted = with_context and step == 0
            made = self.predictor.predict(window, masks_x, masks_y, maps, times=times, with_context=wanted)
            of_context = made.context if wanted else of_context
            predictions.append(made.targets)
            outputs.append(made.targets[..., -self.embed_dim :])
            fed_back = made.targets[..., -self.predictor.input_width :].to(window.dtype)
            window = torch.cat([window[:, predicted_count:], fed_back], dim=1)
            if maps is not None:
                shifted = maps[..., self.num_output_frames // self.tubelet_size * self.tubelet_size :, :, :]
                maps = shifted if shifted.shape[-3] else None
        return Anticipation(
            tokens=torch.cat(outputs, dim=1), predicted=torch.cat(predictions, dim=1), context=of_context
        )

    @property
    def predicted_count(self) -> int:
        """Number of tokens at the end of the output that are predictions."""
        if self.no_predictor:
            return 0
        return self.grid * self.grid * (self.num_output_frames // self.tubelet_size) * self.num_steps

    def anticipation_steps(self, anticipation_times: Tensor) -> tuple[Tensor, Tensor | None]:
        """Whole time steps int64 [B], and the fractions of a step float [B] (None with a `compat`)."""
        steps = anticipation_times * self.frames_per_second / self.tubelet_size
        if self.compat != "none":
            return steps.to(torch.int64), None
        whole = torch.floor(steps)
        return whole.to(torch.int64), (steps - whole).float()
