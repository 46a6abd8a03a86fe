"""PaGE against recordings of the public implementation: keys, pixels to inputs, every stage of the model.

All tolerances are those of the recordings.
"""

from __future__ import annotations

from functools import lru_cache

import pytest
import torch

from gazetools.gazemodels.gazelle.checkpoints import WeightFile
from gazetools.gazemodels.head_crops import head_pixels, relative, scaled
from gazetools.gazemodels.page.checkpoints import checked_tensors
from gazetools.gazemodels.page.config import PAGE_MODELS, PageConfig, PageTowerConfig
from gazetools.gazemodels.page.decoder import LAYER_NORM_EPS, PageDecoder, head_rects
from gazetools.gazemodels.page.loading import tower_shape
from gazetools.gazemodels.page.model import PageModel
from gazetools.gazemodels.page.names import (
    TOWERS,
    canonical,
    decoder_shapes,
    decoder_state,
    in_one_layout,
    model_shapes,
    tower_shapes,
    tower_state,
)
from gazetools.gazemodels.page.preprocess import head_input, scene_input
from gazetools.gazemodels.vit.image import ImageTower
from gazetools.schemas.errors import UsageError
from tests.parity.conftest import Golden

TINY = pytest.mark.golden("page_tiny")
CPU = torch.device("cpu")


def tower_config(recorded: dict, **changes: object) -> PageTowerConfig:  # type: ignore[type-arg]
    return PageTowerConfig(**{**{key: recorded[key] for key in PageTowerConfig.model_fields}, **changes})


def config_of(golden: Golden, **changes: object) -> PageConfig:
    """The recorded shape; `changes` are those of the tower."""
    recorded = golden.spec["config"]
    page = recorded["page"]
    return PageConfig(
        name=golden.name,
        tower=tower_config(recorded["backbone"], **changes),
        scene_in_size=tuple(recorded["scene_in_size"]),
        head_in_size=tuple(recorded["head_in_size"]),
        dim=page["dim"],
        num_heads=page["num_heads"],
        scene_self_layers=page["n_scene_self_attn_layers"],
        head_self_layers=page["n_head_self_attn_layers"],
        interaction_layers=page["n_scene_head_interaction_layers"],
        registers=page["n_reg_tokens"],
        inout=page["inout"],
        out_size=tuple(page["heatmap_out_size"]),
    )


def build(golden: Golden, config: PageConfig) -> PageModel:
    """The recorded weights through the strict checks into the production model."""
    file = WeightFile(golden.path, in_one_layout(golden.state_dict(golden.spec["state_dict_prefix"]), path=golden.name))
    tensors = checked_tensors(file, config)
    decoder, scene, head = PageDecoder(config), *(ImageTower(tower_shape(config)) for _ in TOWERS)
    decoder.load_state_dict(decoder_state(tensors, config), strict=True)
    for name, tower in zip(TOWERS, (scene, head), strict=True):
        tower.load_state_dict(tower_state(tensors, name, config.tower), strict=True)
    return PageModel(config, (scene, head), decoder, weights_sha256={}, device=CPU, dtype=torch.float32)


@lru_cache
def model_of(golden: Golden) -> PageModel:
    return build(golden, config_of(golden))


def boxes_of(golden: Golden) -> list[tuple[float, float, float, float]]:
    return [tuple(box) for image in golden.spec["bboxes"] for box in image]


def image_index(golden: Golden) -> torch.Tensor:
    return torch.repeat_interleave(torch.tensor(golden.spec["counts"]))


def check(golden: Golden, name: str, actual: torch.Tensor | None) -> None:
    assert actual is not None, name
    expected = golden.tensors[name]
    torch.testing.assert_close(actual.reshape(expected.shape), expected, atol=golden.spec["tolerance"][name], rtol=0.0)


@TINY
def test_keys_and_shapes_of_the_recorded_state_dict(golden: Golden) -> None:
    theirs = {canonical(key): tuple(value.shape) for key, value in golden.state_dict().items()}
    assert theirs == model_shapes(config_of(golden))


