"""CPU time of converting one 1080p frame of 10 bits to RGB, as it is and tone-mapped from HDR.

python benchmarks/tone_mapping.py [--rounds N]
"""

from __future__ import annotations

import argparse
import statistics
import time

import av
import numpy as np

from gazetools.schemas.video import PQ
from gazetools.video import hdr
from gazetools.video.colour import RgbConverter


def frame_of_noise() -> av.VideoFrame:
    """A limited-range BT.2020 frame of 10 bits."""
    frame = av.VideoFrame(1920, 1080, "yuv420p10le")
    frame.colorspace, frame.color_range = 9, 1
    random = np.random.default_rng(0)
    for plane in frame.planes:
        plane.update(random.integers(200, 700, plane.buffer_size // 2).astype(np.uint16).tobytes())
    return frame


def milliseconds(converter: RgbConverter, frame: av.VideoFrame, rounds: int) -> float:
    """Median CPU time of one conversion."""
    times = []
    for _ in range(rounds + 1):
        began = time.process_time()
        converter.view(frame)
        times.append(1000 * (time.process_time() - began))
    return statistics.median(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    frame = frame_of_noise()
    plain = RgbConverter(rotation_degrees=0)
    mapped = RgbConverter(rotation_degrees=0, mapper=hdr.ToneMapper(transfer=PQ, primaries="bt2020"))
    print(f"as it is: {milliseconds(plain, frame, rounds):.1f} ms")
    print(f"tone-mapped: {milliseconds(mapped, frame, rounds):.1f} ms")
    hdr._CV2_TAKES_16_BITS = False
    print(f"tone-mapped, numpy: {milliseconds(mapped, frame, rounds):.1f} ms")


if __name__ == "__main__":
    main()
