"""Frames and heatmaps under one geometry: a dot in both stays together, the evaluation transform is the known one."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from gazetools.trainer.data.geometry import View, evaluation_view, training_view
from gazetools.trainer.data.transforms import MEAN_RGB, STD_RGB, transform_frames, transform_heatmaps


def dot_views() -> list[Any]:
    views = [pytest.param(evaluation_view(hw, 64), hw, id=f"eval-{hw}") for hw in ((90, 160), (160, 90), (73, 110))]
    random = np.random.default_rng(4)
    for number in range(8):
        view = training_view((120, 200), random, scale=(0.2, 1.0), aspect_ratio=(0.75, 4 / 3), flip=True)
        views.append(pytest.param(view, (120, 200), id=f"train{number}-{'flip' if view.flip else 'plain'}"))
    return views


@pytest.mark.parametrize(("view", "frame_hw"), dot_views())
def test_a_dot_in_the_frame_and_a_dot_in_the_map_stay_together(view: View, frame_hw: tuple[int, int]) -> None:
    # Put the dot where the crop's point (0.3, 0.6) lies, so that it is visible whatever was drawn.
    x0, y0, x1, y1 = view.box_xyxy()
    x, y = x0 + 0.3 * (x1 - x0), y0 + 0.6 * (y1 - y0)

    def blurred_dot(height: int, width: int) -> np.ndarray:
        columns, rows = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
        return np.exp(-(((columns - x) / 0.03) ** 2 + ((rows - y) / 0.03) ** 2))

    frame = np.repeat((255 * blurred_dot(*frame_hw))[None, :, :, None], 3, axis=3).astype(np.uint8)
    video = transform_frames(frame, view, 64)[:, 0].mean(0)
    heatmap = transform_heatmaps(blurred_dot(64, 64)[None].astype(np.float32), view, 64)[0]
    at_frame, at_map = (np.unravel_index(int(t.argmax()), (64, 64)) for t in (video, heatmap))
    wanted_column = 64 * (0.7 if view.flip else 0.3)
    assert abs(at_frame[0] - at_map[0]) <= 2 and abs(at_frame[1] - at_map[1]) <= 2
    assert abs(at_map[0] + 0.5 - 64 * 0.6) <= 2 and abs(at_map[1] + 0.5 - wanted_column) <= 2


def test_both_flips_and_many_crops_were_among_the_drawn_views() -> None:
    views = [case.values[0] for case in dot_views()[3:]]
    assert {view.flip for view in views} == {True, False}
    assert len({(view.top, view.left, view.height, view.width) for view in views}) == len(views)


@pytest.mark.parametrize(("hw", "side"), [((90, 160), 64), ((60, 45), 64), ((73, 110), 64), ((480, 640), 224)])
def test_the_evaluation_transform_is_resize_and_centre_crop(hw: tuple[int, int], side: int) -> None:
    """Against the same steps written out with OpenCV on whole frames."""
    frames = np.random.default_rng(1).integers(0, 256, (2, *hw, 3), dtype=np.uint8)
    short = int(side * 256 / 224)
    height, width = hw
    size = (short, int(short * height / width)) if width < height else (int(short * width / height), short)
    if min(hw) == short:
        size = (width, height)
    top, left = round((size[1] - side) / 2), round((size[0] - side) / 2)
    expected = np.stack([cv2.resize(f, size)[top : top + side, left : left + side] for f in frames])
    expected = (expected / 255.0 - np.array(MEAN_RGB)) / np.array(STD_RGB)
    output = transform_frames(frames, evaluation_view(hw, side), side)
    np.testing.assert_allclose(output.permute(1, 2, 3, 0).numpy(), expected, atol=1e-5)


def test_a_constant_map_stays_constant_up_to_the_edges() -> None:
    view = View(resized_hw=(40, 40), top=0, left=0, height=40, width=40, flip=True)
    output = transform_heatmaps(np.full((3, 8, 8), 0.25, np.float32), view, 20)
    assert output.shape == (3, 20, 20)
    np.testing.assert_allclose(output.numpy(), 0.25, atol=1e-6)
