"""Studies: several trainings of every arm that differ in all that a seed decides, in one run folder."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gazetools.schemas.errors import UsageError
from gazetools.trainer import train
from gazetools.trainer.report.run import report
from tests.helpers.command_line import run_cli


@pytest.fixture
def config(tiny: dict[str, Any]) -> dict[str, Any]:
    """Two trainings of two arms, one epoch each."""
    tiny["arms"], tiny["seeds"] = ["none", "estimated"], 2
    tiny["experiment"]["optimization"]["num_epochs"] = 1
    return tiny


def predictions(folder: Path, arm: str = "estimated") -> dict[str, Any]:
    with np.load(folder / "predictions" / arm / "val_start.npz") as file:
        return {name: file[name] for name in ("score_action", "rank_action", "row")}


def test_every_training_is_a_whole_run_with_its_own_seed(config: dict[str, Any], tmp_path: Path) -> None:
    result = train(config)
    assert result.status == "done"
    assert result.trainings == [
        {"seed": 0, "folder": "seed_0", "status": "done"},
        {"seed": 1, "folder": "seed_1", "status": "done"},
    ]
    document = json.loads((tmp_path / "run" / "result.json").read_text())
    assert document["status"] == "done" and document["trainings"] == result.trainings
    first, second = (predictions(tmp_path / "run" / f"seed_{seed}") for seed in (0, 1))
    assert (first["row"] == second["row"]).all(), "the same clips are measured"
    assert not np.allclose(first["score_action"], second["score_action"])


def test_a_training_of_a_study_is_the_run_of_that_seed(config: dict[str, Any], tmp_path: Path) -> None:
    """Bit for bit; the random encoder is the study's, as a checkpoint would be."""
    train(config)
    alone = copy.deepcopy(config)
    del alone["seeds"]
    alone |= {"seed": 1, "folder": str(tmp_path / "alone")}
    alone["model_kwargs"]["random_seed"] = 0
    train(alone)
    mine, theirs = predictions(tmp_path / "run" / "seed_1"), predictions(tmp_path / "alone")
    assert (mine["score_action"] == theirs["score_action"]).all()


def test_the_report_joins_the_trainings_of_a_study(config: dict[str, Any], tmp_path: Path) -> None:
    train(config)
    found = report([tmp_path / "run"], output=tmp_path / "report", k=1, examples=0)
    assert found["statistics"]["varies"] == "training" and found["primary"]["seeds"] == 2
    assert {row["seed"] for row in found["arms"]} == {"all", "0", "1"}


def test_trainings_that_ran_elsewhere_at_the_same_time_are_one_study(config: dict[str, Any], tmp_path: Path) -> None:
    """As the jobs of an array: each trains one seed; the last one completes the study, in whatever order."""
    later = train(config, only_seed=1)
    assert [one["status"] for one in later.trainings] == ["not begun", "done"]
    assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "interrupted"
    with pytest.raises(UsageError, match=r"seed_0 is not finished \(status None\)"):
        report([tmp_path / "run"], output=tmp_path / "report")
    before = (tmp_path / "run" / "seed_1" / "result.json").read_bytes()
    assert [one["status"] for one in train(config).trainings] == ["done", "done"]
    assert (tmp_path / "run" / "seed_1" / "result.json").read_bytes() == before, "what is done stays as it is"


def test_features_of_fixed_views_are_encoded_once_for_all_trainings(config: dict[str, Any], tmp_path: Path) -> None:
    config["experiment"]["data"]["train_views"] = 2
    config["experiment"]["optimization"]["num_epochs"] = 3
    train(config)
    first, second = (
        [json.loads(line) for line in (tmp_path / "run" / f"seed_{seed}" / "metrics.jsonl").read_text().splitlines()]
        for seed in (0, 1)
    )
    computed = [sum(entry["train_features_computed"] for entry in history) for history in (first, second)]
    assert 5 <= computed[0] <= 10, "five clips of two views each"
    assert sum(computed) <= 10, "the second training finds the views of the first"
    assert second[0]["val_start_features_computed"] == 0


