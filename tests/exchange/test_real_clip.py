"""The whole way on a real clip: video, heatmaps of `gazelle_tiny`, table; compared with the store's bare HDF5 file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.exchange.tables import read_csv
from tests.exchange.test_map_figures import by_loops, mass_by_loops

ROOT = Path(__file__).parents[2]
FULL = os.environ.get("GAZETOOLS_DATA")


@pytest.mark.slow
@pytest.mark.skipif(FULL is None, reason="set GAZETOOLS_DATA to a folder with codecs/ and real/")
def test_table_of_a_real_clip(tmp_path: Path) -> None:
    real = Path(FULL or "") / "real"
    video, boxes = real / "two_people_1080p.mp4", real / "two_people_1080p.heads.csv"

    def run(*words: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "gazetools", *words]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("extract", str(video), "-o", "store", "--model", "gazelle_tiny", "--heads", f"file:{boxes}")
    (tmp_path / "areas.csv").write_text("name,xmin,ymin,xmax,ymax\nleft,0,0,777,1080\nright,777,0,1920,1080\n")
    report = json.loads(
        run("table", "store", "-o", "gaze.csv", "--areas", "areas.csv", "--social", "pairs.csv", "--json")
    )
    (counted,) = report["videos"]
    assert (counted["frames"], counted["rows"], counted["pairs"]) == (101, 202, 202)
    rows, pairs = read_csv(tmp_path / "gaze.csv"), read_csv(tmp_path / "pairs.csv")
    with h5py.File(tmp_path / "store" / "two_people_1080p.h5") as file:
        maps, box, frames = file["rows/heatmap"][:], file["rows/box"][:], file["rows/frame"][:]
        times = dict(zip(file["frames/index"][:].tolist(), file["frames/pts_seconds"][:].tolist(), strict=True))
    for place, row in enumerate(rows):
        assert float(row["mass_left"]) + float(row["mass_right"]) == pytest.approx(1, abs=1e-5)
        assert float(row["pts_seconds"]) == times[int(frames[place])]
        top, left = np.unravel_index(int(maps[place].argmax()), (64, 64))
        assert (float(row["peak_x"]), float(row["peak_y"])) == ((left + 0.5) / 64, (top + 0.5) / 64)
    for place in (0, 57, 201):
        expected, row = by_loops(maps[place]), rows[place]
        assert float(row["centre_x"]) == pytest.approx(expected["cx"], rel=1e-5)
        assert float(row["spread_y"]) == pytest.approx(expected["sy"], rel=1e-5)
        assert float(row["mass_left"]) == pytest.approx(mass_by_loops(maps[place], (0, 0, 777 / 1920, 1)), rel=1e-4)
        other = box[place + 1 if place % 2 == 0 else place - 1]
        on_head = mass_by_loops(maps[place], tuple(float(side) for side in other))
        assert float(pairs[place]["mass_on_head"]) == pytest.approx(on_head, rel=1e-4)
