"""Many more heads in a picture: floating ones of every pose, so that a backbone sees enough of them in minutes."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from gazetools.demo.scenes.heads import SPRITE_REACH, head_sprite, random_head, turn_towards

Floats = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]

_SIDE = 52
_BANK = 3000
_MOST_EYE_TURN = 0.35


@lru_cache(maxsize=1)
def head_bank(seed: int) -> tuple[Pixels, Floats]:
    """Sprites of random heads, uint8 [N, side, side, 4] (RGB times alpha, alpha), and their forward directions [N, 3].

    Right, up, towards the camera. Heads look down more than up, as people at a table do. Light faces under dark hair
    come first: their brightness alone tells the side that the face is on, which is what a network learns first; with
    every colour at once it learns nothing for a long time.
    """
    rng = np.random.default_rng([seed, 3])
    sprites = np.empty((_BANK, _SIDE, _SIDE, 4), np.uint8)
    directions = np.empty((_BANK, 3))
    contrasts = np.empty(_BANK)
    for number in range(_BANK):
        yaw, pitch = rng.uniform(-np.pi, np.pi), rng.uniform(-0.9, 0.6)
        forward, gaze = (
            np.array([np.sin(a) * np.cos(b), np.sin(b), np.cos(a) * np.cos(b)])
            for a, b in ((yaw, pitch), np.array([yaw, pitch]) + rng.uniform(-_MOST_EYE_TURN, _MOST_EYE_TURN, 2))
        )
        look = random_head(rng)
        sprite = head_sprite(look, turn_towards(forward), np.eye(3), gaze)
        sprites[number] = cv2.resize(sprite, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
        directions[number] = forward
        contrasts[number] = sum(look.skin) - sum(look.hair)
    order = np.argsort(-contrasts)
    return sprites[order], directions[order]


def add_heads(
    rng: np.random.Generator,
    picture: Pixels,
    boxes: Floats,
    count: int,
    bank: tuple[Pixels, Floats],
    *,
    share: float = 1.0,
) -> tuple[Floats, Floats]:
    """Paste up to `count` heads where none is; returns their boxes [N, 4] (shares) and directions [N, 3].

    Args:
        picture: uint8 RGB [side, side, 3]; changed.
        boxes: heads that are there already.
        share: of the bank, from its start, to choose from.
    """
    sprites, directions = bank
    side = picture.shape[0]
    taken = [np.asarray(box) for box in boxes]
    added, faces = [], []
    for _ in range(count):
        height = rng.uniform(0.15, 0.31)
        width = height * rng.uniform(0.42, 0.75)
        x, y = rng.uniform(width / 2, 1 - width / 2), rng.uniform(height / 2, 1 - height / 2)
        box = np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
        if any((box[:2] < other[2:]).all() and (other[:2] < box[2:]).all() for other in taken):
            continue
        number = int(rng.integers(max(1, round(share * len(sprites)))))
        middle = np.array([x, y]) * side
        reach = np.array([width, height]) / 2 * side * SPRITE_REACH / 1.06
        x0, y0 = np.floor(middle - reach).astype(int).clip(0)
        x1, y1 = np.minimum(np.ceil(middle + reach).astype(int), side)
        scale = 2 * reach / _SIDE
        shift = middle - reach - (x0, y0) + scale * 0.5 - 0.5
        warp = np.array([[scale[0], 0, shift[0]], [0, scale[1], shift[1]]])
        part = cv2.warpAffine(sprites[number], warp, (int(x1 - x0), int(y1 - y0))).astype(np.float32)
        light = rng.uniform(0.6, 1.15) * rng.uniform(0.92, 1.08, 3)
        area = picture[y0:y1, x0:x1]
        area[:] = np.clip(area * (1 - part[..., 3:] / 255) + part[..., :3] * light, 0, 255).astype(np.uint8)
        taken.append(box)
        added.append(box)
        faces.append(directions[number])
    return np.array(added).reshape(-1, 4), np.array(faces).reshape(-1, 3)
