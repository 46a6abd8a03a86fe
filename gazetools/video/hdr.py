"""HDR pictures (PQ and HLG) to the SDR pictures that models know: transfer, tone curve, primaries, sRGB.

One implementation for all readers. Every step works on each channel or is one matrix, so tables do the work. The steps:

1. R'G'B' to light relative to the reference white. PQ: the EOTF of SMPTE ST 2084, divided by 203 cd/m2, the HDR
   reference white of ITU-R BT.2408. HLG: the inverse OETF of ITU-R BT.2100, divided by the light of the 75 % signal,
   the same white; the light of the scene, as an SDR camera would have taken it, so no OOTF.
2. The tone curve `bt2390`: the EETF of ITU-R BT.2390 (section 5.4) from a peak of 1000 cd/m2 to 203 cd/m2. Light below
   88 cd/m2 stays as it is, brighter light rolls off, and what is above 1000 cd/m2 becomes white.
3. The primaries of the stream to those of BT.709, by one matrix.
4. The sRGB curve of IEC 61966-2-1, 8 bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from gazetools.schemas.video import PQ

Floats: TypeAlias = npt.NDArray[np.float64]

TONE_MAPPING = "bt2390"
"""Name of the method above, as provenance records it."""
_WHITE_NITS, _PEAK_NITS = 203.0, 1000.0
_HLG_WHITE_SIGNAL = 0.75
_ENTRIES = 65536
_FULL_SIGNAL = 16383
"""Place of signal 1.0 in the table of light: finer than 12 bits, and room for R'G'B' up to 4 (YCbCr gives up to 3)."""
_FULL_LIGHT = _ENTRIES - 1
"""Place of white in the table of sRGB."""
_CV2_TAKES_16_BITS = int(cv2.__version__.partition(".")[0]) >= 5
"""Whether cv2.LUT looks up 16-bit values; numpy does the same in three times the time."""

# SMPTE ST 2084, section 5: m1, m2, c1, c2, c3.
_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
# ITU-R BT.2100, table 5: a, b, c.
_A = 0.17883277
_B, _C = 1 - 4 * _A, 0.5 - _A * float(np.log(4 * _A))

_D65, _DCI_WHITE = (0.3127, 0.3290), (0.314, 0.351)
_CHROMATICITIES = {
    # x and y of red, green, blue and white; ISO/IEC 23091-2 (H.273), table 2
    "bt709": ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060), _D65),
    "bt470bg": ((0.640, 0.330), (0.290, 0.600), (0.150, 0.060), _D65),
    "smpte170m": ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65),
    "bt2020": ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), _D65),
    "smpte431": ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _DCI_WHITE),
    "smpte432": ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _D65),
}


def pq_light(signal: Floats) -> Floats:
    """Light in cd/m2 (0..10000) of PQ signals in 0..1: the EOTF of SMPTE ST 2084."""
    root: Floats = signal ** (1 / _M2)
    light: Floats = 10000 * (np.maximum(root - _C1, 0) / (_C2 - _C3 * root)) ** (1 / _M1)
    return light


def pq_signal(nits: Floats) -> Floats:
    """PQ signals in 0..1 of light in cd/m2: the inverse of `pq_light`."""
    power = (np.maximum(nits, 0) / 10000) ** _M1
    signal: Floats = ((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2
    return signal


def hlg_light(signal: Floats) -> Floats:
    """Light of the scene (0..1) of HLG signals in 0..1: the inverse OETF of ITU-R BT.2100."""
    return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - _C) / _A) + _B) / 12)


def tone_curve(light: Floats) -> Floats:
    """SDR light in 0..1 of `light` relative to the reference white: BT.2390's EETF, on each channel."""
    peak, white = pq_signal(np.array([_PEAK_NITS, _WHITE_NITS])).tolist()
    signal = np.minimum(pq_signal(light * _WHITE_NITS) / peak, 1.0)
    most = white / peak
    knee = 1.5 * most - 0.5
    t = np.maximum(signal - knee, 0) / (1 - knee)
    rolled = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * most
    return np.where(signal < knee, light, pq_light(np.where(signal < knee, 0, rolled) * peak) / _WHITE_NITS)


def primaries_matrix(primaries: str) -> Floats:
    """[3, 3] linear RGB of `primaries` to linear RGB of BT.709; unknown primaries are read as BT.2020's."""
    source = _to_xyz(_CHROMATICITIES.get(primaries, _CHROMATICITIES["bt2020"]))
    matrix = np.asarray(np.linalg.solve(_to_xyz(_CHROMATICITIES["bt709"]), source), np.float64)
    whites: Floats = matrix.sum(axis=1, keepdims=True)
    return matrix / whites  # white stays white also where the white points differ


def _to_xyz(chromaticities: tuple[tuple[float, float], ...]) -> Floats:
    """[3, 3] linear RGB to CIE XYZ (SMPTE RP 177)."""
    red, green, blue, white = (np.array([x / y, 1.0, (1 - x - y) / y]) for x, y in chromaticities)
    columns = np.stack([red, green, blue], axis=1)
    matrix: Floats = columns * np.linalg.solve(columns, white)
    return matrix


def srgb_signal(light: Floats) -> Floats:
    """sRGB signals of light in 0..1 (IEC 61966-2-1)."""
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 0) ** (1 / 2.4) - 0.055)


class ToneMapper:
    """HDR pictures of one transfer function and one set of primaries to 8-bit SDR."""

    def __init__(self, *, transfer: str, primaries: str) -> None:
        signal = np.minimum(np.arange(_ENTRIES) / _FULL_SIGNAL, 1.0)
        if transfer == PQ:
            light = pq_light(signal) / _WHITE_NITS
        else:
            light = hlg_light(signal) / float(hlg_light(np.array(_HLG_WHITE_SIGNAL)))
        # so scaled that the matrix gives the places in the table of sRGB
        self._light = (tone_curve(light) * _FULL_LIGHT).astype(np.float32)
        self._matrix = primaries_matrix(primaries).astype(np.float32)
        self._srgb = np.round(srgb_signal(np.arange(_ENTRIES) / _FULL_LIGHT) * 255).astype(np.uint8)

    def sdr(self, red_green_blue: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.uint8]:
        """uint8 [H,W,3] sRGB of the planes [H,W] of full-range R'G'B' in 0..1; values outside are cut."""
        planes = [_looked_up(self._light, _as_places(plane, _FULL_SIGNAL)) for plane in red_green_blue]
        light = cv2.transform(cv2.merge(planes), self._matrix)
        sdr: npt.NDArray[np.uint8] = _looked_up(self._srgb, _as_places(light, 1))
        return sdr


def _as_places(values: npt.NDArray[np.float32], scale: int) -> npt.NDArray[np.uint16]:
    """`values` x `scale`, rounded and cut to 0..65535; cv2.multiply takes five times as long."""
    places: npt.NDArray[np.uint16] = cv2.addWeighted(values, scale, values, 0, 0, dtype=cv2.CV_16U)
    return places


def _looked_up(table: npt.NDArray[Any], places: npt.NDArray[np.uint16]) -> npt.NDArray[Any]:
    found: npt.NDArray[Any] = cv2.LUT(places, table[None]) if _CV2_TAKES_16_BITS else table[places]
    return found
