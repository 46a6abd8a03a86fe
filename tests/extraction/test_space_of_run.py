"""Room for a whole run, estimated from a few files before the model is loaded."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gazetools
from gazetools.extraction import disk, disk_estimate
from gazetools.extraction.decoding.decoder import Decoder
from gazetools.extraction.disk import MARGIN_BYTES, MARGIN_FILES
from gazetools.extraction.disk_estimate import PlannedRun, SpaceEstimate, chosen_frames, estimate_space
from gazetools.extraction.inputs import plan_inputs
from gazetools.extraction.run import decode_settings
from gazetools.heads.spec import open_heads
from gazetools.progress import NoProgress, Progress
from gazetools.sampling import choose_frames
from gazetools.schemas.errors import FaultError
from gazetools.schemas.extract import ExtractOptions
from gazetools.store.columns import ContentSizes
from gazetools.store.pieces import PieceFolder
from tests.helpers.clips import write_boxes, write_clip, write_clips
from tests.helpers.command_line import run_cli
from tests.helpers.disks import pretend_free
from tests.helpers.random_checkpoints import write_tiny_gazelle

MADE = Path(__file__).parents[1] / "media" / "made"


def _estimate(
    videos: Path, store: Path, *, parts: dict[str, float] | None = None, workers: int = 1, **settings: Any
) -> SpaceEstimate | None:
    options = ExtractOptions(**{"model": "centre-prior", **settings})
    run = _planned(videos, store, options, parts=parts or {}, workers=workers)
    return estimate_space(run, NoProgress())


def _planned(videos: Path, store: Path, options: ExtractOptions, **more: Any) -> PlannedRun:
    items = plan_inputs([videos])
    head_files = open_heads(options, [item.video_id for item in items])
    decoding = decode_settings(options)
    return PlannedRun(items=items, store=store, options=options, head_files=head_files, decoding=decoding, **more)


def _one_file(frames: int, rows: int) -> int:
    sizes = ContentSizes(frames=frames, rows=rows, fingerprints=-(-frames // 16), heatmap_shape=(64, 64))
    return sizes.store_file_bytes()


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clips(tmp_path_factory.mktemp("videos"), {"t1/a": 40, "t1/b": 20, "c": 10})


CHOICES = [
    # options, why
    ({}, "every frame"),
    ({"stride": 7}, "thinned by count"),
    ({"fps": 4}, "thinned by time"),
    ({"fps": 100}, "more than there are"),
    ({"start": 1.0, "end": 2.5}, "a part"),
    ({"start": 1.0, "end": 2.5, "fps": 10}, "a part, thinned"),
    ({"start": -3, "end": 99.0, "stride": 2}, "beyond both ends"),
    ({"start": 50.0}, "after the end"),
    ({"end": -1.0}, "before the beginning"),
]


@pytest.mark.parametrize(("settings", "why"), CHOICES, ids=[why for _, why in CHOICES])
def test_about_as_many_frames_are_counted_as_will_be_chosen(settings: dict[str, Any], why: str) -> None:
    exact = choose_frames(np.arange(300) / 30, **settings)
    first, stop, kept = chosen_frames(300, 10.0, ExtractOptions(**settings))
    assert abs(kept - len(exact)) <= 1, why
    if len(exact):
        assert first == exact[0]
        assert stop > exact[-1]


# Small files are mostly headers: 48 KiB are put aside for each, a tenth of that is used.
REAL = [
    ("*.mp4", {}, "B-frames, edit lists, rotation, variable rates; two files that can't be decoded"),
    pytest.param("*.mp4", {"stride": 3}, "a third of the frames", marks=pytest.mark.slow),
    pytest.param("*.mp4", {"start": 0.5, "end": 1.0}, "a part", marks=pytest.mark.slow),
    ("*open_gop*.m*", {}, "Matroska next to MP4"),
]


@pytest.mark.parametrize(("pattern", "settings", "why"), REAL)
def test_the_estimate_is_near_the_store_of_real_files(
    tmp_path: Path, pattern: str, settings: dict[str, Any], why: str
) -> None:
    for path in MADE.glob(pattern):
        (tmp_path / "videos").mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / "videos" / f"{path.stem}_{path.suffix[1:]}{path.suffix}")
    estimate = _estimate(tmp_path / "videos", tmp_path / "store", **settings)
    assert estimate is not None
    report = gazetools.extract(tmp_path / "videos", tmp_path / "store", model="centre-prior", **settings)
    done = [item for item in report.items if item.status == "done"]
    written = sum(path.stat().st_size for path in (tmp_path / "store").glob("*.h5"))
    assert 0.9 * written <= estimate.needed_bytes - MARGIN_BYTES <= 1.5 * written + len(done) * (48 << 10), why
    assert len(done) <= estimate.videos <= len(report.items)


def test_rows_are_counted_in_the_box_files(videos: Path, tmp_path: Path) -> None:
    """Two people in every frame of `a` and none elsewhere; `c` has no box file, so it fails and needs nothing."""
    write_boxes(tmp_path / "heads" / "t1" / "a.csv", frames=range(40))
    write_boxes(tmp_path / "heads" / "t1" / "b.csv", frames=[])
    heads = f"file:{tmp_path / 'heads'}"
    cases = [
        ({}, _one_file(40, 80) + _one_file(20, 0), "all"),
        ({"people": "largest"}, _one_file(40, 40) + _one_file(20, 0), "one of them"),
        ({"stride": 4}, _one_file(10, 20) + _one_file(5, 0), "a quarter of the frames"),
        ({"start": 1.0}, _one_file(10, 20), "the last third of a; b will fail"),
    ]
    for settings, needed, why in cases:
        estimate = _estimate(videos, tmp_path / "none", heads=heads, **settings)
        assert estimate is not None
        assert estimate.videos == (1 if "start" in settings else 2)
        assert needed <= estimate.needed_bytes - MARGIN_BYTES <= needed + (50 << 10), why
    assert "box files" in estimate.people


WORDS = [
    ("whole", "one row per frame"),
    ("detect", "one person per frame, which may be too few"),
    ("calib", "the wearer in every frame"),
]


@pytest.mark.parametrize(("heads", "words"), WORDS)
def test_what_was_counted_for_people_is_said(heads: str, words: str) -> None:
    assert words in disk_estimate._PEOPLE[heads]


def test_few_files_are_opened_and_the_others_count_by_their_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """90 videos of three lengths, and ten files that are no videos, of which some are met and left out."""
    lengths = {}
    for kind, frames in (("long", 60), ("middle", 40), ("short", 20)):
        source = write_clip(tmp_path / f"{kind}.mp4", frames=frames)
        for k in range(30):
            lengths[f"{kind}{k:02d}"] = frames
            (tmp_path / "videos").mkdir(exist_ok=True)
            shutil.copy(source, tmp_path / "videos" / f"{kind}{k:02d}.mp4")
    for k in range(10):
        (tmp_path / "videos" / f"broken{k}.mp4").write_bytes(b"no video" * 300)
    opened: list[Path] = []
    declared = Decoder.declared

    def counted(decoder: Decoder, path: Path) -> Any:
        opened.append(path)
        return declared(decoder, path)

    monkeypatch.setattr(Decoder, "declared", counted)
    estimate = _estimate(tmp_path / "videos", tmp_path / "store")
    assert estimate is not None
    assert len(opened) == 32
    assert 20 <= estimate.probed < 32
    assert {path.name[:4] for path in opened} >= {"long", "midd", "shor", "brok"}
    truth = sum(_one_file(frames, frames) for frames in lengths.values())
    assert 0.95 * truth <= estimate.needed_bytes <= 1.15 * truth
    assert estimate.needed_files == 2 * estimate.videos + 1 + MARGIN_FILES  # and the store's folder


def test_where_no_file_tells_its_frames_nothing_is_claimed(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "broken.mp4").write_bytes(b"no video")
    assert _estimate(tmp_path / "videos", tmp_path / "store") is None


def test_a_file_that_states_no_length_counts_like_the_others(tmp_path: Path) -> None:
    """A raw H.264 stream has neither count nor duration."""
    (tmp_path / "videos").mkdir()
    for name in ("raw.h264", "h264_bframes.mp4"):
        shutil.copy(MADE / name, tmp_path / "videos" / f"{name}.mp4")
    estimate = _estimate(tmp_path / "videos", tmp_path / "store")
    assert estimate is not None
    assert (estimate.videos, estimate.probed) == (2, 1)
    assert estimate.needed_bytes > _one_file(90, 90)


def test_claims_beyond_the_files_bytes_are_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_clip(tmp_path / "videos" / "a.mp4", frames=6)
    size = (tmp_path / "videos" / "a.mp4").stat().st_size
    claim = disk_estimate.Declared(frames=2**40, pixels=1, seconds=1.0)
    monkeypatch.setattr(Decoder, "declared", lambda *_: claim)
    estimate = _estimate(tmp_path / "videos", tmp_path / "store")
    assert estimate is not None
    assert estimate.needed_bytes < size * 2100


def test_what_is_done_needs_nothing_and_what_is_replaced_only_what_grows(videos: Path, tmp_path: Path) -> None:
    gazetools.extract(videos, tmp_path, model="centre-prior", stride=2)
    (tmp_path / "c.h5").unlink()
    all_frames = sum(_one_file(n, n) for n in (40, 20, 10)) - sum(_one_file(n, n) for n in (20, 10))
    cases = [
        ({"stride": 2}, 1, _one_file(5, 5), "a and b are complete, c is not"),
        ({"stride": 2, "overwrite": True}, 3, _one_file(5, 5), "the same again: each gives its place to the new one"),
        ({"overwrite": True}, 3, all_frames, "all frames instead of every second one"),
    ]
    for settings, count, needed, why in cases:
        estimate = _estimate(videos, tmp_path, **settings)
        assert estimate is not None
        assert estimate.videos == count, why
        assert needed <= estimate.needed_bytes - MARGIN_BYTES <= needed + 3 * (50 << 10), why
    gazetools.extract(videos, tmp_path, model="centre-prior", stride=2)
    done = _estimate(videos, tmp_path, stride=2)
    assert done is not None
    assert (done.videos, done.needed_bytes, done.needed_files) == (0, 0, 0)


def test_pieces_count_twice_while_their_video_is_joined_and_not_once_they_are_there(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, all_three = _one_file(40, 40), _one_file(40, 40) + _one_file(20, 20) + _one_file(10, 10)
    in_memory = _estimate(videos, tmp_path / "store")
    monkeypatch.setattr(disk_estimate, "PIECE_FRAMES", 8)
    single = _estimate(videos, tmp_path / "store")
    several = _estimate(videos, tmp_path / "store", workers=3)
    half = _estimate(videos, tmp_path / "store", parts={"t1/a": 0.5, "t1/b": 0.5, "c": 0.5})
    assert in_memory and single and several and half
    assert in_memory.needed_bytes - MARGIN_BYTES == all_three
    assert single.needed_bytes - in_memory.needed_bytes == one  # the largest
    assert single.needed_files - in_memory.needed_files == 6
    assert several.needed_bytes - MARGIN_BYTES == 2 * all_three
    assert half.needed_bytes - MARGIN_BYTES == all_three // 2 + one
    path = PieceFolder(tmp_path / "store", "t1/a", "key").piece_path(0)
    path.parent.mkdir(parents=True)
    path.write_bytes(bytes(100_000))
    resumed = _estimate(videos, tmp_path / "store")
    sharded = _estimate(videos, tmp_path / "store", shard="1/2")
    assert resumed and sharded
    assert single.needed_bytes - resumed.needed_bytes == 100_000
    assert single.needed_bytes == sharded.needed_bytes, "the piece may be another shard's, which is making more"


def test_an_id_that_leads_out_of_the_store_costs_its_own_video(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "t1").symlink_to(tmp_path)
    estimate = _estimate(videos, tmp_path / "store")
    assert estimate is not None
    assert estimate.videos == 1
    assert estimate.needed_bytes - MARGIN_BYTES == _one_file(10, 10)


def test_the_size_of_the_maps_is_read_from_the_models_description(
    videos: Path, tmp_path: Path, tiny_model: Path
) -> None:
    small = write_tiny_gazelle(tmp_path / "small.safetensors", out_size=(16, 24))
    estimates = [_estimate(videos, tmp_path / "store", model=str(model)) for model in (tiny_model, small)]
    assert estimates[0] and estimates[1]
    assert estimates[0].needed_bytes - estimates[1].needed_bytes == 2 * (64 * 64 - 16 * 24) * (64 + 20 + 10)


LACKING = [
    # free, message
    ({"free_bytes": 600_000}, r"Extracting 3 videos \(estimated from 3 of 3 files, .*\) needs 1\.\d\d MB, 600\.0 kB"),
    ({"free_files": 14}, r"Extracting 3 videos \(.*\) needs 15 files, 14 \(inodes\) are free"),
]


@pytest.mark.parametrize(("room", "words"), LACKING, ids=["bytes", "files"])
def test_a_run_without_room_is_4_before_any_work(
    videos: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: dict[str, int], words: str
) -> None:
    (tmp_path / "store").mkdir()
    pretend_free(monkeypatch, **room)
    done = run_cli("extract", str(videos), "-o", str(tmp_path / "store"), "--model", str(tiny_model), "--json")
    assert done.exit_code == 4
    error = json.loads(done.stdout)["error"]
    assert re.match(words, error["message"])
    for word in ("Nothing was done", "-o", "--stride", "--fps", "--people", "--no-check-space"):
        assert word in error["hint"]
    assert list((tmp_path / "store").iterdir()) == []


@pytest.mark.parametrize(
    ("model", "code"), [("gone.safetensors", 2), ("gazelle_dinov2_vitb14", 3)], ids=["no such file", "no weights"]
)
@pytest.mark.parametrize("switch", ["--check-space", "--no-check-space"])
def test_what_comes_before_4_is_said_first(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, code: int, switch: str
) -> None:
    monkeypatch.setenv("GAZETOOLS_OFFLINE", "1")
    pretend_free(monkeypatch, free_bytes=600_000)
    done = run_cli("extract", str(videos), "-o", str(tmp_path / "store"), "--model", model, "--json", switch)
    assert done.exit_code == code


def test_more_than_half_of_the_room_is_said(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_free(monkeypatch, free_bytes=1_800_000)
    command = ["extract", str(videos), "-o", str(tmp_path), "--model", "centre-prior"]
    assert "the store will take about 1." in (said := run_cli(*command).stderr)
    assert "of the 1.80 MB that are free (estimated from 3 of 3 files, with one row per frame)" in " ".join(
        said.split()
    )
    monkeypatch.undo()
    assert "the store will take" not in run_cli(*command, "--overwrite").stderr


def test_a_small_run_on_a_large_disk_opens_no_file(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(disk, "estimate_space", lambda *_, **__: asked.append(1))

    def check(free_bytes: int) -> int:
        pretend_free(monkeypatch, free_bytes=free_bytes)
        asked.clear()
        disk.check_space_for_run(_planned(videos, tmp_path, ExtractOptions()), NoProgress())
        return len(asked)

    video_bytes = sum(path.stat().st_size for path in videos.rglob("*.mp4"))
    assert check(10**12) == 0
    assert check(video_bytes // 8 * 8300) == 1  # not more than the files might hold: asked


def test_the_dry_run_shows_need_and_rest(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_free(monkeypatch, free_bytes=1_000_000, free_files=10)
    command = ["extract", str(videos), "-o", str(tmp_path / "store"), "--model", "centre-prior", "--dry-run"]
    shown = " ".join(run_cli(*command).stdout.split())
    assert "space needed: about 1." in shown
    assert (
        "16 files; free: 1.00 MB, 10 files (estimated from 3 of 3 unfinished videos, with one row per frame)" in shown
    )
    document = json.loads(run_cli(*command, "--json").stdout)
    assert len(document["videos"]) == 3
    space = document["space"]
    assert (space["free_bytes"], space["free_files"], space["needed_files"]) == (1_000_000, 10, 16)
    assert space["needed_bytes"] - MARGIN_BYTES == sum(_one_file(n, n) for n in (40, 20, 10))
    assert not (tmp_path / "store").exists()
    pretend_free(monkeypatch, all_files=0, free_files=0)
    assert "uncounted files" in " ".join(run_cli(*command).stdout.split())
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    command[1] = str(tmp_path / "broken.mp4")
    assert "unknown" in run_cli(*command).stdout
    assert json.loads(run_cli(*command, "--json").stdout)["space"]["needed_bytes"] is None


def test_every_shard_asks_for_its_own_videos(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Mapping[str, float]] = []

    def estimate(run: PlannedRun, progress: Progress) -> None:
        assert {item.video_id for item in run.items} == set(run.parts)
        seen.append(run.parts)
        raise FaultError("enough seen")

    monkeypatch.setattr("gazetools.extraction.run.check_space_for_run", estimate)
    for shard in ("1/2", "2/2"):
        with pytest.raises(FaultError):
            gazetools.extract(videos, tmp_path, model="centre-prior", shard=shard)
    total: dict[str, float] = {}
    for parts in seen:
        for video_id, part in parts.items():
            total[video_id] = total.get(video_id, 0.0) + part
    assert total == pytest.approx({"t1/a": 1.0, "t1/b": 1.0, "c": 1.0})
    assert seen[0] != seen[1]
