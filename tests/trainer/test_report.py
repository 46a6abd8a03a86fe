"""Reports: statistics against independent references, and a small study where only the heatmap tells the noun."""

from __future__ import annotations

import base64
import copy
import csv
import dataclasses
import html
import json
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from markdown_it import MarkdownIt

from gazetools.schemas.errors import UsageError
from gazetools.trainer import train
from gazetools.trainer.data.clips import Sample
from gazetools.trainer.folder.predictions import Predictions, read_predictions
from gazetools.trainer.folder.records import csv_text
from gazetools.trainer.plan.config import load_config
from gazetools.trainer.report import examples, pdf, raster
from gazetools.trainer.report.compare import Comparison, participants
from gazetools.trainer.report.load import ModelOfRun, load_study
from gazetools.trainer.report.load import Study as LoadedStudy
from gazetools.trainer.report.protocol import check_one_protocol
from gazetools.trainer.report.run import report
from gazetools.trainer.report.tables import latex_text
from tests.helpers.browser import find_browser
from tests.helpers.command_line import run_cli
from tests.trainer.conftest import Study


def test_cameras_of_a_take_are_one_cluster_and_clips_of_unseen_classes_are_left_out() -> None:
    """Two cameras of take a, one of b, an EPIC video; the last clip's class 2 is none of training's two."""
    arrays = {
        "video": np.array([0, 1, 2, 3, 3]),
        "rank_action": np.array([0, 1, 0, 0, 2]),
        "label_action": np.array([0, 1, 0, 1, 2]),
        "classes_action": np.array([7, 9]),
    }
    names = ["a/cam01", "a/cam02", "b/cam01", "P01_01"]
    model = ModelOfRun(
        arm="none", seed=0, name="none", run="r", chosen_by={}, final={},
        splits={"val_start": Predictions(arrays=arrays, video_ids=names, train_video_ids=[])},
    )  # fmt: skip
    comparison = Comparison(study=LoadedStudy(runs={}, models=[model]), k=5)
    assert comparison.level == "take"
    clips = comparison.clips("val_start", "action")
    assert clips.cluster[0] == clips.cluster[1] and clips.clusters == 3
    (hits,) = comparison.hits([model], "val_start", "action").values()
    assert hits.tolist() == [1, 1, 1, 1]
    assert clips.weight.tolist() == pytest.approx([0.25] * 4), "two classes of two clips each"
    assert comparison.counts("val_start") == {"clips": 4, "videos": 4, "clusters": 3}


def test_tables() -> None:
    rows = [{"arm": "a_b", "p": 0.01234, "recall@5": 31.4159, "best": None}, {"arm": "c", "primary": True}]
    assert csv_text(rows).splitlines()[0] == "arm,p,recall@5,best,primary"
    text = latex_text(rows, caption="50 %")
    assert r"a\_b & 0.012 & 31.42 & - &" in text and r"\caption{50 \%}" in text and csv_text([]) == ""


def test_participants_are_those_of_the_annotations_else_of_epics_names() -> None:
    names = ["P01_101", "take_3/cam01", "clip", "P01_5"]
    found = Predictions(arrays={}, video_ids=names, train_video_ids=["P01_7", "take_9/cam"])
    assert participants(found) == ["P01", ":take_3", ":clip", "P01"]
    assert participants(found, training=True) == ["P01", ":take_9"]
    said = dataclasses.replace(found, participant_ids=["", "anna", "ben", "carl"])
    assert participants(said) == ["P01", "anna", "ben", "carl"]


@pytest.mark.parametrize(
    ("names", "wanted", "level"),
    [
        (["P01_1", "P02_1"], "auto", "participant"),
        (["P01_1", "kitchen"], "auto", "video"),  # one video of nobody knows whom
        (["P01_1", "take/cam"], "auto", "take"),
        (["P01_1", "P02_1"], "video", "video"),
    ],
)
def test_the_unit_of_intervals(names: list[str], wanted: Any, level: str) -> None:
    assert Comparison(study=study_of(names), k=1, cluster=wanted).level == level


def test_unknown_participants_are_no_unit() -> None:
    with pytest.raises(UsageError, match="recorded in kitchen"):
        _ = Comparison(study=study_of(["P01_1", "kitchen"]), k=1, cluster="participant").level


