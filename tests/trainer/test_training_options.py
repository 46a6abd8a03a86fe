"""Early stopping, averaged weights and class weights: their formulas, exact resuming, arms as alone, what is named."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import nn

from gazetools.schemas.errors import UsageError
from gazetools.schemas.training_optimization import LOSS_NAMES, OptimizationSettings
from gazetools.schemas.training_options import ClassWeightSettings, EarlyStoppingSettings, EmaSettings
from gazetools.trainer import train
from gazetools.trainer.folder.checkpoints import load_checkpoint
from gazetools.trainer.learn.averaging import WeightAverage, shown
from gazetools.trainer.learn.class_weights import class_weights
from gazetools.trainer.learn.losses import LOSSES, build_loss, register, task_loss
from gazetools.trainer.learn.stopping import EarlyStop
from gazetools.trainer.report.run import report
from tests.helpers.command_line import run_cli
from tests.helpers.runs import Listener, assert_same, final_state, learner_state, lines
from tests.trainer.conftest import Study
from tests.trainer.test_distributed import run_together

OPTIMIZATION = "experiment.optimization"
FAST = {"multihead_kwargs": [{"lr": 1e-2}]}
"""A rate at which the held-out loss of the tiny run rises in the third epoch."""
ALL_ON = [
    f"{OPTIMIZATION}.early_stopping={{patience: 1, min_delta: 0.003}}",
    f"{OPTIMIZATION}.ema={{decay: 0.9}}",
    f"{OPTIMIZATION}.class_weights={{kind: effective_number, beta: 0.9}}",
    "experiment.evaluation.held_out=0.3",
    f"{OPTIMIZATION}.num_epochs=4",
    f"{OPTIMIZATION}.batch_size=1",
]


# Formulas


def test_inverse_frequency_is_scikit_learns_balanced_weight() -> None:
    truth = np.repeat([0, 1, 2], [7, 2, 1])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=truth)
    found = class_weights(ClassWeightSettings(), {"verb": [7, 2, 1]})["verb"]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("beta", "counts", "ratio"),
    [
        (0.0, [9, 1], 1.0),  # one effective sample each
        (0.5, [2, 1], 1.5),  # 1 + 1/2 effective samples against 1
        (0.9999999, [9, 1], 9.0),  # the limit is inverse frequency
    ],
)
def test_effective_numbers(beta: float, counts: list[int], ratio: float) -> None:
    """By hand: n samples count as 1 + beta + ... + beta^(n-1)."""
    settings = ClassWeightSettings(kind="effective_number", beta=beta)
    often, rare = class_weights(settings, {"a": counts})["a"].tolist()
    assert rare / often == pytest.approx(ratio, rel=1e-5)
    assert (often * counts[0] + rare * counts[1]) / sum(counts) == pytest.approx(1), "the loss keeps its size"


def test_a_class_without_training_clips_has_no_weight() -> None:
    assert class_weights(ClassWeightSettings(), {"a": [2, 0, 2]})["a"].tolist() == [1, 0, 1]


@pytest.mark.parametrize("focal", [True, False])
def test_a_weight_of_two_counts_a_clip_twice(focal: bool) -> None:
    loss = build_loss(OptimizationSettings(use_focal_loss=focal))
    logits, labels = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([1, 3, 1])
    weights = {"action": torch.tensor([0.0, 1.0, 0.0, 2.0])}
    weighed = task_loss(loss, {"action": logits}, {"action": labels}, weights) * (3 if loss.is_mean else 1)
    twice = [0, 1, 1, 2]
    plain = task_loss(loss, {"action": logits[twice]}, {"action": labels[twice]}) * (4 if loss.is_mean else 1)
    assert float(weighed) == pytest.approx(float(plain), rel=1e-6)


def test_the_average_follows_its_formula_and_changes_places_with_the_weights() -> None:
    weight = nn.Parameter(torch.zeros(2))
    average, expected = WeightAverage(EmaSettings(decay=0.4), [weight]), [0.0, 0.0]
    for step, value in enumerate(([1.0, 4.0], [2.0, 8.0], [5.0, -1.0], [3.0, 3.0], [0.5, 0.0]), start=1):
        weight.data = torch.tensor(value)
        average.update()
        kept = 0.0 if step == 1 else min(0.4, (1 + step) / (10 + step))
        expected = [kept * old + (1 - kept) * new for old, new in zip(expected, value, strict=True)]
    with shown([average, None], average=True):
        assert weight.tolist() == pytest.approx(expected)
        read_before = weight.detach()
        with shown([average], average=False):  # as when the state is saved while something is measured
            assert weight.tolist() == [0.5, 0.0]
            assert average.state()["average"][0].tolist() == pytest.approx(expected)
        assert weight.tolist() == pytest.approx(expected)
    assert weight.tolist() == [0.5, 0.0]
    assert read_before.tolist() == pytest.approx(expected), "what was read keeps its values"


def test_before_the_first_step_there_is_no_average() -> None:
    weight = nn.Parameter(torch.ones(1))
    with shown([WeightAverage(EmaSettings(), [weight])], average=True):
        assert weight.tolist() == [1.0]


@pytest.mark.parametrize(
    ("patience", "min_delta", "losses", "ends"),
    [
        (1, 0.0, [1.0, 0.9, 0.9], [False, False, True]),  # as low as the lowest is not lower
        (2, 0.0, [1.0, 1.1, 0.9, 1.0, 1.0], [False, False, False, False, True]),  # waiting begins again
        (1, 0.2, [1.0, 0.9], [False, True]),  # too small to count
        (1, 0.2, [1.0, 0.7, 0.4], [False, False, False]),
    ],
)
def test_when_a_model_ends(patience: int, min_delta: float, losses: list[float], ends: list[bool]) -> None:
    stop = EarlyStop(settings=EarlyStoppingSettings(patience=patience, min_delta=min_delta))
    assert [stop.ends(loss) for loss in losses] == ends


# Runs


def test_what_is_kept_and_measured_is_the_average(tiny: dict[str, Any], tmp_path: Path) -> None:
    train(tiny, overrides=[f"{OPTIMIZATION}.ema={{decay: 0.5}}", f"{OPTIMIZATION}.num_epochs=1"])
    state, best = final_state(tmp_path / "run"), load_checkpoint(tmp_path / "run" / "checkpoints" / "best" / "main")
    learner = state["learners"]["main"]
    assert learner["average"]["updates"] == 3
    raw = [value for name, value in learner["probe"].items()]
    kept = [value for name, value in best["probe"].items()]
    assert_same(learner["average"]["average"][: len(kept)], kept, "probe")
    assert not torch.equal(torch.cat([v.flatten() for v in raw]), torch.cat([v.flatten() for v in kept]))
    trained = learner["average"]["average"][len(kept) :]
    assert sum(any(torch.equal(value, other) for other in best["predictor"].values()) for value in trained) == len(
        trained
    ), "the predictor's trained part, too"
    train(copy.deepcopy(tiny) | {"folder": str(tmp_path / "plain")}, overrides=[f"{OPTIMIZATION}.num_epochs=1"])
    plain = final_state(tmp_path / "plain")["learners"]["main"]
    assert_same(plain["probe"], learner["probe"], "an average changes no step")


@pytest.mark.slow
def test_each_arm_ends_by_its_own_loss_and_equals_its_run_alone(many: dict[str, Any], tmp_path: Path) -> None:
    many["arms"] = ["none", "estimated", {"name": "frozen", "fusion": "cross_attention", "train": "probe"}]
    many["experiment"]["optimization"]["multihead_kwargs"] = [{"lr": 1e-3}, {"lr": 1e-2}]
    together = train(many, overrides=ALL_ON)
    assert together.ended and len(set(together.ended.values())) > 1, "so that one goes on while another has ended"
    assert together.epochs_done == max(together.ended.get(name, 4) for name in together.best_by_learner)
    early = min(together.ended, key=together.ended.__getitem__)
    history = lines(tmp_path / "run" / "metrics.jsonl")
    assert [f"{early}/train_loss" in entry for entry in history] == [
        entry["epoch"] <= together.ended[early] for entry in history
    ]
    for name, arm in (("none.h0", "none"), ("estimated.h1", "estimated"), ("frozen.h0", many["arms"][2])):
        alone = copy.deepcopy(many) | {"arms": [arm], "folder": str(tmp_path / name)}
        result = train(alone, overrides=[*ALL_ON, f"{OPTIMIZATION}.head={name[-1]}"])
        short = name.split(".")[0]
        assert result.ended.get(short) == together.ended.get(name)
        pairs = zip(learner_state(tmp_path / "run", name), learner_state(tmp_path / name, short), strict=True)
        for mine, other in pairs:
            counters = (
                "step_losses",
                "step_norms",
                "metrics",
            )  # of the last epoch, in which only the run of several went on
            assert_same(*({k: v for k, v in one.items() if k not in counters} for one in (mine, other)), name)
        for split, values in result.final[short].items():
            mine = {key: value for key, value in together.final[name][split].items() if key in values}
            assert mine == {key: values[key] for key in mine}


@pytest.mark.parametrize("stop_after", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_a_stopped_run_resumes_to_the_bit_with_all_options(
    study: Study, tiny: dict[str, Any], tmp_path: Path, stop_after: int
) -> None:
    tiny["experiment"]["optimization"] |= FAST
    whole_result = train(tiny, overrides=ALL_ON)
    assert whole_result.ended == {"main": 3}
    config = study.config(tmp_path / "stopped")
    config["experiment"]["optimization"] |= FAST
    assert train(config, overrides=ALL_ON, progress=Listener(signal_after_steps=stop_after)).status == "interrupted"
    torch.manual_seed(99)
    resumed = train(config, overrides=ALL_ON)
    assert (resumed.status, resumed.ended) == ("done", whole_result.ended)
    whole, other = final_state(tmp_path / "run"), final_state(tmp_path / "stopped")
    for part in ("predictors", "learners", "position", "counts", "processes"):
        assert_same(whole[part], other[part], part)
    assert resumed.final == whole_result.final
    again = train(config, overrides=ALL_ON)
    assert again.final == resumed.final and again.steps_done == resumed.steps_done, "an ended run is over"


@pytest.mark.slow
def test_two_processes_end_where_one_does_and_resume_to_the_bit(
    study: Study, tiny: dict[str, Any], tmp_path: Path
) -> None:
    tiny["experiment"]["optimization"] |= FAST
    alone = train(tiny, overrides=[*ALL_ON, f"{OPTIMIZATION}.batch_size=2"])
    configs = [study.config(tmp_path / name) for name in ("two", "stopped")]
    for config in configs:
        config["experiment"]["optimization"] |= FAST
    assert run_together(configs[0], ALL_ON) == [0, 0]
    written = json.loads((tmp_path / "two" / "result.json").read_text())
    assert (written["processes"], written["ended"]) == (2, alone.ended)
    for split, values in alone.final["main"].items():
        assert written["final"]["main"][split] == pytest.approx(values, rel=1e-3)
    assert run_together(configs[1], ALL_ON, stop_after=2) == [130, 130]
    assert run_together(configs[1], ALL_ON) == [0, 0]
    whole, other = final_state(tmp_path / "two"), final_state(tmp_path / "stopped")
    for part in ("predictors", "learners", "position", "processes"):
        assert_same(whole[part], other[part], part)


def test_what_is_on_is_named_in_plan_result_and_report(tiny: dict[str, Any], tmp_path: Path) -> None:
    tiny["arms"] = ["none", "estimated"]
    tiny["experiment"]["optimization"] |= FAST
    views = "experiment.data.train_views=2"
    planned = train(tiny, overrides=[*ALL_ON, views], dry_run=True)
    train(tiny, overrides=[*ALL_ON, views])
    found = report([tmp_path / "run"], output=tmp_path / "report", k=1, examples=0)
    wanted = ("Fixed-view augmentation (train_views: 2)", "Early stopping: a model ends after 1 epoch",
              "Averaged weights (ema, decay 0.9)", "Class weights (effective_number, beta 0.9)")  # fmt: skip
    page = (tmp_path / "report" / "report.html").read_text()
    notes = json.loads((tmp_path / "run" / "result.json").read_text())["notes"]
    for text in wanted:
        assert any(text in note for note in planned.notes) and any(text in note for note in notes), text
        assert any(text in line for line in found["training_options"]) and text in page, text
    assert any("Ended early in" in line for line in found["training_options"])


def test_a_plain_run_names_no_option(tiny: dict[str, Any]) -> None:
    assert not [note for note in train(tiny, dry_run=True).notes if "Early" in note or "ema" in note or "views" in note]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("early_stopping={patience: 0}", "'experiment.optimization.early_stopping.patience' = 0"),
        ("early_stopping={}", "evaluation.held_out is 0"),
        ("early_stopping={patient: 2}", "did you mean 'patience'"),
        ("ema={decay: 1}", "must be below 1"),
        ("ema={decay: .nan}", "finite number"),
        ("class_weights={kind: inverse}", "'inverse_frequency' or 'effective_number'"),
        ("class_weights={beta: 1.0}", "must be below 1"),
    ],
)
def test_options_that_cannot_be(override: str, message: str, tiny: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(tiny))
    done = run_cli("train", "--config", str(path), f"{OPTIMIZATION}.{override}", "--dry-run")
    assert done.exit_code == 2 and message in done.stderr


def test_a_loss_from_outside_must_give_the_loss_of_each_clip(tiny: dict[str, Any]) -> None:
    class Plain:
        is_mean = True

        def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            return nn.functional.cross_entropy(logits, labels)

    register("plain", lambda settings: Plain())
    try:
        wanted = [f"{OPTIMIZATION}.loss=plain", f"{OPTIMIZATION}.class_weights={{}}"]
        with pytest.raises(UsageError, match="needs the loss of each clip, which 'plain' does not give"):
            train(tiny, overrides=wanted, dry_run=True)
    finally:
        LOSS_NAMES.remove("plain")
        del LOSSES["plain"]


def test_options_of_labels_need_the_probes_loss(tiny: dict[str, Any]) -> None:
    jepa = f"{OPTIMIZATION}.losses={{classification: 0, jepa: 1}}"
    with pytest.raises(UsageError, match="class_weights needs the probe's loss"):
        train(tiny, overrides=[jepa, f"{OPTIMIZATION}.class_weights={{}}"], dry_run=True)
