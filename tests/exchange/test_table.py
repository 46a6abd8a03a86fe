"""`gazetools table`: every column against the store, files that read back to the same bits, all rows accounted for."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import gazetools
from gazetools.exchange.table import gaze_table, write_gaze_table
from gazetools.exchange.table import row_blocks as table_blocks
from gazetools.schemas.errors import DataFileError
from gazetools.schemas.table import DATASET_COLUMNS, PAIR_COLUMNS, STORE_COLUMNS, TableOptions
from tests.exchange.tables import read_csv
from tests.exchange.test_map_figures import by_loops
from tests.helpers.command_line import run_cli
from tests.helpers.stores import make_store, make_video

ROOT = Path(__file__).parents[2]
SIZE = {"width": 192, "height": 108}
LENS = {"fx": 90.0, "fy": 95.0, "cx": 95.5, "cy": 53.5, "k": [0.03, 0.05, -0.05, 0.01], "width": 192, "height": 108}
PEOPLE = {0: [1], 1: [1, 2], 3: [1, 2, 5], 4: [1]}
"""Frame 2 and 5 have nobody."""


def _unusual(rows: dict[str, Any]) -> None:
    """One head per person; frame 0 has no head, frame 1 a map of zeros and an unknown in/out, frame 4 a NaN."""
    rows["box_xyxy"] = np.array([[0.1 * t, 0.05, 0.1 * t + 0.1, 0.3] for t in rows["track_id"]], np.float32)
    rows["box_xyxy"][0], rows["prompt"][0] = (0, 0, 1, 1), 3
    rows["heatmap"][1] = 0
    rows["inout"][1] = np.nan
    rows["heatmap"][6, 2, 3] = np.nan


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("table") / "store"
    options = {"geometry": {"lens": LENS}}
    make_video(
        root, "take/cam", people=PEOPLE, frame_count=6, roles={1: "wearer"}, change_rows=_unusual, video=SIZE,
        options=options, pts_seconds=np.arange(6) / 30 + 1 / 3,
    )  # fmt: skip
    return root


def _angle(head: tuple[float, float], peak: tuple[float, float]) -> float:
    return math.degrees(math.atan2((head[1] - peak[1]) * SIZE["height"], (peak[0] - head[0]) * SIZE["width"]))


def _camera_angle(head: tuple[float, float], peak: tuple[float, float]) -> float:
    """By OpenCV's inverse of the same lens."""
    pixels = np.array([[[head[0] * 192, head[1] * 108]], [[peak[0] * 192, peak[1] * 108]]])
    matrix = np.array([[LENS["fx"], 0, LENS["cx"]], [0, LENS["fy"], LENS["cy"]], [0, 0, 1]])
    rays = [np.append(point, 1.0) for point in cv2.fisheye.undistortPoints(pixels, matrix, np.array(LENS["k"]))[:, 0]]
    a, b = (ray / np.linalg.norm(ray) for ray in rays)
    return math.degrees(math.acos(float(a @ b)))


def _number(text: str) -> float:
    return float(text) if text else math.nan


