"""What the server answers: lists, blocks of heatmaps, stills, files by ranges, copies for playing, changes."""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from starlette.testclient import TestClient

from gazetools import pack
from gazetools.packing.convert import convert
from gazetools.schemas.errors import DataFileError, UsageError
from gazetools.schemas.view import ViewOptions
from gazetools.video import VideoReader
from gazetools.viewer.playing import plan_for
from gazetools.viewer.roots import StoreRoot, open_root
from gazetools.viewer.showing import Showing
from tests.helpers.stores import make_video
from tests.helpers.viewing import numbered_map, store_numbered
from tests.media.barcode import read_barcode
from tests.viewer.conftest import FRAMES

Clients = Callable[..., TestClient]
MEDIA = Path(__file__).parents[1] / "media"


def columns_of(data: bytes) -> dict[str, Any]:
    """A block, read anew from its description in docs/viewer.md."""
    (length,) = struct.unpack_from("<I", data)
    header = json.loads(data[4 : 4 + length])
    file, count = io.BytesIO(data[4 + length :]), header["rows"]
    found: dict[str, Any] = {"header": header}
    for name, kind, shape in (
        ("frame", "<i4", ()), ("track_id", "<i4", ()), ("box_xyxy", "<f4", (4,)), ("inout", "<f4", ()),
        ("peak_xy", "<f4", (2,)), ("top", "<f4", ()), ("stored", "u1", (header["height"], header["width"])),
    ):  # fmt: skip
        size = int(np.prod((count, *shape))) * np.dtype(kind).itemsize
        found[name] = np.frombuffer(file.read(size), kind).reshape(count, *shape)
    assert not file.read()
    found["maps"] = found["stored"] * found["top"][:, None, None] / 255
    return found


def block(client: TestClient, **query: Any) -> dict[str, Any]:
    answer = client.get("/api/block", params={"id": "clip", "start": 0, "stop": FRAMES, **query})
    assert answer.status_code == 200, answer.text
    return columns_of(answer.content)


def test_a_block_holds_the_rows_of_its_frames(tmp_path: Path, client_of: Clients) -> None:
    made = make_video(tmp_path, people={frame: [3, 8] if frame % 4 else [] for frame in range(12)}, size_hw=(8, 10))
    found = block(client_of(tmp_path), start=2, stop=7)
    keys = [(frame, track) for frame in (2, 3, 5, 6) for track in (3, 8)]
    assert list(zip(found["frame"].tolist(), found["track_id"].tolist(), strict=True)) == keys
    for place, key in enumerate(keys):
        wanted = made.maps[key].astype(np.float64)
        assert np.abs(found["maps"][place] - wanted).max() <= wanted.max() / 509
        row, column = np.unravel_index(int(wanted.argmax()), wanted.shape)
        assert found["peak_xy"][place] == pytest.approx([(column + 0.5) / 10, (row + 0.5) / 8])
        assert found["inout"][place] == pytest.approx(made.inout[key])
    assert found["box_xyxy"] == pytest.approx(np.tile([0.1, 0.1, 0.4, 0.5], (8, 1)))
    assert block(client_of(tmp_path), start=400, stop=500)["header"]["rows"] == 0


def test_odd_numbers_and_large_maps_are_shown(tmp_path: Path, client_of: Clients) -> None:
    def odd(frame: int, track: int) -> np.ndarray:
        drawn = np.zeros((300, 400))
        if frame == 1:
            drawn[10, 30], drawn[0, 0] = 0.5, np.nan
        if frame == 2:
            drawn[250, 390] = 1.0
        return drawn

    make_video(tmp_path, frame_count=3, size_hw=(300, 400), make_map=odd)
    found = block(client_of(tmp_path), stop=3)
    assert found["header"] == {"rows": 3, "height": 192, "width": 256, "damaged": 1}
    assert np.isnan(found["peak_xy"][0]).all() and found["top"][0] == 0, "a map of zeros has no peak"
    assert found["peak_xy"][1] == pytest.approx([30.5 / 400, 10.5 / 300]), "what is not a number counts as 0"
    assert found["peak_xy"][2] == pytest.approx([390.5 / 400, 250.5 / 300]), "peaks are those of the full size"


