"""Every way a heatmap enters the predictor: equality at step 0, sensitivity, gradients, shapes and cost."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from gazetools.schemas.errors import UsageError
from gazetools.schemas.training_model import FUSION_NAMES
from gazetools.trainer.models import fusion as fusions
from gazetools.trainer.models.encoder import VideoEncoder
from gazetools.trainer.models.heatmap_tokens import HeatmapTokens
from gazetools.trainer.models.predictor import VisionTransformerPredictorHeatmap
from gazetools.trainer.models.probe import AttentiveClassifier
from gazetools.trainer.plan.describe import encoder_flops, predictor_flops, probe_flops
from tests.helpers.command_line import run_cli
from tests.trainer.test_models import GRID, STEPS, WIDTH, blob, context, predictor

FUSIONS = ("interleave", "add", "cross_attention", "attention_bias")
SIDE_FUSIONS = FUSIONS[1:]  # those that equal V-JEPA 2 at step 0
VARIANTS: list[dict[str, Any]] = [
    *({"fusion": fusion} for fusion in FUSIONS),
    *({"fusion": fusion, "multiscale": [8, 16, 32]} for fusion in FUSIONS),
    *({"fusion": fusion, "temporal": "conv"} for fusion in FUSIONS),
    *({"fusion": fusion, "heatmap_patch_size": 4} for fusion in FUSIONS),
    {"fusion": "interleave", "temporal": "frame", "multiscale": [8, 32]},
    {"fusion": "cross_attention", "temporal": "frame"},
    {"fusion": "interleave", "heatmap_positions": "own"},
    {"fusion": "cross_attention", "heatmap_positions": "own", "multiscale": [8, 16]},
]
NAMES = ["-".join(str(value) for value in variant.values()).replace(" ", "") for variant in VARIANTS]


def opened(variant: dict[str, Any]) -> VisionTransformerPredictorHeatmap:
    """As after some steps of training: what starts at zero is not zero."""
    model = predictor(**variant)
    if model.heatmap_fusion is not None:
        torch.manual_seed(5)
        with torch.no_grad():
            for parameter in model.heatmap_fusion.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


@pytest.mark.parametrize("settings", [{}, {"temporal": "conv"}, {"multiscale": [8, 16, 32]}])
@pytest.mark.parametrize("fusion", SIDE_FUSIONS)
def test_at_step_0_the_output_is_v_jepa_2s(fusion: str, settings: dict[str, Any]) -> None:
    model = predictor(fusion=fusion, **settings)
    with torch.no_grad():
        plain, conditioned = model(*context()), model(*context(), blob(8, 8))
    # A bias of zeros takes another attention kernel; add and cross_attention are equal to the bit.
    torch.testing.assert_close(conditioned, plain, atol=2e-6 if fusion == "attention_bias" else 0.0, rtol=0)


def test_no_fusion_has_no_heatmap_weights() -> None:
    assert not [name for name in predictor(fusion="none").state_dict() if name.startswith("heatmap")]


@pytest.mark.parametrize("variant", VARIANTS, ids=NAMES)
def test_moving_the_blob_or_its_time_changes_the_output_for_every_length(variant: dict[str, Any]) -> None:
    model = opened(variant)
    x, masks_x, masks_y = context()
    with torch.no_grad():
        for frames in (2 * STEPS, 2 * STEPS - 1, 1):  # even, odd, a single map
            outputs = [model(x, masks_x, masks_y, blob(r, c, frames=frames)) for r, c in ((8, 8), (8, 24), (24, 8))]
            for first, second in itertools.combinations(outputs, 2):
                assert (first - second).abs().max() > 1e-5
        early, late = blob(16, 16), blob(16, 16)
        early[:, 2:], late[:, :-2] = 0, 0
        assert (model(x, masks_x, masks_y, early) - model(x, masks_x, masks_y, late)).abs().max() > 1e-5


@pytest.mark.parametrize("variant", VARIANTS, ids=NAMES)
def test_a_later_target_time_changes_the_output(variant: dict[str, Any]) -> None:
    model = opened(variant)
    offsets = [torch.tensor([value, value]) for value in (0.0, 0.25)]
    with torch.no_grad():
        near, far = (model(*context(), blob(8, 8), target_time_offset=offset) for offset in offsets)
    assert (near - far).abs().max() > 1e-6


@pytest.mark.parametrize("fusion", FUSIONS)
def test_order_of_context_and_of_samples_does_not_matter(fusion: str) -> None:
    """Ids, not places, say where a token is: shuffled context gives the same prediction."""
    model = opened({"fusion": fusion, "multiscale": [8, 16]})
    x, masks_x, masks_y = context()
    heat = torch.cat([blob(8, 8, batch=1), blob(24, 24, batch=1)])
    order = torch.randperm(x.shape[1], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain = model(x, masks_x, masks_y, heat)
        shuffled = model(x[:, order], masks_x[:, order], masks_y, heat)
        swapped = model(x.flip(0), masks_x, masks_y, heat.flip(0)).flip(0)
    torch.testing.assert_close(shuffled, plain, atol=1e-5, rtol=0)
    torch.testing.assert_close(swapped, plain, atol=1e-5, rtol=0)


@pytest.mark.parametrize("variant", VARIANTS, ids=NAMES)
def test_every_heatmap_weight_gets_a_gradient_once_open(variant: dict[str, Any]) -> None:
    model = opened(variant)
    output = model(*context(), blob(8, 8))
    (output * torch.randn_like(output)).sum().backward()
    parameters = {n: p for n, p in model.named_parameters() if n.startswith("heatmap")}
    assert parameters
    for name, parameter in parameters.items():
        assert parameter.grad is not None
        if not name.endswith("key.bias"):  # a constant on all keys cancels in the softmax
            assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("fusion", SIDE_FUSIONS)
def test_what_starts_at_zero_learns_from_the_first_step(fusion: str) -> None:
    model = predictor(fusion=fusion)
    output = model(*context(), blob(8, 8))
    (output * torch.randn_like(output)).sum().backward()
    assert model.heatmap_fusion is not None
    zeros = [p for p in model.heatmap_fusion.parameters() if (not p.any() and p.ndim != 1) or p.numel() == 1]
    assert zeros and all(p.grad is not None and p.grad.abs().max() > 0 for p in zeros)


def test_frames_have_fractional_times_around_their_steps() -> None:
    tokens = HeatmapTokens(dim=4, resolution=8, patch_sizes=[8], tubelet_size=2, temporal="frame")
    (grid,) = tokens(torch.zeros(1, 5, 8, 8))
    assert grid.times.tolist() == [-0.25, 0.25, 0.75, 1.25, 1.75]
    assert grid.steps.tolist() == [0, 0, 1, 1, 2]


@pytest.mark.parametrize(
    ("settings", "per_step"),
    [
        ({}, 16),
        ({"heatmap_patch_size": 16}, 4),
        ({"multiscale": [8, 16, 32]}, 16 + 4 + 1),
        ({"temporal": "frame"}, 32),
        ({"temporal": "conv", "heatmap_patch_size": 16}, 4),
        ({"heatmap_resolution": 64, "heatmap_patch_size": 8}, 64),
    ],
)
def test_tokens_per_step(settings: dict[str, Any], per_step: int) -> None:
    model = predictor(**settings)
    assert model.heatmap_tokens is not None
    assert model.heatmap_tokens.tokens_per_step == per_step
    maps = model._maps(blob(8, 8), context()[1])
    assert maps is not None
    placed, positions, steps = maps.placed()
    assert placed.shape[1] == positions.shape[1] == len(steps) == STEPS * per_step


@contextmanager
def counted() -> Iterator[FlopCounterMode]:
    """torch's counter; it does not see the fused attention of the CPU, hence the plain one."""
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        yield counter


