"""Many more heads in a picture: floating heads of every pose, so that a backbone sees enough of them in minutes."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from gazetools.scenes.heads import SPRITE_REACH, head_sprite, random_head, turn_towards

Floats = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]

_SIDE = 64  # side of a sprite in pixels
_BANK = 2400  # number of sprites


@lru_cache(maxsize=1)
def head_bank(seed: int) -> tuple[Pixels, Floats]:
    """Sprites of random heads, uint8 [N, side, side, 4] (RGB times alpha, alpha), and their forward directions [N, 3].

    The axes of a direction are right, up and towards the camera. Heads look down more than up, as people at a table do.
    Light faces under dark hair come first: there the brightness alone shows on which side the face is, and a network
    learns that first; with every colour at once it learns nothing for a long time.
    """
    rng = np.random.default_rng([seed, 3])
    sprites, directions, contrasts = np.empty((_BANK, _SIDE, _SIDE, 4), np.uint8), np.empty((_BANK, 3)), np.empty(_BANK)
    for number in range(_BANK):
        yaw, pitch = rng.uniform(-np.pi, np.pi), rng.uniform(-0.9, 0.6)
        forward, gaze = (
            np.array([np.sin(a) * np.cos(b), np.sin(b), np.cos(a) * np.cos(b)])
            for a, b in ((yaw, pitch), np.array([yaw, pitch]) + rng.uniform(-0.35, 0.35, 2))  # the eyes turn, too
        )
        look = random_head(rng)
        sprite = head_sprite(look, turn_towards(forward), np.eye(3), gaze)
        sprites[number] = cv2.resize(sprite, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
        directions[number] = forward
        contrasts[number] = sum(look.skin) - sum(look.hair)
    order = np.argsort(-contrasts)
    return sprites[order], directions[order]


def add_heads(
    rng: np.random.Generator, picture: Pixels, boxes: Floats, bank: tuple[Pixels, Floats], *, share: float = 1.0
) -> tuple[Floats, Floats]:
    """Fill free places of the picture with rows of heads; returns their boxes [N, 4] (shares) and directions [N, 3].

    Changes `picture`, uint8 RGB [side, side, 3], whose heads have `boxes` [people, 4]. Heads are chosen from the first
    `share` (0..1) of the bank.
    """
    sprites, directions = bank
    added, numbers = [], []
    top = rng.uniform(0, 0.06)
    while top < 0.82:
        row_height = rng.uniform(0.16, 0.3)
        left = rng.uniform(0, 0.08)
        while True:
            height = row_height * rng.uniform(0.75, 1)
            width = height * rng.uniform(0.42, 0.75)
            y = min(top + rng.uniform(0, row_height - height), 1 - height)
            if left + width > 1:
                break
            box = np.array([left, y, left + width, y + height])
            if not ((box[:2] < boxes[:, 2:]) & (boxes[:, :2] < box[2:])).all(axis=1).any():
                number = int(rng.integers(max(1, round(share * len(sprites)))))
                _paste(picture, sprites[number], box, rng.uniform(0.6, 1.15) * rng.uniform(0.92, 1.08, 3))
                added.append(box)
                numbers.append(number)
            left += width + rng.uniform(0, 0.1)
        top += row_height + rng.uniform(0, 0.04)
    return np.array(added).reshape(-1, 4), directions[numbers]


def _paste(picture: Pixels, sprite: Pixels, box: Floats, light: Floats) -> None:
    side = picture.shape[0]
    middle = (box[:2] + box[2:]) / 2 * side
    reach = (box[2:] - box[:2]) / 2 * side * SPRITE_REACH / 1.06
    x0, y0 = np.floor(middle - reach).astype(int).clip(0)
    x1, y1 = np.minimum(np.ceil(middle + reach).astype(int), side)
    scale = 2 * reach / _SIDE
    shift = middle - reach - (x0, y0) + scale * 0.5 - 0.5
    warp = np.array([[scale[0], 0, shift[0]], [0, scale[1], shift[1]]])
    part = cv2.warpAffine(sprite, warp, (int(x1 - x0), int(y1 - y0))).astype(np.float32)
    area = picture[y0:y1, x0:x1]
    area[:] = np.clip(area * (1 - part[..., 3:] / 255) + part[..., :3] * light, 0, 255).astype(np.uint8)
