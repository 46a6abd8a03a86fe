"""Person detector: RT-DETR, RT-DETRv2, D-FINE or RF-DETR of transformers, with our own preprocessing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gazetools.gazemodels.gazelle.preprocess import IMAGENET_MEAN, IMAGENET_STD, resize_antialiased
from gazetools.heads.weights import load_transformer, model_facts
from gazetools.schemas.errors import CheckpointError, UsageError

SIGMOID_DETECTORS = ("rt_detr", "rt_detr_v2", "d_fine", "rf_detr")
"""Values of `model_type` whose class scores are sigmoids and whose boxes are middle and size in 0..1."""


class PersonDetector:
    """A detector of whole people.

    transformers' image processors need Pillow or torchvision; their steps are done here, as `preprocessor_config.json`
    says: squash to a fixed size, scale to 0..1, normalise.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        from transformers import AutoModelForObjectDetection

        config, settings = model_facts(folder)
        kind = config.get("model_type")
        if kind not in SIGMOID_DETECTORS:
            raise UsageError(
                f"{folder} holds a model of type {kind!r}.", hint=f"Known detectors: {', '.join(SIGMOID_DETECTORS)}."
            )
        self.device = device
        self.size_hw = _size_of(settings, folder)
        self._scale, self._shift = _normalisation(settings, default=kind == "rf_detr")
        self._model = load_transformer(AutoModelForObjectDetection, folder, device)
        names = self._model.config.id2label
        self._person = next((int(label) for label, name in names.items() if str(name).lower() == "person"), -1)
        if self._person < 0:
            raise CheckpointError(
                f"The detector in {folder} has no class 'person'; its {len(names)} classes are such as "
                f"{', '.join(map(str, list(names.values())[:5]))}.",
                hint="Use a detector trained on COCO or Objects365.",
            )

    @torch.inference_mode()
    def detect(
        self, frames: list[npt.NDArray[np.uint8]], min_score: float
    ) -> list[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
        """(boxes [N, 4] in pixels, scores [N]) of the people in each frame [H, W, 3], best first."""
        outputs = self._model(pixel_values=self._inputs(frames))
        scores_bq = outputs.logits[..., self._person].sigmoid().double().cpu().numpy()
        boxes_bq4 = outputs.pred_boxes.double().cpu().numpy()
        found = []
        for frame, scores_q, boxes_q4 in zip(frames, scores_bq, boxes_bq4, strict=True):
            keep = np.flatnonzero(scores_q >= min_score)
            keep = keep[np.argsort(-scores_q[keep], kind="stable")]
            middle, half = boxes_q4[keep, :2], boxes_q4[keep, 2:] / 2
            height, width = frame.shape[:2]
            boxes = np.concatenate((middle - half, middle + half), axis=1) * [width, height, width, height]
            found.append((boxes, scores_q[keep]))
        return found

    def _inputs(self, frames: list[npt.NDArray[np.uint8]]) -> torch.Tensor:
        images = torch.from_numpy(np.stack(frames)).to(self.device).permute(0, 3, 1, 2).contiguous().float()
        return resize_antialiased(images, self.size_hw) * self._scale.to(self.device) + self._shift.to(self.device)


def _size_of(settings: dict[str, Any], folder: Path) -> tuple[int, int]:
    size = settings.get("size") or {"height": 640, "width": 640}
    try:
        return int(size["height"]), int(size["width"])
    except (TypeError, KeyError, ValueError):
        raise UsageError(
            f"{folder}/preprocessor_config.json has the size {size!r}.",
            hint="Detectors of a fixed input size are supported: {'height': H, 'width': W}.",
        ) from None


def _normalisation(settings: dict[str, Any], *, default: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """(scale, shift) [3, 1, 1] that turn levels 0..255 into model input."""
    factor = float(settings.get("rescale_factor", 1 / 255)) if settings.get("do_rescale", True) else 1.0
    mean, std = torch.zeros(3), torch.ones(3)
    if settings.get("do_normalize", default):
        mean = torch.tensor(settings.get("image_mean") or IMAGENET_MEAN)
        std = torch.tensor(settings.get("image_std") or IMAGENET_STD)
    return (factor / std).view(3, 1, 1), (-mean / std).view(3, 1, 1)
