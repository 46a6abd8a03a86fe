"""Video ids can name files below a root and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from gazetools.schemas.errors import UsageError
from gazetools.schemas.video_id import check_video_id, path_of_id, refuse_duplicate_ids

GOOD = ["cam01", "take/cam01", "P01_01", "Küche/ä", "厨房", "a.b.c", "x y"]
BAD = [
    ("", "empty"),
    ("/etc/passwd", "absolute: an empty first segment"),
    ("a//b", "empty segment"),
    ("..", "leaves the root"),
    ("a/../b", "leaves the root"),
    (".hidden", "hidden file"),
    ("a/.work", "hidden folder"),
    ("-rf", "an option"),
    ("a/-x", "an option"),
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


@pytest.mark.parametrize(("other", "words"), [("cam01", "the same video id"), ("CAM01", "differ only in case")])
def test_two_inputs_with_one_id_name_both(other: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        refuse_duplicate_ids([("cam01", Path("a/cam01.mp4")), (other, Path("b/cam01.mp4"))])
    assert "a/cam01.mp4" in str(caught.value)
    assert "b/cam01.mp4" in str(caught.value)