def _packed(store: Path, output: Path, **settings: Any) -> Path:
    assert pack(store, output, **settings).exit_code == 0
    return output


def _foreign_npz(store: Path, output: Path) -> Path:
    (output / "maps").mkdir(parents=True)
    maps = np.stack([numbered_map(frame, 1) for frame in range(FRAMES)])
    np.savez_compressed(output / "maps" / "clip.npz", gaze=maps[:, None])
    return output / "maps"


def _foreign_frames(store: Path, output: Path) -> Path:
    (output / "clip").mkdir(parents=True)
    for frame in range(FRAMES):
        np.save(output / "clip" / f"frame_{frame:04d}.npy", numbered_map(frame, 1).astype(np.float32))
    return output


WAYS_IN: dict[str, Callable[[Path, Path], Path]] = {
    "store": lambda store, output: store,
    "store file": lambda store, output: store / "clip.h5",
    "npz": lambda store, output: _packed(store, output, people="1"),
    "npy": lambda store, output: _packed(store, output, people="1", layout="npy"),
    "hdf5": lambda store, output: _packed(store, output, people="1", layout="hdf5", dtype="uint8"),
    "processed rows only": lambda store, output: _packed(store, output, people="1", align="native"),
    "rows at 10 per second": lambda store, output: _packed(store, output, people="1", fps=10),
    "other npz": _foreign_npz,
    "other npz file": lambda store, output: _foreign_npz(store, output) / "clip.npz",
    "other frames": _foreign_frames,
}


@pytest.mark.parametrize("name", WAYS_IN)
def test_every_format_shows_the_maps_of_its_frames(
    tmp_path: Path, numbered: Path, client_of: Clients, name: str
) -> None:
    path = WAYS_IN[name](numbered / "store", tmp_path / "made")
    client = client_of(path, videos=numbered / "videos")
    assert [one["id"] for one in client.get("/api/videos").json()["videos"]] == ["clip"]
    facts = client.get("/api/video", params={"id": "clip"}).json()
    assert facts["video"]["way"] == "direct" and "problem" not in facts["sources"][0]
    found = block(client)
    frames = {int(frame) for frame in found["frame"]}
    assert frames >= set(range(0, FRAMES - 3, 3)) - {9, 19, 29, 39}
    for frame, track, drawn in zip(found["frame"], found["track_id"], found["maps"], strict=True):
        if track in (-1, 1) and not (frame % 10 == 9 and not drawn.any()):
            assert int(drawn.argmax()) == frame % 256, (name, frame)


def test_stills_are_exactly_their_frames_in_any_order(numbered: Path, client_of: Clients) -> None:
    client = client_of(numbered / "store", videos=numbered / "videos")
    order = [20, 19, 18, 3, 39, 38, 0, 1, 2, 12, 11, 25, 39, 5]
    for frame in [*order, *range(FRAMES), *reversed(range(FRAMES))]:
        answer = client.get("/api/still", params={"id": "clip", "frame": frame})
        picture = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR)
        assert (answer.headers["x-frame-index"], read_barcode(picture)) == (str(frame), frame)
    small = client.get("/api/still", params={"id": "clip", "frame": 7, "height": 32}).content
    assert cv2.imdecode(np.frombuffer(small, np.uint8), cv2.IMREAD_COLOR).shape == (32, 48, 3)
    times = np.frombuffer(client.get("/api/times", params={"id": "clip"}).content, "<f8")
    with VideoReader(numbered / "videos" / "clip.mp4") as reader:
        assert np.array_equal(times, reader.pts_seconds)


