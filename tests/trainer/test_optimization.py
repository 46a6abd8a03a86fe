"""Steps of the optimizer: accumulated batches, clipping, dropped heatmaps after a resume, memory that runs out."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from gazetools.schemas.errors import FaultError
from gazetools.trainer import train
from gazetools.trainer.learn.loop import Loop
from tests.helpers.runs import Listener, final_state, lines
from tests.trainer.conftest import Study


def test_accumulated_batches_give_the_gradient_of_one_large_batch(tiny: dict[str, Any], tmp_path: Path) -> None:
    for focal in (True, False):
        found = []
        for size, accumulated in ((4, 1), (2, 2), (1, 4)) if focal else ((4, 1), (1, 4)):
            folder = tmp_path / f"{focal}{size}"
            keys = {"batch_size": size, "accumulation_steps": accumulated, "use_focal_loss": focal, "clip_grad_norm": 1}
            train(
                {**copy.deepcopy(tiny), "folder": str(folder)},
                overrides=[f"experiment.optimization.{key}={value}" for key, value in keys.items()],
            )
            found.append([line["loss"] for line in lines(folder / "steps" / "epoch_0001.jsonl")])
        assert len(found[0]) == 2  # five clips in steps of four
        # float32 sums in another order
        for other in found[1:]:
            assert other == pytest.approx(found[0], rel=1e-4)


def test_clipping_bounds_the_gradient(tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    norms = []
    step = torch.optim.AdamW.step

    def spy(self: Any, *arguments: Any) -> Any:
        gradients = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        norms.append(float(torch.nn.utils.get_total_norm(gradients)))
        return step(self, *arguments)

    monkeypatch.setattr(torch.optim.AdamW, "step", spy)
    train(tiny, overrides=["experiment.optimization.clip_grad_norm=0.01", "experiment.optimization.num_epochs=1"])
    assert norms and max(norms) <= 0.01 * 1.001


@pytest.mark.slow
def test_dropped_heatmaps_are_drawn_again_after_a_resume(
    study: Study, tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one draw that is no function of the clip: without its saved state a resumed run differs."""
    override = ["model_kwargs.pretrain_kwargs.predictor.heatmap_dropout=0.5"]
    train(tiny, overrides=override)
    whole = final_state(tmp_path / "run")
    for restores in (True, False):
        folder = tmp_path / f"stopped{restores}"
        config = study.config(folder)
        train(config, overrides=override, progress=Listener(signal_after_steps=2))
        if not restores:
            original = Loop.restore

            def forgetful(self: Loop, state: Any, original: Any = original) -> None:
                fresh = {trunk.name: torch.Generator().manual_seed(99).get_state() for trunk in self.trunks}
                original(self, {**state, "processes": [{**part, "dropout": fresh} for part in state["processes"]]})

            monkeypatch.setattr(Loop, "restore", forgetful)
        train(config, overrides=override)
        same = torch.equal(
            whole["predictors"]["main"]["predictor_proj.weight"],
            final_state(folder)["predictors"]["main"]["predictor_proj.weight"],
        )
        assert same is restores


@pytest.mark.parametrize(
    ("call", "where"),
    [
        ("learn.learner.Learner.learn", "in step 1"),
        ("learn.learner.Learner.end_step", "in step 1"),
        ("measure.split._judge", "measuring validation"),
    ],
)
def test_out_of_memory_names_what_to_change(
    tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch, call: str, where: str
) -> None:
    """In the passes, where the optimizer makes its moments, and in validation."""

    def full(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(f"gazetools.trainer.{call}", full)
    with pytest.raises(FaultError, match=f"{where} with batches of 2 clips") as caught:
        train(tiny)
    assert "accumulation_steps" in str(caught.value) and int(caught.value.exit_code) == 4
