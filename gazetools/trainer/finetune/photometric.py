"""Changes of light and colour of a picture, as PINTO0309/gazelle-dinov3 draws them.

The distortion is torchvision's RandomPhotometricDistort with every step on, on 8-bit pictures: brightness, contrast,
saturation, hue (contrast first or last), then a random order of the colour channels. Formulas from Pillow's
ImageEnhance, Blend.c and Convert.c (grey values, HSV), rounded as there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gazetools.trainer.finetune.head_sample import Pixels


@dataclass(frozen=True, kw_only=True)
class Distortion:
    """Factors of one distortion."""

    brightness: float
    """Factor of all values, 0.875 to 1.125."""
    contrast: float
    """Factor of the distance to the mean grey value, 0.5 to 1.5."""
    saturation: float
    """Factor of the distance to the grey picture, 0.5 to 1.5."""
    hue: float
    """Shift of the hue in turns, -0.05 to 0.05."""
    contrast_first: bool
    """Whether the contrast changes before saturation and hue, else after them."""
    channels: tuple[int, int, int]
    """Source channel of each channel of the result."""

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Distortion:
        """Uniform in the ranges of the fields; every order of the channels is equally likely."""
        first, second, third = (int(channel) for channel in rng.permutation(3))
        return cls(
            brightness=float(rng.uniform(0.875, 1.125)),
            contrast=float(rng.uniform(0.5, 1.5)),
            saturation=float(rng.uniform(0.5, 1.5)),
            hue=float(rng.uniform(-0.05, 0.05)),
            contrast_first=bool(rng.random() < 0.5),
            channels=(first, second, third),
        )


def distorted(picture: Pixels, distortion: Distortion) -> Pixels:
    """The changed picture, uint8 RGB [H, W, 3]."""
    changed = _blended(np.zeros_like(picture), picture, distortion.brightness)
    if distortion.contrast_first:
        changed = _with_contrast(changed, distortion.contrast)
    grey = np.repeat(_grey(changed)[:, :, None], 3, axis=2)
    changed = _blended(grey, changed, distortion.saturation)
    changed = _with_hue(changed, distortion.hue)
    if not distortion.contrast_first:
        changed = _with_contrast(changed, distortion.contrast)
    return np.ascontiguousarray(changed[:, :, list(distortion.channels)])


def _with_contrast(picture: Pixels, factor: float) -> Pixels:
    mean = int(_grey(picture).mean() + 0.5)
    return _blended(np.full_like(picture, mean), picture, factor)


def _blended(base: Pixels, picture: Pixels, factor: float) -> Pixels:
    """base + factor (picture - base), cut to 0..255, fractions cut off."""
    start = base.astype(np.float32)
    return np.clip(start + np.float32(factor) * (picture - start), 0, 255).astype(np.uint8)


def _grey(picture: Pixels) -> npt.NDArray[np.uint8]:
    """ITU-R 601 luma with 16 bits of fraction, uint8 [H, W]."""
    red, green, blue = (picture[:, :, channel].astype(np.uint32) for channel in range(3))
    return ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16).astype(np.uint8)


def _with_hue(picture: Pixels, turns: float) -> Pixels:
    """The hue, kept in 256 steps, moved by `turns`."""
    hue, saturation, value = _to_hsv(picture)
    shift = np.uint8(int(turns * 255) % 256)
    return _from_hsv(hue + shift, saturation, value)


def _to_hsv(picture: Pixels) -> tuple[Pixels, Pixels, Pixels]:
    """Hue, saturation and value, uint8 [H, W] each."""
    red, green, blue = (picture[:, :, channel].astype(np.float32) for channel in range(3))
    most, least = picture.max(axis=2), picture.min(axis=2)
    high = most.astype(np.float32)
    span = np.maximum(high - least, np.float32(1))
    # single precision with the steps in double precision where Convert.c has them: one step of the hue is 6 levels
    from_red, from_green, from_blue = (((high - c) / span).astype(np.float64) for c in (red, green, blue))
    not_red = np.where(green == high, 2 + from_red - from_blue, 4 + from_green - from_red)
    sixths = np.where(red == high, from_blue - from_green, not_red).astype(np.float32).astype(np.float64)
    hue = np.fmod(sixths / 6 + 1, 1).astype(np.float32).astype(np.float64)
    grey = most == least
    saturation = ((high - least) / np.maximum(high, np.float32(1))).astype(np.float64)
    return (
        np.where(grey, 0, hue * 255).astype(np.uint8),
        np.where(grey, 0, saturation * 255).astype(np.uint8),
        most,
    )


def _from_hsv(hue: Pixels, saturation: Pixels, value: Pixels) -> Pixels:
    """The RGB picture of hue, saturation and value."""
    sixths = hue.astype(np.float64) * 6 / 255
    sector = np.floor(sixths)
    rest = sixths - sector
    share, high = saturation.astype(np.float64) / 255, value.astype(np.float64)

    def level(factor: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.clip(np.floor(high * factor + 0.5), 0, 255)

    low, falling, rising = level(1 - share), level(1 - share * rest), level(1 - share * (1 - rest))
    corners = [  # (red, green, blue) of each sixth of the circle
        (high, rising, low),
        (falling, high, low),
        (low, high, rising),
        (low, falling, high),
        (rising, low, high),
        (high, low, falling),
    ]
    number = sector.astype(np.int64) % 6
    channels = [np.choose(number, [corner[channel] for corner in corners]) for channel in range(3)]
    return np.stack(channels, axis=2).astype(np.uint8)
