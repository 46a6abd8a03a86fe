"""Video ids can name files below a root and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from gazetools.layouts.registry import LAYOUTS
from gazetools.schemas.dataset import MANIFEST_NAME, ORIGIN_SUFFIX, README_NAME
from gazetools.schemas.errors import UsageError
from gazetools.schemas.store import REPORT_NAMES, SIDECAR_SUFFIX, STORE_SUFFIX
from gazetools.schemas.video_id import (
    OWN_NAMES,
    check_video_id,
    path_of_id,
    place_of_id,
    refuse_duplicate_ids,
    reserved_reason,
    shown_argument,
)

GOOD = ["cam01", "take/cam01", "P01_01", "Küche/ä", "厨房", "a.b.c", "x y", "-rf", "a/-x", "--", "-dQw4w9WgXc"]
BAD = [
    ("", "empty"),
    ("/etc/passwd", "absolute: an empty first segment"),
    ("a//b", "empty segment"),
    ("..", "leaves the root"),
    ("a/../b", "leaves the root"),
    (".hidden", "hidden file"),
    ("a/.work", "hidden folder"),
    ("a\\b", "backslash"),
    ("a\nb", "control character"),
    ("a\x00", "control character"),
    ("abc\u202egpj", "right-to-left override"),
    ("a\u200bb", "zero width"),
    ("x" * 201, "too long"),
]


@pytest.mark.parametrize("video_id", GOOD)
def test_plain_names_are_allowed(video_id: str) -> None:
    assert check_video_id(video_id) == video_id


def test_ids_are_brought_to_nfc() -> None:
    assert check_video_id("Ku\u0308che") == "K\u00fcche"


@pytest.mark.parametrize(("video_id", "why"), BAD, ids=[why for _, why in BAD])
def test_others_are_refused(video_id: str, why: str) -> None:
    with pytest.raises(UsageError, match="not allowed"):
        check_video_id(video_id)


def test_a_link_out_of_the_root_is_refused(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "take").symlink_to(tmp_path)
    with pytest.raises(UsageError, match="leads outside"):
        path_of_id(tmp_path / "root", "take/cam01", ".h5")


def test_what_is_read_may_lie_behind_a_link_but_an_id_never_leads_out(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "take").symlink_to(tmp_path)
    assert place_of_id(tmp_path / "root", "take/cam01", ".h5") == tmp_path / "root" / "take" / "cam01.h5"
    with pytest.raises(UsageError, match="not allowed"):
        place_of_id(tmp_path / "root", "../cam01", ".h5")


RESERVED = [
    ("manifest", "manifest.json"),
    ("Manifest", "manifest.json"),
    ("manifest.json", "manifest.json"),
    ("extract_report", "extract_report.json"),
    ("groundtruth_report", "groundtruth_report.json"),
    ("README.md", "README.md"),
]


@pytest.mark.parametrize(("video_id", "name"), RESERVED)
def test_names_that_gazetools_writes_are_reserved(video_id: str, name: str) -> None:
    assert name in str(reserved_reason(video_id))


@pytest.mark.parametrize("video_id", ["index", "README", "take/manifest", "manifest2", "work", "heads", "-abc"])
def test_names_that_are_kept_apart_are_free(video_id: str) -> None:
    assert reserved_reason(video_id) is None


def test_every_file_next_to_those_of_videos_is_reserved() -> None:
    assert set(OWN_NAMES) >= {MANIFEST_NAME, README_NAME, *REPORT_NAMES}
    for name in OWN_NAMES:
        for suffix in (STORE_SUFFIX, SIDECAR_SUFFIX, ORIGIN_SUFFIX, *(layout.suffix for layout in LAYOUTS.values())):
            if name.endswith(suffix) and name != suffix:
                assert reserved_reason(name.removesuffix(suffix)) is not None, (name, suffix)


def test_a_name_with_a_dash_is_no_option_in_commands() -> None:
    assert shown_argument("-abc.mp4") == "./-abc.mp4"
    assert shown_argument(Path("videos/-abc.mp4")) == "videos/-abc.mp4"


TWINS = [
    ("v/a.mp4", "v/a.mov", "pass the wanted one of v/a.mp4 and v/a.mov instead of the folder"),
    ("-a.mp4", "-a.mov", "./-a.mp4 and ./-a.mov"),
    ("v/a.mp4", "w/a.mp4", "common parent folder"),
    ("v/Ku\u0308.mp4", "v/K\u00fc.mp4", "NFC, NFD"),
]


@pytest.mark.parametrize(("one", "other", "hint"), TWINS)
def test_the_hint_fits_the_two_files(one: str, other: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        refuse_duplicate_ids([("a", Path(one)), ("a", Path(other))])
    assert hint in str(caught.value.hint)


def test_names_that_differ_in_case_are_told_of_disks(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Disks of macOS and Windows"):
        refuse_duplicate_ids([("a", Path("v/a.mp4")), ("A", Path("v/A.mp4"))])


@pytest.mark.parametrize(("other", "words"), [("cam01", "the same video id"), ("CAM01", "differ only in case")])
def test_two_inputs_with_one_id_name_both(other: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        refuse_duplicate_ids([("cam01", Path("a/cam01.mp4")), (other, Path("b/cam01.mp4"))])
    assert "a/cam01.mp4" in str(caught.value)
    assert "b/cam01.mp4" in str(caught.value)