def test_the_file_is_sent_by_ranges(numbered: Path, client_of: Clients) -> None:
    client = client_of(numbered / "store", videos=numbered / "videos")
    whole = (numbered / "videos" / "clip.mp4").read_bytes()
    for asked, part, status in (
        ("bytes=0-", whole, 206),
        ("bytes=100-199", whole[100:200], 206),
        ("bytes=-50", whole[-50:], 206),
        ("", whole, 200),
    ):
        answer = client.get("/api/media", params={"id": "clip"}, headers={"range": asked} if asked else {})
        assert (answer.status_code, answer.content == part) == (status, True), asked
        assert (answer.headers["content-type"], answer.headers["accept-ranges"]) == ("video/mp4", "bytes")
    too_far = client.get("/api/media", params={"id": "clip"}, headers={"range": f"bytes={len(whole)}-"})
    assert too_far.status_code == 416


BAD_QUESTIONS = [
    ("/api/video?id=", "not allowed"),
    ("/api/still?id=clip&frame=40", "outside 0..39"),
    ("/api/still?id=clip&frame=-1", "must be a whole number from 0"),
    ("/api/still?id=clip", "frame = ''"),
    ("/api/still?id=nobody&frame=0", "has no video 'nobody'"),
    ("/api/block?id=clip&start=3&stop=3", "range of 1 to 512 frames"),
    ("/api/block?id=clip&start=0&stop=5000", "range of 1 to 512 frames"),
    ("/api/block?id=clip&start=0&stop=5&source=1", "source = '1' must be a whole number from 0 to 0"),
    ("/api/block?id=nobody&start=0&stop=5", "has no heatmaps of the video 'nobody'"),
    ("/api/block?id=clip&start=٣&stop=5", "must be a whole number"),
    ("/api/curves?id=clip&tracks=1,x", "track ids with commas"),
    ("/api/videos?sort=size", "must be one of name"),
    ("/api/videos?limit=100000", "from 0 to 500"),
    ("/api/proxy/file?id=clip", "is not ready"),
]


def test_bad_questions_get_words(numbered: Path, client_of: Clients) -> None:
    client = client_of(numbered / "store", videos=numbered / "videos")
    for path, words in BAD_QUESTIONS:
        answer = client.get(path)
        assert answer.status_code == 400 and words in answer.json()["error"]["message"], (path, answer.text)


def read_list(client: TestClient, **query: Any) -> dict[str, Any]:
    """The list once every line is read."""
    for _ in range(400):
        found: dict[str, Any] = client.get("/api/videos", params=query).json()
        if not found["waiting"]:
            return found
        time.sleep(0.01)
    raise AssertionError("the list is not read to its end")


@pytest.fixture
def thirty(tmp_path: Path) -> Path:
    """A store of 30 videos in two folders, with more people and gaps from one to the next."""
    for number in range(30):
        people = {frame: list(range(1 + number % 3)) for frame in range(number % 10, 10)}
        make_video(tmp_path / "store", f"P{number % 2}/take_{number:02d}", frame_count=10, people=people)
    return tmp_path / "store"


def test_the_list_is_paged_sorted_and_searched(thirty: Path, tmp_path: Path, client_of: Clients) -> None:
    rest = {"message": "all", "remedy": "r"}
    findings = [
        {"code": "map-missing", "severity": "error", "video_id": "P1/take_03", "frames": [4], **rest},
        {"code": "odd", "severity": "note", "video_id": "P0/take_08", "frames": None, **rest},
        {"code": "general", "severity": "warning", "video_id": None, "frames": None, **rest},
    ]
    report = {"summary": {}, "findings": findings}
    (tmp_path / "report.json").write_text(json.dumps(report))
    client = client_of(thirty, findings=tmp_path / "report.json")
    first = read_list(client, limit=10)
    assert (first["total"], first["all"], len(first["videos"])) == (30, 30, 10)
    assert [one["message"] for one in first["general"]] == ["all"]
    ids = [one["id"] for offset in (0, 10, 20) for one in read_list(client, limit=10, offset=offset)["videos"]]
    assert ids == sorted(f"P{number % 2}/take_{number:02d}" for number in range(30))
    found = read_list(client, query="TAKE_2")
    assert [one["id"] for one in found["videos"]] == sorted(f"P{n % 2}/take_{n}" for n in range(20, 30))
    covered = read_list(client, sort="coverage", down=1, limit=30)["videos"]
    assert [one["coverage"] for one in covered] == sorted((1 - (n % 10) / 10 for n in range(30)), reverse=True)
    assert read_list(client, sort="people", down=1, limit=1)["videos"][0]["people"] == 3
    worst = read_list(client, sort="findings", down=1, limit=2)["videos"]
    assert [one["id"] for one in worst] == ["P1/take_03", "P0/take_08"]
    assert worst[0]["findings"] == {"error": 1, "warning": 0, "note": 0}
    facts = client.get("/api/video", params={"id": "P1/take_03"}).json()
    assert [one["frames"] for one in facts["findings"]] == [[4]]


