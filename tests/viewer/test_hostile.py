"""Stores that were made to harm, and files that change or vanish while they are looked at: words, never a crash."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from starlette.testclient import TestClient

from gazetools.schemas.dataset import MANIFEST_NAME
from gazetools.schemas.errors import GazetoolsError, UsageError
from gazetools.schemas.view import ViewOptions
from gazetools.viewer import export_clip
from gazetools.viewer.guard import cookie_of
from gazetools.viewer.server import serve
from gazetools.viewer.showing import Showing
from tests.helpers.viewing import store_numbered, write_numbered_video
from tests.viewer.conftest import FRAMES, TOKEN

Edit = Callable[[h5py.File, dict[str, Any]], object]


def _changed_store(numbered: Path, folder: Path, edit: Edit) -> Path:
    """A copy of the store whose file and provenance `edit` has changed, with a sidecar that fits."""
    store = Path(shutil.copytree(numbered / "store", folder / "store"))
    with h5py.File(store / "clip.h5", "r+") as file:
        provenance = json.loads(file.attrs["provenance"])
        edit(file, provenance)
        file.attrs["provenance"] = json.dumps(provenance)
    sidecar = json.loads((store / "clip.json").read_text())
    sidecar["payload_bytes"] = (store / "clip.h5").stat().st_size
    (store / "clip.json").write_text(json.dumps(sidecar))
    return store


def _put(name: str, key: Any, value: float) -> Edit:
    return lambda file, _: file[name].__setitem__(key, value)


STORES: list[tuple[str, Edit, bool]] = [
    # (why, what is changed, whether it is shown)
    ("as many frames as a number can say", lambda _, made: made["video"].update(frame_count=10**13), False),
    ("more frames than memory", lambda _, made: made["video"].update(frame_count=3 * 10**9), False),
    ("a row of a frame far behind the end", _put("rows/frame", -1, 2**40), False),
    ("a processed frame far behind the end", _put("frames/index", -1, 2**40), False),
    ("a frame before the first", _put("frames/index", 0, -5), False),
    ("rows in disorder", _put("rows/frame", 0, 30), False),
    ("half a box", _put("rows/box", (slice(None), 2), np.nan), True),
    ("a box without end", _put("rows/box", (slice(None), 3), np.inf), True),
    ("maps without numbers", _put("rows/heatmap", (slice(None), 0), np.nan), True),
    ("scores that are none", _put("rows/inout", slice(None), np.inf), True),
]


@pytest.mark.parametrize("row", STORES, ids=[row[0] for row in STORES])
def test_a_store_with_wild_numbers_is_shown_or_refused_in_words(
    numbered: Path, client_of: Callable[..., TestClient], tmp_path: Path, row: tuple[str, Edit, bool]
) -> None:
    _, edit, is_shown = row
    store = _changed_store(numbered, tmp_path, edit)
    client = client_of(store, videos=numbered / "videos")
    source = client.get("/api/video?id=clip").json()["sources"][0]
    assert ("problem" not in source) == is_shown, source
    for address in ("block?id=clip&start=0&stop=4", "curves?id=clip", "boxes?id=clip"):
        assert client.get(f"/api/{address}").status_code == (200 if is_shown else 400)
    assert client.get("/api/times?id=clip").status_code == 200, "the video is shown alone"
    page = tmp_path / "page.html"
    options = ViewOptions(videos=numbered / "videos", video="clip", export=page, stop=0.2)
    if is_shown:
        assert export_clip(store, options) > 0
        damaged = int(re.findall(r'"damaged":(\d+)', page.read_text())[0])
        assert damaged == (12 if "map" in row[0] else 0), "of 6 frames with 2 people"
    else:
        with pytest.raises(GazetoolsError, match=r"clip\.h5"):
            export_clip(store, options)


def test_the_command_to_copy_runs_nothing_of_the_store(
    numbered: Path, client_of: Callable[..., TestClient], tmp_path: Path
) -> None:
    values = {"fps": "-1;touch ran; x", "hdr": "$(touch ran)", "stride": "`touch ran`\n\x03touch ran\n", "end": "-x y"}
    store = _changed_store(numbered, tmp_path, lambda _, made: made["options"].update(values))
    command = client_of(store, videos=numbered / "videos").get("/api/boxes?id=clip").json()["command"]
    assert command.isprintable(), "a terminal acts on control characters that are pasted"
    shell = ["bash", "-c", f"gazetools() {{ printf '%s\\0' \"$@\"; }}; {command}"]
    words = subprocess.run(shell, cwd=tmp_path, capture_output=True, check=True, text=True).stdout.split("\0")
    assert {f"--fps={values['fps']}", f"--end={values['end']}"} <= set(words)
    for name in ("hdr", "stride"):
        assert words[words.index(f"--{name}") + 1] == values[name]
    assert not list(tmp_path.rglob("ran"))


FACTS = {"pattern": "f_%04d.jpg", "first_number": 0, "missing_numbers": 0, "timed_by": "--frame-rate 25"}
TIMED: list[tuple[dict[str, Any], str | None, list[str]]] = [
    # (what the provenance says of the pictures, the CSV of times, words of the command)
    (FACTS, None, ["--frame-rate", "25/1"]),
    (FACTS, "/a b/times.csv", ["--frame-times", "/a b/times.csv"]),
]


@pytest.mark.parametrize(("facts", "times", "wanted"), TIMED, ids=["a rate", "a CSV"])
def test_the_command_says_when_the_pictures_of_a_folder_were_taken(
    numbered: Path,
    client_of: Callable[..., TestClient],
    tmp_path: Path,
    facts: dict[str, Any],
    times: str | None,
    wanted: list[str],
) -> None:
    pictures = {**facts, "times_path": times}
    store = _changed_store(numbered, tmp_path, lambda _, made: made["video"].update(pictures=pictures, rate="25/1"))
    words = shlex.split(client_of(store).get("/api/boxes?id=clip").json()["command"])
    assert words[words.index(wanted[0]) :][:2] == wanted


MANIFESTS = [
    # (an entry, why)
    ('{"T": 1e999, "valid_frames": 1}', "a number without end"),
    ('{"T": -3, "valid_frames": 5}', "negative"),
    ('{"T": 3, "valid_frames": 5}', "more valid rows than rows"),
    ('{"T": 1' + 300 * "0" + ', "valid_frames": 5}', "astronomic"),
    ("[]", "a list"),
]


@pytest.mark.parametrize("entry", [row[0] for row in MANIFESTS], ids=[row[1] for row in MANIFESTS])
def test_a_broken_entry_does_not_stop_the_list(
    client_of: Callable[..., TestClient], tmp_path: Path, entry: str
) -> None:
    videos = f'{{"bad": {entry}, "good": {{"T": 4, "valid_frames": 2}}}}'
    text = f'{{"schema_name": "gazetools.dataset", "schema_version": 1, "options": {{}}, "videos": {videos}}}'
    (tmp_path / MANIFEST_NAME).write_text(text)
    client = client_of(tmp_path)
    client.showing.lines._thread.join(10)  # type: ignore[attr-defined]
    bad, good = client.get("/api/videos").json()["videos"]
    assert (bad["problem"], bad["frames"]) == ("the entry in manifest.json is broken", None)
    assert (good["frames"], good["coverage"]) == (4, 0.5)


def test_names_that_are_no_text_are_listed(
    numbered: Path, client_of: Callable[..., TestClient], tmp_path: Path
) -> None:
    store = Path(os.fsdecode(bytes(tmp_path) + b"/st\xffre"))
    shutil.copytree(numbered / "store", store)
    for suffix in (".h5", ".json"):
        shutil.copy(store / f"clip{suffix}", os.fsdecode(bytes(store) + b"/cl\xffip" + suffix.encode()))
    client = client_of(store, videos=numbered / "videos")
    client.showing.lines._thread.join(10)  # type: ignore[attr-defined]
    listed = {video["id"]: video.get("problem") for video in client.get("/api/videos").json()["videos"]}
    assert set(listed) == {"clip", "cl?ip"}
    assert "invisible formatting character" in listed["cl?ip"]
    assert listed["clip"] is None
    assert "st?re" in client.get("/").text
    words = client.get("/api/boxes?id=clip").json()["command"]
    assert "st\\377re" in words, "as a shell writes this byte"


def test_a_replaced_video_is_opened_anew(client_of: Callable[..., TestClient], tmp_path: Path) -> None:
    video = write_numbered_video(tmp_path / "videos" / "clip.mp4", frames=FRAMES, size_wh=(96, 64))
    store_numbered(tmp_path / "store", video, frames=FRAMES)
    client = client_of(tmp_path / "store", videos=tmp_path / "videos")

    def seen() -> tuple[int, int, bool]:
        facts = client.get("/api/video?id=clip").json()["video"]
        times = np.frombuffer(client.get("/api/times?id=clip").content)
        now = client.get("/api/changes?id=clip").json()["video"]
        return facts["width"], len(times), facts["stamp"] == now

    assert seen() == (96, FRAMES, True)
    before = client.get("/api/changes?id=clip").json()["video"]
    assert client.post("/api/proxy?id=clip").json()["state"] in ("making", "ready")
    write_numbered_video(video, frames=60, size_wh=(192, 128), rate=10)
    assert client.get("/api/changes?id=clip").json()["video"] != before, "the page notices it"
    assert seen() == (192, 60, True)
    assert client.get("/api/still?id=clip&frame=59").status_code == 200
    client.post("/api/proxy?id=clip")
    for thread in client.showing.proxies._threads:  # type: ignore[attr-defined]
        thread.join(30)
    assert client.get("/api/proxy?id=clip").json() == {"state": "ready", "done": 60, "total": 60, "words": ""}
    video.unlink()
    assert client.get("/api/changes?id=clip").json()["video"] is None
    assert "has no video 'clip'" in client.get("/api/video?id=clip").json()["video"]["words"]
    for address in ("media", "still", "times"):
        answer = client.get(f"/api/{address}?id=clip&frame=3")
        assert answer.status_code == (200 if address == "times" else 400), address
    write_numbered_video(video, frames=FRAMES, size_wh=(96, 64))
    assert seen() == (96, FRAMES, True)


ODD_PLACES: list[tuple[str, Callable[[Path], object], int]] = [
    # (what lies where the corrected boxes should be, how it is made, status of /api/boxes)
    ("a folder", Path.mkdir, 400),
    ("a link to itself", lambda csv: csv.symlink_to(csv), 400),
    ("a link out of the folder", lambda csv: csv.symlink_to("/etc/hostname"), 400),
    ("a link to nothing", lambda csv: csv.symlink_to(csv.parent / "gone.csv"), 400),
    ("a pipe", os.mkfifo, 400),
    ("nothing", lambda csv: None, 200),
]


@pytest.mark.parametrize("place", ODD_PLACES, ids=[row[0] for row in ODD_PLACES])
def test_odd_files_in_the_place_of_saved_boxes_are_kept(
    numbered: Path, client_of: Callable[..., TestClient], tmp_path: Path, place: tuple[str, Any, int]
) -> None:
    _, make, status = place
    make(tmp_path / "clip.csv")
    before = [(path.name, path.lstat()) for path in tmp_path.glob("clip.csv*")]
    client = client_of(numbered / "store", videos=numbered / "videos", boxes=tmp_path)
    found = client.get("/api/boxes?id=clip")
    assert found.status_code == status, found.text
    edits = [{"what": "set", "frame": 1, "track": 1, "box": [1, 2, 30, 40]}]
    revision = found.json().get("revision", "")
    saved = client.post("/api/boxes/save?id=clip", json={"revision": revision, "edits": edits})
    assert saved.status_code == status, saved.text
    if status == 400:
        assert [(path.name, path.lstat()) for path in tmp_path.glob("clip.csv*")] == before


def test_a_file_is_no_folder_of_boxes(numbered: Path, tmp_path: Path) -> None:
    (tmp_path / "boxes").write_text("")
    with pytest.raises(UsageError, match="is no folder"):
        Showing(numbered / "store", ViewOptions(boxes=tmp_path / "boxes"))


@pytest.mark.parametrize("body", [b"null", b"NaN", b"3", b'"edits"', b"[]", b"\xff", b""])
def test_a_body_that_is_no_object_is_refused(
    numbered: Path, client_of: Callable[..., TestClient], tmp_path: Path, body: bytes
) -> None:
    client = client_of(numbered / "store", boxes=tmp_path)
    answer = client.post("/api/boxes/save?id=clip", content=body)
    assert (answer.status_code, "JSON" in answer.json()["error"]["message"]) == (400, True)


def test_a_body_in_chunks_does_not_pass_the_limit_of_bytes(
    numbered: Path, client_of: Callable[..., TestClient]
) -> None:
    answer = client_of(numbered / "store").post(
        "/api/boxes/save?id=clip",
        content=iter([b"{}"]),
        headers={"content-length": "2", "transfer-encoding": "chunked"},
    )
    assert answer.status_code == 413


@pytest.mark.parametrize("sent", ["the start of a body", "nothing"])
def test_requests_in_progress_at_the_end_are_no_error(
    numbered: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, sent: str
) -> None:
    servers: list[Any] = []
    monkeypatch.setattr("uvicorn.Server.capture_signals", _no_signals(servers))
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    with listening, Showing(numbered / "store", ViewOptions()) as showing:
        ready = threading.Event()
        arguments = (showing, listening, TOKEN)
        thread = threading.Thread(target=lambda: serve(*arguments, ready=ready.set), daemon=True)
        thread.start()
        assert ready.wait(10)
        with socket.create_connection(("127.0.0.1", port)) as client:
            if sent != "nothing":
                cookie = f"Cookie: {'='.join(cookie_of(TOKEN, port))}"
                lines = [f"Host: 127.0.0.1:{port}", cookie, f"Origin: http://127.0.0.1:{port}"]
                lines += [f"X-Gazetools-Token: {TOKEN}", "Content-Length: 500", "", "abc"]
                client.sendall("\r\n".join(["POST /api/boxes/save?id=clip HTTP/1.1", *lines]).encode())
            client.settimeout(0.3)
            with pytest.raises(TimeoutError):
                client.recv(1)
            servers[0].should_exit = True
            thread.join(10)
    assert not thread.is_alive()
    assert capfd.readouterr().err == ""


def _no_signals(servers: list[Any]) -> Any:
    """Instead of the signals, which only the main thread can take: keeps the server that runs."""

    @contextmanager
    def kept(server: Any) -> Iterator[None]:
        servers.append(server)
        yield

    return kept
