"""`gazetools models NAME --check-precision VIDEO`: the table, the exit code, wrong calls."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.extraction.conftest import ShiftingModel
from tests.helpers.command_line import run_cli


def test_the_command_prints_a_table_and_exits_1_where_a_type_moves_peaks(
    shifting: type[ShiftingModel], clip: Path, boxes: Path
) -> None:
    call = ["models", "fake", "--check-precision", str(clip), "--heads", f"file:{boxes}", "--frames", "10"]
    found = run_cli(*call, "--json")
    assert found.exit_code == 1
    document = json.loads(found.stdout)
    verdicts = {one["dtype"]: (one["agrees"], one["rows"], one["farthest_cells"]) for one in document["compared"]}
    assert verdicts == {"float16": (True, 20, 1), "bfloat16": (False, 20, 20)}
    assert "peaks move" in run_cli(*call).stdout
    assert run_cli(*call, "--dtypes", "float16").exit_code == 0


def test_the_command_on_a_real_model(tiny_model: Path, clip: Path, boxes: Path) -> None:
    """Real bfloat16 of the CPU, on random weights; the maps of float16 agree to its rounding."""
    call = ["models", str(tiny_model), "--check-precision", str(clip), "--heads", f"file:{boxes}", "--frames", "6"]
    found = run_cli(*call, "--json")
    document = json.loads(found.stdout)
    assert [one["dtype"] for one in document["compared"]] == ["float16", "bfloat16"]
    assert found.exit_code == int(not all(one["agrees"] for one in document["compared"]))
    half, brain = document["compared"]
    assert half["inout_difference"] < 0.01
    assert half["inout_difference"] < brain["inout_difference"], "3 bits less"


WRONG = [
    (["fake"], ["--frames", "3"], "only --check-precision", "an option of the comparison without it"),
    (["fake"], ["--check-precision", "absent.mp4"], "absent.mp4", "no such video"),
    (["fake", "gazelle_tiny"], ["--check-precision", "CLIP"], "takes one model", "two models"),
    (["fake"], ["--check-precision", "CLIP", "--fetch"], "takes one model", "two jobs"),
    (["fake"], ["--check-precision", "CLIP", "--dtypes", "float8"], "must be tf32, float16", "an unknown type"),
    (["fake"], ["--check-precision", "CLIP", "--dtypes", "tf32"], "does not compute that", "a type of CUDA"),
    (["fake"], ["--check-precision", "CLIP", "--heads", "file:none.csv"], "none.csv", "no such boxes"),
    (["centre-prior"], ["--check-precision", "CLIP"], "has no weights", "a control"),
    (["fkae"], ["--check-precision", "CLIP"], "no model named", "an unknown model"),
]


@pytest.mark.parametrize(("names", "arguments", "words", "why"), WRONG, ids=[case[3] for case in WRONG])
def test_wrong_calls(
    names: list[str], arguments: list[str], words: str, why: str, shifting: object, clip: Path
) -> None:
    found = run_cli("models", *names, *(str(clip) if word == "CLIP" else word for word in arguments))
    assert (found.exit_code, words in found.stderr) == (2, True), found.stderr