def test_views_are_the_clips_own_and_each_training_reads_them_in_its_own_order(
    config: dict[str, Any], tmp_path: Path
) -> None:
    """A cache that is filled already, or by another training first, changes no number."""
    config["experiment"]["data"]["train_views"] = 3
    train(config)
    other = copy.deepcopy(config) | {"folder": str(tmp_path / "other"), "seeds": [1, 0]}
    other["model_kwargs"]["random_seed"] = 0
    train(other)
    for seed in (0, 1):
        mine, theirs = (predictions(tmp_path / name / f"seed_{seed}") for name in ("run", "other"))
        assert (mine["score_action"] == theirs["score_action"]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": [1, 1]}, r"the seed\(s\) 1 occur more than once"),
        ({"seeds": 1, "primary": {"margin": 1.0}}, "primary asks for a verdict, which one training cannot give"),
        ({"primary": {"contrast": "estimated - zeros"}}, "primary: no arm is named 'zeros'; there are none, estimated"),
        ({"primary": {"contrast": "estimated"}}, "must be two arms with ' - ' between them"),
        ({"primary": {"horizon": 2.0}}, "the horizon 2 s is not measured; experiment.evaluation.horizons has none"),
        ({"primary": {}, "report": {}}, "name the primary contrast twice"),
        ({"seeds": 0}, "must be at least 1"),
    ],
)
def test_studies_that_cannot_be(change: dict[str, Any], message: str, config: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=message):
        train(config | change, dry_run=True)


def test_report_is_another_form_of_primary(config: dict[str, Any], tmp_path: Path) -> None:
    config["report"] = {"primary": {"arm": "estimated", "baseline": "none", "task": "verb"}, "margin": 3.0}
    train(config)
    answer = report([tmp_path / "run"], output=tmp_path / "out", k=1, examples=0)["primary"]
    assert (answer["task"], answer["margin"], answer["declared"]) == ("verb", 3.0, True)


def test_a_folder_holds_one_training_or_a_study(config: dict[str, Any], tmp_path: Path) -> None:
    train(config)
    single = {key: value for key, value in config.items() if key != "seeds"}
    with pytest.raises(UsageError, match=r"holds a study \(seed_0 ...\), the config has one training"):
        train(single)
    train(single | {"folder": str(tmp_path / "single")})
    with pytest.raises(UsageError, match="holds a single training, the config wants 2"):
        train(config | {"folder": str(tmp_path / "single")})


def test_one_seed_of_a_study_from_the_command_line(config: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    wrong = run_cli("train", "--config", str(path), "--only-seed", "7")
    assert wrong.exit_code == 2 and "the config's seeds are 0, 1" in wrong.stderr
    done = run_cli("train", "--config", str(path), "--only-seed", "1")
    assert done.exit_code == 0, done.stderr
    assert "2 trainings of each arm: the report will describe these models and give no verdict" in done.stderr
    assert (tmp_path / "run" / "seed_1" / "result.json").is_file() and not (tmp_path / "run" / "seed_0").exists()


def test_a_dry_run_tells_what_a_step_costs_and_what_several_trainings_can_find(
    config: dict[str, Any], tmp_path: Path
) -> None:
    result = train(config, dry_run=True, measured=True)
    assert result.step is not None and result.step["seconds"] > 0
    assert result.step["clips"] == 2 and result.step["steps"] == 3, "five clips in batches of two"
    assert result.step["memory_bytes"] > 1 << 20
    assert [row["trainings"] for row in result.planning] == [3, 5, 8]
    gains = [row["gain_in_seed_sd"] for row in result.planning]
    assert gains[0] > gains[1] > gains[2] > 0
    assert result.planning[0]["seconds"] == pytest.approx(3 * result.step["seconds_per_training"])
    assert not (tmp_path / "run").exists()
    assert train(config, dry_run=True).step is None, "the check before a launch measures nothing"
