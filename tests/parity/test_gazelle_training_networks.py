"""What learns of each family: written files, low-rank changes, gradients, bfloat16, batches without in-frame heads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import gazetools
from gazetools.schemas.finetune_learning import GazeLossSettings
from gazetools.schemas.finetune_model import FinetuneModel, LoraSettings
from gazetools.trainer.finetune.gaze_network import GazeNetwork, NetworkInputs
from gazetools.trainer.finetune.lora import LoraLinear
from gazetools.trainer.finetune.map_losses import gaze_loss
from gazetools.trainer.finetune.networks import open_network
from tests.parity import test_gazelle_training_steps as recorded

NO_DROPS: dict[str, Any] = {"drop_path": 0, "inout_dropout": 0}
FILES: dict[str, Any] = {golden.name: golden for golden in recorded.STEPS}
EVERY_FAMILY = pytest.mark.parametrize("golden", FILES.values(), ids=FILES)


def opened(golden: Any, folder: Path, **changes: Any) -> tuple[GazeNetwork, NetworkInputs]:
    """The recorded weights as a network with other settings, and inputs of the recorded heads."""
    network, base = recorded.network_of(golden, folder)
    inputs = recorded.inputs_of(golden, network, base)[0]
    torch.manual_seed(0)
    return open_network(FinetuneModel(name=str(folder / "recorded.safetensors"), **{**NO_DROPS, **changes})), inputs


def trained(network: GazeNetwork, inputs: NetworkInputs, steps: int = 3) -> None:
    """Move the weights far enough that a change that is not written, or not merged, shows."""
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        network(inputs).maps.square().mean().backward()
        optimizer.step()


@EVERY_FAMILY
@pytest.mark.parametrize("trains", ["decoder", "lora", "tower"])
def test_a_written_file_says_what_the_network_says(golden: Any, trains: str, tmp_path: Path) -> None:
    network, inputs = opened(golden, tmp_path, trains=trains, lora=LoraSettings(rank=2, layers="all"))
    before = network.eval()(inputs).maps.detach()
    trained(network.train(), inputs)
    with torch.no_grad():
        expected = network.eval()(inputs)
    assert (expected.maps - before).abs().max() > 1e-3
    network.write_weights(tmp_path / "written.safetensors")
    again = open_network(FinetuneModel(name=str(tmp_path / "written.safetensors"))).eval()
    assert not any(isinstance(module, LoraLinear) for module in again.modules())
    with torch.no_grad():
        found = again(inputs)
    torch.testing.assert_close(found.maps, expected.maps, atol=2e-5, rtol=1e-5)
    if expected.inout is not None:
        torch.testing.assert_close(found.inout, expected.inout, atol=2e-5, rtol=1e-5)
    assert gazetools.load_model(str(tmp_path / "written.safetensors"), device="cpu") is not None


@EVERY_FAMILY
def test_low_rank_changes_begin_as_none_and_alone_learn_in_the_tower(golden: Any, tmp_path: Path) -> None:
    plain, inputs = opened(golden, tmp_path)
    adapted, _ = opened(golden, tmp_path, trains="lora")
    with torch.no_grad():
        assert torch.equal(plain.eval()(inputs).maps, adapted.eval()(inputs).maps)
    adapted.train()(inputs).maps.sum().backward()
    learns = {name for name, p in adapted.named_parameters() if name.startswith("tower") and p.grad is not None}
    assert learns and all(name.endswith((".down", ".up")) for name in learns)
    adapters = [module for module in adapted.modules() if isinstance(module, LoraLinear)]
    assert len(learns) == 2 * len(adapters)  # each is really computed with


@EVERY_FAMILY
def test_kept_features_give_the_same_answer(golden: Any, tmp_path: Path) -> None:
    network, inputs = opened(golden, tmp_path)
    features = network.features(inputs)
    assert not features.pictures.requires_grad
    assert torch.equal(network.answer(inputs, features, "logits").maps, network(inputs).maps)


@EVERY_FAMILY
def test_a_batch_without_an_in_frame_head_has_loss_and_gradients_of_zero(golden: Any, tmp_path: Path) -> None:
    network, inputs = opened(golden, tmp_path)
    answer = network(inputs)
    outside = torch.zeros(len(answer.maps), dtype=torch.bool)
    loss = gaze_loss(answer, torch.rand_like(answer.maps), outside, GazeLossSettings(domain="logits", inout_weight=1))
    assert loss.heatmap == 0
    loss.total.backward()
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients)


@EVERY_FAMILY
def test_gradients_are_slopes(golden: Any, tmp_path: Path) -> None:
    network, inputs = opened(golden, tmp_path, trains="tower")

    def loss() -> torch.Tensor:
        return network(inputs).maps.square().mean()

    loss().backward()
    torch.manual_seed(1)
    step, along, moves = 1e-2, 0.0, {}
    for name, parameter in network.named_parameters():
        if parameter.grad is not None:
            moves[name] = torch.randn_like(parameter) * parameter.abs().mean().clamp_min(1e-3)
            along += float((moves[name] * parameter.grad).sum())
    values = []
    with torch.no_grad():
        for sign in (1, -2):
            for name, parameter in network.named_parameters():
                if name in moves:
                    parameter.add_(moves[name], alpha=sign * step)
            values.append(float(loss()))
    assert (values[0] - values[1]) / (2 * step) == pytest.approx(along, rel=2e-2)


@EVERY_FAMILY
def test_bfloat16_products_are_near_and_train(golden: Any, tmp_path: Path) -> None:
    network, inputs = opened(golden, tmp_path, trains="tower")
    exact = network(inputs).maps.detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        near = network(inputs)
    assert near.maps.dtype == torch.float32
    assert (near.maps - exact).abs().max() < 0.05 * exact.abs().max()
    inside = torch.ones(len(exact), dtype=torch.bool)
    gaze_loss(near, torch.rand_like(exact), inside, GazeLossSettings(domain="logits")).total.backward()
    for name, parameter in network.named_parameters():
        if parameter.grad is not None:
            assert parameter.dtype == torch.float32 and bool(torch.isfinite(parameter.grad).all()), name
