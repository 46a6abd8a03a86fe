"""The routes of the correction of boxes: what is answered, refused, and written, as the page asks for it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from gazetools.extraction.detected import HEADS_FOLDER
from gazetools.io.atomic import sha256_of_file
from gazetools.schemas.extract import ExtractOptions
from gazetools.schemas.provenance import HeadSource
from gazetools.schemas.view import ViewOptions
from gazetools.viewer.guard import TOKEN_HEADER
from gazetools.viewer.server import build_app
from gazetools.viewer.showing import Showing
from tests.helpers.stores import make_video

PORT, TOKEN = 4567, "t" * 32
ORIGIN = f"http://127.0.0.1:{PORT}"
MOVE = {"what": "set", "frame": 3, "track": 1, "box": [5, 6, 25, 36]}
OPTIONS = {"people": "1,2", "fps": None, "stride": 2, "small_heads": "crop", "fill_gaps": 3, "preprocess": "exact"}


def _heads(spec: str, sha256: str | None, **more: Any) -> HeadSource:
    return HeadSource(
        spec=spec, sha256=sha256, rows=24, clipped_boxes=0, small_heads="crop", prompts={"given": 24}, **more
    )


class _Page:
    """What the page can do: get and post with cookie, origin and token."""

    def __init__(self, store: Path, **options: Any) -> None:
        self.showing = Showing(store, ViewOptions(**options))
        self.client = TestClient(build_app(self.showing, token=TOKEN, port=PORT), base_url=ORIGIN)
        assert self.client.get("/", params={"token": TOKEN}).status_code == 200

    def get(self, path: str, **query: str) -> Any:
        return self.client.get(path, params={"id": "clip", **query}, headers={TOKEN_HEADER: TOKEN})

    def post(self, body: object, **headers: str) -> Any:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        known = {"origin": ORIGIN, TOKEN_HEADER: TOKEN, **headers}
        return self.client.post("/api/boxes/save", params={"id": "clip"}, content=data, headers=known)

    def rows(self, revision: str) -> np.ndarray:
        answer = self.get("/api/boxes/rows", revision=revision)
        assert answer.status_code == 200
        return np.frombuffer(answer.content, "<f8").reshape(-1, 7)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store of 12 frames with two people, whose box file is not there any more."""
    people = {frame: [1, 2] for frame in range(12)}
    heads = _heads("file:gone.csv", "9" * 64, counts={"filled_boxes": 2.0})
    make_video(tmp_path / "s", people=people, heads=heads, options=OPTIONS)
    return tmp_path / "s"


@pytest.fixture
def page(store: Path) -> Iterator[_Page]:
    opened = _Page(store)
    with opened.showing:
        yield opened


def test_the_stores_boxes_are_corrected_and_saved_into_its_hidden_folder(page: _Page, store: Path) -> None:
    before = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    facts = page.get("/api/boxes").json()
    assert (facts["base"], facts["saved"]) == ({"kind": "store", "path": str(store / "clip.h5")}, None)
    assert (facts["width"], facts["height"], facts["frame_count"], facts["rows"]) == (96, 64, 12, 24)
    rows = page.rows(facts["revision"])
    assert rows[0].tolist() == [0, 1, 9.6, 6.4, 38.4, 32, 0]
    saved = page.post({"revision": facts["revision"], "edits": [MOVE]})
    assert saved.status_code == 200
    path = store / ".corrected" / "clip.csv"
    assert saved.json()["path"] == str(path)
    assert saved.json()["saved"]["edits"] == 1
    changed = page.rows(saved.json()["revision"])
    assert changed[6].tolist() == [3, 1, 5, 6, 25, 36, 1]
    np.testing.assert_array_equal(np.delete(changed, 6, 0), np.delete(rows, 6, 0))
    assert {file: file.read_bytes() for file in before} == before, "nothing of the store is touched"
    assert {file.name for file in path.parent.iterdir()} == {"clip.csv", "clip.csv.history.jsonl"}


def test_two_tabs_the_second_to_save_is_told_so_and_merges(page: _Page) -> None:
    revision = page.get("/api/boxes").json()["revision"]
    first = page.post({"revision": revision, "edits": [MOVE]}).json()
    mine = {"what": "assign", "frame": 5, "track": 2, "to": 8, "onwards": True}
    refused = page.post({"revision": revision, "edits": [mine]})
    assert refused.status_code == 409
    assert refused.json()["revision"] == first["revision"]
    assert "saved meanwhile" in refused.json()["error"]["message"]
    assert page.get("/api/boxes/rows", revision=revision).status_code == 409
    merged = page.post({"revision": first["revision"], "edits": [mine]}).json()
    rows = page.rows(merged["revision"])
    assert {tuple(row[:2]) for row in rows if row[0] >= 5} == {(f, t) for f in range(5, 12) for t in (1, 8)}
    assert rows[6].tolist() == [3, 1, 5, 6, 25, 36, 1], "nothing of the first tab is lost"


BAD_BODIES = [
    (b"{", 400, "not JSON"),
    (b"[" * 100_000, 400, "not JSON"),
    ({"revision": "x", "edits": []}, 400, "edits"),
    ({"revision": "x", "edits": [MOVE], "path": "/etc/passwd"}, 400, "path"),
    ({"revision": "x", "edits": [{**MOVE, "track": "<script>"}]}, 400, "whole number"),
    ({"revision": "x", "edits": [{**MOVE, "box": [1, 2, 1e999, 4]}]}, 400, "box"),
]


