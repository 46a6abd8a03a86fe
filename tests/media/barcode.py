"""Frames that carry their own number: drawn as black and white blocks, read back from decoded pixels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

WIDTH, HEIGHT, BLOCK = 96, 64, 16
BITS = 12
"""Rows 0 and 1 of blocks hold the number, row 2 the inverse of row 0 (so that a grey or smeared frame is noticed)."""


def draw_barcode(number: int, *, width: int = WIDTH, height: int = HEIGHT) -> npt.NDArray[np.uint8]:
    """uint8 [height, width, 3] with `number` (0..4095) in the top left 96x48 pixels and a moving ramp elsewhere."""
    y, x = np.mgrid[0:height, 0:width]
    image = ((x * 2 + y + number * 3) % 200 + 28).astype(np.uint8)
    bits = [(number >> bit) & 1 for bit in range(BITS)]
    for row, values in enumerate((bits[:6], bits[6:], [1 - bit for bit in bits[:6]])):
        for column, bit in enumerate(values):
            image[row * BLOCK : (row + 1) * BLOCK, column * BLOCK : (column + 1) * BLOCK] = 235 if bit else 16
    return np.repeat(image[:, :, None], 3, axis=2)


def read_barcode(rgb: npt.NDArray[np.uint8]) -> int:
    """The number drawn in `rgb`; -1 where the blocks are not clearly black or white or contradict each other."""
    bits: list[int] = []
    for row in range(3):
        for column in range(6):
            centre = rgb[row * BLOCK + 4 : row * BLOCK + 12, column * BLOCK + 4 : column * BLOCK + 12]
            mean = float(centre.mean())
            if 90 < mean < 165:
                return -1
            bits.append(int(mean > 128))
    if any(a == b for a, b in zip(bits[:6], bits[12:], strict=True)):
        return -1
    return sum(bit << position for position, bit in enumerate(bits[:BITS]))
