"""CSV tables: tolerant where files differ between releases, exact in numbers, and the same at any chunk size."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from gazetools.egoexo.trajectory import MAX_GAP_US, read_device_poses
from gazetools.io import byte_chunks
from gazetools.io.byte_chunks import read_byte_chunks
from gazetools.io.tables import read_table
from gazetools.schemas.errors import DataFileError


@pytest.mark.parametrize(
    "text",
    [
        "a,b,c\n1,2.5,x\n-3,,y\n",
        "\ufeffc, b ,a,extra\r\nx, 2.5 ,1,9\r\n\r\ny,, -3 ,9\r\n",  # BOM, CRLF, spaces, order, more columns, blank line
        "a,b,c\n1,2.5,x\n-3,,y",  # no newline at the end
    ],
    ids=["plain", "windows", "no newline"],
)
def test_the_same_table_in_other_clothes(tmp_path: Path, text: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode("utf-8"))
    table = read_table(path, required=("a", "b"), optional=("c", "d"))
    assert table.integers("a").tolist() == [1, -3]
    np.testing.assert_array_equal(table.floats("b"), [2.5, np.nan])
    assert table.columns["c"] == ["x", "y"]
    assert "d" not in table
    places, chunks = read_byte_chunks(path, required=("a", "b"), optional=("c", "d"))
    parts = list(chunks)
    assert [value for part in parts for value in part.integers(places["a"], "a").tolist()] == [1, -3]
    np.testing.assert_array_equal(np.concatenate([part.floats(places["b"], "b") for part in parts]), [2.5, np.nan])
    assert [cell for part in parts for cell in part.text(places["c"]).tolist()] == [b"x", b"y"]


FORMS = [
    ("semicolons with decimal commas", b"a;b;c\n1;2,5;x\n-3;;y\n"),
    ("excel's line", b'sep=;\r\na;b;c\r\n1;2,5;x\r\n-3;;"y"\r\n'),
    ("excel's line names a comma", b"sep=,\na,b,c\n1,2.5,x\n-3,,y\n"),
    ("tabs", b"a\tb\tc\n1\t2.5\tx\n-3\t\ty\n"),
    ("bars", b"a|b|c\n1|2.5|x\n-3||y\n"),
    ("UTF-16, little end first", "a,b,c\n1,2.5,x\n-3,,y\n".encode("utf-16")),
    ("UTF-16, big end first", b"\xfe\xff" + "a\tb\tc\n1\t2,5\tx\n-3\t\ty\n".encode("utf-16-be")),
    ("UTF-16 without a mark", "a;b;c\n1;2,5;x\n-3;;y\n".encode("utf-16-le")),
    ("a mark and semicolons", "\ufeffa;b;c\n1;2.5;x\n-3;;y\n".encode()),
]


@pytest.mark.parametrize("content", [row[1] for row in FORMS], ids=[row[0] for row in FORMS])
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_spreadsheets_forms_are_read_alike(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"t{suffix}"
    path.write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    table = read_table(path, required=("a", "b"), optional=("c",))
    assert table.integers("a").tolist() == [1, -3]
    np.testing.assert_array_equal(table.floats("b"), [2.5, np.nan])
    assert table.columns["c"] == ["x", "y"]


def test_text_with_other_separators_in_a_comma_table_stays_whole(tmp_path: Path) -> None:
    """Narrations have semicolons and bars; a cell `1,5` in quotation marks is no decimal number there."""
    path = tmp_path / "t.csv"
    path.write_text('a,note\n1,"cut; stir | 1,5"\n2,"1,5"\n')
    assert read_table(path, required=("a", "note")).columns["note"] == ["cut; stir | 1,5", "1,5"]


def test_thousands_are_no_decimals(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a;b\n1;1,234,567\n")
    with pytest.raises(DataFileError, match="'1,234,567' is not a number"):
        read_table(path, required=("b",)).floats("b")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"a;b;c\n1;2;x\n", "separated by ';'"),
        (b"a\tb\tc\n", "separated by tabs"),
        ("a,b,c\n".encode("utf-16"), "is UTF-16"),
    ],
    ids=["semicolons", "tabs", "UTF-16"],
)
def test_recordings_that_a_spreadsheet_saved_are_named(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(DataFileError, match=says):
        read_byte_chunks(path, required=("a", "b"))


def test_text_in_another_encoding_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("a,b\n1,caf\u00e9\n".encode("cp1252"))
    with pytest.raises(DataFileError, match=r"not a CSV file in UTF-8.*0xe9.*CSV UTF-8"):
        read_table(path, required=("a",))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("a,c\n1,2\n", r"lacks the column\(s\) b"),
        ("a,bb\n1,2\n", r"b \(nearest: bb\)|lacks the column\(s\) b"),
        ("a,b,a\n1,2,3\n", "column.s. a twice"),
        ("a,b\n1,2\n1\n", "line 3: 1 cells, but the header has 2"),
        ("a,b\n1,2\nx,2\n", "line 3, column a: 'x' is not a whole number"),
        ("a,b\n1,2\n2.5,2\n", "line 3, column a: '2.5' is not a whole number"),
        ("a,b\n1,2\n\n3,y\n", "line 4, column b: 'y' is not a number"),
        ("a,b\n99999999999999999999,2\n", "too large"),
    ],
)
@pytest.mark.parametrize("reader", ["rows", "bytes"])
def test_mistakes_name_file_and_row(tmp_path: Path, text: str, says: str, reader: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(DataFileError, match=says) as caught:
        if reader == "rows":
            table = read_table(path, required=("a", "b"))
            table.integers("a"), table.floats("b")
        else:
            places, chunks = read_byte_chunks(path, required=("a", "b"))
            for chunk in chunks:
                chunk.integers(places["a"], "a"), chunk.floats(places["b"], "b")
    assert "t.csv" in str(caught.value)


def test_nanoseconds_stay_exact(tmp_path: Path) -> None:
    """A float64 would round these by up to 128 ns."""
    path = tmp_path / "t.csv"
    path.write_text("ns\n1700000000000000123\n\n")
    assert read_table(path, required=("ns",)).integers("ns").tolist() == [1700000000000000123]


@pytest.mark.parametrize("chunk_bytes", [64, 1000, 1 << 24])
@pytest.mark.parametrize("suffix", ["csv", "csv.gz"])
def test_chunks_join_without_a_seam(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk_bytes: int, suffix: str
) -> None:
    rng = np.random.default_rng(0)
    numbers = rng.normal(0, 1000, (500, 3))
    stamps = np.cumsum(rng.integers(1, 10**9, 500)) + 10**15
    lines = [f"{s},{a!r},{b:.3f},{c:.1e}" for s, (a, b, c) in zip(stamps.tolist(), numbers.tolist(), strict=True)]
    path = tmp_path / f"t.{suffix}"
    content = ("t,a,b,c\n" + "\n".join(lines)).encode()
    path.write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    monkeypatch.setattr(byte_chunks, "_CHUNK_BYTES", chunk_bytes)
    places, chunks = read_byte_chunks(path, required=("t", "a", "b", "c"))
    names = ("a", "b", "c")  # the last one ends where the chunk does
    found = [(c.integers(places["t"], "t"), [c.floats(places[n], n) for n in names], c.lines) for c in chunks]
    np.testing.assert_array_equal(np.concatenate([t for t, _, _ in found]), stamps)
    written = np.array([[float(cell) for cell in line.split(",")[1:]] for line in lines])
    for column in range(len(names)):
        np.testing.assert_array_equal(np.concatenate([cells[column] for _, cells, _ in found]), written[:, column])
    np.testing.assert_array_equal(np.concatenate([line for _, _, line in found]), np.arange(2, 502))


@pytest.mark.parametrize("chunk_bytes", [200, 1 << 24])
def test_the_nearest_pose_is_the_nearest_of_all_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk_bytes: int
) -> None:
    """Against a search of every row; times in any order, in gaps, before, after and between chunks."""
    rng = np.random.default_rng(1)
    stamps = np.cumsum(rng.choice([400, 1000, 3000, 14000], 300, p=[0.3, 0.4, 0.2, 0.1])) + 50_000
    lines = [
        "graph_uid,tracking_timestamp_us,"
        + ",".join(f"{n}_world_device" for n in ["tx", "ty", "tz", "qx", "qy", "qz", "qw"])
    ]
    lines += [f"g{int(i > 250)},{stamp},{i},0,0,0,0,0,1" for i, stamp in enumerate(stamps.tolist())]
    path = tmp_path / "closed_loop_trajectory.csv"
    path.write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(byte_chunks, "_CHUNK_BYTES", chunk_bytes)
    wanted = rng.integers(40_000, int(stamps[-1]) + 20_000, 400)
    wanted[::50] = -1
    found = read_device_poses(path, wanted, graph_uid="g0")
    gaps = np.abs(stamps[None, :] - wanted[:, None])
    nearest = gaps.argmin(axis=1)
    near = (wanted >= 0) & (gaps.min(axis=1) <= MAX_GAP_US)
    known = near & (nearest <= 250)
    np.testing.assert_array_equal(found.known, known)
    tie = np.sort(gaps, axis=1)[:, 0] == np.sort(gaps, axis=1)[:, 1]
    same = known & ~tie
    np.testing.assert_array_equal(found.poses.translation[same, 0], nearest[same])
    assert np.isnan(found.poses.translation[~known]).all()
    assert found.counts["no_time"] == int((wanted < 0).sum())
    assert found.counts["gap"] == int(((wanted >= 0) & ~near).sum())
    assert found.graph_uids == ("g0", "g1")
