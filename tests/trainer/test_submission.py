"""The challenge's test split: predicted without labels, and `test.json` checked by an evaluator of its own."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gazetools.schemas.errors import FaultError, UsageError
from gazetools.trainer import train
from gazetools.trainer.export.run import export
from gazetools.trainer.folder.predictions import read_predictions
from gazetools.trainer.learn.learner import Learner
from gazetools.trainer.report.run import report
from tests.helpers.command_line import run_cli
from tests.helpers.synthetic_epic import write_epic_annotations
from tests.trainer.conftest import Study
from tests.trainer.test_protocols import write_lists

EARLY = "a5,P02_01,00:00:00.90,00:00:01.40,4,7,too early\n"
"""An action that begins 0.9 s into its video: nothing may be seen of it 1 s ahead, and the challenge wants it."""


def ids_of(path: Path) -> list[str]:
    with path.open(newline="") as file:
        return [row["narration_id"] for row in csv.DictReader(file)]


def read_submission(path: Path, wanted: list[str]) -> dict[str, dict[Any, dict[Any, float]]]:
    """Task -> narration id -> class -> score, by the challenge's own rules: it refuses what its validator refuses."""
    document = json.loads(path.read_text())
    assert document["version"] == "0.2" and document["challenge"] == "action_anticipation"
    assert all(document[name] in range(6) for name in ("sls_pt", "sls_tl", "sls_td"))
    assert sorted(document["results"]) == sorted(wanted), "every action, and no other"
    found: dict[str, dict[Any, dict[Any, float]]] = {"verb": {}, "noun": {}, "action": {}}
    for name, scores in document["results"].items():
        assert sorted(map(int, scores["verb"])) == list(range(97))
        assert sorted(map(int, scores["noun"])) == list(range(300))
        assert len(scores["action"]) == 100
        pairs = {tuple(map(int, key.split(","))): score for key, score in scores["action"].items()}
        assert all(verb < 97 and noun < 300 for verb, noun in pairs) and len(pairs) == 100
        for task in ("verb", "noun"):
            found[task][name] = {int(key): score for key, score in scores[task].items()}
        found["action"][name] = pairs
        assert all(isinstance(score, float) for table in scores.values() for score in table.values())
    return found


def mean_top5_recall(scores: dict[Any, dict[Any, float]], labels: dict[str, Any]) -> float:
    """In percent: per class the share of its actions whose class is among the five best, and the mean of that."""
    hits: dict[Any, list[bool]] = {}
    for name, label in labels.items():
        best = sorted(scores[name], key=lambda one, name=name: -scores[name][one])[:5]
        hits.setdefault(label, []).append(label in best)
    return 100 * float(np.mean([np.mean(values) for values in hits.values()]))


