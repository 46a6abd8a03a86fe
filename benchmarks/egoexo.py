"""Head boxes and ground truth of a 10-minute Ego-Exo4D take with 5 cameras: time, and peak memory of the process.

python benchmarks/egoexo.py [--minutes 10] [--cameras 5] [--folder DIR]

The take is synthetic (tests/helpers/synthetic_takes.py): 600,000 trajectory rows of 28 columns, 6,000 gaze samples,
18,000 frames per camera in tiny videos. So the benchmark measures reading recordings, geometry and writing heatmaps,
not the decoding of 4K video. Every stage runs in a separate process, as a user's command does.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
STAGES = {
    "head boxes": """
from gazetools.egoexo.takes import read_takes
from gazetools.heads.calib import calib_heads
from gazetools.video import VideoReader
for take in read_takes(root):
    for camera in take.cameras:
        if not camera.is_ego:
            with VideoReader(camera.path) as reader:
                calib_heads(camera.path, width=reader.info.width, height=reader.info.height,
                            frame_count=reader.frame_count)
""",
    "ground truth": """
from gazetools.groundtruth import groundtruth
report = groundtruth(root, root.parent / "truth", overwrite=True)
assert report.exit_code == 0, report
""",
    "ground truth, all depths unknown": """
from gazetools.groundtruth import groundtruth
for path in root.glob("takes/*/eye_gaze/general_eye_gaze.csv"):
    lines = [line.split(",") for line in path.read_text().splitlines()]
    for cells in lines[1:]:
        cells[3] = ""
    path.write_text("\\n".join(",".join(cells) for cells in lines) + "\\n")
report = groundtruth(root, root.parent / "truth_unknown", overwrite=True)
assert report.exit_code == 0, report
""",
}


def run_stage(name: str, root: Path) -> dict[str, float]:
    """Wall seconds with and without the start of Python, and peak memory in MB."""
    code = (
        "import time, resource, json, sys; from pathlib import Path\n"
        + "root = Path(sys.argv[1]); began = time.monotonic()\n"
        + STAGES[name]
        + "\npeak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024"
        + "\nprint(json.dumps({'seconds': time.monotonic() - began, 'peak_mb': peak, 'cpu': time.process_time()}))"
    )
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code, str(root)], check=True, capture_output=True, text=True, cwd=ROOT)
    return {**json.loads(done.stdout.splitlines()[-1]), "process_seconds": time.monotonic() - began}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--cameras", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder by default")
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    from tests.helpers.synthetic_takes import Camera, SyntheticTake, write_root

    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        root = Path(folder) / "root"
        cameras = tuple(
            Camera(name=f"cam{number:02d}", turn=0.5 * number - 1, width=256, height=144)
            for number in range(1, arguments.cameras + 1)
        )
        take = SyntheticTake(
            name="bench_1", uid="u", cameras=cameras, frames=round(arguments.minutes * 1800), empty_cells=()
        )
        began = time.monotonic()
        write_root(root, [take], draw=False)
        size = (root / "takes" / take.name / "trajectory" / "closed_loop_trajectory.csv").stat().st_size
        print(f"take written in {time.monotonic() - began:.0f} s; trajectory of {size / 1e6:.0f} MB")
        for name in STAGES:
            found = run_stage(name, root)
            print(
                f"{name:34s} {found['seconds']:6.2f} s ({found['cpu']:.2f} s of CPU time), "
                f"peak {found['peak_mb']:.0f} MB"
            )


if __name__ == "__main__":
    main()
