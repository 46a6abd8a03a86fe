"""Gaze-LLE's two losses, and auxiliary losses by which an untrained backbone learns heads and directions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from gazetools.gazemodels.gazelle.preprocess import preprocess
from gazetools.gazemodels.gazelle.prompts import BoxXyxy, head_maps
from gazetools.trainer.finetune.tiny.network import AUXILIARY, TrainingNetwork, binary_loss, target_maps
from gazetools.trainer.finetune.tiny.samples import GazeSample

HEADS_WEIGHTS = {"head": 0.3, "object": 0.1, "axes": 2.0, "offset": 0.0, "inside": 0.0}
"""Weights of the auxiliary losses in the first phase; what needs directions first would only be noise."""
AUXILIARY_WEIGHTS = {"head": 0.3, "object": 0.3, "axes": 2.0, "offset": 3.0, "inside": 0.2}
"""Weights of the auxiliary losses in the second phase."""
MAP_WEIGHT = 10.0  # of the heatmap's mean pixel loss, which then equals the sum of all others at the start
INOUT_WEIGHT = 0.3


@dataclass(frozen=True, kw_only=True)
class GazeBatch:
    """B pictures, N people in all of them, T tokens per picture, row by row. Coordinates are shares of the picture."""

    images: torch.Tensor  # float32 [B, 3, side, side]
    image_index: torch.Tensor  # int64 [N]: the picture of each person
    prompts: list[BoxXyxy]  # N head boxes
    gaze_xy: torch.Tensor  # float32 [N, 2]
    inside: torch.Tensor  # bool [N]: whether the gaze target is in the picture
    token_targets: dict[str, torch.Tensor]  # [B, T, n] per name of AUXILIARY and `known` (the head has a gaze)


def make_batch(samples: list[GazeSample], grid_hw: tuple[int, int]) -> GazeBatch:
    """Stack samples and compute the targets of every cell from what lies on it."""
    pictures = torch.from_numpy(np.stack([sample.picture for sample in samples]))
    rows, columns = grid_hw
    y, x = torch.meshgrid((torch.arange(rows) + 0.5) / rows, (torch.arange(columns) + 0.5) / columns, indexing="ij")
    cells = torch.stack((x, y), dim=2).view(-1, 2)
    targets = {name: torch.zeros(len(samples), len(cells), n) for name, n in {**AUXILIARY, "known": 1}.items()}
    for b, sample in enumerate(samples):
        for k in sorted(range(len(sample.boxes)), key=lambda k: sample.boxes[k][3]):  # nearer people hide others
            on = _cells_on(cells, sample.boxes[k])
            targets["head"][b, on] = 1.0
            targets["axes"][b, on] = torch.tensor(sample.head_axes[k], dtype=torch.float32)
            targets["known"][b, on] = 1.0
            targets["inside"][b, on] = float(sample.inside[k])
            targets["offset"][b, on] = torch.tensor(sample.gaze_xy[k], dtype=torch.float32) - cells[on]
        for point in torch.tensor(sample.objects_xy, dtype=torch.float32).view(-1, 2):
            distance = ((cells - point) * torch.tensor([columns, rows])).norm(dim=1)
            targets["object"][b, :, 0] = torch.maximum(targets["object"][b, :, 0], torch.exp(-0.5 * distance**2))
        for box, axes in zip(sample.more_boxes, sample.more_axes, strict=True):
            on = _cells_on(cells, box)
            targets["head"][b, on] = 1.0
            targets["object"][b, on] = 0.0
            targets["axes"][b, on] = torch.tensor(axes, dtype=torch.float32)
    return GazeBatch(
        images=preprocess(pictures, (pictures.shape[1], pictures.shape[2])),
        image_index=torch.tensor([b for b, s in enumerate(samples) for _ in s.boxes]),
        prompts=[(float(b[0]), float(b[1]), float(b[2]), float(b[3])) for s in samples for b in s.prompts],
        gaze_xy=torch.from_numpy(np.concatenate([s.gaze_xy for s in samples])).float(),
        inside=torch.from_numpy(np.concatenate([s.inside for s in samples])),
        token_targets=targets,
    )


def _cells_on(cells: torch.Tensor, box_xyxy: npt.NDArray[np.float64]) -> torch.Tensor:
    """Which cell centres [T, 2] lie on a box, bool [T]."""
    x0, y0, x1, y1 = (float(v) for v in box_xyxy)
    return (cells[:, 0] > x0) & (cells[:, 0] < x1) & (cells[:, 1] > y0) & (cells[:, 1] < y1)


def heads_only_loss(network: TrainingNetwork, batch: GazeBatch, kept: int) -> tuple[torch.Tensor, dict[str, float]]:
    """The auxiliary losses on `kept` cells per picture, heads and objects first: several times faster than on all."""
    wanted = batch.token_targets
    key = 2 * wanted["head"][..., 0] + wanted["object"][..., 0] + 0.3 * torch.rand(wanted["head"].shape[:2])
    keep_bk = key.topk(kept, dim=1).indices.sort(dim=1).values
    answers = network.auxiliary_answers(network.tokens(batch.images, keep_bk))
    near = {k: v.gather(1, keep_bk[..., None].expand(-1, -1, v.shape[2])) for k, v in wanted.items()}
    return _auxiliary(answers, near, HEADS_WEIGHTS)


def whole_loss(
    network: TrainingNetwork, batch: GazeBatch, *, auxiliary_share: float
) -> tuple[torch.Tensor, dict[str, float]]:
    """Heatmap and in/out loss of all people, plus `auxiliary_share` of the auxiliary losses."""
    tokens = network.tokens(batch.images)
    auxiliary, figures = _auxiliary(network.auxiliary_answers(tokens), batch.token_targets, AUXILIARY_WEIGHTS)
    maps, inout = network.maps(tokens, batch.image_index, head_maps(batch.prompts, network.config.grid))
    inside = batch.inside
    map_loss = binary_loss(maps[inside], target_maps(batch.gaze_xy[inside], network.config.out_size))
    inout_loss = binary_loss(inout, inside.float())
    figures |= {"map": float(map_loss.detach()), "inout": float(inout_loss.detach())}
    return MAP_WEIGHT * map_loss + INOUT_WEIGHT * inout_loss + auxiliary_share * auxiliary, figures


def _auxiliary(
    answers: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor], weights: dict[str, float]
) -> tuple[torch.Tensor, dict[str, float]]:
    on_head = wanted["head"][..., 0] > 0
    known = wanted["known"][..., 0] > 0
    looks_inside = known & (wanted["inside"][..., 0] > 0)
    cosine = F.cosine_similarity(answers["axes"][on_head], wanted["axes"][on_head], dim=1)
    losses = {
        **{name: F.binary_cross_entropy_with_logits(answers[name], wanted[name]) for name in ("head", "object")},
        "axes": (1 - cosine).mean(),
        "offset": (answers["offset"][looks_inside] - wanted["offset"][looks_inside]).norm(dim=1).mean(),
        "inside": F.binary_cross_entropy_with_logits(answers["inside"][known], wanted["inside"][known]),
    }
    total = torch.stack([weights[name] * loss for name, loss in losses.items()]).sum()
    return total, {name: float(loss.detach()) for name, loss in losses.items()}