@pytest.fixture(scope="module")
def trained(study: Study, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(folder of annotations and run, its config)."""
    root = tmp_path_factory.mktemp("challenge")
    write_epic_annotations(root, study.root / "actions.csv", extra=EARLY)
    write_lists(root)
    config = study.config(root / "run", dataset_train=str(root / "EPIC_100_train.csv"))
    config["experiment"]["data"]["dataset_val"] = str(root / "EPIC_100_validation.csv")
    config["arms"] = ["none", "estimated"]
    path = root / "config.json"
    path.write_text(json.dumps(config))
    train(path, overrides=["experiment.optimization.num_epochs=1"])
    return root, path


def test_the_test_split_is_predicted_from_the_command_line(trained: tuple[Path, Path]) -> None:
    root, config = trained
    test = root / "EPIC_100_test_timestamps.csv"
    assert "verb_class" not in test.read_text()
    before = (root / "run" / "result.json").read_bytes()
    done = run_cli("train", "--config", str(config), "--predict", str(test), "--epic-sls", "2,3,4", "--json")
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    folder = root / "run" / "test"
    assert document["folder"] == str(folder) and document["data"]["test"]["rows"] == 6
    assert document["data"]["test"]["no_observation"] == 1
    assert {name: found["test"]["clips"] for name, found in document["final"].items()} == {"none": 5, "estimated": 5}
    assert document["submissions"] == [
        {"model": name, "file": str(folder / name / "test.json"), "actions": 6, "by_frequency": 1}
        for name in ("none", "estimated")
    ]
    assert (root / "run" / "result.json").read_bytes() == before, "the run that trained stays as it was"
    assert "not observed: 1, whose scores are the frequencies of training" in done.stderr
    for name in ("none", "estimated"):
        scores = read_submission(folder / name / "test.json", ids_of(test))
        saved = read_predictions(folder / "predictions" / name / "test.npz")
        assert saved.clip_names == ["a0", "a1", "a2", "a3", "a4"] and saved.left_out_names == ["a5"]
        assert saved.tasks == ["verb", "noun", "action"] and "rank_action" not in saved.arrays
        for task in saved.tasks:  # the ranking of the file is that of the model, class by class
            known = [tuple(one) if isinstance(one, list) else one for one in saved.arrays[f"classes_{task}"].tolist()]
            for place, clip in enumerate(saved.clip_names):
                wanted = [known[index] for index in saved.arrays[f"top_{task}"][place]]
                ranked = sorted(scores[task][clip], key=lambda one, own=scores[task][clip]: -own[one])
                assert ranked[: len(wanted)] == wanted, (task, clip)
        by_count = sorted(scores["action"]["a5"], key=lambda one: -scores["action"]["a5"][one])
        assert by_count[:3] == [(0, 3), (4, 3), (0, 7)], "two, two and one action of training, the last fillers"
        assert scores["verb"]["a5"][0] > scores["verb"]["a5"][4] > scores["verb"]["a5"][1]


def test_the_same_clips_have_the_same_scores_with_and_without_labels(
    trained: tuple[Path, Path], tmp_path: Path
) -> None:
    """Validation and test have the same rows here, so that the recall computed from test.json is the report's."""
    root, config = trained
    test = str(root / "EPIC_100_test_timestamps.csv")
    train(config, overrides=["test_only=true", f"experiment.data.dataset_test={test}"])
    for name in ("none", "estimated"):
        parts = [root / "run" / "predictions" / name / "val_start.npz"]
        parts.append(root / "run" / "test" / "predictions" / name / "test.npz")
        labelled, blind = map(read_predictions, parts)
        for array in ("score_action", "top_action", "score_verb", "row"):
            np.testing.assert_array_equal(labelled.arrays[array], blind.arrays[array])
    path = tmp_path / "epic.json"
    train(config, overrides=[
        "test_only=true", f"experiment.data.dataset_test={test}", "experiment.evaluation.epic_sls=[0,0,0]",
    ])  # fmt: skip
    path = root / "run" / "test" / "none" / "test.json"
    scores = read_submission(path, ids_of(Path(test)))
    truth = {"a0": (0, 3), "a1": (4, 3), "a2": (0, 7), "a3": (4, 3), "a4": (0, 3)}
    document = report([root / "run"], output=tmp_path / "report")
    official = {(r["arm"], r["task"], r["group"]): r["mean top-5 recall"] for r in document["official"]["rows"]}
    assert document["official"]["annotated"] == 6 and document["official"]["measured"] == 5
    for task, part in (("verb", 0), ("noun", 1), ("action", slice(None))):
        labels = {name: pair[part] for name, pair in truth.items()}
        assert official["none", task, "overall"] == pytest.approx(mean_top5_recall(scores[task], labels)), task


def test_a_run_with_a_test_split_predicts_it_at_the_end(trained: tuple[Path, Path], tmp_path: Path) -> None:
    """Without a second command; the report is on the labelled splits, and exports the test split by name."""
    root, config = trained
    test = root / "EPIC_100_test_timestamps.csv"
    overrides = [f"folder={tmp_path / 'run'}", "experiment.optimization.num_epochs=1", "arms=[estimated]"]
    first = train(config, overrides=overrides)
    assert "test" not in first.final["estimated"] and not first.submissions
    wanted = [f"experiment.data.dataset_test={test}", "experiment.evaluation.epic_sls=[1,2,3]"]
    result = train(config, overrides=[*overrides, *wanted])  # resumed: only the prediction is left to do
    assert result.steps_done == first.steps_done and result.final["estimated"]["test"]["clips"] == 5
    assert result.final["estimated"]["val_start"] == first.final["estimated"]["val_start"]
    read_submission(tmp_path / "run" / "test.json", ids_of(test))
    document = report([tmp_path / "run"], output=tmp_path / "report")
    assert document["split"] == "val_start"
    written = export([tmp_path / "run"], split="test", epic=tmp_path / "again.json", levels=levels(1, 2, 3))
    assert written["split"] == "test"
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "run" / "test.json").read_bytes()
    shown = ["report", str(tmp_path / "run"), "-o", str(tmp_path / "report")]
    more = ["--export-epic", str(tmp_path / "e.json"), "--epic-sls", "1,2,3", "--export-split", "test"]
    assert run_cli(*shown, *more).exit_code == 0
    assert (tmp_path / "e.json").read_bytes() == (tmp_path / "again.json").read_bytes()
    failed = run_cli(*shown, "--split", "test")
    assert failed.exit_code == 2 and "has no labels" in failed.stderr


