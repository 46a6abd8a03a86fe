"""Files are found behind links, in NFC and NFD, with suffixes in any letter case; what is left out is named."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from gazetools.io import find_files
from gazetools.io.find_files import FileLookup, SearchNotes, existing_path, printable, walk
from gazetools.io.video_files import find_videos, list_videos
from gazetools.schemas.errors import UsageError

NFD, NFC = (unicodedata.normalize(form, "K\u00fcche") for form in ("NFD", "NFC"))


def _files(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def _link(path: Path, target: str | Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def _walked(root: Path) -> tuple[list[str], dict[str, int]]:
    notes = SearchNotes()
    names = sorted(path.relative_to(root).as_posix() for path in walk(root, notes))
    return names, {reason: group.count for reason, group in notes.groups.items()}


# link, target -> files of a root that has a/v.mp4, next to outside/w.mp4; entries that are left out
LINKS = [
    ("to a file elsewhere", {"x.mp4": "../outside/w.mp4"}, ["a/v.mp4", "x.mp4"], {}),
    ("to a folder elsewhere", {"b": "../outside"}, ["a/v.mp4", "b/w.mp4"], {}),
    ("to a folder that is there", {"b": "a"}, ["a/v.mp4", "b/v.mp4"], {}),
    ("a chain of links", {"b": "c", "c": "d.mp4", "d.mp4": "a/v.mp4"}, ["a/v.mp4", "b", "c", "d.mp4"], {}),
    ("to its own folder", {"a/self": "."}, ["a/v.mp4"], {"loop": 1}),
    ("to its parent", {"a/up": ".."}, ["a/v.mp4"], {"loop": 1}),
    ("above the root", {"a/up": "../.."}, ["a/v.mp4"], {"loop": 1}),
    ("to the root of the disk", {"a/up": "/"}, ["a/v.mp4"], {"loop": 1}),
    ("back from outside", {"b": "../outside", "../outside/back": "../root"}, ["a/v.mp4", "b/w.mp4"], {"loop": 1}),
    ("to each other", {"x.mp4": "y.mp4", "y.mp4": "x.mp4"}, ["a/v.mp4"], {"loop": 2}),
    ("to nothing", {"x.mp4": "nowhere.mp4"}, ["a/v.mp4"], {"broken-link": 1}),
    ("hidden", {".x": "../outside"}, ["a/v.mp4"], {"hidden": 1}),
]


@pytest.mark.parametrize(("links", "files", "left_out"), [row[1:] for row in LINKS], ids=[row[0] for row in LINKS])
def test_links_are_followed_but_never_in_circles(
    tmp_path: Path, links: dict[str, str], files: list[str], left_out: dict[str, int]
) -> None:
    root = _files(tmp_path / "root", "a/v.mp4")
    _files(tmp_path / "outside", "w.mp4")
    for name, target in links.items():
        _link(root / name, target)
    assert _walked(root) == (files, left_out)


def test_links_between_folders_do_not_multiply_the_files(tmp_path: Path) -> None:
    folders = [f"f{number}" for number in range(12)]
    for name in folders:
        _files(tmp_path, f"{name}/v.mp4")
        for other in folders:
            if other != name:
                _link(tmp_path / name / f"to_{other}", f"../{other}")
    names, left_out = _walked(tmp_path)
    assert len(names) == 12 + 12 * 11  # each folder itself, and through one link from each other one
    assert left_out.keys() == {"loop", "again"}


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _files(tmp_path, "open/v.mp4", "locked/w.mp4")
    scandir = os.scandir

    def refuse(folder: Path) -> object:  # root may read everything, so permissions alone don't show it
        if Path(folder).name == "locked":
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(find_files.os, "scandir", refuse)
    notes = SearchNotes()
    assert [found.video_id for found in list_videos(tmp_path, notes)] == ["open/v"]
    (line,) = notes.lines()
    assert "1 that can't be read" in line and "locked (Permission denied)" in line


def test_what_is_left_out_is_counted_and_the_first_are_named(tmp_path: Path) -> None:
    _files(tmp_path, "v.mp4", ".hidden.mp4", *(f"notes_{number}.txt" for number in range(30)))
    _link(tmp_path / "gone.mp4", "/nowhere/gone.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    notes = SearchNotes()
    assert [found.video_id for found in list_videos(tmp_path, notes)] == ["v"]
    (line,) = notes.lines()
    for part in ("30 without the suffix of a video", "notes_0.txt", "1 hidden", "gone.mp4 -> /nowhere/gone.mp4"):
        assert part in line
    assert "notes_5.txt" not in line
    assert {group.reason: group.count for group in notes.report()} == {
        "suffix": 30,
        "hidden": 1,
        "broken-link": 1,
        "special": 1,
    }
    assert all(len(group.first) <= 20 for group in notes.report())


def test_two_links_to_one_file_are_two_ids_and_named(tmp_path: Path) -> None:
    _files(tmp_path / "real", "long name.mp4")
    for name in ("a.mp4", "b.mp4"):
        _link(tmp_path / "root" / name, "../real/long name.mp4")
    notes = SearchNotes()
    assert [found.video_id for found in find_videos(tmp_path / "root", notes)] == ["a", "b"]
    assert "a and b are links to one file" in notes.lines()[0]


SUFFIXES = "v.mp4 v.MP4 v.Mov v.MTS v.m2ts v.AVI v.M4V v.webm v.MPG v.mpeg v.WMV v.flv v.3GP v.ogv v.TS v.MKV".split()  # noqa: SIM905


@pytest.mark.parametrize("name", SUFFIXES)
def test_one_list_of_suffixes_in_any_letter_case(tmp_path: Path, name: str) -> None:
    from gazetools.trainer.data.videos import find_videos as videos_of_training

    _files(tmp_path / "P01", name)
    assert [found.video_id for found in find_videos(tmp_path, SearchNotes())] == ["P01/v"]
    assert [found.video_id for found in find_videos(f"{tmp_path}/*/v.*", SearchNotes())] == ["P01/v"]
    assert videos_of_training(tmp_path, ["P01/v"], None) == {"P01/v": tmp_path / "P01" / name}


@pytest.mark.parametrize("on_disk", [NFD, NFC], ids=["NFD", "NFC"])
@pytest.mark.parametrize("asked", [NFD, NFC], ids=["ask NFD", "ask NFC"])
def test_names_match_in_nfc_and_nfd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_disk: str, asked: str) -> None:
    path = _files(tmp_path, f"{on_disk}/{on_disk}.mp4") / on_disk / f"{on_disk}.mp4"
    assert FileLookup(tmp_path, [".mp4"]).find(f"{asked}/{asked}") == path
    assert existing_path(tmp_path / asked / f"{asked}.mp4") == path
    for given in (f"{tmp_path}/{asked}", f"{tmp_path}/{asked}/{asked}.mp4", f"{tmp_path}/{asked}/{asked[:1]}*.mp4"):
        assert [found.video_id for found in find_videos(given, SearchNotes())] == [NFC]
    assert [found.video_id for found in find_videos(f"{tmp_path}/**/{asked}.mp4", SearchNotes())] == [f"{NFC}/{NFC}"]
    (tmp_path / "list.txt").write_text(f"{asked}/{asked}.mp4\n", encoding="utf-8")
    monkeypatch.chdir(os.sep)
    assert [found.path for found in find_videos(f"@{tmp_path / 'list.txt'}", SearchNotes())] == [path]


def test_a_lookup_follows_links_and_prefers_the_first_suffix(tmp_path: Path) -> None:
    _files(tmp_path / "real", "take/cam01.MKV", "take/cam01.Mp4")
    _link(tmp_path / "root" / "t1", "../real/take")
    _link(tmp_path / "root" / "gone.mp4", "nowhere.mp4")
    lookup = FileLookup(tmp_path / "root", [".mp4", ".mkv"])
    assert [path.name for path in lookup.find_all("t1/cam01")] == ["cam01.Mp4", "cam01.MKV"]
    assert lookup.find("gone") is None
    assert lookup.broken_link("gone") == tmp_path / "root" / "gone.mp4"
    assert lookup.find("t1/cam02") is lookup.broken_link("t1/cam02") is None


@pytest.mark.parametrize("name", ["../outside/w", "/etc/passwd", "a/../../outside/w", ".hidden", "a\nb"])
def test_a_name_itself_cannot_lead_out(tmp_path: Path, name: str) -> None:
    _files(tmp_path / "outside", "w.mp4")
    with pytest.raises(UsageError, match="not allowed"):
        FileLookup(tmp_path / "root", [".mp4"]).find(name)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("{}/gone.mp4", "broken link"),
        ("{}/only_links", "1 broken link"),
        ("{}/*.txt.mp4", "matches no file"),
        ("{}/text/*", "with the suffix of a video"),
        ("@{}/itself.txt", "names itself"),
        ("{}/a.mp4/b.mp4", "does not exist"),
    ],
)
def test_inputs_that_cannot_be_used_say_why(tmp_path: Path, given: str, words: str) -> None:
    _files(tmp_path, "a.mp4", "text/notes.txt")
    _link(tmp_path / "gone.mp4", "nowhere.mp4")
    _link(tmp_path / "only_links" / "gone.mp4", "nowhere.mp4")
    (tmp_path / "itself.txt").write_text("a.mp4\n@itself.txt\n")
    with pytest.raises(UsageError, match=words):
        find_videos(given.format(tmp_path), SearchNotes())


def test_a_glob_takes_the_suffix_that_it_names_and_else_those_of_videos(tmp_path: Path) -> None:
    _files(tmp_path, "a/v.mp4", "a/v.insv", "a/notes.txt", "a/.v.mp4", "b/c/w.mov")
    _link(tmp_path / "d", "b")
    cases = {
        "*/*": ["a/v"],
        "*/*.insv": ["a/v"],
        "*/.v.mp4": ["a/.v"],
        "**/*.mov": ["b/c/w", "d/c/w"],
        "**/c/*": ["b/c/w", "d/c/w"],
        "**": ["a/v", "b/c/w", "d/c/w"],
    }
    for pattern, ids in cases.items():
        assert sorted(found.video_id for found in find_videos(f"{tmp_path}/{pattern}", SearchNotes())) == ids, pattern


def test_names_that_cannot_be_written_are_escaped(tmp_path: Path) -> None:
    assert printable("a\nb\udcff") == "a\\nb\\udcff"
    assert printable(f"{NFC} {NFD}") == f"{NFC} {NFD}"


@pytest.mark.parametrize("with_video", [True, False])
def test_a_folder_that_is_taken_as_one_picture_is_not_said_to_be_left_out(tmp_path: Path, with_video: bool) -> None:
    (tmp_path / "frame_0001.jpg").touch()
    if with_video:
        (tmp_path / "a.mp4").touch()
    notes = SearchNotes()
    assert [video.video_id for video in find_videos(str(tmp_path), notes)] == ["a" if with_video else tmp_path.name]
    assert bool(notes.lines()) == with_video
