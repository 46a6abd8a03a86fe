"""The page of an extraction: what it says after good, broken, ended, resumed and shared runs, and what it decodes."""

from __future__ import annotations

import base64
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from gazetools import extract
from gazetools.extraction.decoding.child_reader import ChildReader
from gazetools.extraction.decoding.decoder import Decoder
from gazetools.extraction.forecast import Forecasts
from gazetools.extraction.page import RunFacts, duration, page_of
from gazetools.extraction.samples import MOST_VIDEOS, draw_samples, samples_in_page
from gazetools.progress import NoProgress
from gazetools.schemas.errors import FaultError
from gazetools.schemas.extract import ExtractOptions, ExtractReport, ItemResult
from gazetools.validation import validate
from tests.helpers.command_line import run_cli
from tests.helpers.page_shots import overhang, paper, shot
from tests.helpers.stores import make_video

HOSTILE = "a<img src=x onerror=alert(1)>&amp;\"'|b"


class _Read(HTMLParser):
    def __init__(self, page: Path) -> None:
        super().__init__()
        self.text = page.read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.words = ""
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        self.words += data
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data

    def row(self, first: str) -> list[str]:
        (found,) = [row for row in self.rows if row[0] == first]
        return [cell.strip() for cell in found]


def read(store: Path) -> _Read:
    return _Read(store / "extract_report.html")


