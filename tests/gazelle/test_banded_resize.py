"""The banded resize against torch's interpolation in float64, which shares no code with it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from gazetools.gazelle.banded_resize import resize_uint8, resize_weights

SIZES = [
    ((108, 192), (45, 45), "both sides shrink, each by its own ratio"),
    ((45, 80), (45, 45), "one side keeps its size"),
    ((30, 20), (45, 45), "both sides grow: plain bilinear"),
    ((31, 7), (8, 24), "one shrinks, one grows; odd sizes"),
    ((1, 1), (9, 9), "a single pixel"),
    ((64, 500), (3, 1), "into less than one band"),
]


def _frames(hw: tuple[int, int], count: int = 2) -> torch.Tensor:
    return torch.randint(0, 256, (count, *hw, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def _reference(frames: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    levels = frames.permute(0, 3, 1, 2).double()
    return F.interpolate(levels, size=size, mode="bilinear", align_corners=False, antialias=True)


@pytest.mark.parametrize(("source", "target", "why"), SIZES, ids=[why for *_, why in SIZES])
def test_it_is_the_antialiased_bilinear_resize(source: tuple[int, int], target: tuple[int, int], why: str) -> None:
    frames = _frames(source)
    got = resize_uint8(frames, target)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), _reference(frames, target), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("source", "target"), [(1080, 448), (1920, 448), (448, 448), (100, 448), (7, 3)])
def test_weights_are_the_filters_that_torch_applies_to_single_positions(source: int, target: int) -> None:
    single = torch.eye(source, dtype=torch.float64)[None, None]
    applied = F.interpolate(single, size=(target, source), mode="bilinear", align_corners=False, antialias=True)[0, 0]
    torch.testing.assert_close(torch.from_numpy(resize_weights(source, target)), applied, atol=1e-12, rtol=0)


def test_channels_are_scaled_each_by_its_own_factor_and_stay_apart() -> None:
    frames = _frames((30, 40), count=1)
    frames[..., 1] = 0
    got = resize_uint8(frames, (12, 14), scale=(2.0, 5.0, -1.0))
    expected = _reference(frames, (12, 14)) * torch.tensor([2.0, 5.0, -1.0]).view(3, 1, 1)
    torch.testing.assert_close(got.double(), expected, atol=3e-4, rtol=0)
    assert not got[:, 1].any()


def test_frames_may_be_views_with_padded_rows() -> None:
    """A decoder's buffer ends each row with bytes that are no pixels."""
    padded = _frames((40, 64))
    assert torch.equal(resize_uint8(padded[:, :, :50], (15, 15)), resize_uint8(padded[:, :, :50].clone(), (15, 15)))


def test_a_frame_alone_gives_the_same_bits_as_in_a_batch() -> None:
    frames = _frames((54, 96), count=5)
    batch = resize_uint8(frames, (28, 28))
    for number, frame in enumerate(frames):
        assert torch.equal(resize_uint8(frame[None], (28, 28))[0], batch[number])


def test_weights_made_under_inference_mode_serve_training_too() -> None:
    with torch.inference_mode():
        resize_uint8(_frames((33, 22)), (10, 11))
    factor = torch.ones((), requires_grad=True)
    (resize_uint8(_frames((33, 22)), (10, 11)) * factor).sum().backward()
    assert factor.grad is not None
