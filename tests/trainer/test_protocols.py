"""The EPIC-KITCHENS-100 challenge: released lists, its groups against a reference in plain numpy, and the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gazetools.annotations.official import OfficialLists, read_official_lists
from gazetools.annotations.segments import read_segments
from gazetools.schemas.errors import DataFileError, UsageError
from gazetools.trainer import train
from gazetools.trainer.folder.predictions import PredictionLog, Predictions
from gazetools.trainer.report.load import ModelOfRun
from gazetools.trainer.report.load import Study as LoadedStudy
from gazetools.trainer.report.official import official_of
from gazetools.trainer.report.run import report
from tests.helpers.command_line import run_cli
from tests.helpers.synthetic_epic import write_epic_annotations
from tests.trainer.conftest import Study

TAXONOMY = {"verbs": ["cut_(trim,_slice)", "take"], "nouns": ["onion", "knife", "tap"]}


def write_lists(folder: Path, **changes: str | None) -> Path:
    """The lists of the release in small; `changes`: part of a file's name -> other content, None: absent."""
    files: dict[str, str | None] = {
        "verb_classes": "id,key,instances,category\n0,take,\"['take', 'get']\",retrieve\n1,put,['put'],leave\n"
        "2,wash,['wash'],clean\n3,open,['open'],access\n4,close,['close'],block\n",
        "noun_classes_v2": '"id","key","instances","category"\n'
        + "".join(f'{n},"thing:{n}","[\'thing\', \'a, b\']","all"\n' for n in range(8)),
        "noun_classes": "id,key,instances,category\n" + "".join(f"{n},old:{n},[],all\n" for n in range(8)),
        "tail_verbs": "verb\n4\n",
        "tail_nouns": "noun\n6\n7\n",
        "unseen_participant_ids_validation": "participant_id\nP02\nP32\n",
        **changes,
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        if content is not None:
            (folder / f"EPIC_100_{name}.csv").write_text(content)
    return folder


def test_the_released_lists_are_read(tmp_path: Path) -> None:
    write_lists(tmp_path)
    lists = read_official_lists(tmp_path / "EPIC_100_validation.csv", None)
    assert lists.names["verb"] == ["take", "put", "wash", "open", "close"] and lists.names["noun"][7] == "thing:7"
    assert (lists.tail["verb"], lists.tail["noun"]) == ({4}, {6, 7}) and lists.unseen == {"P02", "P32"}
    assert lists.name_of("action", (0, 7)) == "take thing:7" and lists.name_of("action", 3) == ""
    for classes, expected in (
        ({"verb": 4, "noun": 3, "action": (4, 3)}, {"verb": True, "noun": False, "action": True}),
        ({"verb": 0, "noun": 7, "action": (0, 7)}, {"verb": False, "noun": True, "action": True}),
        ({"verb": 0, "noun": 3, "action": (0, 3)}, {"verb": False, "noun": False, "action": False}),
    ):
        assert lists.tail_tasks(classes) == expected
    assert read_official_lists(tmp_path / "mine.csv", None) == OfficialLists(files=()), "lists are of another data set"
    assert read_official_lists(Path("mine.csv"), tmp_path) == lists
    (tmp_path / "fho_lta_taxonomy.json").write_text(json.dumps(TAXONOMY))
    ego4d = read_official_lists(tmp_path / "fho_lta_val.json", None)
    assert ego4d.files == ("fho_lta_taxonomy.json",) and ego4d.name_of("action", (0, 2)) == "cut_(trim,_slice) tap"
    assert ego4d.tail_tasks({"verb": 0, "noun": 2}) == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tail_nouns": None}, "EPIC_100_tail_verbs.csv without EPIC_100_tail_nouns.csv"),
        ({"tail_verbs": "verbs\n4\n"}, r"lacks the column\(s\) verb \(nearest: verbs\)"),
        ({"tail_verbs": "verb\nclose\n"}, "'close' is not a whole number"),
        ({"verb_classes": "id,key\n0,take\n2,put\n"}, "the ids are not 0 to 1"),
        ({"unseen_participant_ids_validation": "x\nP02\n"}, r"lacks the column\(s\) participant_id"),
    ],
)
def test_lists_that_cannot_be_read_are_named(tmp_path: Path, changes: dict[str, str | None], message: str) -> None:
    write_lists(tmp_path, **changes)
    with pytest.raises(DataFileError, match=message):
        read_official_lists(tmp_path / "EPIC_100_validation.csv", None)