@pytest.mark.parametrize(("body", "status", "words"), BAD_BODIES, ids=[words for *_, words in BAD_BODIES])
def test_what_is_no_save_is_refused_in_words(page: _Page, store: Path, body: object, status: int, words: str) -> None:
    answer = page.post(body)
    assert answer.status_code == status
    assert words in answer.text
    assert "content-security-policy" in answer.headers
    assert not (store / ".corrected").exists()


def test_only_the_page_itself_can_save(page: _Page, store: Path) -> None:
    body = {"revision": page.get("/api/boxes").json()["revision"], "edits": [MOVE]}
    for headers in ({"origin": "http://evil.example"}, {TOKEN_HEADER: "guessed"}, {"host": "evil.example"}):
        assert page.post(body, **headers).status_code in (403, 421)
    assert page.get("/api/boxes", id="../../etc/passwd").status_code == 400
    assert page.get("/api/boxes/save").status_code == 405
    assert not (store / ".corrected").exists()


@pytest.mark.parametrize("kind", ["file", "detect"])
def test_the_box_file_itself_is_the_beginning_where_it_is_still_the_same(tmp_path: Path, kind: str) -> None:
    """It also has people and frames that the store does not have."""
    store = tmp_path / "s"
    path = store / HEADS_FOLDER / "clip.csv" if kind == "detect" else tmp_path / "mine.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("frame,track_id,xmin,ymin,xmax,ymax,score\n0,5,1.123456789,2,30,40,0.9\n3,1,10,10,30,30,0.8\n")
    spec = "detect" if kind == "detect" else f"file:{path}"
    make_video(store, people={0: [1]}, heads=_heads(spec, sha256_of_file(path)), options=OPTIONS)
    page = _Page(store, boxes=tmp_path / "corrected")
    with page.showing:
        facts = page.get("/api/boxes").json()
        assert facts["base"] == {"kind": "file", "path": str(path)}
        assert page.rows(facts["revision"]).tolist() == [[0, 5, 1.123456789, 2, 30, 40, 0], [3, 1, 10, 10, 30, 30, 0]]
        saved = page.post({"revision": facts["revision"], "edits": [MOVE]}).json()
        assert saved["path"] == str(tmp_path / "corrected" / "clip.csv")
        assert "1.123456789" in Path(saved["path"]).read_text()
        words = shlex.split(saved["command"])
        assert words[words.index("--people") + 1] == "1,2", "the file has everybody, as before"
        assert words[words.index("--fill-gaps") + 1] == "3"
        path.write_text(path.read_text() + "4,1,10,10,30,30,0.8\n")  # the corrections stay what they were
        assert page.get("/api/boxes").json()["revision"] == saved["revision"]


def test_a_folder_of_boxes_with_the_users_own_file_is_refused(store: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "clip.csv").write_text("frame,track_id,xmin,ymin,xmax,ymax\n0,5,1,2,30,40\n")
    page = _Page(store, boxes=tmp_path / "mine")
    with page.showing:
        answer = page.get("/api/boxes")
        assert answer.status_code == 400
        assert "--boxes" in answer.json()["error"]["hint"]


INPUTS = [
    ("clip", "videos/clip.mp4", "{root}/videos/clip.mp4"),
    ("take/cam01", "videos/take/cam01.mp4", "{root}/videos/[t]ake/cam01.mp4"),
    ("a[1]/b", "videos/a[1]/b.mp4", "{root}/videos/[a][[]1]/b.mp4"),
    ("other", "videos/clip.mp4", "VIDEOS"),
    ("take/cam01", None, "VIDEOS"),
]


@pytest.mark.parametrize(("video_id", "video", "wanted"), INPUTS)
def test_the_command_names_one_video_by_the_id_that_it_has(
    tmp_path: Path, video_id: str, video: str | None, wanted: str
) -> None:
    from gazetools.extraction.run import plan
    from gazetools.viewer.box_command import extract_command
    from gazetools.viewer.box_source import read_source

    path = None if video is None else tmp_path / video
    for other in (path, tmp_path / "videos" / "zz" / "cam01.mp4", tmp_path / "videos" / "zz.mp4"):
        if other is not None:
            other.parent.mkdir(parents=True, exist_ok=True)
            other.touch()
    make_video(tmp_path / "s", video_id, heads=_heads("whole", None), options=OPTIONS)
    with Showing(tmp_path / "s", ViewOptions()) as showing:
        source = read_source(showing, video_id)
    csv = tmp_path / "a b" / f"{video_id}.csv"
    command = extract_command(tmp_path / "s", path, video_id, source, csv)
    words = shlex.split(command)
    assert words[:3] == ["gazetools", "extract", wanted.format(root=tmp_path)]
    assert words[-1] == "--overwrite"
    assert words[words.index("--heads") + 1] == f"file:{csv}"
    assert (words[words.index("--stride") + 1], words[words.index("--small-heads") + 1]) == ("2", "crop")
    assert words[words.index("--dtype") + 1] == "float32"
    assert "--people" not in words, "the rows of a store are those that were chosen"
    if wanted != "VIDEOS":
        csv.parent.mkdir(parents=True, exist_ok=True)
        csv.write_text("frame,track_id,xmin,ymin,xmax,ymax\n0,5,1,2,30,40\n")
        items, _ = plan(words[2], ExtractOptions(heads="whole"))
        assert [(item.video_id, item.path) for item in items] == [(video_id, path)]
