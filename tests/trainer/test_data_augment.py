"""Training transforms: one geometry for frames and maps, upstream's numbers without augmentation, video-only noise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from gazetools.trainer.data.augment import (
    GEOMETRIC,
    PHOTOMETRIC,
    amount_of,
    apply_photometric,
    draw_augmentation,
    pixel_matrix,
)
from gazetools.trainer.data.geometry import View, relative_warp, shifted_views, training_view, whole_view
from gazetools.trainer.data.transforms import (
    MEAN_RGB,
    STD_RGB,
    erase,
    resize_crop,
    transform_frames,
    transform_heatmaps,
)

FRAME_HW = (120, 200)
SIDE = 64


def blob(x: float, y: float, height: int, width: int) -> np.ndarray:
    """A Gaussian at the relative point (x, y), 0..1."""
    columns, rows = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
    return np.exp(-(((columns - x) / 0.04) ** 2 + ((rows - y) / 0.04) ** 2))


def peak(picture: Any) -> tuple[float, float]:
    """(x, y) of the centre of what is bright, in output pixels."""
    values = np.asarray(picture, np.float64)
    weights = np.clip(values - 0.5 * values.max(), 0, None)
    rows, columns = np.mgrid[: weights.shape[0], : weights.shape[1]]
    return float((columns * weights).sum() / weights.sum()), float((rows * weights).sum() / weights.sum())


def warped_views() -> list[Any]:
    cases = []
    for name in GEOMETRIC:
        for share in (-0.8, 0.8):
            warp = relative_warp([pixel_matrix(name, share, FRAME_HW)], FRAME_HW)
            cases.append(pytest.param(replace(whole_view(FRAME_HW), warp=warp), id=f"{name}{share:+}"))
    random = np.random.default_rng(11)
    while len(cases) < 20:
        view = training_view(FRAME_HW, random, scale=(0.5, 1.0), aspect_ratio=(0.75, 4 / 3), flip=True)
        warp = draw_augmentation(random, FRAME_HW).warp
        if warp is not None:
            cases.append(pytest.param(replace(view, warp=warp), id=f"drawn{len(cases)}-flip{view.flip}"))
    return cases


@pytest.mark.parametrize("view", warped_views())
def test_a_dot_in_the_frame_and_a_dot_in_the_map_stay_together_through_every_warp(view: View) -> None:
    # The dot lies where the output's point (0.45, 0.55) comes from, so that it is visible whatever was drawn.
    x, y, _ = view.matrix() @ (0.45, 0.55, 1.0)
    if not (0.1 < x < 0.9 and 0.1 < y < 0.9):
        x, y = 0.5, 0.5
    wanted = np.linalg.inv(view.matrix()) @ (x, y, 1.0) * SIDE - 0.5
    frame = np.repeat((255 * blob(x, y, *FRAME_HW))[None, :, :, None], 3, axis=3).astype(np.uint8)
    video = (transform_frames(frame, view, SIDE)[0, 0] * STD_RGB[0] + MEAN_RGB[0]).numpy()
    # The grey that a warp brings in from outside must not count as the dot.
    in_video = peak(np.where(np.abs(video - 128 / 255) < 0.01, 0, video))
    in_map = peak(transform_heatmaps(blob(x, y, 64, 64)[None].astype(np.float32), view, SIDE)[0])
    if 4 < wanted[0] < SIDE - 5 and 4 < wanted[1] < SIDE - 5:
        assert np.hypot(in_map[0] - wanted[0], in_map[1] - wanted[1]) < 1.5
        assert np.hypot(in_video[0] - wanted[0], in_video[1] - wanted[1]) < 1.5


def test_a_translation_moves_by_what_it_says_and_brings_in_grey_and_zeros() -> None:
    warp = relative_warp([pixel_matrix("translate_x", 1.0, FRAME_HW)], FRAME_HW)
    view = replace(whole_view(FRAME_HW), warp=warp)
    frame = np.full((1, *FRAME_HW, 3), 200, np.uint8)
    video = transform_frames(frame, view, 100)[0, 0] * STD_RGB[0] + MEAN_RGB[0]
    heatmap = transform_heatmaps(np.ones((1, 20, 20), np.float32), view, 100)[0]
    # Output x shows input x + 45 % of the width: the right 45 % lie outside.
    for part, grey, value in ((slice(0, 54), 200, 1.0), (slice(56, 100), 128, 0.0)):
        torch.testing.assert_close(video[:, part], torch.full_like(video[:, part], grey / 255), atol=1e-5, rtol=0)
        torch.testing.assert_close(heatmap[:, part], torch.full_like(heatmap[:, part], value), atol=1e-6, rtol=0)


def test_warps_are_applied_in_the_order_drawn() -> None:
    """Rotating then shearing is not shearing then rotating; against warping twice."""
    matrices = [pixel_matrix("rotate", 0.7, FRAME_HW), pixel_matrix("shear_x", 0.9, FRAME_HW)]
    points = np.array([[10.0, 20.0, 1.0], [150.0, 90.0, 1.0]]).T
    once = np.array(relative_warp(matrices, FRAME_HW)).reshape(3, 3)
    size = np.diag([FRAME_HW[1], FRAME_HW[0], 1.0])
    # The last image at p shows the middle one at B p, which shows the first at A B p.
    expected = matrices[0] @ (matrices[1] @ points)
    np.testing.assert_allclose(size @ once @ np.linalg.inv(size) @ points, expected, atol=1e-9)
    assert not np.allclose(matrices[1] @ matrices[0], matrices[0] @ matrices[1])


@pytest.mark.parametrize(
    ("hw", "side"), [((90, 110), 32), ((61, 47), 64), ((1, 7), 5), ((200, 333), 56), ((64, 64), 64)]
)
def test_a_crop_is_interpolated_as_torch_does_it(hw: tuple[int, int], side: int) -> None:
    crop = np.random.default_rng(2).integers(0, 256, (*hw, 3), dtype=np.uint8)
    image = torch.from_numpy(crop).permute(2, 0, 1)[None].float()
    expected = torch.nn.functional.interpolate(image, size=(side, side), mode="bilinear", align_corners=False)[0]
    # 1e-6 of the normalised value, in 8-bit levels.
    np.testing.assert_allclose(resize_crop(crop, side), expected.permute(1, 2, 0).numpy(), atol=1e-6 * 255 * 0.224)


def test_without_augmentation_training_frames_are_upstreams_to_1e_6() -> None:
    """Upstream normalises the whole frame, crops, interpolates and flips, in float."""
    random = np.random.default_rng(5)
    frames = random.integers(0, 256, (3, *FRAME_HW, 3), dtype=np.uint8)
    for _ in range(6):
        view = training_view(FRAME_HW, random, scale=(0.1, 1.0), aspect_ratio=(0.75, 4 / 3), flip=True)
        mean, std = torch.tensor(MEAN_RGB), torch.tensor(STD_RGB)
        whole = ((torch.from_numpy(frames) / 255.0 - mean) / std).permute(3, 0, 1, 2)
        crop = whole[:, :, view.top : view.top + view.height, view.left : view.left + view.width]
        expected = torch.nn.functional.interpolate(crop, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
        expected = expected.flip(-1) if view.flip else expected
        torch.testing.assert_close(transform_frames(frames, view, SIDE), expected, atol=1.5e-6, rtol=0)


def test_motion_shift_moves_the_crop_evenly_and_the_map_with_it() -> None:
    random = np.random.default_rng(1)
    first, last = (
        training_view(FRAME_HW, random, scale=(0.2, 0.4), aspect_ratio=(1, 1), flip=flip) for flip in (True, False)
    )
    views = shifted_views(first, last, 9)
    assert (views[0].top, views[0].width) == (first.top, first.width)
    assert (views[-1].left, views[-1].height) == (last.left, last.height)
    assert len({view.flip for view in views}) == 1
    for view in views:
        assert 0 <= view.top <= view.top + view.height <= FRAME_HW[0]
        assert 0 <= view.left <= view.left + view.width <= FRAME_HW[1]
    # A dot per frame, where that frame's own crop has (0.4, 0.6).
    centres = [view.matrix() @ (0.4, 0.6, 1.0) for view in views]
    frames = np.stack([np.repeat((255 * blob(x, y, *FRAME_HW))[..., None], 3, 2) for x, y, _ in centres])
    maps = np.stack([blob(x, y, 64, 64) for x, y, _ in centres]).astype(np.float32)
    video, heatmap = transform_frames(frames.astype(np.uint8), views, SIDE), transform_heatmaps(maps, views, SIDE)
    for time in range(9):
        for found in (peak(video[0, time] * STD_RGB[0] + MEAN_RGB[0]), peak(heatmap[time])):
            assert np.hypot(found[0] + 0.5 - 0.4 * SIDE, found[1] + 0.5 - 0.6 * SIDE) < 1.5


def test_maps_need_a_view_each() -> None:
    with pytest.raises(ValueError, match="3 maps"):
        transform_heatmaps(np.zeros((3, 4, 4), np.float32), [whole_view((4, 4))] * 2, 4)


def reference_photometric(name: str, pixel: np.ndarray, amount: float, frame: np.ndarray) -> np.ndarray:
    """One pixel by the operation's definition, in plain numbers."""
    luma = lambda p: (19595 * int(p[0]) + 38470 * int(p[1]) + 7471 * int(p[2]) + 0x8000) >> 16  # noqa: E731
    values = pixel.astype(float)
    if name == "invert":
        return 255 - values
    if name == "posterize":
        keep = 2 ** (8 - int(amount))
        return values // keep * keep if amount > 0 else values * 0
    if name == "solarize":
        return np.where(values < amount, values, 255 - values)
    if name == "solarize_add":
        return np.where(values < 128, np.minimum(values + amount, 255), values)
    if name == "brightness":
        return np.clip(values * amount, 0, 255)
    if name == "contrast":
        mean = np.mean([luma(p) for p in frame.reshape(-1, 3)])
        return np.clip(int(mean + 0.5) + amount * (values - int(mean + 0.5)), 0, 255)
    if name == "colour":
        return np.clip(luma(pixel) + amount * (values - luma(pixel)), 0, 255)
    low, high = frame.reshape(-1, 3).min(0).astype(float), frame.reshape(-1, 3).max(0).astype(float)
    return np.clip((values - low) * 255 / (high - low), 0, 255)  # auto_contrast


