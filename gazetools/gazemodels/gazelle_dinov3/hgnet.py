"""HGNetV2: a stem and stages of blocks that join the results of all their convolutions; for inference.

Written after the public descriptions (PaddleDetection's PP-HGNetV2, DEIMv2's atto to n), with the parameter names of
gazelle-dinov3's checkpoints.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from gazetools.gazemodels.gazelle_dinov3.variants_dinov3 import HgnetShape, HgnetStage


class LearnedAffine(nn.Module):
    """One learned factor and one learned offset for all channels."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.bias = nn.Parameter(torch.ones(1)), nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same."""
        return x * self.scale + self.bias


class ConvUnit(nn.Module):
    """Convolution, BatchNorm and, where `active`, ReLU and a learned affine map."""

    bn: nn.Module

    def __init__(
        self, inner: int, out: int, kernel: int, *, stride: int = 1, depthwise: bool = False, active: bool = True
    ) -> None:
        super().__init__()
        # The stem's 2x2 convolutions are padded by their caller, at the right and the bottom.
        padding, groups = (kernel - 1) // 2, out if depthwise else 1
        self.conv = nn.Conv2d(inner, out, kernel, stride, padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(out)
        self.lab = LearnedAffine() if active else None

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C', H / stride, W / stride]."""
        x = self.bn(self.conv(x))
        return x if self.lab is None else self.lab(F.relu(x))

    def fold(self) -> None:
        """Put the BatchNorm's statistics and weights into the convolution: half the passes over the features."""
        if isinstance(self.bn, nn.BatchNorm2d):
            self.conv, self.bn = fuse_conv_bn_eval(self.conv, self.bn), nn.Identity()


class LightUnit(nn.Module):
    """A pointwise convolution without activation, then a depthwise one with it."""

    def __init__(self, inner: int, out: int, kernel: int) -> None:
        super().__init__()
        self.conv1 = ConvUnit(inner, out, 1, active=False)
        self.conv2 = ConvUnit(out, out, kernel, depthwise=True)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C', H, W]."""
        out: Tensor = self.conv2(self.conv1(x))
        return out


class HgnetStem(nn.Module):
    """The picture at a quarter of its size: a path of two small convolutions joined with a pooled one."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem1 = ConvUnit(3, width, 3, stride=2)
        self.stem2a = ConvUnit(width, width // 2, 2)
        self.stem2b = ConvUnit(width // 2, width, 2)
        self.stem3 = ConvUnit(2 * width, width, 3, stride=2)
        self.stem4 = ConvUnit(width, width, 1)

    def forward(self, images_bchw: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, width, H / 4, W / 4]."""
        padded = _pad_right_and_bottom(self.stem1(images_bchw))
        path = self.stem2b(_pad_right_and_bottom(self.stem2a(padded)))
        pooled = F.max_pool2d(padded, kernel_size=2, stride=1)
        out: Tensor = self.stem4(self.stem3(torch.cat((pooled, path), dim=1)))
        return out


def _pad_right_and_bottom(x: Tensor) -> Tensor:
    return F.pad(x, (0, 1, 0, 1))


class HgnetBlock(nn.Module):
    """Convolutions one after the other; the input and all their results are joined and mixed to `out` channels."""

    def __init__(self, inner: int, stage: HgnetStage, layers: int, *, residual: bool) -> None:
        super().__init__()
        unit = LightUnit if stage.light else ConvUnit
        widths = [inner, *[stage.inner] * layers]
        self.layers = nn.ModuleList(unit(width, stage.inner, stage.kernel) for width in widths[:-1])
        self.aggregation = nn.Sequential(
            ConvUnit(sum(widths), stage.out // 2, 1), ConvUnit(stage.out // 2, stage.out, 1)
        )
        self._residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C', H, W]."""
        results = [x]
        for layer in self.layers:
            results.append(layer(results[-1]))
        out: Tensor = self.aggregation(torch.cat(results, dim=1))
        return out + x if self._residual else out


class HgnetStageModule(nn.Module):
    """One stage; all but the first halve the picture by a depthwise convolution without activation."""

    def __init__(self, inner: int, stage: HgnetStage, layers: int, *, halve: bool) -> None:
        super().__init__()
        self.downsample = ConvUnit(inner, inner, 3, stride=2, depthwise=True, active=False) if halve else nn.Identity()
        self.blocks = nn.Sequential(
            *(
                HgnetBlock(stage.out if number else inner, stage, layers, residual=number > 0)
                for number in range(stage.blocks)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C', H', W']."""
        out: Tensor = self.blocks(self.downsample(x))
        return out


class Hgnet(nn.Module):
    """The backbone; a fourth stage, which size `n` stores, has no part in the features."""

    def __init__(self, shape: HgnetShape) -> None:
        super().__init__()
        self.stem = HgnetStem(shape.stem)
        widths = [shape.stem, *(stage.out for stage in shape.stages)]
        self.stages = nn.ModuleList(
            HgnetStageModule(width, stage, shape.layers_per_block, halve=number > 0)
            for number, (width, stage) in enumerate(zip(widths, shape.stages, strict=False))
        )

    def features(self, images_bchw: Tensor) -> Tensor:
        """Features of the third stage, [B, C, H / 16, W / 16], of RGB pictures in 0..1."""
        x = self.stem(images_bchw)
        for stage in self.stages[:3]:
            x = stage(x)
        return x

    def for_inference(self) -> Hgnet:
        """Fold every BatchNorm and drop the unused fourth stage; the numbers change by float32 rounding only."""
        self.stages = self.stages[:3]
        for module in self.eval().modules():
            if isinstance(module, ConvUnit):
                module.fold()
        return self.requires_grad_(False)
