"""The nine sizes of gazelle-dinov3, each with and without in/out: keys, shapes, order, parameter counts."""

from __future__ import annotations

import math

import pytest

from gazetools.gazemodels.gazelle_dinov3.reading_dinov3 import dinov3_shapes
from gazetools.gazemodels.gazelle_dinov3.variants_dinov3 import DINOV3_MODELS
from tests.parity.conftest import Golden

pytestmark = pytest.mark.golden("gazelle_dinov3_keys")

BUFFERS = ("pos_embed", "periods", "bias_mask", "running_mean", "running_var", "num_batches_tracked")
"""Ends of the names of stored tensors that are no parameters."""


def parameters(shapes: dict[str, tuple[int, ...]]) -> int:
    return sum(math.prod(shape) for key, shape in shapes.items() if not key.endswith(BUFFERS))


def test_every_recorded_model_is_known_and_no_other(golden: Golden) -> None:
    recorded = golden.spec["models"]
    assert {name.removesuffix("_inout") for name in DINOV3_MODELS} >= set(recorded)
    assert len(DINOV3_MODELS) == 2 * 9


def test_keys_shapes_and_parameters(golden: Golden) -> None:
    for name, recorded in golden.spec["models"].items():
        left_out = set(recorded["not_in_the_model_without_inout"])
        with_inout = [(key, tuple(shape)) for key, shape in recorded["with_inout"].items()]
        without = [row for row in with_inout if row[0] not in left_out]
        both = {f"{name}_inout": (with_inout, "num_parameters_inout"), name: (without, "num_parameters")}
        for model, (rows, count) in both.items():
            shapes = dinov3_shapes(DINOV3_MODELS[model])
            assert list(shapes.items()) == rows, model
            assert parameters(shapes) == recorded[count], model


def test_sizes(golden: Golden) -> None:
    for name, recorded in golden.spec["models"].items():
        for model in (name, f"{name}_inout"):
            config = DINOV3_MODELS[model]
            assert config.name == model and config.inout == model.endswith("_inout")
            for field in ("in_size", "out_size", "grid", "dim", "num_layers", "num_heads"):
                ours = getattr(config, field)
                assert (list(ours) if isinstance(ours, tuple) else ours) == recorded[field], (model, field)
            assert config.feature_channels == recorded["backbone_dim"], model
