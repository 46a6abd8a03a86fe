"""The demo's experiment: its files, commands, answer and page; a very small one runs through every command."""

from __future__ import annotations

import csv
import dataclasses
import html
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from gazetools.cli.demo import _Steps
from gazetools.demo import run as demo_run
from gazetools.demo.answer import exit_code, headline, read_answer, sentence
from gazetools.demo.commands import StepResult, command_line, run_command
from gazetools.demo.experiment import training_config
from gazetools.demo.plan import ARMS, DEFAULT, FULL, DemoPlan
from gazetools.demo.run import DemoResult, claim_folder, demo_commands, run_demo
from gazetools.io.json_files import read_json
from gazetools.scenes.settings import TEST_SEED
from gazetools.schemas.errors import EnvironmentLacksError, FaultError, UsageError
from gazetools.trainer.plan.config import load_config
from tests.helpers.browser import find_browser
from tests.helpers.command_line import run_cli

ROOT = Path(__file__).parents[2]


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _in_process(title: str, arguments: list[str], *, quiet: bool = False) -> StepResult:
    """What run_command does, without a new interpreter for each command."""
    done = run_cli(*arguments, "--json")
    document = json.loads(done.stdout)
    assert "error" not in document, document
    return StepResult(title=title, arguments=arguments, exit_code=done.exit_code, seconds=0.1, document=document)


@pytest.fixture(scope="module")
def small_plan(tiny_model: Path) -> DemoPlan:
    """Tiny pictures, a gaze model of random weights, two epochs: everything runs, nothing is learned."""
    return dataclasses.replace(
        DEFAULT,
        clips=12,
        seconds=9.0,
        epochs=2,
        model=str(tiny_model),
        showcase_seconds=0.5,
        seeds=(0, 1),
        held_out_participants=2,
        scenes=dataclasses.replace(DEFAULT.scenes, width=96, height=54, participants=9),
    )


@pytest.fixture(scope="module")
def finished(small_plan: DemoPlan, tmp_path_factory: pytest.TempPathFactory) -> DemoResult:
    folder = tmp_path_factory.mktemp("demo") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo_run, "run_command", _in_process)
        return run_demo(folder, small_plan, progress=_Steps())


def test_every_step_is_a_public_command(finished: DemoResult) -> None:
    document = read_json(finished.folder / "result.json")
    words = [command.removeprefix("OMP_NUM_THREADS=1 ").split() for command in document["commands"]]
    assert all(word[0] == "gazetools" for word in words)
    assert [word[1] for word in words] == [
        "demo", "extract", "validate", "pack", "validate", "train", "report", "extract", "preview",
    ]  # fmt: skip
    assert len(document["seconds"]) == len(words)
    assert not document["resumed"]


def test_the_result_holds_the_reports_own_numbers(finished: DemoResult) -> None:
    document = read_json(finished.folder / "result.json")
    report = read_json(finished.folder / "report" / "report.json")
    (primary,) = [row for row in report["contrasts"] if row["primary"]]
    assert (document["contrast"], document["low"], document["high"]) == tuple(
        primary[key] for key in ("difference", "low", "high")
    )
    assert (document["verdict"], document["text"]) == tuple(report["primary"][key] for key in ("verdict", "text"))
    assert (document["trainings"], document["kitchens"]) == (2, 2)
    assert document["verdict"] == "too_few_clusters", "two kitchens allow no verdict"
    assert set(document["arms"]) == set(ARMS)
    assert sorted({row["seconds"] for row in document["horizons"]}) == [0.5, 1.0, 2.0]
    assert 0 < document["n"] <= len(_rows(finished.folder / "experiment" / "val.csv"))
    assert finished.exit_code == (0 if document["contrast"] > 0 else 1)


def test_kitchens_of_validation_never_train_and_gaze_is_of_person_1(finished: DemoResult) -> None:
    experiment = finished.folder / "experiment"
    kitchens = {name: {r["video_id"][:3] for r in _rows(experiment / f"{name}.csv")} for name in ("train", "val")}
    assert kitchens == {"train": {f"P0{k}" for k in range(1, 8)}, "val": {"P08", "P09"}}
    true = _rows(finished.folder / "scenes" / "gaze" / "P02_02.csv")
    mine = _rows(experiment / "gaze" / "P02_02.csv")
    assert [(r["frame"], r["x"], r["y"]) for r in mine] == [
        (r["frame"], r["x"], r["y"]) for r in true if r["track_id"] == "1"
    ]
    nouns = {r["narration_id"]: r["noun_class"] for r in _rows(finished.folder / "scenes" / "actions.csv")}
    assert all(r["action_class"] == nouns[r["narration_id"]] for r in _rows(experiment / "val.csv"))