@TINY
@torch.inference_mode()
def test_stages(golden: Golden) -> None:
    model, tensors = model_of(golden), golden.tensors
    decoder, index = model.decoder, image_index(golden)
    assert (list(model.config.grid), list(model.config.head_grid)) == (
        golden.spec["scene_grid"],
        golden.spec["head_grid"],
    )
    assert model.config.front == golden.spec["front_tokens"]
    scene_feat, head_feat = model.scene_tower(tensors["scenes"]), model.head_tower(tensors["head_images"])
    check(golden, "scene_feat", scene_feat.transpose(1, 2))
    check(golden, "head_feat", head_feat.transpose(1, 2))
    scene_in, head_in = decoder.scene_tokens(scene_feat), decoder.head_tokens(head_feat)
    check(golden, "scene_tokens_in", scene_in[index])
    check(golden, "head_tokens_in", head_in)
    scene_self, head_self = decoder.scene_self(scene_in), decoder.head_self(head_in)
    check(golden, "scene_tokens_self", scene_self[index])
    check(golden, "head_tokens_self", head_self)
    rects = head_rects(boxes_of(golden), model.grid)
    check(golden, "head_rects", rects)
    scene_out, head_out = decoder.interact(scene_self[index], head_self, rects)
    check(golden, "scene_tokens_out", scene_out)
    check(golden, "head_tokens_out", head_out)
    check(golden, "heatmap_logits", decoder.heatmap_logits(scene_out))
    if model.has_inout:
        check(golden, "inout_logits", decoder.inout_logits(scene_out, head_out))


@TINY
def test_whole_model(golden: Golden) -> None:
    model, tensors = model_of(golden), golden.tensors
    scenes, heads = model.encode_scenes(tensors["scenes"]), model.encode_heads(tensors["head_images"])
    out = model.decode(scenes, heads, image_index(golden), boxes_of(golden))
    check(golden, "heatmap", out.heatmap)
    assert (out.inout is not None) == golden.spec["config"]["page"]["inout"]
    if out.inout is not None:
        check(golden, "inout", out.inout)


@TINY
@torch.inference_mode()
def test_another_size_is_resized_before_the_sigmoid(golden: Golden) -> None:
    """`optional_heatmap_RxC` are maps of the same model with another output size."""
    for name in [key for key in golden.tensors if key.startswith("optional_heatmap_")]:
        rows, columns = map(int, name.removeprefix("optional_heatmap_").split("x"))
        resized = build(golden, config_of(golden).model_copy(update={"out_size": (rows, columns)}))
        scenes, heads = (
            resized.encode_scenes(golden.tensors["scenes"]),
            resized.encode_heads(golden.tensors["head_images"]),
        )
        check(golden, name, resized.decode(scenes, heads, image_index(golden), boxes_of(golden)).heatmap)


@TINY
def test_activation_of_the_towers(golden: Golden) -> None:
    """`X_if_tower_act_ACT` are outputs of the same weights with another `hidden_act`."""
    for name in [key for key in golden.tensors if "_if_tower_act_" in key]:
        output, _, activation = name.partition("_if_tower_act_")
        model = build(golden, config_of(golden, hidden_act=activation))
        scenes, heads = model.encode_scenes(golden.tensors["scenes"]), model.encode_heads(golden.tensors["head_images"])
        found = getattr(model.decode(scenes, heads, image_index(golden), boxes_of(golden)), output)
        atol = golden.spec["tolerance"][output]
        torch.testing.assert_close(found, golden.tensors[name], atol=atol, rtol=0.0)
        assert (found - golden.tensors[output]).abs().max() > 10 * atol, "the recording tells them apart"


@TINY
@torch.inference_mode()
def test_layer_norm_eps(golden: Golden) -> None:
    """The probe's tokens are so small (std 0.003) that another eps shows: 1e-5 is off by about 0.8."""
    model = model_of(golden)
    assert golden.spec["decoder_layernorm_eps"] == LAYER_NORM_EPS
    assert golden.spec["tower_layernorm_eps"] == model.config.tower.layer_norm_eps
    check(golden, "eps_probe.out", model.decoder.scene_self(golden.tensors["eps_probe.in"]))


@TINY
def test_one_person_at_a_time_gives_the_same_as_the_batch(golden: Golden) -> None:
    model, tensors, index, boxes = model_of(golden), golden.tensors, image_index(golden), boxes_of(golden)
    scenes = model.encode_scenes(tensors["scenes"])
    for row, box in enumerate(boxes):
        head = model.encode_heads(tensors["head_images"][row : row + 1])
        alone = model.decode(scenes[index[row]][None], head, torch.zeros(1, dtype=torch.int64), [box])
        torch.testing.assert_close(
            alone.heatmap[0], tensors["heatmap"][row], atol=golden.spec["tolerance"]["heatmap"], rtol=0.0
        )


