"""Body keypoints: ViTPose of transformers, with our own pre- and postprocessing."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from gazetools.gazemodels.gazelle.preprocess import IMAGENET_MEAN, IMAGENET_STD
from gazetools.heads.weights import load_transformer, model_facts
from gazetools.schemas.errors import CheckpointError, UsageError

_PADDING = 1.25
"""Factor that widens a person's box, as in ViTPose's training (transformers, box_to_center_and_scale)."""
_COCO_KEYPOINTS = 17
_PEOPLE_PER_PASS = 32


class PoseModel:
    """Finds the COCO keypoints of people whose boxes are known."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        from transformers import VitPoseForPoseEstimation

        config, _ = model_facts(folder)
        if config.get("model_type") != "vitpose":
            raise UsageError(f"{folder} holds a model of type {config.get('model_type')!r}, not a ViTPose.")
        self.device = device
        self._model = load_transformer(VitPoseForPoseEstimation, folder, device)
        if self._model.config.num_labels != _COCO_KEYPOINTS:
            raise CheckpointError(
                f"The ViTPose in {folder} gives {self._model.config.num_labels} keypoints.",
                hint=f"Use one for COCO's {_COCO_KEYPOINTS}.",
            )
        backbone = self._model.config.backbone_config
        self.in_hw: tuple[int, int] = (int(backbone.image_size[0]), int(backbone.image_size[1]))
        # ViTPose++ has one expert per data set it was trained on; 0 is COCO.
        self._has_experts = backbone.num_experts > 1

    def keypoints(
        self, frames: list[npt.NDArray[np.uint8]], boxes_xyxy: list[npt.NDArray[np.float64]]
    ) -> list[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
        """Per frame [H, W, 3] with boxes [P, 4] in its pixels: (points [P, 17, 2] in its pixels, scores [P, 17])."""
        windows = [window_of(box, self.in_hw) for boxes in boxes_xyxy for box in boxes]
        pictures = [frame for frame, boxes in zip(frames, boxes_xyxy, strict=True) for _ in boxes]
        points = np.zeros((len(windows), _COCO_KEYPOINTS, 2))
        scores = np.zeros((len(windows), _COCO_KEYPOINTS))
        crops = [cut_window(frame, window, self.in_hw) for frame, window in zip(pictures, windows, strict=True)]
        for start in range(0, len(crops), _PEOPLE_PER_PASS):
            for person, map_khw in enumerate(self._heatmaps(crops[start : start + _PEOPLE_PER_PASS]), start):
                peaks_xy, scores[person] = peaks(map_khw)
                points[person] = to_frame(peaks_xy, windows[person], (map_khw.shape[1], map_khw.shape[2]))
        ends = np.cumsum([0, *map(len, boxes_xyxy)]).tolist()
        return [(points[start:end], scores[start:end]) for start, end in pairwise(ends)]

    @torch.inference_mode()
    def _heatmaps(self, crops: list[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float64]:
        """[P, 17, h, w] of crops [H, W, 3]."""
        images = torch.from_numpy(np.stack(crops)).to(self.device).permute(0, 3, 1, 2).float() / 255
        mean = torch.tensor(IMAGENET_MEAN, device=self.device).view(3, 1, 1)
        std = torch.tensor(IMAGENET_STD, device=self.device).view(3, 1, 1)
        experts = {}
        if self._has_experts:
            experts["dataset_index"] = torch.zeros(len(crops), dtype=torch.int64, device=self.device)
        maps = self._model(pixel_values=(images - mean) / std, **experts).heatmaps
        return np.asarray(maps.double().cpu().numpy())


def window_of(box_xyxy: npt.NDArray[np.float64], in_hw: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Part of the frame [4] (x, y, width, height) for the model: the box at the input's ratio, a quarter wider."""
    width, height = box_xyxy[2:] - box_xyxy[:2]
    ratio = in_hw[1] / in_hw[0]
    size = _PADDING * np.array([max(width, height * ratio), max(height, width / ratio)])
    return np.concatenate(((box_xyxy[:2] + box_xyxy[2:] - size) / 2, size))


def cut_window(
    frame: npt.NDArray[np.uint8], window_xywh: npt.NDArray[np.float64], in_hw: tuple[int, int]
) -> npt.NDArray[np.uint8]:
    """The window resampled to the model's input, black beyond the frame.

    Corners lie on corners (n - 1 steps over n pixels): ViTPose's unbiased transform (Huang et al., CVPR 2020).
    """
    import cv2

    per_pixel = (np.array([in_hw[1], in_hw[0]]) - 1) / window_xywh[2:]
    matrix = np.array([[per_pixel[0], 0, 0], [0, per_pixel[1], 0]])
    matrix[:, 2] = -window_xywh[:2] * per_pixel
    return np.asarray(cv2.warpAffine(frame, matrix, (in_hw[1], in_hw[0]), flags=cv2.INTER_LINEAR), np.uint8)


def to_frame(
    points_xy: npt.NDArray[np.float64], window_xywh: npt.NDArray[np.float64], map_hw: tuple[int, int]
) -> npt.NDArray[np.float64]:
    """Points in pixels of the model's heatmap as pixels of the frame (the inverse of `cut_window`)."""
    per_cell = window_xywh[2:] / (np.array([map_hw[1], map_hw[0]]) - 1)
    return np.asarray(window_xywh[:2] + points_xy * per_cell)


def peaks(maps_khw: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Points [K, 2] (x, y) and scores [K]: the highest pixel of each map [K, h, w], moved to the top of a parabola.

    It lies through the logarithms of the pixel and its neighbours per axis: exact for the Gaussians of the training.
    """
    count, height, width = maps_khw.shape
    flat = maps_khw.reshape(count, -1).argmax(axis=1)
    rows, columns = flat // width, flat % width
    points = np.stack((columns, rows), axis=1).astype(np.float64)
    scores = maps_khw[np.arange(count), rows, columns]
    logs = np.log(np.maximum(maps_khw, 1e-10))
    for k in range(count):
        r, c = int(rows[k]), int(columns[k])
        if 0 < c < width - 1:
            points[k, 0] += _top(logs[k, r, c - 1 : c + 2])
        if 0 < r < height - 1:
            points[k, 1] += _top(logs[k, r - 1 : r + 2, c])
    return points, scores


def _top(three: npt.NDArray[np.float64]) -> float:
    """Place of the top, cut to -0.5..0.5, of the parabola through three points at -1, 0, 1."""
    bend = three[0] - 2 * three[1] + three[2]
    return 0.0 if bend >= 0 else float(np.clip((three[0] - three[2]) / (2 * bend), -0.5, 0.5))