@pytest.fixture(scope="module")
def mixed(clip: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of a run over a good video, one with markup in its name and a broken one, next to its videos."""
    tmp_path = tmp_path_factory.mktemp("mixed")
    videos = tmp_path / "videos"
    videos.mkdir()
    shutil.copy(clip, videos / "good.mp4")
    shutil.copy(clip, videos / f"{HOSTILE}.mp4")
    (videos / "text.mp4").write_text("no video at all\n" * 50)
    words = ["extract", str(videos), "-o", str(tmp_path / "store"), "--stride", "10", "--model", str(tiny_model)]
    assert run_cli(*words).exit_code == 1
    return tmp_path / "store"


@pytest.fixture
def copied(mixed: Path, tmp_path: Path) -> Path:
    """`mixed`, to be changed."""
    shutil.copytree(mixed.parent, tmp_path, dirs_exist_ok=True)
    return tmp_path / "store"


def test_the_page_says_what_ran_and_names_every_input(mixed: Path, tiny_model: Path) -> None:
    videos = mixed.parent / "videos"
    page, report = read(mixed), json.loads((mixed / "extract_report.json").read_text())
    assert "2 of 3 videos are done, 1 failed." in page.words
    assert page.row("command")[1] == (f"gazetools extract {videos} -o {mixed} --stride 10 --model {tiny_model}")
    assert page.row("number type")[1].split(" (")[0] == "float32"  # on some CPUs chosen by --dtype auto
    assert page.row("device")[1].startswith("cpu, batches of ")
    for item in report["items"]:
        row = page.row(item["video_id"])
        assert row[1:4] == [item["status"], str(item["frames"]), str(item["rows"])]
        assert item["reason"] is None or (item["reason"] in row[-1] and item["reason"] in page.words)
    assert page.row("open files")[1] == f"{report['profile']['open']:.2f}"
    codes = {finding.code for finding in validate(mixed, videos=videos).findings}
    assert "stray-file" not in codes, "the page belongs to the store"


def test_names_stay_text_and_nothing_is_loaded(mixed: Path) -> None:
    page = read(mixed)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object", "form", "a"})
    sources = [attributes["src"] for _, attributes in page.tags if "src" in attributes]
    assert len(sources) == 4 and all(str(source).startswith("data:image/jpeg;base64,") for source in sources)
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert page.words.count(HOSTILE) >= 3, "in the table and below its two pictures"
    (policy,) = [a["content"] for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert str(policy).startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'")


def test_samples_show_the_frame_with_its_map(mixed: Path) -> None:
    found = [sample for sample in samples_in_page(mixed / "extract_report.html") if sample.video_id == "good"]
    assert [sample.caption for sample in found] == [
        "good, frame 10 (0.33 s), 1 person", "good, frame 20 (0.67 s), 1 person",
    ]  # fmt: skip
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(found[0].jpeg), np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None and picture.shape == (64, 96, 3)


def test_a_run_again_keeps_the_pictures_and_decodes_nothing(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = samples_in_page(copied / "extract_report.html")
    words = json.loads((copied / "extract_report.json").read_text())["options"]
    videos = copied.parent / "videos"
    (videos / "text.mp4").unlink()

    def refused(*_: object) -> None:
        raise AssertionError("a frame was decoded")

    monkeypatch.setattr(ChildReader, "frames", refused)
    report = extract(videos, copied, model=words["model"], stride=10)
    assert {item.status for item in report.items} == {"complete"}
    assert samples_in_page(copied / "extract_report.html") == before and len(before) == 4
    assert "2 of 2 videos are done." in read(copied).words


def test_pictures_of_another_content_are_not_shown_again(copied: Path) -> None:
    items = [ItemResult(video_id="good", path="gone.mp4", status="complete", frames=4, rows=4)]
    earlier = samples_in_page(copied / "extract_report.html")
    assert len(draw_samples(copied, items, decoder=None, earlier=earlier, seconds=1)) == 2
    sidecar = json.loads((copied / "good.json").read_text())
    (copied / "good.json").write_text(json.dumps({**sidecar, "payload_sha256": "0" * 64}))
    assert draw_samples(copied, items, decoder=None, earlier=earlier, seconds=1) == []


class _Ends(NoProgress):
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def advance(self, task: str, steps: int = 1) -> None:
        if task == "videos":
            raise self.error


@pytest.mark.parametrize(
    ("error", "words"),
    [(KeyboardInterrupt(), "It was interrupted."), (FaultError("The disk is full."), "The disk is full.")],
)
def test_a_run_that_ends_early_has_a_page_that_says_so(
    clip: Path, tiny_model: Path, tmp_path: Path, error: BaseException, words: str
) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / "v").mkdir(exist_ok=True)
        shutil.copy(clip, tmp_path / "v" / f"{name}.mp4")
    with pytest.raises(type(error)):
        extract(tmp_path / "v", tmp_path / "s", model=str(tiny_model), stride=10, progress=_Ends(error))
    page = read(tmp_path / "s")
    assert f"The run ended early: {words}" in page.words and "not reached" in page.words
    assert page.row("c")[1] == "not reached"
    extract(tmp_path / "v", tmp_path / "s", model=str(tiny_model), stride=10)
    assert "3 of 3 videos are done." in read(tmp_path / "s").words, "the same command goes on, also with the page"


def test_shards_share_one_page(clip: Path, tiny_model: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "v").mkdir(exist_ok=True)
        shutil.copy(clip, tmp_path / "v" / f"{name}.mp4")
    said = []
    for shard in ("1/2", "2/2"):
        extract(tmp_path / "v", tmp_path / "s", model=str(tiny_model), stride=10, shard=shard)
        said.append(read(tmp_path / "s").words)
    assert "1 of 2 videos are done, 1 were not reached." in said[0]
    assert "2 of 2 videos are done." in said[1]


def test_of_many_videos_few_frames_are_decoded(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = []
    for number in range(40):
        make_video(tmp_path, f"v{number:02d}", frame_count=12)
        items.append(ItemResult(video_id=f"v{number:02d}", path=str(clip), status="done", frames=12, rows=12))
    decoded: list[int] = []
    frames = ChildReader.frames

    def counted(reader: ChildReader, wanted: np.ndarray) -> object:  # type: ignore[type-arg]
        decoded.extend(wanted.tolist())
        return frames(reader, wanted)

    monkeypatch.setattr(ChildReader, "frames", counted)
    with Decoder() as decoder:
        found = draw_samples(tmp_path, items, decoder=decoder, earlier=[], seconds=60)
        assert len(decoded) == len(found) == 2 * MOST_VIDEOS == 24
        assert {found[0].video_id, found[-1].video_id} == {"v00", "v39"}, "spread over all videos"
        assert draw_samples(tmp_path, items, decoder=decoder, earlier=[], seconds=0) == [], "no time, no picture"
        items[0] = items[0].model_copy(update={"path": str(tmp_path / "gone.mp4")})
        rest = draw_samples(tmp_path, items, decoder=decoder, earlier=[], seconds=60)
        assert len(rest) == 22, "a video that has gone costs its own pictures only"


def test_ten_thousand_inputs_are_all_named() -> None:
    items = [
        ItemResult(video_id=f"take{n:05d}", path="v.mp4", status="failed" if n % 20 == 7 else "done")
        for n in range(10_000)
    ]
    report = ExtractReport(tool_version="1", options=ExtractOptions().model_dump(), items=items)
    page = page_of(report, RunFacts(store=Path("s"), command="c", began="b", seconds=9.0, state="running"))
    assert len(set(re.findall(r"take\d{5}", page))) == 10_000 and len(page) < 4_000_000
    assert page.count('class="card finding error"') == 300 and "200 more are in the table" in page
    assert "Running: 9,500 of 10,000 videos are done, 500 failed." in page


def test_forecasts_leave_out_what_was_complete_before(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("gazetools.extraction.forecast.time.monotonic", lambda: now[0])
    forecasts = Forecasts({"old": 1000.0, **{f"v{n}": 10.0 for n in range(10)}})
    forecasts.ended(ItemResult(video_id="old", path="p", status="complete"))
    assert forecasts.present() is None, "what was there tells nothing of the speed"
    for n in range(10):
        now[0] += 5.0 if n < 5 else 10.0
        forecasts.ended(ItemResult(video_id=f"v{n}", path="p", status="done"))
    assert [(round(one.share, 2), one.seconds, one.total) for one in forecasts.kept] == [
        (0.1, 5.0, 50.0), (0.3, 15.0, 50.0), (0.5, 25.0, 50.0), (0.8, 55.0, pytest.approx(68.75)),
    ]  # fmt: skip
    assert forecasts.seconds == 75.0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.42, "0.4 s"), (41.6, "42 s"), (59.7, "1 min 0 s"), (425, "7 min 5 s"), (12000, "3 h 20 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.slow
def test_a_browser_draws_the_page_light_dark_narrow_and_on_paper(mixed: Path, tmp_path: Path) -> None:
    page = mixed / "extract_report.html"
    light, dark = (shot(page, tmp_path, dark=dark) for dark in (False, True))
    for pixels, ground, card in ((light, "f5f7f9", "ffffff"), (dark, "12161c", "1b2129")):
        for colour, least in ((ground, 0.3), (card, 0.01)):
            near = np.abs(pixels.astype(int) - [int(colour[i : i + 2], 16) for i in (0, 2, 4)]).max(axis=2) <= 2
            assert near.mean() > least, colour
    assert overhang(page, tmp_path, width=390) <= 0 and overhang(page, tmp_path, width=1280) <= 0
    assert paper(page, tmp_path).startswith(b"%PDF-")