def test_maps_that_only_the_test_split_reads_do_not_change_what_was_trained(study: Study, tmp_path: Path) -> None:
    """A run on P01_01 alone goes on where a test split on P01_02 is added; its maps are new to the run."""
    rows = (study.root / "actions.csv").read_text().splitlines()
    for name, chosen in (("train", rows[1:3]), ("test", rows[3:5])):
        (tmp_path / f"{name}.csv").write_text("\n".join([rows[0], *chosen]) + "\n")
    one = {"dataset_train": str(tmp_path / "train.csv"), "dataset_val": str(tmp_path / "train.csv")}
    config = study.config(tmp_path / "run", **one)
    first = train(config, overrides=["experiment.optimization.num_epochs=1"])
    wanted = ["experiment.optimization.num_epochs=1", f"experiment.data.dataset_test={tmp_path / 'test.csv'}"]
    result = train(config, overrides=wanted)
    assert result.steps_done == first.steps_done and result.final["main"]["test"]["clips"] == 2
    assert result.final["main"]["test"]["heatmap_missing"] == 0


def test_a_model_whose_scores_are_no_numbers_is_dropped(
    trained: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its scores are never handed in; the other model's are."""
    root, config = trained
    whole = Learner.predict

    def broken(self: Learner, context: Any) -> dict[str, Any]:
        factor = float("nan") if self.name == "estimated" else 1.0
        return {task: logits * factor for task, logits in whole(self, context).items()}

    monkeypatch.setattr(Learner, "predict", broken)
    test = root / "EPIC_100_test_timestamps.csv"
    asked = ["test_only=true", f"experiment.data.dataset_test={test}", "experiment.evaluation.epic_sls=[0,0,0]"]
    result = train(config, overrides=asked)
    assert list(result.final) == ["none"] and "not finite" in result.failed["estimated"]
    assert [one["model"] for one in result.submissions] == ["none"]
    assert sorted((root / "run" / "test").rglob("test.json")) == [root / "run" / "test" / "none" / "test.json"]
    with pytest.raises(FaultError, match="not finite"):
        train(config, overrides=[*asked, "arms=[estimated]"])


def test_every_training_of_a_study_predicts_by_itself(trained: tuple[Path, Path], tmp_path: Path) -> None:
    root, config = trained
    test = root / "EPIC_100_test_timestamps.csv"
    study = [f"folder={tmp_path / 'study'}", "seeds=2", "arms=[estimated]", "experiment.optimization.num_epochs=1"]
    train(config, overrides=study)
    before = (tmp_path / "study" / "result.json").read_bytes()
    done = run_cli("train", "--config", str(config), *study, "--predict", str(test), "--epic-sls", "0,0,0", "--json")
    assert done.exit_code == 0, done.stderr
    files = [tmp_path / "study" / f"seed_{seed}" / "test" / "test.json" for seed in (0, 1)]
    assert [one["file"] for one in json.loads(done.stdout)["submissions"]] == [str(path) for path in files]
    one, other = (read_submission(path, ids_of(test)) for path in files)
    assert one["action"]["a0"] != other["action"]["a0"] and one["action"]["a5"] == other["action"]["a5"]
    assert (tmp_path / "study" / "result.json").read_bytes() == before
    assert report([tmp_path / "study"], output=tmp_path / "report")["split"] == "val_start"


@pytest.mark.slow
def test_two_processes_write_the_submission_of_one(trained: tuple[Path, Path], tmp_path: Path) -> None:
    root, config = trained
    test = root / "EPIC_100_test_timestamps.csv"
    given = [f"classifier_checkpoint={root / 'run'}", "--predict", str(test), "--epic-sls", "2,3,3"]
    for count in (1, 2):
        asked = [*given, f"folder={tmp_path / str(count)}", "--processes", str(count)]
        done = run_cli("train", "--config", str(config), *asked)
        assert done.exit_code == 0, done.stderr
    for name in ("none", "estimated"):
        one, other = (read_submission(tmp_path / str(count) / name / "test.json", ids_of(test)) for count in (1, 2))
        for task, clips in one.items():
            for clip, scores in clips.items():
                assert other[task][clip] == pytest.approx(scores, abs=1e-5), (name, task, clip)


def levels(*values: int) -> Any:
    from gazetools.trainer.export.epic import SupervisionLevels

    return SupervisionLevels(pretraining=values[0], training_labels=values[1], training_data=values[2])


# (what is asked for besides the test split, message)
REFUSED = [
    (["experiment.data.anticipation_time_sec=[0.5,1.0]"], "observed until 0.5 s before the action's start"),
    (["experiment.data.anchor=end"], "before the action's end"),
    (["experiment.data.dataset_test={}/nameless.csv"], "by verb, noun and narration_id"),
    (["experiment.evaluation.epic_sls=[2,3,9]"], "epic_sls"),
    (["experiment.data.dataset_test=null"], "names no annotations to predict"),
    (["experiment.data.dataset_test={}/absent.csv"], "absent.csv"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED)
def test_what_the_challenge_would_refuse_ends_before_any_work(
    trained: tuple[Path, Path], changes: list[str], message: str
) -> None:
    root, config = trained
    (root / "nameless.csv").write_text("video_id,start_timestamp,stop_timestamp\nP01_01,2,3\n")
    test = root / "EPIC_100_test_timestamps.csv"
    values = ["test_only=true", f"experiment.data.dataset_test={test}", "experiment.evaluation.epic_sls=[0,0,0]"]
    with pytest.raises(UsageError, match=message):
        train(config, overrides=[*values, *(text.format(root) for text in changes), f"folder={root / 'run'}"])


def test_wrong_uses_of_the_flags(trained: tuple[Path, Path]) -> None:
    _, config = trained
    test = str(config.parent / "EPIC_100_test_timestamps.csv")
    for arguments, message in (
        (["--epic-sls", "2,3,3"], "names no annotations to predict"),
        (["--predict", "absent.csv"], "absent.csv"),
        (
            ["--predict", test, "--epic-sls", "2,3"],
            "--epic-sls '2,3': three",
        ),
        (["--predict", test, "--epic-sls", "2,3,7"], "is 7"),
    ):
        failed = run_cli("train", "--config", str(config), *arguments)
        assert failed.exit_code == 2 and message in " ".join(failed.stderr.split()), failed.stderr
