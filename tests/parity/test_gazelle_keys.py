"""Key names, shapes and order of the official checkpoints, without allocating them."""

from __future__ import annotations

import pytest

from gazetools.gazemodels.facts_gazelle import DECODER_URLS
from gazetools.gazemodels.gazelle.backbone import hub_shapes
from gazetools.gazemodels.gazelle.config import DINOV2_BACKBONES, RELEASED_MODELS
from gazetools.gazemodels.gazelle.decoder import decoder_shapes
from gazetools.gazemodels.gazelle.matching import BACKBONE_PREFIX
from tests.parity.conftest import Golden

pytestmark = pytest.mark.golden("gazelle_keys")


def as_lists(shapes: dict[str, tuple[int, ...]]) -> list[tuple[str, list[int]]]:
    return [(key, list(shape)) for key, shape in shapes.items()]


def test_gazelle_checkpoints(golden: Golden) -> None:
    for name, recorded in golden.spec["gazelle"].items():
        config = RELEASED_MODELS[name]
        decoder = decoder_shapes(config)
        assert as_lists(decoder) == [*map(tuple, recorded["decoder"].items())], name
        position = {"pos_embed": decoder.pop("pos_embed")}
        backbone = {BACKBONE_PREFIX + key: shape for key, shape in hub_shapes(config.backbone).items()}
        assert as_lists({**position, **backbone, **decoder}) == [*map(tuple, recorded["with_backbone"].items())], name
        for field in ("in_size", "out_size", "dim", "num_layers", "inout"):
            ours = getattr(config, field)
            assert (list(ours) if isinstance(ours, tuple) else ours) == recorded[field], (name, field)


def test_dinov2_hub_files(golden: Golden) -> None:
    for name, recorded in golden.spec["dinov2_hub"].items():
        config = DINOV2_BACKBONES[name]
        assert as_lists(hub_shapes(config)) == [*map(tuple, recorded["state_dict"].items())], name
        for field in ("embed_dim", "num_heads", "depth", "interpolate_offset", "interpolate_antialias", "native_grid"):
            assert getattr(config, field) == recorded[field], (name, field)


def test_release_urls(golden: Golden) -> None:
    assert golden.spec["release_urls_in_hubconf"] == DECODER_URLS
