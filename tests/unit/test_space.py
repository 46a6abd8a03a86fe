"""Free bytes and files are asked of the place where something will be written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gazetools.io.space import blocks, check_space, free_space, size_text
from gazetools.schemas.errors import ExitCode, FaultError
from tests.helpers.disks import pretend_free

ROOM = [
    # needed bytes and files, free bytes and files, files in all, words of the refusal, why
    (100, 3, 100, 3, 10, None, "just enough"),
    (101, 3, 100, 3, 10, r"The map needs 0\.1 kB, 0\.1 kB are free for .*\. Remove something\.", "a byte too little"),
    (100, 4, 100, 3, 10, r"The map needs 4 files, 3 \(inodes\) are free for .*\. Use fewer files\.", "a file too many"),
    (100, 4, 100, 0, 10, "0 .inodes. are free", "every inode in use"),
    (100, 4, 100, 0, 0, None, "a file system that does not count its files"),
    (2_500_000, 1, 1_200_000, 9, 10, r"2\.50 MB, 1\.20 MB", "sizes for people"),
]


@pytest.mark.parametrize(("needed", "needed_files", "free", "free_files", "files", "words", "why"), ROOM)
def test_too_little_room_is_4_with_need_rest_and_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, needed: int, needed_files: int, free: int, free_files: int,
    files: int, words: str | None, why: str,
) -> None:  # fmt: skip
    pretend_free(monkeypatch, free_bytes=free, free_files=free_files, all_files=files)

    def check() -> None:
        check_space(
            tmp_path, needed_bytes=needed, needed_files=needed_files, what="The map", hint="Remove something.",
            files_hint="Use fewer files.",
        )  # fmt: skip

    if words is None:
        check()
        return
    with pytest.raises(FaultError, match=words) as refused:
        check()
    assert refused.value.exit_code == ExitCode.FAULT, why
    assert refused.value.details["folder"] == str(tmp_path)


def test_a_folder_that_is_not_there_yet_is_judged_by_the_one_that_will_hold_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = pretend_free(monkeypatch, free_bytes=7)
    assert free_space(tmp_path / "not" / "yet").bytes == 7
    assert asked == [str(tmp_path)]
    monkeypatch.chdir(tmp_path)
    free_space(Path("store"))
    assert asked[1:] == [str(tmp_path)]


def test_what_is_free_is_what_this_user_may_take(tmp_path: Path) -> None:
    """Not what root keeps back (`f_bfree`)."""
    status = os.statvfs(tmp_path)
    assert free_space(tmp_path).bytes <= status.f_bfree * status.f_frsize
    assert free_space(tmp_path).bytes % status.f_frsize == 0


def test_sizes_in_words_and_blocks() -> None:
    assert [size_text(n) for n in (0, 999, 38_900_000, 1_234_000_000, 942e9, 1.41e12)] == [
        "0.0 kB", "1.0 kB", "38.90 MB", "1.23 GB", "942.00 GB", "1.41 TB",
    ]  # fmt: skip
    assert [blocks(n) for n in (0, 1, 4096, 4097)] == [0, 4096, 4096, 8192]