def test_the_index_is_kept_and_only_what_changed_is_read_again(
    thirty: Path, client_of: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    line = StoreRoot.line

    def counted(self: StoreRoot, video_id: str) -> Any:
        read.append(video_id)
        return line(self, video_id)

    monkeypatch.setattr(StoreRoot, "line", counted)
    monkeypatch.setattr("gazetools.viewer.line_cache._FIRST_LOOK_SECONDS", 0)
    read_list(client_of(thirty)).clear()
    assert len(read) == 30
    deadline = time.monotonic() + 20
    while not list((Path(os.environ["GAZETOOLS_CACHE"]) / "viewer").glob("*.json")):
        assert time.monotonic() < deadline, "the list is not written"
        time.sleep(0.01)
    make_video(thirty, "P0/take_04", frame_count=25)
    (thirty / "P0" / "take_06.json").unlink()
    (thirty / "P0" / "take_06.h5").unlink()
    (thirty / "P1" / "take_05.json").write_text("{}")
    (thirty / "P1" / "take_07.json").unlink()
    read.clear()
    client = client_of(thirty)
    for _ in range(500):  # what the disk had is there at once, what the folder has a moment later
        found = {one["id"]: one for one in read_list(client, limit=100)["videos"]}
        if len(read) == 3 and "P0/take_06" not in found:
            break
        time.sleep(0.01)
    assert sorted(read) == ["P0/take_04", "P1/take_05", "P1/take_07"]
    assert found["P0/take_04"]["frames"] == 25 and "P0/take_06" not in found
    assert "not a store sidecar" in found["P1/take_05"]["problem"]
    assert "writing did not finish" in found["P1/take_07"]["problem"]


def test_a_store_that_changes_is_noticed_and_read_anew(tmp_path: Path, client_of: Clients) -> None:
    made = make_video(tmp_path, frame_count=6)
    client = client_of(tmp_path)
    before = client.get("/api/changes", params={"id": "clip"}).json()["stamps"]
    assert before == [client.get("/api/video", params={"id": "clip"}).json()["sources"][0]["stamp"]]
    assert block(client)["inout"][0] == pytest.approx(made.inout[0, 1])
    time.sleep(0.02)
    again = make_video(tmp_path, frame_count=9, make_inout=lambda frame, track: 0.25)
    assert client.get("/api/changes", params={"id": "clip"}).json()["stamps"] != before
    found = block(client)
    assert found["header"]["rows"] == len(again.maps) and set(found["inout"]) == {0.25}
    (tmp_path / "clip.json").unlink()
    (tmp_path / "clip.h5").unlink()
    assert client.get("/api/changes", params={"id": "clip"}).json()["stamps"] == [None]


def test_curves_are_means_of_equal_stretches(tmp_path: Path, client_of: Clients) -> None:
    people = {frame: [1, 2] if frame < 4 else [1] for frame in range(8)}
    make_video(tmp_path, frame_count=10, people=people, make_inout=lambda frame, track: frame / 10 + (track == 2) / 2)
    client = client_of(tmp_path)
    found = client.get("/api/curves", params={"id": "clip", "bins": 5}).json()
    assert found["frames_per_bin"] == 2 and found["coverage"] == [1, 1, 1, 1, 0]
    assert found["inout"] == pytest.approx([0.3, 0.5, 0.45, 0.65, None], abs=1e-3)
    one = client.get("/api/curves", params={"id": "clip", "bins": 5, "tracks": "2"}).json()
    assert one["coverage"] == [1, 1, 0, 0, 0] and one["inout"] == pytest.approx(
        [0.55, 0.75, None, None, None], abs=1e-3
    )


def test_actions_come_from_annotations(numbered: Path, tmp_path: Path, client_of: Clients) -> None:
    text = "narration_id,video_id,start_timestamp,stop_timestamp,verb_class,noun_class\n"
    (tmp_path / "actions.csv").write_text(text + "n_0,clip,00:00:00.10,00:00:00.90,3,12\nn_1,other,0,1,1,1\n")
    client = client_of(numbered / "store", annotations=tmp_path / "actions.csv", compare=numbered / "store")
    facts = client.get("/api/video", params={"id": "clip"}).json()
    wanted = {"start_seconds": 0.1, "stop_seconds": 0.9, "name": "n_0", "classes": {"verb": 3, "noun": 12}}
    assert facts["segments"] == [wanted] and len(facts["sources"]) == 2
    assert block(client, source=1)["header"]["rows"] == 72


def test_a_missing_or_other_video_is_said_and_the_maps_are_shown(tmp_path: Path, client_of: Clients) -> None:
    make_video(tmp_path / "store", frame_count=5)
    client = client_of(tmp_path / "store")
    facts = client.get("/api/video", params={"id": "clip"}).json()
    assert facts["video"]["way"] == "none" and "/nowhere/clip.mp4 is not there" in facts["video"]["words"]
    times = np.frombuffer(client.get("/api/times", params={"id": "clip"}).content, "<f8")
    assert times == pytest.approx(np.arange(5) / 30) and block(client)["header"]["rows"] == 5
    (tmp_path / "clip.mp4").write_text("no video at all")
    make_video(tmp_path / "other", frame_count=5, video={"path": str(tmp_path / "clip.mp4")})
    facts = client_of(tmp_path / "other").get("/api/video", params={"id": "clip"}).json()
    assert facts["video"]["way"] == "none" and "another file than" in facts["video"]["words"]


WAYS = {
    "made/h264_bframes.mp4": "", "made/h264_late_start.mkv": "", "made/vp9.webm": "", "codecs/av1_video.mkv": "",
    "codecs/h265_video.mp4": "the codec hevc", "made/mpeg4.avi": "the codec mpeg4", "made/h264.ts": "container mpegts",
    "codecs/h264_10bits.mp4": "pixels in yuv420p10le",
}  # fmt: skip


def test_what_browsers_do_not_play_goes_by_a_copy(tmp_path: Path) -> None:
    for name, words in WAYS.items():
        with VideoReader(MEDIA / name) as reader:
            plan = plan_for(reader.info)
        assert (plan.way, words in plan.words) == ("proxy" if words else "direct", True), name


def test_a_copy_has_every_frame_at_its_time_and_is_removed(tmp_path: Path, client_of: Clients) -> None:
    from tests.helpers.viewing import write_numbered_video

    times = {7: 7 / 30 + 0.012, 8: 8 / 30 + 0.02}
    settings = {"x265-params": "log-level=none:bframes=3"}
    video = write_numbered_video(
        tmp_path / "clip.mp4", frames=30, codec="libx265", settings=settings, times=times, start_seconds=2.0
    )
    store_numbered(tmp_path / "store", video, frames=30)
    client = client_of(tmp_path / "store")
    assert client.get("/api/video", params={"id": "clip"}).json()["video"]["way"] == "proxy"
    state = client.post("/api/proxy", params={"id": "clip"}, json={}).json()
    while state["state"] == "making":
        time.sleep(0.02)
        state = client.get("/api/proxy", params={"id": "clip"}).json()
    assert (state["state"], state["done"]) == ("ready", 30), state
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(client.get("/api/proxy/file", params={"id": "clip"}).content)
    with VideoReader(copy) as ours, VideoReader(video) as theirs:
        assert [read_barcode(frame.rgb) for frame in ours.frames()] == list(range(30))
        assert ours.info.codec == "h264"
        assert ours.pts_seconds == pytest.approx(theirs.pts_seconds - theirs.pts_seconds[0], abs=1e-4)
    kept = client.showing.proxies.file("clip")  # type: ignore[attr-defined]
    assert kept is not None and kept.exists()
    client.showing.close()  # type: ignore[attr-defined]
    assert not kept.parent.exists()


def test_what_cannot_be_shown_is_refused_before_the_server_starts(numbered: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "report.json").write_text('{"findings": [{"code": 3}]}')
    (tmp_path / "other.json").write_text("[]")
    store = numbered / "store"
    for path, options, words in (
        (tmp_path / "empty", {}, "neither store files"),
        (tmp_path / "nowhere", {}, "do not exist"),
        (store, {"compare": tmp_path / "nowhere"}, "do not exist"),
        (store, {"videos": tmp_path / "nowhere"}, "video root"),
        (store, {"annotations": tmp_path / "nowhere.csv"}, "nowhere.csv"),
        (store, {"findings": tmp_path / "report.json"}, "report.json"),
        (store, {"findings": tmp_path / "other.json"}, "is not a report of validate"),
        (store, {"key": "maps"}, "no choice of arrays"),
    ):
        with pytest.raises((UsageError, DataFileError), match=words):
            Showing(path, ViewOptions(**options))  # type: ignore[arg-type]
    assert hashlib.sha256((store / "clip.h5").read_bytes()).hexdigest() in (store / "clip.json").read_text()
    assert open_root(store, ViewOptions().chosen).kind == "store"


def test_converted_maps_are_shown_too(numbered: Path, tmp_path: Path, client_of: Clients) -> None:
    assert convert(_foreign_npz(numbered, tmp_path), tmp_path / "dataset", layout="hdf5").exit_code == 0
    found = block(client_of(tmp_path / "dataset"))
    assert [int(drawn.argmax()) for drawn in found["maps"]] == [frame % 256 for frame in found["frame"]]


def test_a_folder_of_pictures_is_a_video(tmp_path: Path, numbered: Path, client_of: Clients) -> None:
    """Stills are the pictures, times are those of the stated rate, and playing goes by a copy with as many frames."""
    store = numbered / "store"
    (tmp_path / "frames" / "clip").mkdir(parents=True)
    with VideoReader(numbered / "videos" / "clip.mp4") as reader:
        for frame in reader.frames(np.arange(FRAMES)):
            path = tmp_path / "frames" / "clip" / f"frame_{frame.index + 1:010d}.png"
            cv2.imwrite(str(path), frame.rgb[..., ::-1])
            reader.release(frame)
    client = client_of(store, videos=tmp_path / "frames", frame_rate="20")
    times = np.frombuffer(client.get("/api/times", params={"id": "clip"}).content, "<f8")
    assert times == pytest.approx(np.arange(FRAMES) / 20)
    for frame in (FRAMES - 1, 0, 7):
        shown = client.get("/api/still", params={"id": "clip", "frame": frame}).content
        assert read_barcode(cv2.imdecode(np.frombuffer(shown, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]) == frame
    facts = client.get("/api/video", params={"id": "clip"}).json()["video"]
    assert (facts["way"], "pictures" in facts["words"]) == ("proxy", True)
    assert client.get("/api/media", params={"id": "clip"}).status_code >= 400
    without = client_of(store, videos=tmp_path / "frames")
    assert "--frame-rate" in without.get("/api/times", params={"id": "clip"}).text