def study_of(names: list[str]) -> LoadedStudy:
    found = Predictions(arrays={}, video_ids=names, train_video_ids=[])
    model = ModelOfRun(arm="none", seed=0, name="none", run="r", chosen_by={}, final={}, splits={"val_start": found})
    return LoadedStudy(runs={}, models=[model])


# A study where only the heatmap tells the noun: every video looks the same, the blob's place is the next noun


@pytest.fixture(scope="module")
def gaze_study(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("gaze")
    (root / "videos").mkdir()
    (root / "heatmaps").mkdir()
    source = study.root / "videos" / "P01_01.mp4"
    rows = ["video_id,start_timestamp,stop_timestamp,verb_class,noun_class"]
    for number in range(12):
        name = f"P{number:02d}_01"
        shutil.copy(source, root / "videos" / f"{name}.mp4")
        maps, random = np.zeros((150, 16, 16), np.float16), np.random.default_rng(number)
        for start in np.arange(5) * 0.75 + 1.25:
            noun = int(random.integers(0, 2))
            rows.append(f"{name},{start},{start + 0.5},0,{noun}")
            maps[int((start - 0.75) * 30) : int(start * 30), :, 8 * noun : 8 * noun + 8] = 1
        np.savez(root / "heatmaps" / f"{name}.npz", heatmap=maps)
    (root / "actions.csv").write_text("\n".join(rows[:41]) + "\n")
    (root / "val.csv").write_text("\n".join([rows[0], *rows[41:]]) + "\n")
    return root


@pytest.fixture(scope="module")
def gaze_run(gaze_study: Path, study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Too short a run to learn anything."""
    return run_arms(gaze_study, study, tmp_path_factory.mktemp("runs") / "arms", epochs=1)


def run_arms(gaze_study: Path, study: Study, folder: Path, *, epochs: int) -> Path:
    config = study.config(
        folder,
        base_path=str(gaze_study / "videos"),
        heatmap_base_path=str(gaze_study / "heatmaps"),
        dataset_train=str(gaze_study / "actions.csv"),
        dataset_val=str(gaze_study / "val.csv"),
        anticipation_time_sec=[0.25, 0.25],
        train_anticipation_time_sec=[0.0, 0.25],
        random_horizontal_flip=False,
        random_resize_scale=[1.0, 1.0],
        frames_per_second=8,
    )
    config["arms"] = [
        {"name": "none", "fusion": "none", "train": "probe"},
        {"name": "estimated", "seeds": [0, 1]},
        "zeros",
        "shuffled",
    ]
    config["experiment"]["evaluation"] = {"held_out": 0.2, "horizons": [0.0, 0.25]}
    config["experiment"]["optimization"] |= {
        "num_epochs": epochs,
        "batch_size": 4,
        "use_focal_loss": False,
        "multihead_kwargs": [{"lr": 3e-3, "warmup": 1}],
    }
    train(config)
    return folder


@pytest.mark.slow
def test_only_arms_that_see_the_gaze_find_the_noun_and_the_report_shows_it(
    gaze_study: Path, study: Study, tmp_path: Path
) -> None:
    gaze_run = run_arms(gaze_study, study, tmp_path / "arms", epochs=20)
    document = report([gaze_run], output=tmp_path / "report", k=1)
    nouns = {(row["arm"], row["seed"]): row for row in document["arms"] if row["task"] == "noun"}
    assert nouns["estimated", "all"]["recall@1"] > 95 and nouns["estimated", "all"]["recall@1 low"] > 85
    for arm in ("none", "zeros", "shuffled"):
        row = next(row for (name, seed), row in nouns.items() if name == arm)
        assert row["recall@1"] < 70 and row["recall@1 high"] < 90, (arm, row)
    assert {seed for arm, seed in nouns if arm == "estimated"} == {"all", "0", "1"}, "seeds are shown singly"
    contrasts = {row["contrast"]: row for row in document["contrasts"] if row["task"] == "noun"}
    assert contrasts["estimated - none"]["low"] > 10, "its interval is clear of zero"
    assert contrasts["estimated - none"]["p"] is None, "two initialisations of one run are no two trainings"
    assert document["primary"]["verdict"] == "too_few_clusters", "four participants"
    for arm in ("zeros", "shuffled"):
        assert contrasts[f"{arm} - none"]["difference"] < 25


def test_what_the_report_writes(gaze_run: Path, tmp_path: Path) -> None:
    output = tmp_path / "report"
    document = report([gaze_run], output=output)
    assert [row["contrast"] for row in document["contrasts"] if row["primary"]] == ["estimated - none"]
    for row in document["contrasts"]:
        assert row["p"] is None and row["p_holm"] is None, "one training has no p"
        assert row["low"] <= row["difference"] <= row["high"] and row["scope"] == "these_models"
    assert sorted({row["seconds"] for row in document["horizons"]}) == [0.0, 0.25]
    with (output / "arms.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == len(document["arms"]) == (1 + 3 + 1 + 1) * 3
    for name in ("contrasts.csv", "horizons.csv", "groups.csv", "class_gains.csv", "data.csv", "arms.tex"):
        assert (output / name).stat().st_size > 0, name
    page = (output / "report.html").read_text()
    assert "<svg" in page and "RANDOM WEIGHTS" in page and "frames_per_clip" in page and "heatmap_missing" in page
    assert "Anchor rule: anchor: start" in page
    assert not re.search(r"""(src|href)="(?!data:image/jpeg;base64,)|(src|href)=[^"]|@import|url\(""", page), (
        "nothing is loaded"
    )
    assert "default-src 'none'" in page, "and the browser would refuse to"
    assert document["saturated"] == ["verb", "noun", "action"] and "says nothing of verb, noun, action" in page
    one = report([gaze_run], output=output, k=1)
    assert one["saturated"] == ["verb"], "of two nouns one can be missed"
    assert "says nothing of verb:" in (output / "report.html").read_text()
    unseen = [row for row in document["groups"] if row["group"] == "unseen participants" and row["task"] == "noun"]
    assert all(row["clips"] == 20 for row in unseen)
    assert json.loads((output / "report.json").read_text())["baseline"] == "none"


def test_the_answer_and_the_summary_are_those_of_the_tables(gaze_run: Path, tmp_path: Path) -> None:
    document = report([gaze_run], output=tmp_path / "report", examples=0)
    (row,) = [row for row in document["contrasts"] if row["primary"]]
    answer = document["primary"]
    assert {key: answer[key] for key in ("contrast", "difference", "low", "high", "p")} == {
        key: row[key] for key in ("contrast", "difference", "low", "high", "p")
    }
    assert (answer["clips"], answer["videos"], answer["clusters"], answer["seeds"]) == (20, 4, 4, 1)
    assert document["statistics"]["cluster"] == "participant" and answer["declared"]
    summary = document["summary"]
    assert list(summary) == ["none", "estimated", "zeros", "shuffled"], "in the order of the config"
    own = summary["estimated"]["action"]
    assert own["difference"]["value"] == pytest.approx(own["value"] - summary["none"]["action"]["value"])
    assert np.mean(list(own["seeds"].values())) == pytest.approx(own["value"]) and set(own["seeds"]) == {"0", "1"}
    assert summary["none"]["action"]["difference"] is None and summary["none"]["action"]["clips"] == 20
    assert {row["seconds"] for row in document["horizon_contrasts"]} == {0.0, 0.25}
    assert {"train_loss", "held_out_loss"} <= set(document["curves"][0]) and len(document["curves"]) == 5
    assert document["examples"] == []


def test_every_plot_is_a_file_and_markdown_has_the_words_and_figures_of_the_page(
    gaze_run: Path, tmp_path: Path
) -> None:
    output = tmp_path / "report"
    document = report([gaze_run], output=output, k=1, format="html,md")
    page, text = ((output / f"report.{kind}").read_text() for kind in ("html", "md"))
    plots = {path.name for path in (output / "plots").iterdir()}
    names = {Path(name).stem for name in plots}
    assert plots == {f"{name}{suffix}" for name in names for suffix in (".svg", ".png")}
    assert {"differences_action", "differences_noun", "horizons_action"} <= names and page.count("<svg") == len(names)
    linked = re.findall(r"!\[[^\]]*\]\((plots/[^)]+)\)", text)
    assert sorted(linked) == sorted(f"plots/{name}.svg" for name in names), "Markdown links every plot once"
    cells = [html.unescape(re.sub("<[^>]+>", "", cell)) for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", page)]
    back = MarkdownIt("gfm-like", {"linkify": False}).render(text)
    assert cells == [html.unescape(cell) for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", back)]
    assert len(cells) > 300
    primary = document["primary"]
    assert f"> **{primary['lead']}**" in text, "the verdict in its fixed words"
    for row in re.findall(r"<h2>(.*?)</h2>", page):
        assert f"## {html.unescape(row)}" in text.replace("\\", "")


@pytest.mark.parametrize(
    ("package", "option", "remedy"),
    [
        ("weasyprint", ("--format", "html,pdf"), "pip install 'gazetools[pdf]'"),
        ("matplotlib", ("--plots", "png"), "pip install 'gazetools[report]', or choose --plots svg"),
    ],
)
def test_a_missing_package_is_named_before_the_work(
    gaze_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, option: tuple[str, str], remedy: str
) -> None:
    for module in (pdf, raster):
        monkeypatch.setattr(module, "find_spec", lambda name: None if name == package else find_spec(name))
    done = run_cli("report", str(gaze_run), "-o", str(tmp_path / "out"), *option)
    assert done.exit_code == 3 and package in done.stderr and remedy in " ".join(done.stderr.split())
    assert list((tmp_path / "out").iterdir()) == [], "nothing is half-written"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("--format", "docx"), "--format"),
        (("--plots", "none,svg"), "none goes with nothing else"),
        (("--plots", "jpg"), "--plots"),
    ],
)
def test_a_form_that_there_is_not_is_wrong_usage(gaze_run: Path, tmp_path: Path, given: Any, words: str) -> None:
    done = run_cli("report", str(gaze_run), "-o", str(tmp_path / "out"), *given)
    assert done.exit_code == 2 and words in done.stderr


def test_several_flags_are_one_list_and_no_plots_need_no_package(
    gaze_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raster, "find_spec", lambda name: None)
    words = ("--format", "md", "--format", "html", "--plots", "none", "--examples", "0")
    done = run_cli("report", str(gaze_run), "-o", str(tmp_path / "out"), *words)
    assert done.exit_code == 0, done.stderr
    assert {"report.md", "report.html"} <= {path.name for path in (tmp_path / "out").iterdir()}
    assert not (tmp_path / "out" / "plots").exists()
    assert "](plots" not in (tmp_path / "out" / "report.md").read_text(), "no link leads nowhere"


@pytest.mark.slow
def test_the_pdf_is_the_page_and_reads_no_file(told_run: Path, tmp_path: Path) -> None:
    weasyprint = pytest.importorskip("weasyprint", reason="the extra [pdf] is not installed: pip install -e '.[pdf]'")
    report([told_run], output=tmp_path, format="pdf", plots="svg")
    data = (tmp_path / "report.pdf").read_bytes()
    assert data.startswith(b"%PDF-") and not (tmp_path / "report.html").exists()
    report([told_run], output=tmp_path, plots="none")
    page = (tmp_path / "report.html").read_text()
    pages = weasyprint.HTML(string=page).render().pages
    wide = [one.width > one.height for one in pages]
    assert 4 <= len(pages) < 40 and True in wide and False in wide, "wide tables are on landscape paper"
    for address in ((tmp_path / "report.html").as_uri(), "http://localhost/x"):
        with pytest.raises(ValueError, match="disallowed"):
            pdf._fetcher(weasyprint).fetch(address)


@pytest.fixture(scope="module")
def told_run(gaze_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run with ranks as if `estimated` gained on clip 3, less on clip 8, and lost on clip 5."""
    folder = tmp_path_factory.mktemp("told") / "arms"
    shutil.copytree(gaze_run, folder)
    for name, ranks in {
        "none.s0": {3: 1, 8: 1}, "estimated.s0": {5: 1}, "estimated.s1": {5: 1, 8: 1},
        "zeros.s0": {3: 1, 8: 1}, "shuffled.s0": {3: 1},
    }.items():  # fmt: skip
        path = folder / "predictions" / name / "val_start.npz"
        with np.load(path) as file:
            arrays = dict(file)
        arrays["rank_action"] = np.array([ranks.get(place, 0) for place in range(20)], np.int32)
        np.savez(path, **arrays)
    return folder


def test_examples_are_the_clips_that_change_most_with_the_arms_own_map(told_run: Path, tmp_path: Path) -> None:
    output = tmp_path / "report"
    document = report([told_run], output=output, examples=1)
    rows = {(row["arm"], row["kind"]): row for row in document["examples"]}
    assert set(rows) == {("estimated", "gain"), ("estimated", "loss"), ("shuffled", "gain")}, "zeros equal none"
    best, worst = rows["estimated", "gain"], rows["estimated", "loss"]
    found = read_predictions(told_run / "predictions" / "none.s0" / "val_start.npz")
    assert (best["annotation_row"], worst["annotation_row"]) == tuple(found.arrays["row"][[3, 5]])
    assert (best["rank"], best["baseline_rank"], best["gain"]) == ([1, 1], [2], 1.0)
    assert (worst["rank"], worst["baseline_rank"], worst["gain"]) == ([2, 2], [1], -1.0)
    assert (best["map"], rows["shuffled", "gain"]["map"]) == ("heatmap", "another video's map, not drawn")
    pictures = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', (output / "report.html").read_text())
    assert len(pictures) == 3
    assert [(output / row["picture"]).read_bytes() for row in document["examples"]] == [
        base64.b64decode(picture) for picture in pictures
    ]
    drawn, bare = (cv2.imdecode(np.frombuffer(base64.b64decode(p), np.uint8), cv2.IMREAD_COLOR) for p in pictures[::2])
    noun = int(best["true"].strip("[]").split(",")[1])  # the blob's half
    assert drawn is not None and bare is not None
    changed = np.abs(drawn.astype(int) - bare).mean(axis=(0, 2))
    assert drawn.shape == (256, 256, 3) and int(np.argmax([changed[:128].mean(), changed[128:].mean()])) == noun


def test_the_map_of_an_example_lies_where_the_gaze_was(gaze_run: Path, gaze_study: Path) -> None:
    """The blob's half of the map is the next noun's; the control arms have their own."""
    study = load_study([gaze_run])
    models = {model.arm: model for model in study.models}
    seen, trouble = examples._clips_of(study, models["estimated"], "val_start")
    assert seen is not None and trouble is None
    for place, clip in enumerate(seen.dataset.split.clips[:6]):
        sample = seen.dataset[place]
        assert isinstance(sample, Sample)
        drawn, note = examples._map_of(seen.spec, sample.heatmaps)
        assert drawn is not None
        halves = drawn[:, :16].mean(), drawn[:, 16:].mean()
        assert int(np.argmax(halves)) == clip.segment.classes["noun"] and note == "heatmap"
    for arm, expected in (("none", "no heatmap"), ("zeros", "zeros"), ("shuffled", "another video's map, not drawn")):
        other, _ = examples._clips_of(study, models[arm], "val_start")
        assert other is not None
        assert examples._map_of(other.spec, {"heatmap": torch.ones(4, 8, 8)}) == (None, expected)


def test_pictures_that_cannot_be_made_are_told(gaze_run: Path, tmp_path: Path) -> None:
    moved = tmp_path / "run"
    shutil.copytree(gaze_run, moved)
    document = json.loads((moved / "result.json").read_text())
    document["config"]["experiment"]["data"]["base_path"] = "/gone"
    (moved / "result.json").write_text(json.dumps(document))
    found = report([moved], output=tmp_path / "report")
    assert any("/gone" in note for note in found["example_notes"])
    assert "/gone" in (tmp_path / "report" / "report.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_draws_the_page_within_its_width(told_run: Path, tmp_path: Path, width: int) -> None:
    browser = find_browser()
    report([told_run], output=tmp_path / "report")
    page = tmp_path / "report" / "report.html"
    # Only tables may be scrolled sideways.
    probe = tmp_path / "report" / "probe.html"
    # The page itself lets no script run.
    probe.write_text(
        page.read_text()
        .replace("default-src 'none'", "script-src 'unsafe-inline'")
        .replace(
            "</body>",
            "<script>document.title='overflow '+(document.documentElement.scrollWidth-innerWidth)</script></body>",
        )
    )
    common = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    size = f"--window-size={width},1600"
    dom = subprocess.run([*common, size, "--dump-dom", probe.as_uri()], check=True, capture_output=True, timeout=120)
    found = re.search(rb"<title>overflow (-?\d+)</title>", dom.stdout)
    assert found is not None and int(found[1]) <= 0
    assert dom.stdout.count(b"<svg") >= 6 and dom.stdout.count(b"<figure") >= 7


def test_report_from_the_command_line_and_what_it_refuses(gaze_run: Path, tmp_path: Path) -> None:
    done = run_cli("report", str(gaze_run), "-o", str(tmp_path / "out"), "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["split"] == "val_start"
    shown = run_cli("report", str(gaze_run), "-o", str(tmp_path / "out"))
    assert "estimated" in shown.stdout and "report.html" in shown.stderr
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    for text, message in ((None, "no result.json"), ('{"status": "interrupted"}', "not finished")):
        if text is not None:
            (unfinished / "result.json").write_text(text)
        failed = run_cli("report", str(unfinished), "-o", str(tmp_path / "out"))
        assert failed.exit_code == 2 and message in failed.stderr
    with pytest.raises(UsageError, match="'other'"):
        report([gaze_run], output=tmp_path / "out", split="other")


def test_runs_of_other_protocols_do_not_compare(gaze_run: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    train(tiny, overrides=["experiment.optimization.num_epochs=1"])
    with pytest.raises(UsageError, match=r"different protocols: experiment\.data\.anticipation_time_sec is \[0\.25"):
        report([gaze_run, tmp_path / "run"], output=tmp_path / "out")


def test_runs_of_versions_with_fewer_keys_compare_by_the_defaults(tiny: dict[str, Any]) -> None:
    """An encoder's key that the older version did not have stands for its default; another value differs."""
    new = load_config(tiny).model_dump(mode="json")
    old = copy.deepcopy(new)
    pretrain = old["model_kwargs"]["pretrain_kwargs"]
    del pretrain["use_v2_1"], pretrain["encoder"]["interpolate_rope"]
    check_one_protocol({"old": old, "new": new})
    new["model_kwargs"]["pretrain_kwargs"]["encoder"]["interpolate_rope"] = True
    with pytest.raises(UsageError, match=r"encoder\.interpolate_rope is False in the one and True in the other"):
        check_one_protocol({"old": old, "new": new})


def test_an_arm_that_was_not_measured_where_the_figures_lead_is_named(gaze_run: Path, tmp_path: Path) -> None:
    """A run of the same arms under other names, whose validation counted from the action's end."""
    other = shutil.copytree(gaze_run, tmp_path / "other")
    result = json.loads((other / "result.json").read_text())
    for name, learner in result["model"]["learners"].items():
        learner["arm"] = f"late_{learner['arm']}"
        result["final"][name]["val_end"] = result["final"][name].pop("val_start")
        (other / "predictions" / name / "val_start.npz").rename(other / "predictions" / name / "val_end.npz")
    (other / "result.json").write_text(json.dumps(result))
    with pytest.raises(UsageError, match=r"late_estimated.* were not measured on val_start\."):
        report([gaze_run, other], output=tmp_path / "out")
    assert report([gaze_run, other], output=tmp_path / "out", split="held_out")["split"] == "held_out"


@pytest.mark.parametrize("text", ['{"trainings": 5}', '{"trainings": [5]}', "[]"])
def test_a_result_of_something_else_is_no_run(text: str, tmp_path: Path) -> None:
    """The folder of `gazetools demo` has a result.json, too, with its number of trainings."""
    (tmp_path / "result.json").write_text(text)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "result.json").write_text("{}")
    with pytest.raises(UsageError, match=r"no result\.json of a training") as caught:
        load_study([tmp_path])
    assert str(tmp_path / "run") in str(caught.value)
