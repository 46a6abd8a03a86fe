"""The real packages wandb (offline) and tensorboard: every logged step is there once, whatever ended the run."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.services import WandbFiles, final_values, recorded_rows, tensorboard_points, wandb_files

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("wandb") is None or importlib.util.find_spec("tensorboard") is None,
        reason="the extras [wandb] and [tensorboard] are not installed: pip install -e '.[wandb,tensorboard]'",
    ),
]

ROOT = Path(__file__).parents[2]


def logged(config: dict[str, Any], **wandb: Any) -> dict[str, Any]:
    """Two arms of 15 steps, of which every second is logged, at both services."""
    config |= {"arms": ["none", "estimated"], "log_every": 2, "checkpoint_every": 3}
    config["experiment"] |= {"wandb": {"enable": True, "project": "gaze", **wandb}, "tensorboard": True}
    config["experiment"]["optimization"] |= {"batch_size": 1, "num_epochs": 3}
    return config


def environment(**values: str) -> dict[str, str]:
    """No key, no settings of this user, and every warning is an error."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")}
    own = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error"}
    return {**kept, **own, "WANDB_MODE": "offline", **values}


def start(config: dict[str, Any], *options: str, **values: str) -> subprocess.Popen[str]:
    path = Path(config["folder"]).with_suffix(".json")
    path.write_text(json.dumps(config))
    command = [sys.executable, "-m", "gazetools", "train", "--config", str(path), *options]
    env = {**environment(**values), "HOME": str(path.parent), "XDG_CONFIG_HOME": str(path.parent)}
    return subprocess.Popen(command, env=env, text=True, stderr=subprocess.PIPE, start_new_session=True)


def finish(child: subprocess.Popen[str], code: int = 0) -> str:
    _, said = child.communicate(timeout=600)
    assert child.returncode == code, said
    return said


def checkpoints(folder: Path) -> int:
    """Step of the last checkpoint; -1 without one."""
    return max((int(path.name.split("-")[1]) for path in folder.glob("checkpoints/step-*")), default=-1)


def assert_all_there_once(folder: Path) -> WandbFiles:
    """Compare both services with the run folder's own records, value by value."""
    expected, found = recorded_rows(folder), wandb_files(folder)
    assert len({step for step in expected if step % 2 == 0}) == 7, "fifteen steps, every second one"
    assert [step for step, _ in found.rows] == sorted(expected), "every step once, in order, over all files"
    for step, values in found.rows:
        assert values == pytest.approx(expected[step], rel=1e-12), step
    points = tensorboard_points(folder)
    finals, last = final_values(folder), max(expected)
    shown: dict[str, list[tuple[int, float]]] = {}
    for step in sorted(expected):
        for name, value in expected[step].items():
            shown.setdefault(name, []).append((step, value))
    shown |= {name: [(last, value)] for name, value in finals.items()}
    assert points.keys() == shown.keys()
    for name, own in shown.items():
        assert [step for step, _ in points[name]] == [step for step, _ in own], name
        assert [v for _, v in points[name]] == pytest.approx([v for _, v in own], rel=1e-6), name  # float32
    assert finals.items() <= found.summary.items()
    assert found.deprecated == "", "W&B counts deprecated calls"
    return found


def test_a_run_of_several_arms_is_one_run_with_verdict_and_report(tiny: dict[str, Any], tmp_path: Path) -> None:
    config = logged(tiny, name="first", group="arms", tags=["a"], notes="b")
    # Hardly trained weights of two seeds rank clips differently, so that there are examples.
    config["arms"] = ["none", {"name": "estimated", "seeds": [5]}]
    config["experiment"]["optimization"]["multihead_kwargs"] = [{"lr": 1e-5}]
    said = finish(start(config))
    found = assert_all_there_once(tmp_path / "run")
    assert "logging stopped" not in said and "deprecat" not in said.lower()
    kept = json.loads((tmp_path / "run" / "wandb_run.json").read_text())
    assert found.ids == [kept["id"]] and kept["finished"] and found.exit_codes == [0]
    assert (found.settings[0]["name"], found.settings[0]["group"]) == ("first", "arms")
    document = json.loads((tmp_path / "run" / "report" / "report.json").read_text())
    assert found.summary["verdict"] == document["primary"]["verdict"] == "saturated"
    assert found.summary["report_text"] == document["primary"]["text"]
    (name, kind, files), pictures = found.artifacts[0], [row["picture"] for row in document["examples"]]
    assert (name, kind) == (f"report-{kept['id']}", "report")
    assert {"report.html", "report.json", "arms.csv"} <= set(files)
    assert pictures and set(pictures) <= set(files)
    assert all((tmp_path / "run" / "report" / picture).read_bytes()[:2] == b"\xff\xd8" for picture in pictures)
    before = wandb_files(tmp_path / "run")
    finish(start(config))
    assert wandb_files(tmp_path / "run") == before, "the same command again sends nothing"


