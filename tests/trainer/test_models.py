"""The heatmap-conditioned predictor and the anticipation wrapper: what heatmaps and times do to the output."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import VJEPA2Config
from transformers.models.vjepa2.modeling_vjepa2 import VJEPA2Encoder

from gazetools.schemas.errors import CheckpointError, UsageError
from gazetools.schemas.training import TrainingConfig
from gazetools.trainer.models.blocks import VideoBlocks
from gazetools.trainer.models.checks import check_model_settings
from gazetools.trainer.models.encoder import VideoEncoder
from gazetools.trainer.models.heatmap_tokens import pool_tubelets
from gazetools.trainer.models.keys import from_upstream, load_strict, strip_prefixes, to_upstream
from gazetools.trainer.models.predictor import VisionTransformerPredictorHeatmap, vit_heatmap_predictor
from gazetools.trainer.models.probe import AttentiveClassifier
from gazetools.trainer.models.wrapper import AnticipativeWrapperHeatmap

GRID, STEPS, WIDTH = 4, 3, 24


def predictor(**settings: Any) -> VisionTransformerPredictorHeatmap:
    torch.manual_seed(0)
    values: dict[str, Any] = {
        "img_size": 32,
        "patch_size": 8,
        "num_frames": 16,
        "embed_dim": WIDTH,
        "predictor_embed_dim": 36,
        "depth": 2,
        "num_heads": 2,
        "num_mask_tokens": 2,
        "zero_init_mask_tokens": False,
    }
    return vit_heatmap_predictor(**{**values, **settings}).eval()


def context(batch: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    count = STEPS * GRID * GRID
    x = torch.randn(batch, count, WIDTH, generator=generator)
    masks_x = torch.arange(count).expand(batch, -1)
    masks_y = torch.arange(count, count + GRID * GRID).expand(batch, -1)
    return x, masks_x, masks_y


def blob(row: int, column: int, *, frames: int = 2 * STEPS, batch: int = 2, side: int = 32) -> torch.Tensor:
    maps = torch.zeros(batch, frames, side, side)
    maps[..., row - 3 : row + 3, column - 3 : column + 3] = 1.0
    return maps


def test_without_a_heatmap_the_heatmap_weights_change_nothing() -> None:
    model = predictor()
    before = model(*context())
    assert model.heatmap_tokens is not None
    with torch.no_grad():
        model.heatmap_tokens.scales[0].embed.weight.add_(1.0)
    assert torch.equal(model(*context()), before)


def test_moving_the_blob_changes_the_prediction() -> None:
    model = predictor()
    outputs = [model(*context(), heatmap) for heatmap in (None, blob(8, 8), blob(8, 24), blob(24, 8))]
    for first in range(4):
        for second in range(first):
            # Freshly initialised blocks move tokens little; float32 noise is below 1e-6.
            assert (outputs[first] - outputs[second]).abs().max() > 2e-5


def test_a_later_frame_of_the_heatmap_matters_at_its_own_time() -> None:
    model = predictor()
    early, late = blob(16, 16), blob(16, 16)
    early[:, 2:] = 0
    late[:, :-2] = 0
    assert (model(*context(), early) - model(*context(), late)).abs().max() > 1e-5


def test_heatmap_tokens_precede_their_steps_video_tokens_at_the_same_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []

    def record(blocks: Any, tokens: torch.Tensor, positions: torch.Tensor, **steering: Any) -> torch.Tensor:
        seen.append(positions)
        return tokens

    monkeypatch.setattr(VideoBlocks, "run", record)
    predictor()(*context(1), blob(8, 8, batch=1))
    positions = seen[0][0]
    cells = GRID * GRID
    assert len(positions) == (2 * STEPS + 1) * cells
    for step in range(STEPS):
        heat = positions[2 * step * cells : (2 * step + 1) * cells]
        video = positions[(2 * step + 1) * cells : (2 * step + 2) * cells]
        assert torch.equal(heat, video)
        assert (heat[:, 0] == step).all()
    assert (positions[2 * STEPS * cells :, 0] == STEPS).all()


@pytest.mark.parametrize(
    ("patch", "centres"),
    [
        (8, [0.0, 1.0, 2.0, 3.0]),  # the video's own grid
        (16, [0.5, 2.5]),  # each token covers 2 x 2 cells
        (32, [1.5]),  # one token in the middle
        (4, [-0.25, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.25]),  # finer than the video
    ],
)
def test_coarser_grids_sit_at_the_centres_of_the_cells_they_cover(patch: int, centres: list[float]) -> None:
    model = predictor(heatmap_patch_size=patch)
    maps = model._maps(blob(8, 8), context()[1])
    assert maps is not None
    tokens, positions, _ = maps.placed()
    assert tokens.shape[1] == STEPS * len(centres) ** 2 == positions.shape[1]
    assert sorted(set(positions[0, :, 1].tolist())) == centres
    assert sorted(set(positions[0, :, 2].tolist())) == centres


@pytest.mark.parametrize(("frames", "steps"), [(1, 1), (2, 1), (5, 3), (6, 3)])
def test_tubelets_are_averaged_for_odd_and_even_lengths(frames: int, steps: int) -> None:
    maps = torch.arange(frames, dtype=torch.float32).view(1, frames, 1, 1)
    means = [sum(range(k, min(k + 2, frames))) / len(range(k, min(k + 2, frames))) for k in range(0, frames, 2)]
    pooled = pool_tubelets(maps, 2)
    assert pooled.shape == (1, steps, 1, 1)
    assert pooled.flatten().tolist() == means


def test_gradients_reach_the_heatmap_part_and_never_a_frozen_encoder() -> None:
    model = wrapper()
    model.encoder.requires_grad_(False)
    tokens = model(torch.randn(2, 3, 6, 32, 32), torch.tensor([0.5, 1.0], dtype=torch.float64), blob(8, 8))
    # A plain sum would vanish: the last layer's output is centred; weights make it a real objective.
    (tokens[:, -16:] * torch.randn_like(tokens[:, -16:])).sum().backward()
    assert model.predictor is not None and model.predictor.heatmap_tokens is not None
    for name, parameter in model.predictor.heatmap_tokens.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name
    assert all(parameter.grad is None for parameter in model.encoder.parameters())


def wrapper(**settings: Any) -> AnticipativeWrapperHeatmap:
    torch.manual_seed(3)
    encoder = VideoEncoder(embed_dim=WIDTH, depth=1, num_heads=2, patch_size=8)
    values = {"frames_per_second": 4, "crop_size": 32, "patch_size": 8, **settings}
    return AnticipativeWrapperHeatmap(encoder, predictor(), **values).eval()


@pytest.mark.parametrize(
    ("compat", "differs"),
    [("none", True), ("vjepa2", False)],  # V-JEPA 2 cuts 0.6 s and 0.9 s to the same whole tubelet
)
def test_changing_tau_changes_the_output(compat: Any, differs: bool) -> None:
    model = wrapper(compat=compat)
    video = torch.randn(1, 3, 6, 32, 32)
    with torch.no_grad():
        outputs = [model(video, torch.tensor([tau], dtype=torch.float64)) for tau in (0.6, 0.9)]
    assert bool((outputs[0] - outputs[1]).abs().max() > 1e-5) is differs


def test_each_sample_has_its_own_tau() -> None:
    model = wrapper()
    video = torch.randn(1, 3, 6, 32, 32).expand(2, -1, -1, -1, -1)
    times = torch.tensor([0.5, 1.25], dtype=torch.float64)
    with torch.no_grad():
        both = model(video, times, blob(8, 8))
        alone = [model(video[:1], times[i : i + 1], blob(8, 8, batch=1)) for i in range(2)]
    torch.testing.assert_close(both, torch.cat(alone), atol=1e-5, rtol=0)
    assert (both[0] - both[1]).abs().max() > 1e-5


def test_whole_steps_agree_in_both_modes() -> None:
    video, times = torch.randn(1, 3, 6, 32, 32), torch.tensor([1.0], dtype=torch.float64)
    with torch.no_grad():
        assert torch.equal(wrapper()(video, times), wrapper(compat="vjepa2")(video, times))


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_the_heatmap_slides_with_the_window_of_several_steps(steps: int) -> None:
    with torch.no_grad():
        output = wrapper(num_steps=steps)(torch.randn(2, 3, 6, 32, 32), torch.zeros(2).double(), blob(8, 8))
    assert output.shape == (2, (STEPS + steps) * GRID * GRID, WIDTH)
    assert torch.isfinite(output).all()


def test_a_target_beyond_the_predictor_names_the_key_to_raise() -> None:
    with pytest.raises(UsageError, match="num_frames"):
        wrapper()(torch.randn(1, 3, 6, 32, 32), torch.tensor([3.0], dtype=torch.float64))


@pytest.mark.parametrize(
    ("seconds", "compat", "fits"),
    [
        (3.75, "none", True),  # the released configs' limit: 16 + 15 + 1 = 32 steps
        (3.76, "none", False),
        (3.99, "vjepa2", True),  # cut to 15 whole steps
        (4.0, "vjepa2", False),
    ],
)
def test_horizon_limit_of_the_released_predictor(seconds: float, compat: Any, fits: bool) -> None:
    data = {"frames_per_clip": 32, "frames_per_second": 8, "anticipation_time_sec": [seconds, seconds]}
    paths = {"base_path": "videos", "dataset_train": "train.csv", "dataset_val": "val.csv"}
    config = TrainingConfig.model_validate(
        {
            "folder": "run",
            "compat": compat,
            "experiment": {"data": {**paths, **data}},
            "model_kwargs": {"checkpoint": "random", "pretrain_kwargs": {"predictor": {"num_frames": 64}}},
        }
    )
    if fits:
        check_model_settings(config)
    else:
        with pytest.raises(UsageError, match=r"num_frames=6[68]"):
            check_model_settings(config)


def test_encoder_equals_transformers_own_on_a_square_clip() -> None:
    torch.manual_seed(5)
    config = VJEPA2Config(
        crop_size=32, patch_size=8, frames_per_clip=4, hidden_size=WIDTH, num_attention_heads=2, num_hidden_layers=2
    )
    theirs = VJEPA2Encoder(config).eval()
    ours = VideoEncoder(embed_dim=WIDTH, depth=2, num_heads=2, patch_size=8).eval()
    names = {"embeddings.patch_embeddings.": "patch_embed.", "layer.": "blocks.", "layernorm.": "norm."}
    state = {}
    for key, value in theirs.state_dict().items():
        old = next(prefix for prefix in names if key.startswith(prefix))
        state[names[old] + key[len(old) :]] = value
    load_strict(ours, state, what="transformers weights")
    video = torch.randn(2, 3, 4, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours(video), theirs(video.transpose(1, 2)).last_hidden_state, atol=1e-6, rtol=0)


def test_encoder_takes_other_shapes_and_refuses_broken_multiples() -> None:
    encoder = VideoEncoder(embed_dim=WIDTH, depth=1, num_heads=2, patch_size=8)
    assert encoder(torch.randn(1, 3, 2, 16, 40)).shape == (1, 2 * 5, WIDTH)
    with pytest.raises(ValueError, match="multiples"):
        encoder(torch.randn(1, 3, 3, 16, 16))


def test_upstream_names_there_and_back_with_prefixes() -> None:
    own = predictor().state_dict()
    upstream = {f"module.backbone.{key}": value for key, value in to_upstream(own).items()}
    upstream["module.predictor_pos_embed"] = torch.zeros(1)  # unused with rotary positions
    assert "predictor_blocks.0.attn.qkv.weight" in strip_prefixes(upstream)
    back = from_upstream(upstream)
    assert set(back) == set(own)
    assert all(torch.equal(back[key], own[key]) for key in own)


def test_strict_loading_lists_every_kind_of_mismatch_and_loads_nothing() -> None:
    model = predictor()
    state = {key: value.clone() + 1 for key, value in model.state_dict().items()}
    state["extra.weight"] = torch.zeros(1)
    state["predictor_norm.bias"] = torch.zeros(5)
    del state["predictor_norm.weight"]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load_strict(model, state, what="weights of FILE")
    assert caught.value.details["missing"] == ["predictor_norm.weight"]
    assert caught.value.details["unexpected"] == ["extra.weight"]
    assert caught.value.details["mis_shaped"] == ["predictor_norm.bias: file (5,), model (36,)"]
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_probe_with_an_action_alone_and_refused_task_sets() -> None:
    probe = AttentiveClassifier(num_classes={"action": 5}, embed_dim=WIDTH, num_heads=2, depth=1)
    assert {k: v.shape for k, v in probe(torch.randn(2, 7, WIDTH)).items()} == {"action": (2, 5)}
    with pytest.raises(ValueError, match="tasks"):
        AttentiveClassifier(num_classes={"verb": 3, "noun": 2}, embed_dim=WIDTH, num_heads=2)
    with pytest.raises(UsageError, match="num_heads"):
        AttentiveClassifier(num_classes={"action": 5}, embed_dim=WIDTH, num_heads=7)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"img_size": (32, 40)}, "square"),
        ({"img_size": 30}, "multiple of patch_size"),
        ({"heatmap_resolution": 30}, "heatmap_patch_size"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        predictor(**settings)


def test_a_heatmap_for_a_predictor_without_its_part_is_refused() -> None:
    with pytest.raises(UsageError, match="without heatmap tokens"):
        predictor(use_heatmap=False)(*context(), blob(8, 8))