def test_a_second_call_keeps_scenes_and_training(
    finished: DemoResult, small_plan: DemoPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = [finished.folder / "scenes" / "videos" / "P01_01.mp4", finished.folder / "run" / "seed_1" / "metrics.jsonl"]
    before = [path.stat().st_mtime_ns for path in kept]
    monkeypatch.setattr(demo_run, "run_command", _in_process)
    again = run_demo(finished.folder, small_plan, progress=_Steps())
    assert [path.stat().st_mtime_ns for path in kept] == before
    assert again.document["resumed"]
    assert {k: again.document[k] for k in ("contrast", "low", "high")} == {
        k: finished.document[k] for k in ("contrast", "low", "high")
    }


def test_the_page_stands_alone(finished: DemoResult) -> None:
    page = (finished.folder / "report.html").read_text()
    assert page.count("<svg") == 4
    assert not re.search(r"(src|href)=\"(?!data:)|@import|url\(|<script", page), "nothing is loaded from elsewhere"
    assert "data:video/mp4;base64,AAAA" in page
    for command in finished.document["commands"]:
        assert command in html.unescape(page)
    assert finished.document["text"] in html.unescape(page)
    assert "Epochs were chosen" not in finished.document["text"], "nothing is chosen on the kitchens that are reported"


def test_folders_of_other_settings_or_other_things_are_refused(tmp_path: Path, small_plan: DemoPlan) -> None:
    assert claim_folder(tmp_path / "demo", small_plan) is False
    assert claim_folder(tmp_path / "demo", small_plan) is True
    other = dataclasses.replace(small_plan, seed=1)
    with pytest.raises(UsageError, match="other settings"):
        claim_folder(tmp_path / "demo", other)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    with pytest.raises(UsageError, match="not empty"):
        claim_folder(tmp_path / "mine", small_plan)


WRONG = [
    (["--clips", "3"], "24 kitchens"),
    (["--seconds", "5"], "needs about 3 s"),
    (["--seed", "1000000"], "seed"),
    (["--model", "gazelle_tyni"], "did you mean gazelle_tiny"),
]


@pytest.mark.parametrize(("options", "words"), WRONG, ids=[words for _, words in WRONG])
def test_wrong_options_are_2(options: list[str], words: str, tmp_path: Path) -> None:
    done = run_cli("demo", "-o", str(tmp_path / "demo"), *options)
    assert done.exit_code == 2
    assert words in done.stderr
    assert not (tmp_path / "demo").exists()


@pytest.mark.parametrize("plan", [DEFAULT, FULL], ids=lambda plan: plan.name)
def test_the_plans_are_sound(plan: DemoPlan, tmp_path: Path) -> None:
    config = load_config(training_config(tmp_path, plan))
    assert [arm.name for arm in config.arms] == list(ARMS)
    assert config.experiment.data.anticipation_time_sec == (1.0, 1.0)
    assert 1.0 in config.experiment.evaluation.horizons
    assert plan.scene_seed >= TEST_SEED, "gazelle_tiny is trained on seeds below"
    data = config.experiment.data
    seen = data.frames_per_clip / data.frames_per_second
    # At the primary horizon all frames show the look before the action, and none the hand on its way.
    assert 1.0 + seen <= plan.scenes.lead_seconds[0] + 0.11 and plan.scenes.reach_seconds < 1.0
    assert len(plan.seeds) >= 3 and plan.held_out_participants >= 5, "else there is no verdict"
    assert len(FULL.seeds) == 5 and len(FULL.horizons) == 3
    evaluation, (head,) = config.experiment.evaluation, config.experiment.optimization.multihead_kwargs
    assert evaluation.choose == "last" and head.final_lr == 0.0, "no epoch is chosen, by chance or on validation"


def _answer(verdict: str, contrast: float) -> dict[str, Any]:
    arm = {"recall": 30.0, "low": 20.0, "high": 40.0}
    return {
        "contrast": contrast, "verdict": verdict, "lead": "No verdict: 2 kitchens.", "text": "What the report says.",
        "n": 45, "seeds": [0], "anticipation_seconds": 1.0, "chance": 12.5, "achievable": 85.6,
        "arms": {"none": arm, "estimated": arm, "ground_truth": arm}, "gaze_model": "gazelle_tiny",
    }  # fmt: skip


ANSWERS = [
    ("gain", 12.0, "Yes: estimated gaze tells", 0),
    ("loss", -4.0, "No: with estimated gaze", 1),
    ("no_evidence", 12.0, "Not shown in this run.", 0),
    ("no_evidence", 0.0, "Not shown in this run.", 1),
    ("too_few_clusters", 3.0, "No verdict: 2 kitchens.", 0),
]


@pytest.mark.parametrize(("verdict", "contrast", "begins", "code"), ANSWERS)
def test_the_answer_claims_what_its_verdict_allows(verdict: str, contrast: float, begins: str, code: int) -> None:
    answer = _answer(verdict, contrast)
    assert headline(answer).startswith(begins)
    assert exit_code(answer) == code
    assert sentence(answer).startswith("What the report says.") and "with estimated gaze" in sentence(answer)


def test_a_report_without_the_contrast_is_a_fault(tmp_path: Path, small_plan: DemoPlan) -> None:
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "report.json").write_text('{"k": 1, "primary": null, "contrasts": []}')
    with pytest.raises(FaultError, match="estimated - none"):
        read_answer(tmp_path, small_plan)