@pytest.mark.parametrize("name", [n for n in PHOTOMETRIC if n not in ("equalize", "sharpness")])
@pytest.mark.parametrize(("share", "sign"), [(0.7, 1.0), (0.7, -1.0), (1.0, -1.0)])
def test_photometric_operations_by_their_definition(name: str, share: float, sign: float) -> None:
    frame = np.random.default_rng(3).integers(20, 220, (12, 14, 3), dtype=np.uint8)
    amount = amount_of(name, share, sign)
    output = apply_photometric(frame[None], ((name, amount),))[0]
    expected = np.array([[reference_photometric(name, pixel, amount, frame) for pixel in row] for row in frame])
    assert np.abs(output - expected).max() <= 1  # rounding or truncation
    if amount != 1.0:
        assert (output != frame).any()


def test_equalize_flattens_and_sharpness_blurs_or_sharpens() -> None:
    random = np.random.default_rng(3)
    frame = np.clip(random.normal(100, 10, (64, 64, 3)), 0, 255).astype(np.uint8)
    flat = apply_photometric(frame[None], (("equalize", 1.0),))[0]
    assert flat.std() > 3 * frame.std() and flat.min() < 10 and flat.max() > 245
    order = np.argsort(frame[..., 0].ravel(), kind="stable")
    assert (np.diff(flat[..., 0].ravel()[order].astype(int)) >= 0).all(), "equalising keeps the order of values"
    spread = [apply_photometric(frame[None], (("sharpness", factor),))[0].std() for factor in (0.1, 1.0, 1.9)]
    assert spread[0] < spread[1] == frame.std() < spread[2]


