"""HDR, empty chunks and holes through `extract` and `validate`: said in a line, recorded, found again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from gazetools import extract
from gazetools.packing import pack
from gazetools.schemas.extract import ExtractReport
from gazetools.schemas.findings import Finding
from gazetools.schemas.provenance import Provenance
from gazetools.store import open_store
from gazetools.validation import validate
from tests.helpers.avi import coded, write_avi
from tests.helpers.equal_stores import assert_stores_equal
from tests.media.make_media import encode
from tests.video.test_video_hdr import HLG, PQ, write_clip
from tests.video.test_video_holes import packet_bytes, with_hole


class Said:
    """Progress that keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


def run(video: Path, store: Path, **options: Any) -> tuple[ExtractReport, list[str]]:
    said = Said()
    report = extract(video, store, progress=said, **({"model": "centre-prior", "device": "cpu"} | options))  # type: ignore[arg-type]
    return report, said.lines


def provenance_of(store: Path, video_id: str) -> Provenance:
    with open_store(store / f"{video_id}.h5") as reader:
        return reader.provenance


def found(store: Path, videos: Path) -> dict[str, Finding]:
    return {finding.code: finding for finding in validate(store, videos=videos).findings}


@pytest.mark.parametrize(("name", "transfer"), [("pq.mp4", PQ), ("hlg.mov", HLG), ("hlg.mkv", HLG)])
def test_hdr_is_said_recorded_and_found(tmp_path: Path, name: str, transfer: str) -> None:
    video = write_clip(tmp_path / name, transfer)
    report, lines = run(video, tmp_path / "store")
    line = f"HDR (transfer {transfer}, primaries bt2020): tone-mapped to SDR (bt2390)"
    assert report.items[0].notes == [line]
    assert lines.count(f"{video.stem}: {line}") == 1
    facts = provenance_of(tmp_path / "store", video.stem).video
    assert (facts.colour_transfer, facts.colour_primaries) == (transfer, "bt2020")
    assert (facts.colour_matrix, facts.colour_range, facts.tone_mapping) == ("bt2020", "limited", "bt2390")
    findings = found(tmp_path / "store", tmp_path)
    assert (findings["video-hdr"].severity, "video-hdr-raw" in findings) == ("note", False)
    assert transfer in findings["video-hdr"].message
    pack(tmp_path / "store", tmp_path / "data")
    assert "video-hdr" in found(tmp_path / "data", tmp_path)


def test_raw_hdr_is_a_warning_and_another_store(tmp_path: Path, tiny_model: Path) -> None:
    video = write_clip(tmp_path / "a.mp4", PQ)
    maps = {}
    for rule in ("raw", "tonemap"):
        report, lines = run(video, tmp_path / rule, model=str(tiny_model), hdr=rule)
        assert report.items[0].status == "done"
        assert any("--hdr raw" in line for line in lines) is (rule == "raw")
        with h5py.File(tmp_path / rule / "a.h5") as file:
            maps[rule] = file["frames/fingerprint"][()]
    assert not np.array_equal(maps["raw"], maps["tonemap"])
    assert found(tmp_path / "raw", tmp_path)["video-hdr-raw"].severity == "warning"
    # the deep check compares with the pictures that the store was made from
    codes = {found.code for found in validate(tmp_path / "raw", videos=tmp_path, deep=2).findings}
    assert not codes & {"video-differs", "content-shifted"}
    keys = {rule: provenance_of(tmp_path / rule, "a").options_key for rule in maps}
    assert keys["raw"] != keys["tonemap"]
    report, _ = run(video, tmp_path / "raw", model=str(tiny_model))
    assert "made from another file, or with other options" in str(report.items[0].reason)


def test_hdr_can_be_refused_for_one_video_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    write_clip(tmp_path / "videos" / "a.mov", HLG)
    encode(tmp_path / "videos" / "b.mp4", frames=10)
    report, _ = run(tmp_path / "videos", tmp_path / "store", hdr="refuse")
    assert [item.status for item in report.items] == ["failed", "done"]
    assert "is HDR (transfer arib-std-b67)" in str(report.items[0].reason)