def test_a_folder_without_lists_and_classes_that_no_list_has(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="none of the released lists"):
        read_official_lists(tmp_path / "EPIC_100_validation.csv", tmp_path)
    lists = read_official_lists(write_lists(tmp_path) / "EPIC_100_validation.csv", None)
    path = tmp_path / "rows.csv"
    path.write_text(
        "narration_id,video_id,start_timestamp,stop_timestamp,verb_class,noun_class\na,v,1,2,0,0\nb,v,1,2,5,1\n"
    )
    with pytest.raises(DataFileError, match="b: verb class 5 is none of the 5"):
        lists.check(path, read_segments(path))
    (tmp_path / "fho_lta_taxonomy.json").write_text(json.dumps({"verbs": TAXONOMY["verbs"]}))
    with pytest.raises(DataFileError, match="no lists of texts"):
        read_official_lists(tmp_path / "fho_lta_val.json", None)


def challenge_reference(scores: Any, labels: Any, tail: Any, unseen: Any) -> dict[str, dict[str, float]]:
    """Group -> task -> mean top-5 recall, from scores [N, classes] by task, clip by clip and class by class."""
    found: dict[str, dict[str, float]] = {"overall": {}, "unseen": {}, "tail": {}}
    for task, values in scores.items():
        chosen = {"overall": [True] * len(unseen), "unseen": unseen, "tail": tail[task]}
        for group, members in chosen.items():
            by_class: dict[int, list[bool]] = {}
            for row, label, member in zip(values, labels[task], members, strict=True):
                if member:
                    best = sorted(range(len(row)), key=lambda place, row=row: -row[place])[:5]
                    by_class.setdefault(int(label), []).append(int(label) in best)
            found[group][task] = 100 * float(np.mean([np.mean(hits) for hits in by_class.values()]))
    return found


def test_groups_are_those_of_the_challenge() -> None:
    """200 clips of 12 verbs and 15 nouns; two clips are of an action that training lacks, and count as wrong."""
    random = np.random.default_rng(7)
    verb, noun = random.integers(0, 12, 200), random.integers(0, 15, 200)
    actions = sorted({(int(v), int(n)) for v, n in zip(verb[2:], noun[2:], strict=True)})
    verb[:2], noun[:2] = next((v, n) for v in range(12) for n in range(15) if (v, n) not in actions)
    index = {pair: place for place, pair in enumerate([*actions, (int(verb[0]), int(noun[0]))])}
    labels = {"verb": verb, "noun": noun}
    labels["action"] = np.array([index[int(v), int(n)] for v, n in zip(verb, noun, strict=True)])
    counts = {"verb": 12, "noun": 15, "action": len(actions)}
    scores = {task: random.normal(size=(200, count)).astype(np.float32) for task, count in counts.items()}
    lists = OfficialLists(files=("x",), tail={"verb": frozenset({3, 9, 11}), "noun": frozenset(range(6, 15))})
    tails = [lists.tail_tasks({"verb": int(v), "noun": int(n)}) for v, n in zip(verb, noun, strict=True)]
    tail = {task: np.array([one[task] for one in tails]) for task in counts}
    assert (tail["action"] == (np.isin(verb, [3, 9, 11]) | (noun >= 6))).all()
    unseen = random.random(200) < 0.2
    log = PredictionLog(top=3)
    as_tensors = [{task: torch.tensor(values[task]) for task in counts} for values in (scores, labels)]
    log.add(range(200), as_tensors[0], as_tensors[1])
    arrays = {**log.rows[0], "video": np.zeros(200, np.int32), "unseen_participant": unseen}
    arrays |= {f"tail_{task}": members for task, members in tail.items()}
    arrays |= {f"classes_{task}": np.arange(count) for task, count in counts.items()}
    models = [
        ModelOfRun(
            arm="none",
            seed=seed,
            name="none",
            run="r",
            chosen_by={},
            final={},
            splits={"val_start": Predictions(arrays=arrays, video_ids=["v"], train_video_ids=[])},
        )
        for seed in (0, 1)
    ]
    runs = {"r": {"data": {"official_lists": ["x"], "validation": {"start": {"rows": 207}}}}}
    found = official_of(LoadedStudy(runs=runs, models=models), "val_start")
    assert found is not None and (found["annotated"], found["measured"]) == (207, 200)
    expected = challenge_reference(scores, labels, tail, unseen)
    assert len(found["rows"]) == 9
    for row in found["rows"]:
        assert row["mean top-5 recall"] == pytest.approx(expected[row["group"]][row["task"]]), row
    sizes = {(row["group"], row["task"]): row["clips"] for row in found["rows"]}
    assert sizes["overall", "verb"] == 200 and sizes["unseen", "noun"] == unseen.sum()
    assert sizes["tail", "action"] == tail["action"].sum() > sizes["tail", "verb"]


