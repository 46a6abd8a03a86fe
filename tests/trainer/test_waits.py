"""Nothing in a step or in measuring waits for the device per trunk or learner; the numbers are those of before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gazetools.schemas.errors import UsageError
from gazetools.schemas.training_optimization import OptimizationSettings
from gazetools.trainer import train
from gazetools.trainer.data.clips import collate
from gazetools.trainer.learn.forward import encode_future
from gazetools.trainer.learn.learner import Learner
from gazetools.trainer.learn.losses import FutureTokens, build_loss, jepa_loss, task_loss
from gazetools.trainer.learn.trunk import Trunk, build_trunks
from gazetools.trainer.measure import split
from gazetools.trainer.models.build import load_pretrained
from gazetools.trainer.models.predictor import Predicted
from gazetools.trainer.models.wrapper import Anticipation
from gazetools.trainer.plan.arms import plan_learners
from gazetools.trainer.plan.config import load_config
from gazetools.trainer.processes.world import World
from tests.helpers.models import build_model
from tests.trainer.conftest import Study
from tests.trainer.test_jepa import JEPA, make_dataset, numbered
from tests.trainer.test_scale import Reads

CLASSES = {"verb": 2, "noun": 2, "action": 3}
FUSIONS: list[Any] = ["none", *({"name": name, "fusion": name} for name in ("interleave", "add", "cross_attention"))]


def make_trunks(study: Study, tmp_path: Path) -> list[Trunk]:
    values = {**study.config(tmp_path), "arms": [*FUSIONS, {"name": "biased", "fusion": "attention_bias"}]}
    values["model_kwargs"]["pretrain_kwargs"]["predictor"]["heatmap_dropout"] = 0.5
    config = load_config(values, [JEPA])
    return build_trunks(plan_learners(config), load_pretrained(config), CLASSES, 5, world=World())


def test_a_step_reads_no_value_of_the_device(study: Study, tmp_path: Path) -> None:
    """On the meta device there are none to read: looking for the true ones of a mask, or for a maximum, raises.

    test_scale.py watches what the learners do with it.
    """
    meta = torch.device("meta")
    for trunk in make_trunks(study, tmp_path):
        trunk.wrapper.to(meta)
        tokens = torch.empty(2, 32, 24, device=meta)
        maps = {"heatmap": torch.empty(2, 4, 32, 32, device=meta)}
        seconds = torch.tensor([0.6, 1.1], dtype=torch.float64)
        made = trunk.anticipate(tokens, seconds, maps, training=True)
        future = FutureTokens(tokens=torch.empty(2, 16, 24, device=meta), known=torch.tensor([1]).to(meta))
        jepa = trunk.jepa(made, tokens, future)
        assert jepa is not None and jepa.shape == (1,) and jepa.requires_grad
        jepa.sum().backward()
    with pytest.raises((RuntimeError, NotImplementedError)):
        tokens[tokens > 0]  # what would wait on a GPU


def test_the_reach_of_a_prediction_is_known_without_reading_it(study: Study, tmp_path: Path) -> None:
    """The wrapper's figure is the predictor's own, and too far is refused with the same words."""
    wrapper = build_model(load_config(study.config(tmp_path))).wrapper
    predictor, messages = wrapper.predictor, []
    assert predictor is not None
    true, given = predictor.predict, []

    def watched(*arguments: Any, **settings: Any) -> Predicted:
        times = settings.pop("times")
        given.append(times.last_step)
        outputs = []
        for last_step in (times.last_step, None):
            try:
                outputs.append(true(*arguments, **settings, times=replace(times, last_step=last_step)))
            except UsageError as error:
                messages.append(str(error))
        if len(outputs) < 2:
            raise UsageError("refused")
        assert torch.equal(outputs[0].targets, outputs[1].targets)
        return outputs[0]

    predictor.predict = watched  # type: ignore[method-assign]
    tokens = wrapper.encode(torch.randn(2, 3, 4, 32, 32))
    wrapper.anticipate(tokens, torch.tensor([0.3, 0.9], dtype=torch.float64))
    assert given[0] == pytest.approx(2 + 0.9 * 4 / 2, abs=1.0) and not messages
    for seconds in (3.5, 2.6):
        with pytest.raises(UsageError):
            wrapper.anticipate(tokens, torch.tensor([0.3, seconds], dtype=torch.float64))
    assert len(messages) == 4 and messages[0] == messages[1] and messages[2] == messages[3]
    assert "reaches time step" in messages[0] and messages[0] != messages[2]


@pytest.mark.parametrize("known", [[True] * 5, [False] * 5, [True, False, True, True, False], [False] * 4 + [True]])
def test_the_loss_of_known_futures_has_the_bits_of_a_mask(study: Study, tmp_path: Path, known: list[bool]) -> None:
    """Loss, its sum, and the gradient of what is predicted."""
    trunk = make_trunks(study, tmp_path)[1]
    dataset = make_dataset(study, tmp_path, numbered(), future_frames=2)
    batch = replace(collate([dataset[0]] * 5), future_known=torch.tensor(known))
    future = encode_future(trunk.wrapper, batch, torch.device("cpu"))
    assert future is not None
    start = torch.randn(5, 48, 24, generator=torch.Generator().manual_seed(1))
    contexts = [start.clone().requires_grad_() for _ in range(2)]
    made = Anticipation(tokens=contexts[0], predicted=contexts[0][:, -16:])
    found = trunk.jepa(made, torch.zeros(5, 32, 24), future)
    expected = jepa_loss(contexts[1][:, -16:], future.tokens)[torch.tensor(known)]
    assert found is not None and torch.equal(found, expected) and torch.equal(found.sum(), expected.sum())
    for loss in (found, expected):
        (3 * loss.sum()).backward()
    assert contexts[0].grad is not None and contexts[1].grad is not None
    assert torch.equal(contexts[0].grad, contexts[1].grad)


@pytest.mark.parametrize("focal", [True, False])
@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [0, 7, 2, 4], [9, 9, 9, 9]])
def test_the_loss_of_known_labels_has_the_bits_of_a_mask(focal: bool, labels: list[int]) -> None:
    loss = build_loss(OptimizationSettings(use_focal_loss=focal))
    random = torch.Generator().manual_seed(0)
    logits = {"verb": torch.randn(4, 4, generator=random), "action": torch.randn(4, 12, generator=random)}
    truth = {"verb": torch.tensor(labels), "action": torch.tensor(labels)}
    places = split._known_places(truth, {"verb": 4, "action": 12}, torch.device("cpu"))
    assert set(places) == ({"verb"} if max(labels) > 3 else set()), "no places where all are known"
    assert torch.equal(task_loss(loss, logits, truth, known=places), task_loss(loss, logits, truth))


def test_measuring_waits_once_per_batch_for_all_learners(
    study: Study, many: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a validation label is no class of training, and where predictions are logged."""
    rows = (
        (study.root / "actions.csv").read_text().replace("a4,P02_01,00:00:02.50,00:00:03.00,0,3", "a4,P02_01,2.5,3,8,9")
    )
    unseen = Path(many["folder"]).parent / "unseen.csv"
    unseen.write_text(rows)
    many["experiment"]["data"]["dataset_val"] = str(unseen)
    many["experiment"]["data"]["keep_unseen_classes"] = True
    reads, told, batches = Reads(), [], []
    methods = {name: getattr(Learner, name) for name in ("judge", "predict")}
    for method in methods:

        def watched(self: Any, *arguments: Any, name: str = method, **settings: Any) -> Any:
            with reads:
                return methods[name](self, *arguments, **settings)

        monkeypatch.setattr(Learner, method, watched)
    read, judge = split.read_tensors, split._judge
    monkeypatch.setattr(split, "read_tensors", lambda tensors: told.append(len(tensors)) or read(tensors))

    def per_batch(*arguments: Any) -> None:
        batches.append(len(arguments[1].clips))
        judge(*arguments)

    monkeypatch.setattr(split, "_judge", per_batch)
    result = train(many, overrides=["experiment.optimization.num_epochs=1"])
    assert reads.count == 0 and len(told) == len(batches) > 4
    learners = len(plan_learners(load_config(many)))
    assert set(told) == {4 * learners, 7 * learners}, "loss and three tasks; at the end also the scores of three"
    assert "unfiltered" in str(result.final)
