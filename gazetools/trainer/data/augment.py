"""RandAugment, drawn once per clip: its geometric part is one warp, its photometric part changes uint8 frames."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from gazetools.trainer.data.geometry import Matrix, relative_warp

Frame = npt.NDArray[np.uint8]
FILL = 128
"""Grey value outside the frame, which a warp brings in."""

# `rand-m7-n4-mstd0.5-inc1`, the policy of facebookresearch/vjepa2's anticipation data loader: 4 of 15 operations with
# replacement, each applied with probability 0.5 at a level drawn from N(7, 0.5), clipped to 0..10.
OPERATIONS, PROBABILITY, LEVEL_MEAN, LEVEL_STD, MAX_LEVEL = 4, 0.5, 7.0, 0.5, 10.0
GEOMETRIC = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
PHOTOMETRIC = (
    "auto_contrast", "equalize", "invert", "posterize", "solarize", "solarize_add", "colour", "contrast",
    "brightness", "sharpness",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """The draws for one clip."""

    warp: tuple[float, ...] | None
    """As `View.warp`; None: no geometric operation."""
    photometric: tuple[tuple[str, float], ...]
    """(operation, amount) in the order of application."""


def draw_augmentation(random: np.random.Generator, frame_hw: tuple[int, int]) -> Augmentation:
    """One draw of the policy for frames of `frame_hw`.

    Ranges at level l of 10 (arXiv 1909.13719; pytorch-image-models' "increasing" variants): rotation 30 l/10 degrees,
    shear 0.3 l/10, translation 0.45 l/10 of the side, enhancement factor 1 +- 0.9 l/10, posterize to 4 - int(4 l/10)
    bits, solarize from 256 - int(256 l/10), solarize_add int(110 l/10); signs are drawn evenly.
    """
    matrices: list[Matrix] = []
    photometric: list[tuple[str, float]] = []
    names = (*GEOMETRIC, *PHOTOMETRIC)
    for place in random.integers(0, len(names), OPERATIONS).tolist():
        name = names[place]
        applied = random.random() < PROBABILITY
        share = min(max(random.normal(LEVEL_MEAN, LEVEL_STD), 0.0), MAX_LEVEL) / MAX_LEVEL
        sign = -1.0 if random.random() < 0.5 else 1.0
        if not applied:
            continue
        if name in GEOMETRIC:
            matrices.append(pixel_matrix(name, sign * share, frame_hw))
        else:
            photometric.append((name, amount_of(name, share, sign)))
    return Augmentation(warp=relative_warp(matrices, frame_hw), photometric=tuple(photometric))


def pixel_matrix(name: str, share: float, frame_hw: tuple[int, int]) -> Matrix:
    """float64 [3, 3], output pixel position -> input pixel position, for `share` in -1..1 of the largest amount."""
    height, width = frame_hw
    if name == "rotate":
        angle = math.radians(30.0 * share)
        cos, sin = math.cos(angle), math.sin(angle)
        x, y = width / 2.0, height / 2.0
        return np.array([[cos, sin, x - cos * x - sin * y], [-sin, cos, y + sin * x - cos * y], [0.0, 0.0, 1.0]])
    place, value = {
        "shear_x": ((0, 1), 0.3 * share),
        "shear_y": ((1, 0), 0.3 * share),
        "translate_x": ((0, 2), 0.45 * share * width),
        "translate_y": ((1, 2), 0.45 * share * height),
    }[name]
    matrix = np.eye(3)
    matrix[place] = value
    return matrix


def amount_of(name: str, share: float, sign: float) -> float:
    """The photometric operation's own number for `share` in 0..1 of the largest level."""
    levels = {"posterize": 4 - int(share * 4), "solarize": 256 - int(share * 256), "solarize_add": int(share * 110)}
    return float(levels.get(name, 1.0 + sign * 0.9 * share))


def apply_photometric(frames: Frame, operations: tuple[tuple[str, float], ...]) -> Frame:
    """Apply the operations to uint8 [T, H, W, 3]; each frame depends on itself alone."""
    out = np.empty_like(frames)
    for index, frame in enumerate(frames):
        changed = frame
        for name, amount in operations:
            changed = _OPERATIONS[name](changed, amount)
        out[index] = changed
    return out


_VALUES = np.arange(256, dtype=np.float32)


def _by_table(frame: Frame, table: npt.NDArray[np.generic]) -> Frame:
    """Replace every value by its entry of `table`, [256] for all channels or [256, 3] for each."""
    return cv2.LUT(frame, np.ascontiguousarray(table, dtype=np.uint8).reshape(1, 256, -1))


def _blend(base: npt.NDArray[np.float32], frame: Frame, factor: float) -> Frame:
    """base + factor (frame - base), cut to 0..255; factor 1 is the frame itself, 0 the base."""
    return np.clip(base + np.float32(factor) * (frame - base), 0, 255).astype(np.uint8)


def _grey(frame: Frame) -> Frame:
    # ITU-R 601 luma, the weights of every image library's greyscale.
    return cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)