@pytest.mark.parametrize("variant", [{"fusion": "none"}, *VARIANTS], ids=["none", *NAMES])
def test_flops_against_torchs_counter(variant: dict[str, Any]) -> None:
    model = predictor(**variant)
    heat = None if variant["fusion"] == "none" else blob(8, 8, batch=1)
    with (
        FlopCounterMode(display=False) as counter,
        torch.no_grad(),
        sdpa_kernel(SDPBackend.MATH),
    ):  # the counter sees it
        model(*context(1), heat)
    assert predictor_flops(model, steps=STEPS) == counter.get_total_flops()


def test_flops_of_encoder_and_probe_against_torchs_counter() -> None:
    encoder = VideoEncoder(embed_dim=WIDTH, depth=2, num_heads=2, patch_size=8)
    probe = AttentiveClassifier(num_classes={"verb": 3, "noun": 4, "action": 5}, embed_dim=WIDTH, num_heads=2, depth=3)
    probe.requires_grad_(False)
    with (
        FlopCounterMode(display=False) as counter,
        torch.no_grad(),
        sdpa_kernel(SDPBackend.MATH),
    ):  # the counter sees it
        tokens = encoder(torch.zeros(1, 3, 2 * STEPS, 8 * GRID, 8 * GRID))
    assert encoder_flops(encoder, tokens.shape[1]) == counter.get_total_flops()
    with (
        FlopCounterMode(display=False) as counter,
        torch.no_grad(),
        sdpa_kernel(SDPBackend.MATH),
    ):  # the counter sees it
        probe(tokens)
    assert probe_flops(probe, tokens.shape[1]) == counter.get_total_flops()


