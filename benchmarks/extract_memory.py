"""Peak memory and time of `extract` for a clip and for one ten times longer.

Memory should stay equal, and the time should grow tenfold.

python benchmarks/extract_memory.py [--frames 500 5000] [--size 796x448] [--rounds 2] [--device cpu]

Memory is that of the command and its decoding processes together. The time is that of the worker, without the
start of Python and the loading of the model; the shortest of the rounds counts.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.helpers.clips import write_boxes, write_clip
from tests.helpers.process_tree import run_measured
from tests.helpers.random_checkpoints import write_tiny_gazelle


def main() -> None:
    """Extract clips of the given lengths in turn, each in a separate process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, nargs="+", default=[500, 5000])
    parser.add_argument("--size", default="796x448")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    width, height = map(int, arguments.size.split("x"))
    rows: dict[int, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = write_tiny_gazelle(folder / "tiny.safetensors")
        clips = {
            frames: (
                write_clip(folder / f"clip{frames}.mp4", frames=frames, gop=48, width=width, height=height),
                write_boxes(folder / f"clip{frames}.csv", frames=range(frames), width=width, height=height),
            )
            for frames in arguments.frames
        }
        for turn in range(arguments.rounds):
            for frames, (clip, boxes) in clips.items():
                command = [sys.executable, "-m", "gazetools", "-q", "extract", str(clip), "--json"]
                command += ["-o", str(folder / f"store{frames}_{turn}"), "--model", str(model)]
                command += ["--heads", f"file:{boxes}", "--device", arguments.device]
                usage = run_measured(command)
                item = json.loads(usage.stdout)["items"][0]
                assert item["frames"] == frames, item
                row = rows.setdefault(frames, {"rows": item["rows"], "peak_pss_mib": 0.0, "seconds": float("inf")})
                row["peak_pss_mib"] = max(row["peak_pss_mib"], usage.peak_pss_mib)
                row["seconds"] = min(row["seconds"], item["seconds"])
                row["processes"] = usage.processes
    for frames, row in rows.items():
        print(json.dumps({"frames": frames, **row, "ms_per_frame": round(1000 * row["seconds"] / frames, 3)}))
    first, last = rows[arguments.frames[0]], rows[arguments.frames[-1]]
    print(json.dumps({"frames_ratio": arguments.frames[-1] / arguments.frames[0],
                      "time_ratio": round(last["seconds"] / first["seconds"], 2),
                      "memory_ratio": round(last["peak_pss_mib"] / first["peak_pss_mib"], 3)}))  # fmt: skip


if __name__ == "__main__":
    main()