def test_every_column_of_a_store(store: Path, tmp_path: Path) -> None:
    report = write_gaze_table(store, tmp_path / "gaze.csv")
    rows = read_csv(tmp_path / "gaze.csv")
    assert list(rows[0]) == report.columns == [column.name for column in STORE_COLUMNS]
    with gazetools.open_store(store / "take/cam.h5") as reader:
        maps = reader.read_heatmaps(0, len(reader)).astype(np.float32)
        columns = zip(rows, maps, reader.row_frame, reader.row_track_id, reader.row_inout, reader.row_box, strict=True)
        for place, (row, values, frame, track, inout, box) in enumerate(columns):
            assert (row["video_id"], int(row["frame"]), int(row["track_id"])) == ("take/cam", frame, track)
            assert float(row["pts_seconds"]) == frame / 30 + 1 / 3
            assert row["role"] == ("wearer" if track == 1 else "other")
            head = [row[name] for name in ("head_x_min", "head_y_min", "head_x_max", "head_y_max")]
            if place == 0:
                assert head == ["", "", "", ""]
            else:
                assert np.array(head, np.float32).tobytes() == box.tobytes()
            assert np.float32(_number(row["inout"])).tobytes() == inout.tobytes() or place == 1
            if place in (1, 6):
                assert row["map_sum"] == ("0.0" if place == 1 else "")
                assert row["peak_cells"] == "0"
                assert {row[name] for name in ("peak_x", "centre_y", "spread_radius", "gaze_angle_deg")} == {""}
                continue
            expected = by_loops(values)
            names = {"map_sum": "total", "map_max": "largest", "peak_x": "peak_x", "peak_y": "peak_y"}
            names |= {"peak_cells": "cells", "centre_x": "cx", "centre_y": "cy", "spread_x": "sx", "spread_y": "sy"}
            assert {name: float(row[name]) for name in names} == pytest.approx(
                {name: expected[key] for name, key in names.items()}, rel=2e-6
            )
            radius = math.hypot(expected["sx"] * 192, expected["sy"] * 108) / math.hypot(192, 108)
            assert float(row["spread_radius"]) == pytest.approx(radius, rel=2e-6)
            if place:
                centre = (float(box[0] + box[2]) / 2, float(box[1] + box[3]) / 2)
                peak = (expected["peak_x"], expected["peak_y"])
                assert float(row["gaze_angle_deg"]) == pytest.approx(_angle(centre, peak), abs=1e-4)
                assert float(row["camera_angle_deg"]) == pytest.approx(_camera_angle(centre, peak), abs=1e-3)
    (video,) = report.videos
    assert (video.frames, video.rows, video.frames_without_people, video.rows_without_head) == (6, 7, 2, 1)
    assert (video.rows_with_empty_map, video.rows_with_broken_map) == (1, 1)


@pytest.mark.parametrize(
    ("head", "peak", "degrees"),
    [
        ((0.25, 0.5), (0.75, 0.5), 0.0),
        ((0.5, 0.75), (0.5, 0.25), 90.0),
        ((0.75, 0.5), (0.25, 0.5), 180.0),
        ((0.5, 0.25), (0.5, 0.75), -90.0),
        ((0.25, 0.75), (0.25 + 108 / 192 / 2, 0.25), 45.0),
    ],
)
def test_the_angle_in_the_picture_counts_counter_clockwise_in_pixels(
    tmp_path: Path, head: tuple[float, float], peak: tuple[float, float], degrees: float
) -> None:
    """Right 0, up 90, left 180 (never -180), down -90; 45 degrees are as many pixels up as to the right."""

    def one_cell(_: int, __: int) -> Any:
        values = np.zeros((64, 128))
        values[int(peak[1] * 64), int(peak[0] * 128)] = 1
        return values

    def place(rows: dict[str, Any]) -> None:
        x, y = ((int(value * cells) + 0.5) / cells for value, cells in zip(head, (128, 64), strict=True))
        rows["box_xyxy"] = np.array([[x - 0.125, y - 0.125, x + 0.125, y + 0.125]], np.float32)

    make_video(tmp_path, frame_count=1, make_map=one_cell, size_hw=(64, 128), change_rows=place, video=SIZE)
    table = gaze_table(tmp_path)
    assert table["gaze_angle_deg"] == pytest.approx(degrees, abs=1e-9)
    assert "camera_angle_deg" not in table