@pytest.mark.parametrize("fusion", ["add", "attention_bias"])
@pytest.mark.parametrize("setting", [{"temporal": "frame"}, {"heatmap_positions": "own"}])
def test_what_has_no_place_on_the_videos_grid_is_refused(fusion: str, setting: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="interleave or cross_attention"):
        predictor(fusion=fusion, **setting)


def test_activation_checkpointing_gives_the_same_gradients() -> None:
    for fusion in FUSIONS:
        gradients = []
        for recompute in (False, True):
            model = opened({"fusion": fusion, "use_activation_checkpointing": recompute})
            output = model(*context(), blob(8, 8))
            output.square().sum().backward()
            gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
        assert gradients[0].keys() == gradients[1].keys()
        for name in gradients[0]:
            assert torch.equal(gradients[0][name], gradients[1][name]), name


class _Scaled(fusions.HeatmapFusion):
    """A toy: video tokens are scaled by what the heatmap says of their cell."""

    on_video_tokens = True

    def __init__(self, *, width: int, num_heads: int, depth: int) -> None:
        super().__init__(width=width, num_heads=num_heads, depth=depth)
        self.scale = torch.nn.Linear(width, 1)

    def change_context(self, embedded: torch.Tensor, maps: fusions.HeatmapInput) -> torch.Tensor:
        return embedded * (1 + self.scale(maps.at_video_tokens()))

    def flops(self, *, context: int, sequence: int, heat: int) -> int:
        return 1_000_000_000_000 * context


@pytest.fixture
def config_file(tiny: dict[str, Any], tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(tiny))
    return path


@pytest.fixture
def scaled() -> Iterator[str]:
    fusions.register("scaled", _Scaled)
    yield "scaled"
    FUSION_NAMES.remove("scaled")
    del fusions.FUSIONS["scaled"]


def test_a_fusion_from_outside_trains_from_the_command_line(config_file: Path, scaled: str, tmp_path: Path) -> None:
    key = "model_kwargs.pretrain_kwargs.predictor"
    common = ["train", "--config", str(config_file), "experiment.optimization.num_epochs=1", f"{key}.fusion={scaled}"]
    dry = run_cli(*common, "--dry-run", "--json")
    assert dry.exit_code == 0, dry.stderr
    model = json.loads(dry.stdout)["model"]
    assert model["arms"]["main"]["fusion"] == scaled
    assert model["arms"]["main"]["forward_gflops_per_clip"]["predictor"] > 1000 * 32, "it states its own cost"
    refused = run_cli(*common, f"{key}.temporal=frame")
    assert refused.exit_code == 2 and "fusion: scaled has one place per time step" in refused.stderr
    done = run_cli(*common, "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "done"
    saved = torch.load(next((tmp_path / "run" / "checkpoints").rglob("*.pt")), weights_only=True)
    assert "heatmap_fusion.scale.weight" in repr(saved)


def test_an_unknown_fusion_is_refused_with_the_known_ones(config_file: Path) -> None:
    done = run_cli("train", "--config", str(config_file), "model_kwargs.pretrain_kwargs.predictor.fusion=scaled")
    assert done.exit_code == 2
    assert "'interleave', 'add', 'cross_attention', 'attention_bias', 'gaze_tokens' or 'none'" in done.stderr