@pytest.mark.golden("page_preprocess")
def test_pixels_to_inputs(golden: Golden) -> None:
    atol = golden.spec["tolerance"]["scene/heads"]
    for case in golden.spec["cases"]:
        number = case["image"].removeprefix("image")
        frame, hw = golden.tensors[case["image"]][None], tuple(case["image_hw"])
        pixels = [head_pixels(in_pixels(box, hw), hw) for box in case["boxes_given"]]
        assert [list(box) for box in pixels] == case["pixel_boxes"]
        fractions = [relative(box, hw) for box in pixels]
        torch.testing.assert_close(
            torch.tensor(fractions, dtype=torch.float64),
            torch.tensor(case["normalized_boxes"], dtype=torch.float64),
            atol=golden.spec["tolerance"]["normalized_boxes"],
            rtol=0.0,
        )
        assert torch.equal(head_rects(fractions, tuple(case["scene_grid"])), golden.tensors[f"head_rects{number}"])
        stored = slice(case["stored_from"], None, case["stored_every"])
        scene = scene_input([frame], tuple(case["scene_in_size"]), CPU, "exact")[0]
        heads = head_input(frame, pixels, tuple(case["head_in_size"]), CPU)
        for found, name in ((scene, "scene"), (heads, "heads")):
            expected = golden.tensors[f"{name}{number}"]
            torch.testing.assert_close(found[..., stored, stored], expected, atol=atol, rtol=0.0)


@pytest.mark.golden("page_preprocess")
def test_the_released_image_processor_is_another_one(golden: Golden) -> None:
    """`pilfirst_*` is what a third party says of it (8-bit pixels resized first), which `fast` comes close to."""
    largest = 0.0
    for case in golden.spec["cases"]:
        number = case["image"].removeprefix("image")
        frame, stored = golden.tensors[case["image"]][None], slice(case["stored_from"], None, case["stored_every"])
        fast = scene_input([frame], tuple(case["scene_in_size"]), CPU, "fast")[0][..., stored, stored]
        theirs = golden.tensors[f"pilfirst_scene{number}"]
        torch.testing.assert_close(fast, theirs, atol=1.01 / 255 / 0.224, rtol=0.0)
        largest = max(largest, (golden.tensors[f"scene{number}"] - theirs).abs().max().item())
    assert largest <= golden.spec["max_abs_diff_pilfirst"] + 1e-6


@pytest.mark.golden("page_preprocess")
def test_refused_boxes(golden: Golden) -> None:
    """Boxes that upstream refuses, and those wholly outside, of which it makes a strip of one pixel."""
    for case in golden.spec["refused_boxes"]:
        width, height = case["image_wh"]
        box = [float("nan") if value is None else value for value in case["box"]]
        values = in_pixels(box, (height, width))
        wholly_outside = values[0] >= width or values[1] >= height or values[2] <= 0 or values[3] <= 0
        assert case["raises_ValueError"] or wholly_outside, case
        with pytest.raises(UsageError):
            head_pixels(values, (height, width))


def in_pixels(box: list[float], hw: tuple[int, int]) -> tuple[float, ...]:
    """Upstream's rule for boxes without a unit: four values in 0..1 are fractions, others pixels."""
    if all(0.0 <= value <= 1.0 for value in box):
        return scaled((box[0], box[1], box[2], box[3]), hw)
    return tuple(box)


@pytest.mark.golden("page_keys")
def test_released_sizes(golden: Golden) -> None:
    """Names, shapes and numbers of parameters, without allocating them."""
    for name, recorded in golden.spec["models"].items():
        config = PAGE_MODELS[name.replace("-", "_")]
        assert config.tower == tower_config(recorded["tower_config"]), name
        as_recorded = {
            "scene_in_size": config.scene_in_size,
            "head_in_size": config.head_in_size,
            "dim": config.dim,
            "num_heads": config.num_heads,
            "n_scene_self_attn_layers": config.scene_self_layers,
            "n_head_self_attn_layers": config.head_self_layers,
            "n_scene_head_interaction_layers": config.interaction_layers,
            "n_reg_tokens": config.registers,
            "inout": config.inout,
            "heatmap_out_size": config.out_size,
        }
        assert {key: recorded[key] for key in as_recorded} == {
            key: list(value) if isinstance(value, tuple) else value for key, value in as_recorded.items()
        }, name
        assert {key: list(shape) for key, shape in tower_shapes(config.tower).items()} == recorded["tower"], name
        decoder = decoder_shapes(config)
        assert {key: list(shape) for key, shape in decoder.items()} == recorded["decoder"], name
        assert sum(map(numel, decoder.values())) == recorded["num_parameters_decoder"], name
        assert sum(map(numel, model_shapes(config).values())) == recorded["num_parameters"], name


def numel(shape: tuple[int, ...]) -> int:
    return torch.Size(shape).numel()


@pytest.mark.golden("page_keys")
def test_three_layouts_are_one(golden: Golden) -> None:
    for recorded in golden.spec["models"].values():
        for key in recorded["tower"]:
            hub = f"scene_branch_backbone.model.{key}"
            repository = f"scene_branch_backbone.backbone.model.{key}"
            flat = f"scene_branch_backbone.model.{key.removeprefix('model.')}"
            assert {canonical(each) for each in (hub, repository, flat)} == {hub}
        assert all(canonical(key) == key for key in recorded["decoder"])