def test_tables_do_not_depend_on_the_size_of_blocks_and_are_equal_twice(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = TableOptions(social=str(tmp_path / "pairs.csv"))
    write_gaze_table(store, tmp_path / "gaze.csv", options=options)
    whole = [(tmp_path / name).read_bytes() for name in ("gaze.csv", "pairs.csv", "gaze.columns.md")]
    from gazetools.exchange.table import store_rows

    for rows, maps in ((3, 1), (2, 2)):
        monkeypatch.setattr(store_rows, "ROWS_AT_ONCE", rows)
        monkeypatch.setattr(store_rows, "MAPS_AT_ONCE", maps)
        write_gaze_table(store, tmp_path / "gaze.csv", options=options, overwrite=True)
        again = [(tmp_path / name).read_bytes() for name in ("gaze.csv", "pairs.csv", "gaze.columns.md")]
        assert again == whole
    pairs = read_csv(tmp_path / "pairs.csv")
    assert list(pairs[0]) == [column.name for column in PAIR_COLUMNS]
    assert [(int(row["frame"]), int(row["track_id"]), int(row["other_id"])) for row in pairs] == [
        (1, 1, 2), (1, 2, 1), (3, 1, 2), (3, 1, 5), (3, 2, 1), (3, 2, 5), (3, 5, 1), (3, 5, 2)
    ]  # fmt: skip
    assert [pairs[0][name] for name in ("mass_on_head", "looks_at", "overlap")] == ["", "false", ""], "an empty map"


def test_frames_are_never_cut() -> None:
    rng = np.random.default_rng(1)
    for _ in range(40):
        frame = np.sort(rng.integers(0, 9, rng.integers(0, 30)))
        most = int(rng.integers(1, 8))
        ranges = list(table_blocks.cut_at_frames(frame, most))
        assert [i for start, stop in ranges for i in range(start, stop)] == list(range(len(frame)))
        for start, stop in ranges:
            assert stop - start <= most or len(set(frame[start:stop].tolist())) == 1
            assert stop == len(frame) or frame[stop] != frame[stop - 1]


def test_a_packed_dataset_has_the_columns_that_are_known(store: Path, tmp_path: Path) -> None:
    gazetools.pack(store, tmp_path / "set", people="1", missing="zero")
    done = run_cli("table", str(tmp_path / "set"), "-o", str(tmp_path / "set.csv"), "--json")
    # a NaN map can't be packed: the dataset is not made, and this says so
    assert done.exit_code == 2
    good = tmp_path / "good"
    make_video(good, "take/cam", people={0: [1], 2: [1]}, frame_count=4, video=SIZE)
    gazetools.pack(good, tmp_path / "set2", normalize="sum", dtype="float32")
    done = run_cli("table", str(tmp_path / "set2"), "-o", str(tmp_path / "set.csv"), "--json")
    report = json.loads(done.stdout)
    assert (done.exit_code, report["kind"]) == (0, "dataset")
    assert report["columns"] == [column.name for column in DATASET_COLUMNS]
    assert {"track_id", "role", "head_x_min", "gaze_angle_deg", "camera_angle_deg"} == set(report["absent"]) - {
        "head_y_min", "head_x_max", "head_y_max"
    }  # fmt: skip
    rows = read_csv(tmp_path / "set.csv")
    assert [row["valid"] for row in rows] == ["true", "false", "true", "false"]
    assert [row["frame"] for row in rows] == ["0", "1", "2", "3"]
    assert [row["map_sum"] for row in rows][1::2] == ["0.0", "0.0"]
    of_store = gaze_table(good)
    for place, row in enumerate(rows[::2]):
        assert (float(row["peak_x"]), float(row["peak_y"])) == (of_store["peak_x"][place], of_store["peak_y"][place])
        for name in ("centre_x", "spread_y", "spread_radius"):
            assert float(row[name]) == pytest.approx(of_store[name][place], rel=1e-5)
    gazetools.pack(good, tmp_path / "set3", fps=10.0)
    assert "frame" not in gaze_table(tmp_path / "set3")
    assert run_cli("table", str(tmp_path / "set2"), "-o", "x.csv", "--social", "y.csv").exit_code == 2


def test_heatmaps_of_other_tools_have_what_they_have(tmp_path: Path) -> None:
    maps = np.random.default_rng(0).random((3, 6, 8)).astype(np.float32)
    np.savez(tmp_path / "clip.npz", gaze=maps)
    report = write_gaze_table(tmp_path, tmp_path / "out" / "gaze.csv")
    assert report.kind == "heatmaps"
    assert {"inout", "pts_seconds", "spread_radius", "track_id"} <= set(report.absent)
    rows = read_csv(tmp_path / "out" / "gaze.csv")
    assert [float(row["centre_x"]) for row in rows] == pytest.approx([by_loops(one)["cx"] for one in maps], rel=1e-5)


def test_a_damaged_video_is_named_and_the_others_are_written(tmp_path: Path) -> None:
    root = tmp_path / "store"
    for video_id in ("a", "b", "c"):
        make_store(root, video_id)
    with (root / "b.h5").open("r+b") as file:
        file.seek(-200, 2)
        file.write(b"changed!")
    (root / "c.json").unlink()
    done = run_cli("table", str(root), "-o", str(tmp_path / "t.csv"), "--json")
    report = json.loads(done.stdout)
    assert done.exit_code == 1
    assert {video["video_id"]: video["status"] for video in report["videos"]} == {
        "a": "done", "b": "failed", "c": "failed"
    }  # fmt: skip
    assert "sha256" in report["videos"][1]["reason"]
    assert {row["video_id"] for row in read_csv(tmp_path / "t.csv")} == {"a"}
    assert '"status": "failed"' in (tmp_path / "t.columns.md").read_text()
    done = run_cli("table", str(root), "-o", str(tmp_path / "none.csv"), "--video", "b")
    assert (done.exit_code, list(tmp_path.glob("none*"))) == (2, [])
    with pytest.raises(DataFileError, match="b: The sha256"):
        gaze_table(root)


def test_a_store_without_people_gives_a_table_without_rows(tmp_path: Path) -> None:
    make_video(tmp_path / "store", people={}, frame_count=5)
    options = TableOptions(social=str(tmp_path / "p.csv"))
    report = write_gaze_table(tmp_path / "store", tmp_path / "t.csv", options=options)
    assert (report.videos[0].rows, report.videos[0].frames_without_people) == (0, 5)
    assert (tmp_path / "t.csv").read_text() == ",".join(report.columns) + "\n"
    assert all(len(values) == 0 for values in gaze_table(tmp_path / "store").values())


def test_output_files_are_whole_or_not_there(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "gaze.csv"
    assert run_cli("table", str(store), "-o", str(target)).exit_code == 0
    before = target.read_bytes()
    done = run_cli("table", str(store), "-o", str(target))
    assert (done.exit_code, "--overwrite" in done.stderr) == (2, True)
    assert run_cli("table", str(store), "-o", str(target), "--social", str(target), "--overwrite").exit_code == 2
    assert run_cli("table", str(store), "-o", str(tmp_path / "gaze.txt")).exit_code == 2
    assert run_cli("table", str(tmp_path / "nothing"), "-o", str(tmp_path / "t.csv")).exit_code == 2
    done = run_cli("table", str(store), "-o", str(tmp_path / "t.csv"), "--video", "take/can")
    assert "take/cam" in done.stderr
    from gazetools.exchange.table import files

    def full_disk(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.CsvTable, "add", full_disk)
    assert run_cli("table", str(store), "-o", str(target), "--overwrite").exit_code == 4
    assert (target.read_bytes(), sorted(path.name for path in tmp_path.iterdir())) == (
        before,
        ["gaze.columns.md", "gaze.csv"],
    )


def test_names_with_separators_and_markup_stay_what_they_are(tmp_path: Path) -> None:
    name = 'a,"b"|<i>'
    areas = tmp_path / "areas.csv"
    areas.write_text('name,xmin,ymin,xmax,ymax\n"a,""b""|<i>",0,0,50,50\n')
    make_video(tmp_path / "store", "x, y", frame_count=2)
    write_gaze_table(tmp_path / "store", tmp_path / "t.csv", options=TableOptions(areas=str(areas)))
    rows = read_csv(tmp_path / "t.csv")
    assert (rows[0]["video_id"], f"mass_{name}" in rows[0]) == ("x, y", True)
    page = (tmp_path / "t.columns.md").read_text()
    assert "| mass_a,\"b\"\\|&lt;i> | float64 |" in page  # fmt: skip


def test_parquet_without_pyarrow_names_the_extra(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    done = run_cli("table", str(store), "-o", str(tmp_path / "t.parquet"))
    assert (done.exit_code, "pip install 'gazetools[table]'" in done.stderr) == (3, True)


def test_parquet_reads_back_to_the_same_bits(store: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip(
        "pyarrow.parquet", reason="the extra [table] is not installed: pip install -e '.[table]'"
    )
    areas = tmp_path / "areas.csv"
    areas.write_text("name,xmin,ymin,xmax,ymax,frame\ncup,0,0,90,90,3\n")
    options = TableOptions(areas=str(areas), social=str(tmp_path / "pairs.parquet"))
    write_gaze_table(store, tmp_path / "a.parquet", options=options)
    columns = gaze_table(store, areas=str(areas))
    table = parquet.read_table(tmp_path / "a.parquet")
    assert table.column_names == list(columns)
    for name, values in columns.items():
        stored = table[name].combine_chunks()
        if values.dtype.kind == "f":
            unknown = np.isnan(values)
            assert np.array_equal(stored.is_null().to_numpy(zero_copy_only=False), unknown), name
            assert np.array_equal(stored.fill_null(0).to_numpy(), np.where(unknown, 0, values)), name
            assert stored.type == str(values.dtype).replace("float64", "double").replace("float32", "float")
        else:
            assert stored.to_pylist() == values.tolist(), name
    about = json.loads(parquet.read_metadata(tmp_path / "a.parquet").metadata[b"gazetools"])
    assert about["videos"][0]["rows_with_broken_map"] == 1
    assert table.schema.field("peak_x").metadata[b"unit"] == b"0..1 of the width"
    first = (tmp_path / "a.parquet").read_bytes(), (tmp_path / "pairs.parquet").read_bytes()
    write_gaze_table(store, tmp_path / "a.parquet", options=options, overwrite=True)
    assert ((tmp_path / "a.parquet").read_bytes(), (tmp_path / "pairs.parquet").read_bytes()) == first
    assert parquet.read_table(tmp_path / "pairs.parquet").num_rows == 8


@pytest.mark.slow
def test_pandas_reads_csv_and_parquet_alike(store: Path, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed: pip install pandas")
    pytest.importorskip("pyarrow", reason="the extra [table] is not installed: pip install -e '.[table]'")
    write_gaze_table(store, tmp_path / "a.parquet")
    write_gaze_table(store, tmp_path / "a.csv")
    one, other = pandas.read_parquet(tmp_path / "a.parquet"), pandas.read_csv(tmp_path / "a.csv")
    assert list(one.columns) == list(other.columns)
    for name in one.columns:
        if one[name].dtype.kind == "f":
            same = other[name].astype(one[name].dtype)
            assert np.array_equal(one[name].to_numpy(), same.to_numpy(), equal_nan=True), name
        else:
            assert one[name].tolist() == other[name].tolist(), name
    assert one.groupby("track_id")["peak_x"].count().to_dict() == {1: 2, 2: 2, 5: 1}


def test_the_documented_columns_are_those_of_the_code() -> None:
    text = (ROOT / "docs/table.md").read_text()
    for heading, columns in (
        ("## Columns of a store", STORE_COLUMNS),
        ("## Columns of a dataset", DATASET_COLUMNS),
        ("## Columns of pairs", PAIR_COLUMNS),
    ):
        lines = text.split(heading)[1].split("\n## ")[0].splitlines()
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")]
        assert rows == [[f"`{c.name}`", c.kind, c.unit, c.text] for c in columns]