@pytest.fixture(scope="module")
def epic_run(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on EPIC's released layout; P02 is unseen, verb 4 and noun 7 are of the tail, (4, 7) is not in training."""
    root = tmp_path_factory.mktemp("epic")
    write_epic_annotations(root, study.root / "actions.csv", extra="a5,P02_01,00:00:03.20,00:00:03.60,4,7,close box\n")
    write_lists(root)
    config = study.config(root / "run", dataset_train=str(root / "EPIC_100_train.csv"))
    config["experiment"]["data"] |= {
        "dataset_val": str(root / "EPIC_100_validation.csv"), "keep_unseen_classes": True,
    }  # fmt: skip
    config["arms"] = ["none", "estimated"]
    train(config, overrides=["experiment.optimization.num_epochs=1"])
    return root


def test_a_report_has_the_official_groups_and_names_of_classes(epic_run: Path, tmp_path: Path) -> None:
    document = report([epic_run / "run"], output=tmp_path, k=1)
    official = document["official"]
    assert (official["annotated"], official["measured"]) == (6, 6)
    sizes = {(r["group"], r["task"]): (r["clips"], r["classes"]) for r in official["rows"] if r["arm"] == "none"}
    assert sizes["overall", "action"] == (6, 4) and sizes["unseen", "action"] == (2, 2)
    assert sizes["tail", "verb"] == (3, 1) and sizes["tail", "noun"] == (2, 1) and sizes["tail", "action"] == (4, 3)
    rows = {(r["arm"], r["group"], r["task"]): r["mean top-5 recall"] for r in official["rows"]}
    assert rows["none", "overall", "action"] == pytest.approx(75), "three of four actions are among three; one never"
    assert rows["none", "unseen", "action"] == pytest.approx(50)
    page = (tmp_path / "report.html").read_text()
    assert "Official protocol" in page and "EPIC_100_tail_verbs.csv" in page and "6 of\n6 annotated" in page
    assert {row["class"] for row in document["class_gains"]} <= {
        "0 take", "4 close", "3 thing:3", "7 thing:7", "[0, 3] take thing:3", "[0, 7] take thing:7",
        "[4, 3] close thing:3",
    }  # fmt: skip
    assert (tmp_path / "official.csv").read_text().startswith("arm,task,group,clips,classes,mean top-5 recall")


def test_without_lists_the_report_has_no_official_groups(study: Study, tmp_path: Path) -> None:
    config = study.config(tmp_path / "run")
    train(config, overrides=["experiment.optimization.num_epochs=1"])
    assert report([tmp_path / "run"], output=tmp_path / "report")["official"] is None
    assert "Official protocol" not in (tmp_path / "report" / "report.html").read_text()


def test_a_folder_of_lists_is_named_in_the_config(study: Study, tmp_path: Path) -> None:
    path = write(tmp_path, study.config(tmp_path / "run"))
    lists = [f"experiment.data.official_lists={write_lists(tmp_path / 'lists')}"]
    done = run_cli("train", "--config", str(path), "--dry-run", "--json", *lists)
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["data"]["official_lists"] == [
        "EPIC_100_verb_classes.csv", "EPIC_100_noun_classes_v2.csv", "EPIC_100_tail_verbs.csv",
        "EPIC_100_tail_nouns.csv", "EPIC_100_unseen_participant_ids_validation.csv",
    ]  # fmt: skip
    failed = run_cli("train", "--config", str(path), "--dry-run", f"experiment.data.official_lists={tmp_path}")
    assert failed.exit_code == 2 and "none of the released lists" in failed.stderr


def write(folder: Path, config: dict[str, Any]) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    return path
