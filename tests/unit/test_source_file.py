"""The video of heatmaps is found again after moves, and another file is never taken for it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from gazetools.io.source_file import find_source, folder_of_id, moved_path, path_seen_from
from gazetools.schemas.provenance import SourceVideo
from tests.helpers.stores import make_provenance

CONTENT, OTHER = b"the video of the heatmaps", b"another one of same size."


def _recorded(path: str, relative: str | None) -> SourceVideo:
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    facts = {"path": path, "relative_path": relative, "size_bytes": len(CONTENT), "sha256": sha256}
    return make_provenance(**facts).video


def _file(path: Path, content: bytes = CONTENT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


# what is there (name -> content), recorded path, recorded relative path -> the file that is taken, and whether it is it
CASES = [
    ("where it was", {"v/a.mp4": CONTENT}, "{}/v/a.mp4", "../v/a.mp4", ("v/a.mp4", True)),
    ("moved with its store", {"v/a.mp4": CONTENT}, "/old/v/a.mp4", "../v/a.mp4", ("v/a.mp4", True)),
    ("store alone was moved", {"w/a.mp4": CONTENT}, "{}/w/a.mp4", "../../v/a.mp4", ("w/a.mp4", True)),
    ("gone", {}, "/old/v/a.mp4", "../v/a.mp4", None),
    ("changed", {"v/a.mp4": b"x"}, "{}/v/a.mp4", "../v/a.mp4", ("v/a.mp4", False)),
    ("another at one place", {"v/a.mp4": OTHER, "w/a.mp4": CONTENT}, "{}/w/a.mp4", "../v/a.mp4", ("w/a.mp4", True)),
    ("the other one", {"v/a.mp4": CONTENT, "w/a.mp4": OTHER}, "{}/w/a.mp4", "../v/a.mp4", ("v/a.mp4", True)),
    ("shorter at the first", {"v/a.mp4": CONTENT, "w/a.mp4": b"x"}, "{}/w/a.mp4", "../v/a.mp4", ("v/a.mp4", True)),
    ("old, from its folder", {"cwd/v/a.mp4": CONTENT}, "v/a.mp4", None, ("cwd/v/a.mp4", True)),
    ("old, next to the store", {"v/a.mp4": CONTENT}, "v/a.mp4", None, ("v/a.mp4", True)),
    ("old, in the store", {"store/v/a.mp4": CONTENT}, "v/a.mp4", None, ("store/v/a.mp4", True)),
    ("old, another next to the store", {"v/a.mp4": OTHER}, "v/a.mp4", None, None),
    ("old, another here", {"cwd/v/a.mp4": b"x", "v/a.mp4": CONTENT}, "v/a.mp4", None, ("v/a.mp4", True)),
    ("old, only another here", {"cwd/v/a.mp4": b"x"}, "v/a.mp4", None, ("cwd/v/a.mp4", False)),
]


@pytest.mark.parametrize(
    ("there", "path", "relative", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_the_recorded_video_is_found_and_no_other(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    there: dict[str, bytes],
    path: str,
    relative: str | None,
    expected: tuple[str, bool] | None,
) -> None:
    for name, content in there.items():
        _file(tmp_path / name, content)
    (tmp_path / "cwd").mkdir(exist_ok=True)
    monkeypatch.chdir(tmp_path / "cwd")
    found = find_source(_recorded(path.format(tmp_path), relative), tmp_path / "store")
    got = None if found is None else (found.path.relative_to(tmp_path).as_posix(), found.is_same)
    assert got == expected


@pytest.mark.parametrize("linked", ["store", "videos"])
def test_paths_through_links_are_found(tmp_path: Path, linked: str) -> None:
    _file(tmp_path / "disk" / "deep" / "videos" / "a.mp4")
    (tmp_path / "disk" / "deep" / "store").mkdir()
    for name in ("store", "videos"):
        target = tmp_path / "disk" / "deep" / name
        (tmp_path / name).symlink_to(target) if name == linked else target.rename(tmp_path / name)
    relative = path_seen_from(tmp_path / "store", tmp_path / "videos" / "a.mp4")
    assert relative == "../videos/a.mp4"
    found = find_source(_recorded("/old/a.mp4", relative), tmp_path / "store")
    assert found is not None and found.is_same


def test_places_are_seen_from_stores_and_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert folder_of_id(Path("store/take/cam01.h5"), "take/cam01") == tmp_path / "store"
    assert folder_of_id(Path("store/clip.h5"), "clip") == tmp_path / "store"
    assert path_seen_from(Path("a/store"), Path("videos/v.mp4")) == "../../videos/v.mp4"
    assert moved_path("../videos/v.mp4", Path("store"), Path("sets/ds")) == "../../videos/v.mp4"
