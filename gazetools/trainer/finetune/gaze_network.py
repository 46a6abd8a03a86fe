"""What training asks of a gaze model of any family."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import nn

from gazetools.io.atomic import atomic_path
from gazetools.schemas.finetune_model import FinetuneModel
from gazetools.trainer.finetune.head_sample import HeadSample
from gazetools.trainer.finetune.map_losses import GazeAnswer
from gazetools.trainer.finetune.unfreezing import unfreeze

Domain = Literal["probabilities", "logits"]
"""What a network returns: values after or before the sigmoid."""


@dataclass(frozen=True, kw_only=True)
class NetworkInputs:
    """N heads in P pictures, as tensors on one device; a picture that several heads share is there once."""

    pictures: torch.Tensor
    """Preprocessed, float32 [P, 3, H, W]."""
    picture_index: torch.Tensor
    """int64 [N]: the picture of each head."""
    prompts: torch.Tensor
    """float32 [N, ...]: where the head is, in the form of the family."""
    heads: torch.Tensor | None = None
    """Preprocessed crops of the heads, float32 [N, 3, h, w]; None for families without."""

    def to(self, device: torch.device) -> NetworkInputs:
        """The same on another device."""
        return NetworkInputs(
            pictures=self.pictures.to(device, non_blocking=True),
            picture_index=self.picture_index.to(device, non_blocking=True),
            prompts=self.prompts.to(device, non_blocking=True),
            heads=None if self.heads is None else self.heads.to(device, non_blocking=True),
        )


@dataclass(frozen=True, kw_only=True)
class TowerFeatures:
    """What the towers make of inputs; of frozen towers it can be kept."""

    pictures: torch.Tensor
    """[P, ...] of the family."""
    heads: torch.Tensor | None = None
    """[N, ...]; None for families without head crops."""


class MakesInputs(Protocol):
    """Makes the inputs of a family's networks; can be sent to another process."""

    def __call__(self, samples: Sequence[HeadSample]) -> NetworkInputs: ...


class GazeNetwork(nn.Module, ABC):
    """A gaze model in training: towers, and a decoder that always learns.

    Parameters of towers have names that begin with `tower`. `train()` leaves frozen towers as they are in inference.
    """

    name: str
    in_size: tuple[int, int]
    out_size: tuple[int, int]
    """(height, width) of a heatmap."""
    target_sigma: int = 3
    """Standard deviation of a target's blob, in cells."""
    needs_boxes: bool = False
    """Whether a head box must have pixels."""
    rope_varies: bool = False
    """Whether the towers' positions are stretched at random in training."""
    settings: FinetuneModel

    @property
    @abstractmethod
    def has_inout(self) -> bool:
        """Whether the model scores in/out."""

    @abstractmethod
    def towers(self) -> list[nn.Module]:
        """The towers, of which images become features."""

    @abstractmethod
    def preprocessing(self) -> MakesInputs:
        """What makes inputs, for another process: it has no weights."""

    def inputs(self, samples: Sequence[HeadSample]) -> NetworkInputs:
        """Preprocess samples, on the CPU. Samples that share a picture (the same object) share its tensor."""
        return self.preprocessing()(samples)

    @abstractmethod
    def features(self, inputs: NetworkInputs) -> TowerFeatures:
        """Run the towers; without gradients where they are frozen."""

    def tower_features(self, pictures: torch.Tensor) -> torch.Tensor:
        """What a network without head crops makes of preprocessed pictures [P, 3, H, W]."""
        none = torch.empty(0, device=pictures.device)
        return self.features(NetworkInputs(pictures=pictures, picture_index=none, prompts=none)).pictures

    @abstractmethod
    def answer(self, inputs: NetworkInputs, features: TowerFeatures, domain: Domain) -> GazeAnswer:
        """Maps and in/out of the heads of `inputs`, whose pictures (and crops) are read from `features` alone."""

    @abstractmethod
    def tensors(self) -> dict[str, torch.Tensor]:
        """All weights by the names of the family's checkpoints, low-rank changes merged."""

    @abstractmethod
    def metadata(self) -> dict[str, str]:
        """The description that a .safetensors file of these tensors carries."""

    def write_weights(self, path: Path) -> None:
        """Write a self-describing float32 .safetensors file for `load_model(path)` and `extract --model`."""
        from safetensors.torch import save_file

        plain = {key: value.detach().cpu().contiguous().clone() for key, value in sorted(self.tensors().items())}
        with atomic_path(path) as temp:
            save_file(plain, temp, metadata=self.metadata())

    def forward(self, inputs: NetworkInputs, domain: Domain = "logits") -> GazeAnswer:
        """Maps and in/out of N heads."""
        return self.answer(inputs, self.features(inputs), domain)

    @property
    def features_vary(self) -> bool:
        """Whether equal inputs have other features in another step, so that features can't be kept."""
        return self.tower_learns or self.rope_varies

    @property
    def tower_learns(self) -> bool:
        """Whether features change while the network learns."""
        return self.settings.trains != "decoder"

    def learning(self) -> dict[str, nn.Parameter]:
        """Every parameter that learns at some time of the training, by name; also those that are still frozen."""
        tower = {"decoder": (), "lora": (".down", ".up"), "tower": ("",)}[self.settings.trains]
        return {
            name: parameter
            for name, parameter in self.named_parameters()
            if not name.startswith("tower") or (tower and name.endswith(tower))
        }

    def start_epoch(self, epoch: int) -> None:
        """Let what learns in `epoch` (from 0) have gradients, and nothing else."""
        learning = set(self.learning())
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name in learning)
        if self.settings.trains == "tower":
            for tower in self.towers():
                unfreeze(tower, self.settings.unfreeze, epoch)

    def train(self, mode: bool = True) -> GazeNetwork:
        """As `nn.Module.train`; towers that do not learn stay in eval mode."""
        super().train(mode)
        if self.settings.trains != "tower":
            for tower in self.towers():
                tower.eval()
        return self


def shared_pictures(samples: Sequence[HeadSample]) -> tuple[list[HeadSample], torch.Tensor]:
    """The first sample of each picture (by object), and the picture's number for every sample, int64 [N]."""
    numbers: dict[int, int] = {}
    firsts: list[HeadSample] = []
    for sample in samples:
        if id(sample.picture) not in numbers:
            numbers[id(sample.picture)] = len(firsts)
            firsts.append(sample)
    return firsts, torch.tensor([numbers[id(sample.picture)] for sample in samples], dtype=torch.int64)