def test_stores_of_before_tone_mapping(tmp_path: Path) -> None:
    """A store without these facts: SDR says nothing, HDR is a warning, `--overwrite` makes it again."""
    video = write_clip(tmp_path / "a.mp4", PQ)
    store = tmp_path / "store"
    run(video, store, hdr="raw")
    text = provenance_of(store, "a").model_dump(mode="json")
    for name in ("colour_transfer", "colour_primaries", "tone_mapping", "remarks", "lost_frames", "lost_frame_count"):
        text["video"].pop(name)
    assert Provenance.model_validate(text).video.tone_mapping is None
    default_key = provenance_of(_made(tmp_path, video), "a").options_key
    text["options"].pop("hdr")
    text["options_key"] = default_key
    _rewrite(store, "a", json.dumps(text), default_key)
    finding = found(store, tmp_path)["video-hdr-raw"]
    assert "a version that did not know HDR" in finding.message
    assert run(video, store)[0].items[0].status == "complete"
    report, _ = run(video, store, overwrite=True)
    assert report.items[0].status == "done"
    assert provenance_of(store, "a").video.tone_mapping == "bt2390"
    assert run(video, store, overwrite=True)[0].items[0].status == "complete"


def test_unfinished_work_of_before_tone_mapping_is_made_again(tmp_path: Path) -> None:
    """A piece without a word of its colours, as older versions left it, does not join the new ones."""
    video = write_clip(tmp_path / "a.mp4", PQ, frames=300)
    store = tmp_path / "store"
    run(video, store, shard="1/2")
    (old,) = (store / ".work").glob("*/piece_*.npz")
    with np.load(old) as archive:
        members = {name: archive[name] for name in archive.files}
    assert str(members.pop("colours")) == "bt2390"
    members["heatmap"] = np.zeros_like(members["heatmap"])
    np.savez(old, **members)
    report, _ = run(video, store)
    assert (report.items[0].status, report.items[0].resumed_frames) == ("done", 0)
    assert_stores_equal(store / "a.h5", _made(tmp_path, video) / "a.h5")


def _made(folder: Path, video: Path) -> Path:
    run(video, folder / "fresh")
    return folder / "fresh"


def _rewrite(store: Path, video_id: str, provenance: str, key: str) -> None:
    """Put another provenance into a store file, and its sums into the sidecar."""
    from gazetools.io.atomic import sha256_of_file

    path = store / f"{video_id}.h5"
    with h5py.File(path, "a") as file:
        file.attrs["provenance"] = provenance
    sidecar = json.loads(path.with_suffix(".json").read_text())
    sidecar |= {"payload_sha256": sha256_of_file(path), "payload_bytes": path.stat().st_size, "options_key": key}
    path.with_suffix(".json").write_text(json.dumps(sidecar))


@pytest.mark.parametrize(
    ("transfer", "how", "code"),
    [
        ("bt2020-10", {}, "video-wide-gamut"),
        ("bt709", {"matrix": 1, "primaries": 12}, "video-wide-gamut"),
        ("unspecified", {"matrix": 2, "primaries": 2}, "video-colour-untagged"),
        ("bt709", {"matrix": 1, "primaries": 1}, None),
    ],
)
def test_colours_that_are_not_converted_are_notes(
    tmp_path: Path, transfer: str, how: dict[str, Any], code: str | None
) -> None:
    report, lines = run(write_clip(tmp_path / "a.mp4", transfer, **how), tmp_path / "store")
    assert (report.items[0].notes, lines) == ([], [])
    findings = found(tmp_path / "store", tmp_path)
    assert {name for name in findings if name.startswith(("video-wide", "video-colour", "video-hdr"))} == (
        {code} if code else set()
    )
    assert all(finding.severity == "note" for finding in findings.values())


@pytest.mark.parametrize("codec", ["mjpeg", "libx264"])
def test_empty_chunks_are_done_with_notes(tmp_path: Path, codec: str) -> None:
    header, chunks = coded(codec, 12, **({} if codec == "mjpeg" else {"bf": "0", "g": "6"}))
    video = write_avi(tmp_path / "a.avi", header, [*chunks[:5], b"", b"", b"", *chunks[5:], b""], keys=[0])
    report, _ = run(video, tmp_path / "store")
    item = report.items[0]
    assert (item.status, item.frames) == ("done", 12)
    assert "4 of its 16 chunks hold no picture" in item.notes[0]
    with open_store(tmp_path / "store" / "a.h5") as store:
        np.testing.assert_allclose(store.frames.pts_seconds * 24, [*range(5), *range(8, 15)])
    findings = found(tmp_path / "store", tmp_path)
    assert findings["video-empty-chunks"].frames == [5]
    assert all(finding.severity == "note" for finding in findings.values())
    assert provenance_of(tmp_path / "store", "a").video.remarks == item.notes