def _auto_contrast(frame: Frame, _: float) -> Frame:
    table = np.tile(np.arange(256)[:, None], (1, 3))
    low, high = frame.min(axis=(0, 1)).astype(int), frame.max(axis=(0, 1)).astype(int)
    for channel in range(3):
        if high[channel] > low[channel]:
            scale = 255.0 / (high[channel] - low[channel])
            table[:, channel] = np.clip((np.arange(256) - low[channel]) * scale, 0, 255).astype(int)
    return _by_table(frame, table)


def _equalize(frame: Frame, _: float) -> Frame:
    table = np.tile(np.arange(256)[:, None], (1, 3))
    for channel in range(3):
        counts = np.bincount(frame[..., channel].ravel(), minlength=256)
        filled = counts[counts > 0]
        step = int(counts.sum() - filled[-1]) // 255
        if len(filled) > 1 and step > 0:
            # Pixels darker than each value, in steps of equal counts.
            below = np.concatenate([[0], np.cumsum(counts)[:-1]])
            table[:, channel] = np.clip((step // 2 + below) // step, 0, 255)
    return _by_table(frame, table)


def _solarize_add(frame: Frame, added: float) -> Frame:
    return _by_table(frame, np.where(_VALUES < 128, np.minimum(_VALUES + int(added), 255), _VALUES))


def _contrast(frame: Frame, factor: float) -> Frame:
    mean = np.float32(int(_grey(frame).mean() + 0.5))
    return _by_table(frame, np.clip(mean + np.float32(factor) * (_VALUES - mean), 0, 255))


_SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], dtype=np.float32) / 13.0


def _sharpness(frame: Frame, factor: float) -> Frame:
    smooth = np.rint(cv2.filter2D(frame.astype(np.float32), -1, _SMOOTH, borderType=cv2.BORDER_REFLECT_101))
    # The outermost pixels have no full neighbourhood and stay as they are.
    smooth[[0, -1]], smooth[:, [0, -1]] = frame[[0, -1]], frame[:, [0, -1]]
    return _blend(smooth, frame, factor)


_OPERATIONS: dict[str, Callable[[Frame, float], Frame]] = {
    "auto_contrast": _auto_contrast,
    "equalize": _equalize,
    "invert": lambda frame, _: 255 - frame,
    "posterize": lambda frame, bits: frame & np.uint8(0xFF & (0xFF << (8 - int(bits)))),
    "solarize": lambda frame, threshold: _by_table(frame, np.where(threshold > _VALUES, _VALUES, 255 - _VALUES)),
    "solarize_add": _solarize_add,
    "colour": lambda frame, factor: _blend(_grey(frame)[..., None].astype(np.float32), frame, factor),
    "contrast": _contrast,
    "brightness": lambda frame, factor: _by_table(frame, np.clip(np.float32(factor) * _VALUES, 0, 255)),
    "sharpness": _sharpness,
}
