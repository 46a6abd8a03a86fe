"""Crop, flip and jitter of the head box, drawn as fkryan/gazelle, gazelle-dinov3 and PaGE draw them.

Rules from fkryan/gazelle `gazelle/utils.py` (random_crop, horiz_flip, random_bbox_jitter) and
`gazelle/dataset.py`: each runs when its coin is at most 0.5, in this order, on coordinates in pixels.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import cv2
import numpy as np

from gazetools.schemas.finetune_augment import AugmentSettings
from gazetools.trainer.finetune.head_sample import Box, HeadSample, Teaching
from gazetools.trainer.finetune.photometric import Distortion, distorted

JITTER = 0.2
"""Largest shift of an edge of the head box, in sides of the box."""


class Draws(Protocol):
    """Random numbers of one sample, in the order in which the augmentations ask for them."""

    def coin(self) -> float:
        """A number in [0, 1) that decides whether an augmentation runs."""

    def integer(self, low: int, high: int) -> int:
        """A whole number in [low, high], both ends included."""

    def uniform(self) -> float:
        """A number in [0, 1)."""

    def distortion(self) -> Distortion:
        """The factors of a photometric distortion."""


class SeededDraws:
    """Draws that are a function of whole numbers, such as (seed, epoch, sample)."""

    def __init__(self, *key: int) -> None:
        self._rng = np.random.default_rng(list(key))

    def coin(self) -> float:
        """A number in [0, 1)."""
        return float(self._rng.random())

    def integer(self, low: int, high: int) -> int:
        """A whole number in [low, high]."""
        return int(self._rng.integers(low, high + 1))

    def uniform(self) -> float:
        """A number in [0, 1)."""
        return float(self._rng.random())

    def distortion(self) -> Distortion:
        """Factors in the ranges of `Distortion`."""
        return Distortion.drawn(self._rng)


def augmented(sample: HeadSample, draws: Draws, settings: AugmentSettings) -> HeadSample:
    """The sample after the augmentations that `settings` name, each with its probability."""
    if settings.photometric and draws.coin() <= settings.photometric:
        sample = replace(sample, picture=distorted(sample.picture, draws.distortion()))
    if settings.crop and draws.coin() <= settings.crop:
        sample = cropped(sample, draws)
    if settings.flip and draws.coin() <= settings.flip:
        sample = flipped(sample)
    if settings.jitter and draws.coin() <= settings.jitter:
        sample = jittered(sample, draws)
    return sample


def cropped(sample: HeadSample, draws: Draws) -> HeadSample:
    """A part of the picture with the head and, where the target is inside, all gaze points.

    Left and top edge are whole numbers in [0, int(least coordinate)], right and bottom in [int(greatest), side]. Where
    a box or point lies beyond the picture these ranges are cut at its edges, and a part has at least one pixel;
    upstream fails there.
    """
    width, height = sample.size_wh
    x0, y0, x1, y1 = sample.box_xyxy
    xs, ys = [x0, x1], [y0, y1]
    if sample.inside:
        xs += [x for x, _ in sample.gaze_xy]
        ys += [y for _, y in sample.gaze_xy]
    left = draws.integer(0, _first(min(xs), width))
    top = draws.integer(0, _first(min(ys), height))
    right = draws.integer(_last(max(xs), left, width), width)
    bottom = draws.integer(_last(max(ys), top, height), height)
    region = (left / width, top / height, right / width, bottom / height)
    return replace(
        sample,
        teaching=None if sample.teaching is None else cut_teaching(sample.teaching, region),
        picture=sample.picture[top:bottom, left:right],
        box_xyxy=(x0 - left, y0 - top, x1 - left, y1 - top),
        gaze_xy=tuple((x - left, y - top) for x, y in sample.gaze_xy),
    )


def _first(least: float, side: int) -> int:
    return min(max(int(least), 0), side - 1)


def _last(greatest: float, first: int, side: int) -> int:
    return min(max(int(greatest), first + 1), side)


def flipped(sample: HeadSample) -> HeadSample:
    """Left and right exchanged; a gaze point outside the picture keeps its values, which say nothing."""
    width, _ = sample.size_wh
    x0, y0, x1, y1 = sample.box_xyxy
    points = tuple((width - x, y) for x, y in sample.gaze_xy) if sample.inside else sample.gaze_xy
    teaching = sample.teaching
    if teaching is not None:
        teaching = replace(teaching, heatmap=teaching.heatmap[:, ::-1])
    box = (width - x1, y0, width - x0, y1)
    return replace(sample, picture=sample.picture[:, ::-1], box_xyxy=box, gaze_xy=points, teaching=teaching)


def jittered(sample: HeadSample, draws: Draws) -> HeadSample:
    """Each edge of the head box moved by up to `JITTER` of the box's side, cut at the picture's edges.

    The draws are for xmin, xmax, ymin and ymax.
    """
    width, height = sample.size_wh
    x0, y0, x1, y1 = sample.box_xyxy
    moves = [JITTER * (2 * draws.uniform() - 1) for _ in range(4)]
    moved_x0, moved_x1 = (x + move * (x1 - x0) for x, move in zip((x0, x1), moves[:2], strict=True))
    moved_y0, moved_y1 = (y + move * (y1 - y0) for y, move in zip((y0, y1), moves[2:], strict=True))
    box = (_cut(moved_x0, width), _cut(moved_y0, height), _cut(moved_x1, width), _cut(moved_y1, height))
    return replace(sample, box_xyxy=box)


def cut_teaching(teaching: Teaching, region_shares: Box) -> Teaching:
    """The part of a teacher's map that shows `region_shares` of the picture, at the map's own size, bilinear."""
    heatmap = teaching.heatmap
    height, width = heatmap.shape
    x0, y0, x1, y1 = region_shares
    across = ((x0 + (x1 - x0) * (np.arange(width) + 0.5) / width) * width - 0.5).astype(np.float32)
    down = ((y0 + (y1 - y0) * (np.arange(height) + 0.5) / height) * height - 0.5).astype(np.float32)
    grid_x, grid_y = np.meshgrid(across, down)
    cut = cv2.remap(np.ascontiguousarray(heatmap), grid_x, grid_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return replace(teaching, heatmap=np.asarray(cut, np.float32))


def _cut(value: float, side: int) -> float:
    return min(max(value, 0.0), float(side))
