"""Preprocessing against an independent float64 formula, and its bounds on memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gazetools.gazemodels.gazelle import preprocess as module
from gazetools.gazemodels.gazelle.preprocess import preprocess, resize_antialiased


def triangle_weights(source: int, target: int) -> np.ndarray:
    """[target, source] weights of an antialiased bilinear resize (a triangle as wide as the scale, at least 1)."""
    scale = source / target
    radius = max(scale, 1.0)
    centres = (np.arange(target) + 0.5) * scale
    distance = np.abs(np.arange(source)[None, :] + 0.5 - centres[:, None]) / radius
    weights = np.clip(1 - distance, 0, None)
    return weights / weights.sum(1, keepdims=True)


def reference(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    normalised = (images / 255.0 - mean) / std
    rows, columns = triangle_weights(images.shape[1], size[0]), triangle_weights(images.shape[2], size[1])
    return np.einsum("ih,bhwc,jw->bcij", rows, normalised, columns)


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((2, 97, 131), (28, 42)),
        ((1, 20, 31), (56, 42)),
        ((3, 42, 42), (42, 42)),
        ((1, 300, 20), (28, 84)),
        ((1, 1, 1), (14, 14)),
    ],
)
@pytest.mark.parametrize("kind", ["exact", "fast"])
def test_against_the_formula(shape: tuple[int, int, int], size: tuple[int, int], kind: str) -> None:
    images = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    atol = 3e-5 if kind == "exact" else 1.01 / 255 / 0.224
    got = preprocess(torch.from_numpy(images), size, kind=kind)  # type: ignore[arg-type]
    np.testing.assert_allclose(got.numpy(), reference(images, size), atol=atol, rtol=0)


def test_large_batches_go_through_in_chunks_with_equal_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (5, 40, 60, 3), dtype=np.uint8))
    whole = preprocess(images, (28, 28))
    seen: list[int] = []
    resize = module.resize_antialiased
    monkeypatch.setattr(module, "_CHUNK_PIXELS", {"cpu": 2 * 40 * 60 + 1})
    monkeypatch.setattr(module, "resize_antialiased", lambda i, s: seen.append(len(i)) or resize(i, s))
    assert torch.equal(preprocess(images, (28, 28)), whole)
    assert seen == [2, 2, 1]


def test_an_empty_batch() -> None:
    assert preprocess(torch.zeros((0, 40, 60, 3), dtype=torch.uint8), (28, 42)).shape == (0, 3, 28, 42)


def test_heatmaps_are_resized_with_antialiasing() -> None:
    maps = torch.rand(2, 1, 16, 24, dtype=torch.float64)
    expected = np.einsum(
        "ih,bchw,jw->bcij", triangle_weights(16, 6), maps.numpy(), triangle_weights(24, 36)
    )  # fmt: skip
    np.testing.assert_allclose(resize_antialiased(maps, (6, 36)).numpy(), expected, atol=1e-6)
    assert resize_antialiased(maps, (16, 24)) is maps
