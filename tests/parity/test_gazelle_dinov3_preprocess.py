"""gazelle-dinov3's input against recordings of its transform: with ImageNet's statistics, and without for HGNetV2."""

from __future__ import annotations

import pytest
import torch

from gazetools.gazemodels.gazelle.preprocess import preprocess
from tests.parity.conftest import Golden

pytestmark = pytest.mark.golden("gazelle_dinov3_preprocess")


def test_exact(golden: Golden) -> None:
    for case in golden.spec["cases"]:
        image, expected = golden.tensors[case["image"]], golden.tensors[case["output"]]
        ours = preprocess(image[None], tuple(case["in_size"]), normalised=case["normalized"])[0]
        start, step = case["stored_from"], case["stored_every"]
        atol = golden.spec["tolerance"]["output"]
        torch.testing.assert_close(ours[:, start::step, start::step], expected, atol=atol, rtol=0.0)


def test_fast_is_within_one_level(golden: Golden) -> None:
    for case in golden.spec["cases"]:
        image, in_size = golden.tensors[case["image"]][None], tuple(case["in_size"])
        exact, fast = (
            preprocess(image, in_size, kind=kind, normalised=case["normalized"]) for kind in ("exact", "fast")
        )
        level = 1.01 / 255 / (0.224 if case["normalized"] else 1.0)
        assert (exact - fast).abs().max() < level
