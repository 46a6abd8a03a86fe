"""`fusion: gaze_tokens` on V-JEPA 2.1: places and widths with one and four levels, what learns, saved and resumed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from gazetools.trainer import train
from gazetools.trainer.learn.trunk import Trunk, build_trunks
from gazetools.trainer.models.build import load_pretrained
from gazetools.trainer.plan.arms import plan_learners
from gazetools.trainer.plan.config import load_config
from gazetools.trainer.processes.world import World
from tests.helpers.runs import Listener, assert_same, final_state
from tests.trainer.test_gaze_tokens import SIZE, store, with_tokens
from tests.trainer.test_vjepa21_runs import TEACHER, D, as_2_1

__all__ = ["store"]  # a fixture: tokens of 3 x 3 cells with 5 channels

FRAMES, STEPS, CELLS = 4, 2, 4
"""Of a clip: frames, time steps, patches of a step."""


def build(tiny: dict[str, Any], store: Path, *, levels: int, **predictor: Any) -> Trunk:
    values = with_tokens(as_2_1(tiny, levels=levels, depth=4), store, ["gaze_tokens"])
    values["model_kwargs"]["pretrain_kwargs"]["predictor"] |= predictor
    values["experiment"]["optimization"]["train"] = "heatmap"
    config = load_config(values)
    (trunk,) = build_trunks(plan_learners(config), load_pretrained(config), {"action": 4}, 5, world=World())
    return trunk


def batch(levels: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Tokens of two clips as the encoder gives them, seconds, and scene tokens."""
    generator = torch.Generator().manual_seed(0)
    context = torch.randn(2, STEPS * CELLS, levels * D, generator=generator)
    scene = torch.randn(2, FRAMES, SIZE[0], math.prod(SIZE), generator=generator)
    return context, torch.tensor([0.5, 1.0]), scene


@pytest.mark.parametrize("levels", [1, 4])
def test_scene_tokens_condition_the_later_predictor(tiny: dict[str, Any], store: Path, levels: int) -> None:
    trunk = build(tiny, store, levels=levels)
    wrapper, (context, seconds, scene) = trunk.wrapper, batch(levels)
    assert wrapper.predictor is not None
    torch.manual_seed(1)
    with torch.no_grad():  # initial weights are so small that nothing reaches the output
        for parameter in wrapper.predictor.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=parameter.shape[-1] ** -0.5)
    made = wrapper.anticipate(context, seconds, scene, with_context=True)
    width = TEACHER if levels == 1 else levels * D
    assert made.predicted is not None and made.context is not None
    assert made.predicted.shape == (2, CELLS, width) and made.context.shape == (2, STEPS * CELLS, width)
    assert made.tokens.shape == (2, STEPS * CELLS + CELLS, D), "the last level, observed and predicted"
    none = wrapper.anticipate(context, seconds).tokens
    for other in (torch.zeros_like(scene), scene.flip(1), scene.unflatten(3, SIZE).flip(2).flatten(3)):
        assert float((wrapper.anticipate(context, seconds, other).tokens - made.tokens).detach().abs().max()) > 0.01
    assert float((none - made.tokens).detach().abs().max()) > 0.01

    (made.predicted * torch.randn_like(made.predicted)).sum().backward()
    gradients = {name: p.grad for name, p in wrapper.predictor.named_parameters()}
    new = {name for name in gradients if name.startswith("heatmap_tokens.")}
    assert {name.partition("scales.0.")[2] for name in new} == {
        "norm.weight", "norm.bias", "embed.weight", "embed.bias", "modality",
    }  # fmt: skip
    assert all(gradients[name] is not None and float(gradients[name].abs().max()) > 0 for name in new)
    assert all(grad is None for name, grad in gradients.items() if name not in new), "the rest is frozen"


@pytest.mark.parametrize(("interpolate", "scale"), [(False, 1.0), (True, 15.0)])
def test_their_places_are_scaled_as_the_videos(
    tiny: dict[str, Any], store: Path, interpolate: bool, scale: float
) -> None:
    """2 x 2 patches have the places 0 and 15 of the 16 x 16 that the model was trained with; a cell its middle."""
    trunk = build(tiny, store, levels=4, interpolate_rope=interpolate)
    predictor = trunk.wrapper.predictor
    assert predictor is not None
    maps = predictor._maps(batch(4)[2], torch.arange(STEPS * CELLS).expand(2, -1))
    assert maps is not None
    placed, positions, steps = maps.placed()
    middles = [(cell + 0.5) * 2 / 3 - 0.5 for cell in range(3)]
    expected = [[t, y * scale, x * scale] for t in range(STEPS) for y in middles for x in middles]
    torch.testing.assert_close(positions[0], torch.tensor(expected))
    assert placed.shape == (2, STEPS * 9, 24) and steps.tolist() == [0] * 9 + [1] * 9


@pytest.mark.slow
def test_such_a_run_is_saved_resumed_and_measured_again(tiny: dict[str, Any], store: Path, tmp_path: Path) -> None:
    """In one go and in two to the same bits; the best weights by themselves give the figures of the run."""
    values = with_tokens(as_2_1(tiny, levels=4, depth=4), store, ["gaze_tokens"], heatmap_base_path=None)
    values["experiment"]["optimization"] |= {"num_epochs": 1, "losses": {"jepa": 0.5, "jepa_context": 0.5}}
    whole = train(values)
    parted = [f"folder={tmp_path / 'parted'}"]
    assert train(values, overrides=parted, progress=Listener(signal_after_steps=2)).status == "interrupted"
    assert train(values, overrides=parted).status == "done"
    states = [final_state(tmp_path / name) for name in ("run", "parted")]
    for part in ("predictors", "learners"):
        assert_same(states[0][part], states[1][part], part)
    (trained,) = states[0]["predictors"].values()
    start = load_pretrained(load_config(values)).predictor
    assert not torch.equal(trained["video_mod_embed"], start["video_mod_embed"])
    assert trained["heatmap_tokens.scales.0.embed.weight"].shape == (24, SIZE[1])
    again = [f"classifier_checkpoint={tmp_path / 'run'}", "val_only=true", f"folder={tmp_path / 'val'}"]
    measured = train(values, overrides=again)
    assert measured.final["gaze_tokens"]["val_start"] == whole.final["gaze_tokens"]["val_start"]