def test_what_the_report_needs_is_asked_for_before_the_work(
    tmp_path: Path, small_plan: DemoPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_run, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentLacksError, match="scipy"):
        run_demo(tmp_path / "demo", small_plan, progress=_Steps())
    assert not (tmp_path / "demo").exists()


def test_a_failing_command_names_the_step_and_how_to_repeat_it(tmp_path: Path) -> None:
    arguments = ["validate", str(tmp_path / "nowhere")]
    with pytest.raises(FaultError, match="'validate the store' failed") as caught:
        run_command("validate the store", arguments, quiet=True)
    assert command_line(arguments) in str(caught.value)


# In a new interpreter per command, as users run it


def _demo(folder: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "gazetools", "demo", "-o", str(folder), *options]


@pytest.mark.slow
def test_killed_and_started_again_it_ends_with_the_same_answer(tiny_model: Path, tmp_path: Path) -> None:
    options = [
        "--clips", "24", "--seconds", "8", "--epochs", "3", "--model", str(tiny_model), "--json",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    whole = subprocess.run(_demo(tmp_path / "a", *options), env=environment, capture_output=True, check=False)
    assert whole.returncode in (0, 1), whole.stderr
    for wanted, number in (
        (Path("store/P02_02.json"), signal.SIGKILL),
        (Path("run/seed_0/checkpoints"), signal.SIGINT),
    ):
        child = subprocess.Popen(
            _demo(tmp_path / "b", *options), env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        while not (tmp_path / "b" / wanted).exists():
            assert child.poll() is None
            time.sleep(0.05)
        # Ctrl-C reaches the whole group, a kill only the demo; its command ends with it.
        if number == signal.SIGINT:
            os.killpg(child.pid, number)
        else:
            child.kill()
        child.communicate()
        assert child.returncode in (-signal.SIGKILL, 130)
    again = subprocess.run(_demo(tmp_path / "b", *options), env=environment, capture_output=True, check=False)
    assert again.returncode == whole.returncode, again.stderr
    one, two = (json.loads(done.stdout) for done in (whole, again))
    assert two["resumed"] and not one["resumed"]
    for key in ("contrast", "low", "high", "n", "arms", "horizons"):
        assert one[key] == two[key]


@pytest.mark.slow
def test_a_browser_draws_the_page_on_a_desk_and_on_a_phone(finished: DemoResult, tmp_path: Path) -> None:
    browser = find_browser()
    page = finished.folder / "report.html"
    # The page tells its own width, since a headless window is never narrower than 500 pixels: in a frame it is.
    for width in (1280, 390):
        frame = tmp_path / f"frame{width}.html"
        frame.write_text(
            f'<iframe id=f width={width} height=2000 src="{page.as_uri()}"></iframe><script>onload=()=>{{'
            "const d=document.getElementById('f').contentDocument.documentElement;"
            "document.title=d.scrollWidth+' '+d.clientWidth+' '+d.querySelectorAll('svg').length}</script>"
        )
        done = subprocess.run(
            [
                browser, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files",
                f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=5000", "--dump-dom", frame.as_uri(),
            ],
            check=True, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        found = re.search(r"<title>(\d+) (\d+) (\d+)</title>", done.stdout)
        assert found, done.stdout[:500]
        scroll, client, charts = map(int, found.groups())
        assert scroll <= client, f"at {width} pixels the page is {scroll} wide"
        assert charts == 4


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--full"]], ids=["default", "full"])
def test_the_demo_answers(options: list[str], tmp_path: Path) -> None:
    """4 and about 15 minutes on two quiet cores. For the seeds 0 to 3 of the default, `low` was 15 points or more."""
    done = subprocess.run(
        _demo(tmp_path / "demo", *options, "--json"),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    document = json.loads(done.stdout)
    assert document["verdict"] == "gain" and document["low"] > 0, "estimated - none"
    for arm in ("zeros", "shuffled"):
        contrast = document["arms"][arm]["minus_none"]
        assert contrast["low"] <= 0 <= contrast["high"], arm
    assert document["arms"]["ground_truth"]["recall"] > document["arms"]["none"]["high"]
    assert document["findings"] == {"validate the store": 0, "validate the dataset": 0}


def test_the_commands_of_the_plans_name_no_other_folder(tmp_path: Path) -> None:
    for _, arguments in demo_commands(tmp_path / "x", FULL):
        paths = [word.removeprefix("file:") for word in arguments if "/" in word]
        assert paths and all(Path(path).is_relative_to(tmp_path / "x") for path in paths)
