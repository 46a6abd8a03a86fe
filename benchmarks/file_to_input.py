"""Time from a video file to the model's input, compared with the original code: alternated rounds, ratios within each.

python benchmarks/file_to_input.py [VIDEO] [--frames 300] [--rounds 5] [--threads 1] [--side 448]

`official` is the code that users of fkryan/gazelle write around it: OpenCV decodes a frame, PIL holds it, then
ToTensor, Normalize and Resize work on floats, one frame at a time. Copies into and out of PIL replace PIL; the same
tensor operations replace torchvision's three transforms. `exact` and `fast` are ours: `VideoReader` and `preprocess`.
The ratio is official / ours (above 1 = ours is faster), of CPU time over all threads and of wall time; medians over the
rounds, with the largest difference from the official numbers in 8-bit levels. Our time includes opening the file,
making its index and checking its first and last frames. A VIDEO with fewer frames is repeated, packet for packet, until
it is long enough: few videos are as short as a test clip, for which opening counts most (`--no-repeat` measures a short
VIDEO).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).parents[1]))
from gazetools.gazemodels.gazelle.preprocess import IMAGENET_MEAN, IMAGENET_STD, PreprocessKind, preprocess
from gazetools.video import VideoReader
from tests.helpers.clips import write_clip

_WARM_UP_FRAMES = 8


def _official(path: Path, frames: int, side: int) -> torch.Tensor:
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    capture = cv2.VideoCapture(str(path))
    out = torch.empty((frames, 3, side, side))
    for index in range(frames):
        picture = cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB).copy()  # the copy into PIL's memory
        tensor = torch.from_numpy(picture.copy()).permute(2, 0, 1).contiguous().float().div(255)  # ToTensor
        tensor = tensor.clone().sub_(mean).div_(std)  # Normalize
        out[index] = F.interpolate(tensor[None], (side, side), mode="bilinear", align_corners=False, antialias=True)[0]
    return out


def _ours(path: Path, frames: int, side: int, kind: PreprocessKind) -> torch.Tensor:
    out = torch.empty((frames, 3, side, side))
    with VideoReader(path) as reader:
        for frame in reader.frames(range(frames)):
            out[frame.index] = preprocess(torch.from_numpy(frame.rgb)[None], (side, side), kind=kind)[0]
    return out


def _repeated(path: Path, frames: int, longer: Path) -> Path:
    """Repeat the video's packets until there are `frames`; its first packet must be a keyframe."""
    with VideoReader(path) as reader:
        times = -(-frames // reader.frame_count)
        ticks = int(reader.frame_index.pts[-1] - reader.frame_index.pts[0]) * reader.frame_count
        ticks //= reader.frame_count - 1
    if times == 1:
        return path
    with av.open(str(longer), "w") as target:
        stream = None
        for turn in range(times):
            with av.open(str(path)) as source:
                video = source.streams.video[0]
                stream = stream or target.add_stream_from_template(video)
                for packet in source.demux(video):
                    if packet.dts is None:  # the end
                        continue
                    packet.pts, packet.dts = packet.pts + turn * ticks, packet.dts + turn * ticks
                    packet.stream = stream
                    target.mux(packet)
    return longer


def main() -> None:
    """Measure and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("video", type=Path, nargs="?", help="default: a made 1080p clip")
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="threads of torch and OpenCV; decoders choose theirs")
    parser.add_argument("--side", type=int, default=448)
    parser.add_argument("--no-repeat", action="store_true", help="measure a short VIDEO as it is")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(arguments.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = arguments.video or write_clip(folder / "made.mp4", frames=arguments.frames, width=1920, height=1080)
        if not arguments.no_repeat:
            path = _repeated(path, arguments.frames, folder / "longer.mp4")
        ways: dict[str, Callable[[int], torch.Tensor]] = {
            "official": lambda frames: _official(path, frames, arguments.side),
            "exact": lambda frames: _ours(path, frames, arguments.side, "exact"),
            "fast": lambda frames: _ours(path, frames, arguments.side, "fast"),
        }
        first = {way: read(_WARM_UP_FRAMES) for way, read in ways.items()}  # also warms up
        taken: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
        for _ in range(arguments.rounds):
            for way, read in ways.items():
                began, began_cpu = time.perf_counter(), time.process_time()
                read(arguments.frames)
                taken[way].append((time.perf_counter() - began, time.process_time() - began_cpu))
    levels = 255 * torch.tensor(IMAGENET_STD).view(3, 1, 1)
    rows = {}
    for way, times in taken.items():
        wall, cpu = (
            statistics.median(
                theirs[clock] / ours[clock] for theirs, ours in zip(taken["official"], times, strict=True)
            )
            for clock in (0, 1)
        )
        rows[way] = {
            "frames_per_second": round(arguments.frames / statistics.median(seconds for seconds, _ in times), 1),
            "cpu_ms_per_frame": round(1000 * statistics.median(cpu for _, cpu in times) / arguments.frames, 2),
            "wall_ratio": round(wall, 2),
            "cpu_ratio": round(cpu, 2),
            "largest_difference_levels": round(float(((first[way] - first["official"]) * levels).abs().max()), 3),
        }
    print(json.dumps({"frames": arguments.frames, "threads": arguments.threads, "ways": rows}))


if __name__ == "__main__":
    main()
