"""docs/formats-read.md names exactly the suffixes, formats, options, ids and codes that the code has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from gazetools.heads.box_foreign import FOREIGN_FORMATS
from gazetools.heads.box_tables import TABLE_FORMATS
from gazetools.heads.files import box_suffixes
from gazetools.io.npz import MAX_MEMBERS
from gazetools.io.picture_names import PICTURE_SUFFIXES
from gazetools.layouts.foreign import UNREAD_FORMATS
from gazetools.schemas.dataset import LAYOUT_NAMES
from gazetools.schemas.foreign import ArrayChoice
from gazetools.schemas.heads import HEADS_FORMATS, BoxFileOptions, FirstRow
from gazetools.schemas.picture_times import PictureTimes
from gazetools.schemas.training_data import SOURCE_KINDS
from gazetools.schemas.video import VIDEO_SUFFIXES, HdrRule
from gazetools.schemas.video_id import _RESERVED
from gazetools.validation.catalogue import CATALOGUE

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "formats-read.md").read_text(encoding="utf-8")
FLAGS = set(re.findall(r"--[a-z][a-z-]*", (ROOT / "tests" / "cli" / "flags.txt").read_text(encoding="utf-8")))
SUFFIX = r"\.[a-z0-9]+"


def _section(heading: str) -> str:
    return PAGE.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


def _row(heading: str, first: str) -> list[str]:
    """Cells of the row of a section whose first cell begins so."""
    (row,) = [line for line in _section(heading).splitlines() if line.startswith(f"| {first}")]
    return [cell.strip() for cell in row.strip("|").split("|")]


def _quoted(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def _table(heading: str, title: str) -> list[str]:
    """First cells of the table of a section whose first title is this, without backticks."""
    lines = _section(heading).split(f"| {title} |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    return [line.split("|")[1].strip().strip("`") for line in lines]


def _options_of(heading: str) -> set[str]:
    """The options in the sentence `Options: ...` at the top of a section, up to the first bracket."""
    sentence = re.search(r"Options: ([^(.]+)", _section(heading))
    assert sentence
    return set(_quoted(sentence[1]))


def _flags(*names: str) -> set[str]:
    return {"--" + name.replace("_", "-") for name in names}


def test_the_suffixes_of_videos_are_listed_in_their_order() -> None:
    assert tuple(re.findall(SUFFIX, _row("Videos", "suffixes")[1].split("`")[1])) == VIDEO_SUFFIXES
    assert set(re.findall(SUFFIX, _row("Videos", "pictures")[1].split("`")[1])) == PICTURE_SUFFIXES
    other = (ROOT / "docs" / "file-formats.md").read_text(encoding="utf-8")
    listed = other.split("- **Suffixes**, in any letter case: ", 1)[1].split(". ", 1)[0]
    assert tuple(re.findall(SUFFIX, listed)) == VIDEO_SUFFIXES


def test_the_reserved_ids_are_listed() -> None:
    assert set(_quoted(_row("Videos", "reserved ids")[1])) == set(_RESERVED)


def test_the_formats_of_box_files_are_listed() -> None:
    read, tools = _table("Head boxes", "`--heads-format`"), _table("Head boxes", "annotation tools")
    refused = _table("Head boxes", "refused by name")
    assert sorted(read) == sorted(TABLE_FORMATS)
    assert sorted(tools + refused) == sorted(FOREIGN_FORMATS)
    assert {"auto", *read, *tools} == set(HEADS_FORMATS)
    intro = _section("Head boxes").split("| `--heads-format` |")[0]
    assert all(f"`{suffix}`" in intro for suffix in box_suffixes())


def test_where_a_format_counts_from_is_what_the_code_says() -> None:
    words = {None: "0 or 1", 0: "0", 1: "1"}
    for name, form in TABLE_FORMATS.items():
        stated = _row("Head boxes", f"`{name}` |")[2]
        assert stated == ("" if name == "atd" else words[form.counts_from]), name


def test_the_unread_formats_of_heatmaps_are_listed() -> None:
    cells = _row("Heatmaps of other tools", "unread formats")
    assert set(_quoted(cells[1])) == set(UNREAD_FORMATS)
    assert f"over {MAX_MEMBERS} arrays" in _row("Heatmaps of other tools", "`<id>.npz`")[2]


def test_the_options_that_decide_are_listed() -> None:
    assert _options_of("Videos") == {"--hdr", "--allow-damaged", *_flags(*PictureTimes.model_fields)}
    assert _options_of("Head boxes") == _flags(*BoxFileOptions.model_fields)
    assert _options_of("Heatmaps of other tools") == _flags(*ArrayChoice.model_fields)
    keys = {f"heatmap_{name}" for name in ArrayChoice.model_fields}
    assert keys <= set(_quoted(_section("Heatmaps of other tools")))
    assert set(get_args(HdrRule)) <= {word.split()[-1] for word in _quoted(_row("Videos", "HDR")[1])}
    shown = _quoted(_row("Ego-Exo4D and Ego4D", "`captures")[1])
    assert [word.split()[-1] for word in shown] == list(get_args(FirstRow))


def test_kinds_and_layouts_are_listed() -> None:
    assert set(SOURCE_KINDS) <= set(_quoted(_row("Stores and datasets", "a training source")[1]))
    assert set(LAYOUT_NAMES) <= set(_quoted(_row("Stores and datasets", "dataset")[1]))


@pytest.mark.parametrize("option", sorted(set(re.findall(r"--[a-z][a-z-]*", PAGE))))
def test_every_option_of_the_page_is_one_of_the_command_line(option: str) -> None:
    assert option in FLAGS


def test_every_code_of_the_page_is_in_the_catalogue_and_notes_are_called_so() -> None:
    """Codes stand in the last column of tables that have a column `validate`, and in a few sentences."""
    found: set[str] = set()
    for block in PAGE.split("\n\n"):
        lines = [line for line in block.splitlines() if line.startswith("|")]
        if lines and lines[0].endswith("| `validate` |"):
            found |= {word for line in lines[2:] for word in _quoted(line.strip("|").split("|")[-1])}
    found -= {"--for-training"}
    found |= {word for word in _quoted(PAGE) if re.fullmatch(r"(video|sync|people|weights|take)s?-[a-z-]+", word)}
    assert len(found) > 40
    assert found <= CATALOGUE.keys()
    for code in found:
        noted = set(re.findall(rf"`{code}`( \(note\))?", PAGE))
        assert noted == {" (note)" if CATALOGUE[code].severity == "note" else ""}, code
