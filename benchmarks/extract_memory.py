"""Peak memory of `extract` for a short and a ten times longer clip, with a tiny model: it must stay flat.

python benchmarks/extract_memory.py [--frames 500 5000]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.helpers.clips import write_boxes, write_clip
from tests.helpers.random_checkpoints import write_tiny_gazelle


def main() -> None:
    """Extract clips of the given lengths in processes of their own and print peak memory and time of each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, nargs="+", default=[500, 5000])
    parser.add_argument("--width", type=int, default=796)
    parser.add_argument("--height", type=int, default=448)
    arguments = parser.parse_args()
    size = {"width": arguments.width, "height": arguments.height}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = write_tiny_gazelle(folder / "tiny.safetensors")
        for frames in arguments.frames:
            clip = write_clip(folder / f"clip{frames}.mp4", frames=frames, gop=48, **size)
            boxes = write_boxes(folder / f"clip{frames}.csv", frames=range(frames), **size)
            print(json.dumps(_measure(clip, boxes, model, folder / f"store{frames}", frames)))


def _measure(clip: Path, boxes: Path, model: Path, store: Path, frames: int) -> dict[str, float]:
    command = [sys.executable, "-m", "gazetools", "-q", "extract", str(clip), "-o", str(store), "--model", str(model)]
    process = subprocess.Popen([*command, "--heads", f"file:{boxes}", "--json"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    report = json.loads(process.stdout.read())
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, report
    item = report["items"][0]
    return {
        "frames": frames,
        "rows": item["rows"],
        "peak_rss_mib": round(usage.ru_maxrss / 1024, 1),
        "seconds": item["seconds"],
        "ms_per_frame": round(1000 * item["seconds"] / frames, 3),
    }


if __name__ == "__main__":
    main()