@pytest.mark.parametrize(
    ("number", "group", "code"),
    [
        (signal.SIGKILL, False, -9),  # of this process alone: W&B's own process loses what it had not written
        (signal.SIGKILL, True, -9),  # as a machine that goes down, or Slurm
        (signal.SIGTERM, False, 130),
        (signal.SIGINT, True, 130),  # Ctrl-C reaches W&B's process, too
    ],
    ids=["killed", "killed with W&B", "SIGTERM", "Ctrl-C"],
)
def test_an_interrupted_run_goes_on_as_the_same_run(
    tiny: dict[str, Any], tmp_path: Path, number: signal.Signals, group: bool, code: int
) -> None:
    folder = tmp_path / "run"
    config = logged(tiny)
    for step in (3, 8):  # in the first epoch, and in the second
        child = start(config)
        while checkpoints(folder) < step:
            assert child.poll() is None, finish(child)
            time.sleep(0.01)
        (os.killpg if group else os.kill)(child.pid, number)
        finish(child, code)
        time.sleep(1.0)  # W&B's process ends after this one
    finish(start(config))
    found = assert_all_there_once(folder)
    assert len(found.ids) == 3 and len(set(found.ids)) == 1
    assert found.exit_codes == [None if code < 0 else code] * 2 + [0]


def test_a_finished_training_whose_log_was_cut_off_is_completed(tiny: dict[str, Any], tmp_path: Path) -> None:
    """Killed after its last checkpoint, or trained without W&B: the same command sends what is missing."""
    config = logged(tiny)
    config["experiment"]["wandb"]["enable"] = False
    finish(start(config))
    config["experiment"]["wandb"]["enable"] = True
    finish(start(config))
    found = assert_all_there_once(tmp_path / "run")
    assert found.exit_codes == [0] and "verdict" in found.summary


def test_two_processes_log_once(tiny: dict[str, Any], tmp_path: Path) -> None:
    config = logged(tiny)
    config["experiment"]["optimization"] |= {"num_epochs": 5}  # three steps each
    finish(start(config, "--processes", "2"))
    found = assert_all_there_once(tmp_path / "run")
    assert len(found.ids) == 1 and found.exit_codes == [0]


def test_a_study_is_a_group_of_one_run_per_training_and_one_with_the_verdict(
    tiny: dict[str, Any], tmp_path: Path
) -> None:
    config = {**logged(tiny, name="gaze"), "seeds": 2}
    finish(start(config))
    ids = []
    for seed in (0, 1):
        found = assert_all_there_once(tmp_path / "run" / f"seed_{seed}")
        assert (found.settings[0]["name"], found.settings[0]["group"]) == (f"gaze-seed_{seed}", "gaze")
        assert found.exit_codes == [0]
        ids += found.ids
    whole = wandb_files(tmp_path / "run")
    assert (whole.settings[0]["name"], whole.settings[0]["group"]) == ("gaze-report", "gaze")
    assert whole.settings[0]["job_type"] == "report" and whole.rows == [] and whole.exit_codes == [0]
    assert whole.summary["verdict"] == "saturated" and whole.summary["report_seeds"] == 2
    assert len({*ids, *whole.ids}) == 3
    finish(start(config))
    assert wandb_files(tmp_path / "run") == whole, "the same command again sends nothing"


def test_disabled_by_the_environment_sends_and_writes_nothing(tiny: dict[str, Any], tmp_path: Path) -> None:
    config = logged(tiny)
    config["experiment"]["optimization"]["num_epochs"] = 1
    said = finish(start(config, WANDB_MODE="disabled"))
    assert not list((tmp_path / "run").glob("wandb*")) and "logging stopped" not in said
    assert not list(tmp_path.rglob("*.wandb"))


def test_without_a_key_a_run_is_offline(tiny: dict[str, Any], tmp_path: Path) -> None:
    config = logged(tiny)
    config["experiment"]["optimization"]["num_epochs"] = 1
    finish(start(config, WANDB_MODE="online", NETRC=str(tmp_path / "none")))
    assert len(list((tmp_path / "run" / "wandb").glob("offline-run-*"))) == 1


def test_a_server_that_does_not_answer_ends_no_training(tiny: dict[str, Any], tmp_path: Path) -> None:
    config = logged(tiny)
    config["experiment"]["optimization"]["num_epochs"] = 1
    closed = {"WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": "0" * 40, "WANDB_INIT_TIMEOUT": "5"}
    said = finish(start(config, WANDB_MODE="online", **closed))
    assert said.count("W&B logging stopped") == 1
    assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "done"
