"""Verdicts of a report on made-up studies: what may be said of which trainings, and that nothing more is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gazetools.schemas.errors import UsageError
from gazetools.trainer.report.run import report
from gazetools.trainer.report.sentences import p_text, signed
from tests.helpers.command_line import run_cli
from tests.helpers.studies import write_run

CLASSES, PEOPLE, CLIPS = 12, 16, 480
LABEL = np.random.default_rng(1).integers(0, CLASSES, CLIPS)
VIDEO = np.sort(np.random.default_rng(2).integers(0, PEOPLE, CLIPS))
VIDEO[:PEOPLE] = np.arange(PEOPLE)
CLAIMS = ("significan", "proves", "no effect", "contains zero")


def hits(seed: int, *, gain: float = 0.0, seed_sd: float = 0.02, base: float = 0.4) -> dict[str, Any]:
    """none, estimated and shuffled; `estimated` is right more often by `gain`, each training by its own luck."""
    random = np.random.default_rng([3, seed])
    easy = np.random.default_rng(4).random(CLIPS)  # clips are equally easy in all trainings
    found = {}
    for arm, own in (("none", 0.0), ("estimated", gain), ("shuffled", 0.0)):
        share = base + own + random.normal(0, seed_sd)
        found[arm] = (0.8 * easy + 0.2 * random.random(CLIPS)) < share
    return found


def study(root: Path, trainings: int, *, people: int = PEOPLE, horizons: bool = False, **made: Any) -> list[Path]:
    config = made.pop("config", None)
    folders = []
    for seed in range(trainings):
        splits = {"val_start": hits(seed, **made)}
        if horizons:
            splits |= {f"horizon_{h:g}": hits(seed + 100 * number, **made) for number, h in enumerate((0.5, 1, 2))}
        folder = root / f"run{seed}"
        video = VIDEO % people
        folders.append(write_run(folder, splits, label=LABEL, video=video, seed=seed, config=config))
    return folders


@pytest.mark.parametrize(
    ("trainings", "made", "verdict", "said"),
    [
        (5, {"gain": 0.15}, "gain", "Yes: estimated is above none by +"),
        (5, {"gain": -0.15}, "loss", "No: estimated is below none by "),
        (5, {"gain": 0.0}, "no_evidence", "Not shown."),
        (1, {"gain": 0.15}, "too_few_seeds", "No verdict: 1 training of each arm."),
        (2, {"gain": 0.15}, "too_few_seeds", "No verdict: 2 trainings of each arm."),
        (5, {"gain": 0.15, "people": 4}, "too_few_clusters", "No verdict: 4 participants"),
        (5, {"gain": 0.0, "seed_sd": 0.0, "config": {"primary": {"margin": 8.0}}}, "equivalent", "No difference that"),
        (
            5,
            {"gain": -0.03, "seed_sd": 0.04, "config": {"primary": {"margin": 3.0}}},
            "no_relevant_gain",
            "A gain of 3 points",
        ),
    ],
)
def test_every_verdict_has_its_sentence(
    trainings: int, made: dict[str, Any], verdict: str, said: str, tmp_path: Path
) -> None:
    found = report(study(tmp_path, trainings, **made), output=tmp_path / "out", k=1, examples=0)
    answer = found["primary"]
    assert answer["verdict"] == verdict, answer["text"]
    assert answer["text"].startswith(said)
    page = (tmp_path / "out" / "report.html").read_text()
    assert answer["lead"] in page
    for text in (page, json.dumps(found)):
        assert not any(claim in text.lower() for claim in CLAIMS)


def test_a_gain_stands_only_next_to_its_control_and_its_noise(tmp_path: Path) -> None:
    answer = report(study(tmp_path, 5, gain=0.15), output=tmp_path / "out", k=1)["primary"]
    assert answer["control"]["arm"] == "shuffled" and answer["control"]["above"]
    assert "It is also above shuffled (+" in answer["text"]
    assert f"up to {answer['noise_floor']['max_abs']:.1f} apart" in answer["text"]
    assert answer["noise_floor"]["pairs"] == 10 and "5 trainings of each arm, 16 participants" in answer["text"]
    assert 'class="strip"' in (tmp_path / "out" / "report.html").read_text(), "the strip behind the forest plot"


def test_a_gain_that_shuffled_maps_have_too_is_said_to_be_none_of_gaze(tmp_path: Path) -> None:
    folders = study(tmp_path, 5, gain=0.15)
    for seed, folder in enumerate(folders):
        made = hits(seed, gain=0.15)
        write_run(folder, {"val_start": {**made, "shuffled": made["estimated"]}}, label=LABEL, video=VIDEO, seed=seed)
    answer = report(folders, output=tmp_path / "out", k=1)["primary"]
    assert answer["verdict"] == "gain" and answer["control"]["above"] is False
    assert "It is not above shuffled (+0.00, p = 1.00): the gain may come from the added parameters" in answer["text"]


def test_one_training_has_no_p_and_no_gain_anywhere(tmp_path: Path) -> None:
    found = report(study(tmp_path, 1, gain=0.3, horizons=True), output=tmp_path / "out", k=1, examples=0)
    assert found["primary"]["scope"] == "these_models" and found["primary"]["seeds_needed"] is None
    rows = [*found["contrasts"], *found["horizon_contrasts"], found["primary"]]
    assert all(row[name] is None for row in rows for name in ("p", "p_holm"))
    assert all(row["p_band"] is None for row in found["horizon_contrasts"])
    for name in ("contrasts.csv", "contrasts.tex", "horizon_contrasts.csv", "report.json"):
        text = (tmp_path / "out" / name).read_text()
        assert "verdict" not in text or '"verdict": "too_few_seeds"' in text, name
    assert "Yes:" not in (tmp_path / "out" / "report.html").read_text()


def test_initialisations_of_one_run_are_no_trainings(tmp_path: Path) -> None:
    """Three runs whose seed is the same: only the new weights differ, so no verdict follows."""
    folders = []
    for number in range(3):
        own = dict.fromkeys(("none", "estimated", "shuffled"), number)
        made = {"val_start": hits(number, gain=0.15)}
        folders.append(write_run(tmp_path / f"r{number}", made, label=LABEL, video=VIDEO, own_seeds=own))
    answer = report(folders, output=tmp_path / "out", k=1)["primary"]
    assert (answer["varies"], answer["scope"], answer["verdict"]) == (
        "initialisation", "one_data_order", "too_few_seeds",
    )  # fmt: skip
    assert answer["text"].startswith("No verdict: 3 initialisations of one training run (one data order).")
    assert answer["p"] is None and answer["low"] is not None


def test_names_and_order_of_clips_participants_and_runs_change_nothing(tmp_path: Path) -> None:
    first = report(study(tmp_path, 4, gain=0.05), output=tmp_path / "out", k=1)["primary"]
    order = np.random.default_rng(9).permutation(CLIPS)
    people = np.random.default_rng(8).permutation(PEOPLE)
    folders = []
    for seed in range(4):
        made = {arm: right[order] for arm, right in hits(seed, gain=0.05).items()}
        folder = tmp_path / f"other{seed}"
        folders.append(
            write_run(folder, {"val_start": made}, label=LABEL[order], video=people[VIDEO[order]], seed=9 - seed)
        )
    other = report(folders[::-1], output=tmp_path / "out2", k=1)["primary"]
    for name in ("difference", "low", "high", "p", "df", "seeds_needed"):
        assert other[name] == pytest.approx(first[name], rel=1e-9), name


def test_the_primary_contrast_is_declared_before_training_or_named_as_chosen_after(tmp_path: Path) -> None:
    declared = {"primary": {"contrast": "estimated - shuffled", "margin": 2.0}}
    folders = study(tmp_path, 3, gain=0.15, config=declared)
    found = report(folders, output=tmp_path / "out", k=1)
    answer = found["primary"]
    assert (answer["contrast"], answer["declared"], answer["margin"]) == ("estimated - shuffled", True, 2.0)
    assert answer["p_holm"] is None and found["statistics"]["declared"]
    chosen = report(folders, output=tmp_path / "out", k=1, primary="estimated - none")
    assert not chosen["primary"]["declared"] and chosen["primary"]["p_holm"] >= chosen["primary"]["p"]
    assert "chosen after training" in (tmp_path / "out" / "report.html").read_text()
    with pytest.raises(UsageError, match="must be two arms"):
        report(folders, output=tmp_path / "out", primary="estimated - nothing")


def test_the_verdict_may_be_about_another_horizon(tmp_path: Path) -> None:
    folders = study(tmp_path, 3, gain=0.15, horizons=True, config={"primary": {"horizon": 0.5}})
    found = report(folders, output=tmp_path / "out", k=1)
    assert found["primary"]["split"] == "horizon_0.5"
    (row,) = [row for row in found["contrasts"] if row["primary"]]
    assert row["split"] == "horizon_0.5" and found["split"] == "val_start"


def test_all_contrasts_but_the_primary_one_are_one_family(tmp_path: Path) -> None:
    rows = report(study(tmp_path, 5, gain=0.1), output=tmp_path / "out", k=1)["contrasts"]
    by_name = {row["contrast"]: row for row in rows}
    assert by_name["estimated - none"]["p_holm"] is None
    alone = by_name["shuffled - none"]
    assert alone["p_holm"] == pytest.approx(alone["p_strict"]), "a family of one"


def test_the_band_of_the_horizons_holds_all_of_them_at_once(tmp_path: Path) -> None:
    found = report(study(tmp_path, 5, gain=0.1, horizons=True), output=tmp_path / "out", k=1)
    rows = [row for row in found["horizon_contrasts"] if row["contrast"] == "estimated - none"]
    assert [row["seconds"] for row in rows] == [0.5, 1, 2]
    assert all(row["band_low"] < row["low"] and row["band_high"] > row["high"] for row in rows)
    assert "band over all horizons" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"compat": "vjepa2"}, r"different protocols: compat is none in the one and vjepa2 in the other"),
        ({"primary": {"contrast": "shuffled - none"}}, "declares the primary contrast 'estimated - none' and"),
        ({"seed": 0}, "both runs with seed: 0"),
    ],
)
def test_runs_that_do_not_belong_together_are_named(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    first, _ = study(tmp_path, 2)
    other = {"val_start": hits(1)}
    seed = change.get("seed", 1)
    second = write_run(tmp_path / "run1", other, label=LABEL, video=VIDEO, seed=seed, config={**change, "seed": seed})
    with pytest.raises(UsageError, match=message):
        report([first, second], output=tmp_path / "out", k=1)


def test_runs_of_other_clips_or_labels_are_refused(tmp_path: Path) -> None:
    first, _ = study(tmp_path, 2)
    fewer = {arm: right[:-1] for arm, right in hits(1).items()}
    second = write_run(tmp_path / "fewer", {"val_start": fewer}, label=LABEL[:-1], video=VIDEO[:-1], seed=1)
    with pytest.raises(UsageError, match="different clips of val_start"):
        report([first, second], output=tmp_path / "out", k=1)
    third = write_run(tmp_path / "label", {"val_start": hits(1)}, label=LABEL[::-1], video=VIDEO, seed=1)
    with pytest.raises(UsageError, match="other classes of val_start"):
        report([first, third], output=tmp_path / "out", k=1)


def test_a_required_verdict_decides_the_exit_code(tmp_path: Path) -> None:
    folders = [str(folder) for folder in study(tmp_path, 5, gain=0.15)]
    common = ["report", *folders, "-o", str(tmp_path / "out"), "--k", "1"]
    assert run_cli(*common, "--require", "gain").exit_code == 0
    missed = run_cli(*common, "--require", "loss,equivalent")
    assert missed.exit_code == 1 and "The verdict is gain, not loss,equivalent." in missed.stderr
    wrong = run_cli(*common, "--require", "significant")
    assert wrong.exit_code == 2 and "'significant' is no verdict; there are saturated" in wrong.stderr


@pytest.mark.parametrize(
    ("k", "verdict", "warned"),
    [
        (12, "saturated", "recall@12 says nothing of action"),
        (6, None, "a random ranking of its 12 classes gets 50 %. Pass --k 5 or less."),
        (5, None, ""),
    ],
)
def test_saturation_is_warned_of(k: int, verdict: str | None, warned: str, tmp_path: Path) -> None:
    found = report(study(tmp_path, 3), output=tmp_path / "out", k=k, examples=0)
    assert verdict in (None, found["primary"]["verdict"])
    page = (tmp_path / "out" / "report.html").read_text()
    assert warned in page and ("random ranking" in page) == (k == 6)
    if verdict:
        assert found["primary"]["text"].endswith("Use --k 5.")


@pytest.mark.parametrize(
    ("value", "text"), [(2.306, "+2.31"), (-0.8, "-0.80"), (13.61, "+13.6"), (9.996, "+10.0"), (0.0, "+0.00")]
)
def test_differences_have_their_sign(value: float, text: str) -> None:
    assert signed(value) == text


@pytest.mark.parametrize(
    ("p", "text"),
    [(0.0063, "p = .006"), (0.02, "p = .02"), (0.6, "p = .60"), (0.0004, "p < .001"), (1.0, "p = 1.00")],
)
def test_p_values_as_text(p: float, text: str) -> None:
    assert p_text(p) == text