def test_nothing_of_one_frame_enters_another() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 20, 20, 3), dtype=np.uint8)
    changed = frames.copy()
    changed[2] = 7
    every = tuple((name, amount_of(name, 0.7, 1.0)) for name in PHOTOMETRIC)
    np.testing.assert_array_equal(apply_photometric(frames, every)[:2], apply_photometric(changed, every)[:2])


def test_draws_are_a_function_of_the_generator_and_cover_the_policy() -> None:
    drawn = [draw_augmentation(np.random.default_rng(seed), FRAME_HW) for seed in range(200)]
    assert drawn[:5] == [draw_augmentation(np.random.default_rng(seed), FRAME_HW) for seed in range(5)]
    assert {name for one in drawn for name, _ in one.photometric} == set(PHOTOMETRIC)
    warped = sum(one.warp is not None for one in drawn) / len(drawn)
    # 4 draws, each geometric with 5/15 and applied with 1/2: 1 - (5/6)^4 = 0.52
    assert 0.4 < warped < 0.64
    assert max(len(one.photometric) for one in drawn) <= 4


def test_erasing_touches_one_box_of_the_video_in_all_frames_and_only_as_often_as_asked() -> None:
    boxes = 0
    for seed in range(40):
        video = torch.zeros(3, 4, 32, 32)
        erase(video, np.random.default_rng(seed), probability=0.5)
        touched = video.ne(0).any(0)
        if touched.any():
            boxes += 1
            rows, columns = torch.nonzero(touched[0].any(1)).ravel(), torch.nonzero(touched[0].any(0)).ravel()
            box = touched[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            assert box.all() and touched.sum() == box.sum()
            assert 0.01 < len(rows) * len(columns) / 1024 < 0.4
            assert video[:, 0].std() > 0 and not torch.equal(video[:, 0], video[:, 1])
    assert 10 <= boxes <= 30