def test_frames_lost_amid_a_file_are_said_recorded_and_found(tmp_path: Path) -> None:
    video = tmp_path / "a.mkv"
    encode(video, codec="mjpeg", frames=60, pix_fmt="yuvj420p", container_options={"cluster_time_limit": "400"})
    places = packet_bytes(video)
    with_hole(video, places[20][0] + 40, places[24][0] + 40, "zeros")
    whole = run(video, tmp_path / "strict")[0].items[0]
    report, lines = run(video, tmp_path / "store", allow_damaged=True)
    item = report.items[0]
    assert item.status == "done"
    (note,) = [note for note in item.notes if "frames are lost" in note]
    assert f"a: {note}" in lines
    assert "no frames from 0." in note
    assert note in provenance_of(tmp_path / "store", "a").video.remarks
    finding = found(tmp_path / "store", tmp_path)["video-frames-lost"]
    assert finding.severity == "warning"
    assert finding.frames
    assert whole.status == "failed" or note in whole.notes


def hole_in_the_middle(path: Path, frames: int = 600) -> Path:
    """Frames 300 to 305 of groups of 12 do not decode; 256 frames are a piece."""
    encode(path, codec="libx264", options={"g": "12", "bf": "0", "sc_threshold": "0"}, frames=frames)
    places = packet_bytes(path)
    return with_hole(path, places[306][0] + 12, places[306][0] + places[306][1], "zeros")


def test_what_decodes_behind_a_hole_is_taken(tmp_path: Path) -> None:
    video = hole_in_the_middle(tmp_path / "a.mp4")
    strict, _ = run(video, tmp_path / "strict")
    assert strict.items[0].status == "failed"
    assert "frame 306 of 600 cannot be decoded" in str(strict.items[0].reason)
    report, lines = run(video, tmp_path / "store", allow_damaged=True)
    item = report.items[0]
    lost = list(range(306, 312))
    assert (item.status, item.frames) == ("done", 600 - len(lost))
    assert any("6 frames can't be decoded and are left out: 306-311" in line for line in lines)
    assert any("306-311" in note for note in item.notes)
    facts = provenance_of(tmp_path / "store", "a").video
    assert (facts.frame_count, facts.lost_frames, facts.lost_frame_count) == (600, [(306, 312)], 6)
    with open_store(tmp_path / "store" / "a.h5") as store:
        index = store.frames.index
        assert index.tolist() == [number for number in range(600) if number not in lost]
        np.testing.assert_allclose(store.frames.pts_seconds, index / 25)
        assert (np.sort(store.row_frame) == index).all()
    findings = found(tmp_path / "store", tmp_path)
    assert findings["video-damaged"].severity == "warning"
    assert "6 frames can't be decoded: 306-311" in findings["video-damaged"].message
    assert [code for code, one in findings.items() if one.severity == "error"] == []
    pack(tmp_path / "store", tmp_path / "data")
    with np.load(tmp_path / "data" / "a.npz") as packed:
        assert packed["heatmap"].shape[0] == 600
        assert np.flatnonzero(~packed["valid"]).tolist() == lost


def test_a_piece_without_one_good_frame_and_resuming(tmp_path: Path) -> None:
    """A whole piece is lost, an earlier one is there already: the store equals that of an undisturbed run."""
    video = tmp_path / "a.mov"
    encode(video, codec="mjpeg", frames=600, pix_fmt="yuvj420p")
    data = bytearray(video.read_bytes())
    for position, size, _ in packet_bytes(video)[250:520]:
        data[position : position + size] = bytes(size)
    video.write_bytes(data)
    run(video, tmp_path / "whole", allow_damaged=True)
    assert provenance_of(tmp_path / "whole", "a").video.lost_frames == [(250, 520)]
    for shard in ("1/2", "2/2"):
        run(video, tmp_path / "shards", allow_damaged=True, shard=shard)
    assert_stores_equal(tmp_path / "whole" / "a.h5", tmp_path / "shards" / "a.h5")
