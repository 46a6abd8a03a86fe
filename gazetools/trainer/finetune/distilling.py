"""What a student learns from a teacher: its maps at a temperature, or its tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from gazetools.schemas.finetune_learning import MapDistillation, TokenDistillation


def temperature_at(settings: MapDistillation, step: int, steps: int) -> float:
    """Temperature of step `step` (from 0) of `steps`: half a cosine from the first to the last value."""
    share = step / max(steps - 1, 1)
    first, last = settings.first_temperature, settings.last_temperature
    return first + (last - first) * (1 - math.cos(math.pi * share)) / 2


def map_divergence(student_nhw: torch.Tensor, teacher_nhw: torch.Tensor, temperature: float) -> torch.Tensor:
    """T^2 KL(softmax(teacher / T) || softmax(student / T)) over the cells of each map, mean over N maps.

    Both are logits; a teacher's maps of another size are resized bilinearly (PINTO0309/gazelle-dinov3,
    train_gazefollow.py; Hinton et al. 2015, section 2).
    """
    if teacher_nhw.shape[1:] != student_nhw.shape[1:]:
        size = (int(student_nhw.shape[1]), int(student_nhw.shape[2]))
        teacher_nhw = F.interpolate(teacher_nhw.unsqueeze(1), size=size, mode="bilinear", align_corners=False)[:, 0]
    student = F.log_softmax(student_nhw.flatten(1) / temperature, dim=1)
    teacher = F.softmax(teacher_nhw.flatten(1) / temperature, dim=1)
    return F.kl_div(student, teacher, reduction="batchmean") * temperature**2


def token_distance(student_ntd: torch.Tensor, teacher_ntd: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference plus 1 minus the mean cosine of the tokens [N, T, D] (OctopusWen/PaGE)."""
    cosine = F.cosine_similarity(student_ntd, teacher_ntd, dim=-1).mean()
    return F.l1_loss(student_ntd, teacher_ntd) + 1 - cosine


def token_loss(
    student: Sequence[torch.Tensor], teacher: Sequence[torch.Tensor], settings: TokenDistillation
) -> torch.Tensor:
    """scene + p scene' + h (head + p head') of OctopusWen/PaGE's distillation.

    Both hold scene and head tokens after the interaction, then scene and head patches after the projection; the weights
    are `head_weight` h and `projection_weight` p.
    """
    scene, head, scene_patches, head_patches = map(token_distance, student, teacher)
    own_scene = scene + settings.projection_weight * scene_patches
    return own_scene + settings.head_weight * (head + settings.projection_weight * head_patches)
