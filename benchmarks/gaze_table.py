"""Speed and memory of `gazetools table` for one hour of video: 108,000 rows of 64x64 maps.

    python benchmarks/gaze_table.py [--rows 108000] [--rounds 3] [--folder DIR] [--json]

Makes a store of 54,000 frames with two people each (30 minutes at 30 fps have as many rows as an hour with one person),
then times, each round one after the other: Parquet, CSV, Parquet with 5 fixed and with 3 moving areas, Parquet with the
pairs, and for comparison the sha256 of the store file. Times are medians of wall and of CPU; memory is the peak.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from gazetools.exchange.table import write_gaze_table
from gazetools.io.atomic import sha256_of_file
from gazetools.schemas.store import Piece, Rows
from gazetools.schemas.table import TableOptions
from gazetools.store import StoreContent, write_store
from tests.helpers.stores import provenance_of

PEOPLE = 2
PIECE_FRAMES = 512


def _piece(start: int, stop: int, seed: int) -> Piece:
    """Frames [start, stop) with two people, whose maps are a blob on a low background."""
    rng = np.random.default_rng(seed)
    count = (stop - start) * PEOPLE
    places = (np.arange(64) + 0.5) / 64
    centre = rng.random((count, 2))
    across, down = (np.exp(-(((places - centre[:, axis, None]) * 21) ** 2) / 2) for axis in (0, 1))
    maps = (0.9 * down[:, :, None] * across[:, None, :] + 0.01 * rng.random((count, 1, 1))).astype(np.float16)
    frames = np.arange(start, stop)
    return Piece(
        frame_index=frames,
        pts_seconds=frames / 30,
        fingerprint=np.zeros((0, 32, 32), np.uint8),
        fingerprint_index=np.zeros(0, np.int64),
        rows=Rows(
            frame=np.repeat(frames, PEOPLE),
            track_id=np.tile(np.arange(1, PEOPLE + 1, dtype=np.int32), len(frames)),
            box_xyxy=np.tile(np.array([[0.1, 0.1, 0.2, 0.3], [0.6, 0.2, 0.7, 0.4]], np.float32), (len(frames), 1)),
            inout=rng.random(count).astype(np.float32),
            prompt=np.zeros(count, np.uint8),
            heatmap=maps,
        ),
        batch_size=8,
    )


def _make_store(root: Path, rows: int) -> None:
    frames = rows // PEOPLE
    starts = range(0, frames, PIECE_FRAMES)
    write_store(
        root,
        "hour",
        StoreContent(
            provenance=provenance_of("hour", frames, (64, 64), video={"width": 1920, "height": 1080}),
            pieces=[lambda s=s: _piece(s, min(s + PIECE_FRAMES, frames), s) for s in starts],  # type: ignore[misc]
            track_roles={1: "wearer", 2: "other"},
            heatmap_shape=(64, 64),
        ),
    )


def _make_areas(root: Path, frames: int) -> tuple[Path, Path]:
    fixed, moving = root / "fixed.csv", root / "moving.csv"
    lines = ["name,xmin,ymin,xmax,ymax"]
    lines += [f"a{i},{i / 5},0.1,{(i + 1) / 5},0.9" for i in range(5)]
    fixed.write_text("\n".join(lines) + "\n")
    lines = ["name,frame,xmin,ymin,xmax,ymax"]
    lines += [f"b{i},{f},{i / 4},0.2,{(i + 1) / 4},0.7" for f in range(frames) for i in range(3)]
    moving.write_text("\n".join(lines) + "\n")
    return fixed, moving


def _measured(root: Path, options: argparse.Namespace) -> dict[str, float]:
    store = root / "store"
    _make_store(store, options.rows)
    fixed, moving = _make_areas(root, options.rows // PEOPLE)
    size = (store / "hour.h5").stat().st_size

    def table(name: str, **settings: str) -> Callable[[], object]:
        given = TableOptions.model_validate(settings)
        return lambda: write_gaze_table(store, root / name, options=given, overwrite=True)

    jobs = {
        "sha256": lambda: sha256_of_file(store / "hour.h5"),
        "parquet": table("gaze.parquet"),
        "csv": table("gaze.csv"),
        "parquet, 5 fixed areas": table("fixed.parquet", areas=str(fixed), areas_units="fraction"),
        "parquet, 3 moving areas": table("moving.parquet", areas=str(moving), areas_units="fraction"),
        "parquet and pairs": table("social.parquet", social=str(root / "pairs.parquet")),
    }
    times: dict[str, list[float]] = {}
    for _ in range(options.rounds):
        for name, job in jobs.items():
            begin, worked = time.perf_counter(), time.process_time()
            job()
            times.setdefault(f"{name}, s", []).append(time.perf_counter() - begin)
            times.setdefault(f"{name}, CPU s", []).append(time.process_time() - worked)
    found = {name: round(statistics.median(one), 2) for name, one in times.items()}
    return {
        "rows": options.rows,
        "store_mb": size / 1e6,
        **found,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=108_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="for the store, about 0.9 GB (default: the temporary folder)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        found = _measured(Path(folder), options)
    if options.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:<32}{value:>10g}")


if __name__ == "__main__":
    main()
