"""PaGE as a gaze model: people do not influence each other, boxes become pixels, what can't be evaluated is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gazetools.gazemodels.head_crops import has_pixels, head_pixels
from gazetools.gazemodels.interface import needs_boxes
from gazetools.gazemodels.page.decoder import head_rects
from gazetools.gazemodels.page.model import PageModel
from gazetools.schemas.errors import UsageError

RNG = np.random.default_rng(0)
FRAMES = RNG.integers(0, 256, (3, 90, 160, 3), dtype=np.uint8)
BOXES = [
    [(0.1, 0.2, 0.35, 0.5), (0.6, 0.1, 0.9, 0.5)],
    [],
    [(0.88, 0.8, 1.0, 1.0), (0.51, 0.3, 0.53, 0.8), (0.0, 0.0, 0.2, 0.3), (0.3, 0.3, 0.6, 0.7), (0.2, 0.5, 0.4, 0.9)],
]


def close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=0.0)


def test_one_person_alone_is_as_in_the_batch(page: PageModel) -> None:
    """Seven people in two frames are more than one pass takes, so that passes are joined too."""
    out = page(FRAMES, BOXES)
    assert out.image_index.tolist() == [0, 0, 2, 2, 2, 2, 2]
    assert out.heatmap.shape == (7, 16, 16)
    assert out.inout is not None
    row = 0
    for frame, people in zip(FRAMES, BOXES, strict=True):
        for box in people:
            alone = page(frame[None], [[box]])
            close(alone.heatmap[0], out.heatmap[row])
            assert alone.inout is not None
            close(alone.inout[0], out.inout[row])
            row += 1
    distances = (out.heatmap[:, None] - out.heatmap[None]).abs().amax(dim=(2, 3))
    assert (distances + torch.eye(7) > 1e-3).all(), "every person has a map of their own"


def test_order_of_people(page: PageModel) -> None:
    forward = page(FRAMES[:1], [BOXES[0]])
    backward = page(FRAMES[:1], [BOXES[0][::-1]])
    close(backward.heatmap, forward.heatmap.flip(0))


def test_nobody(page: PageModel) -> None:
    out = page(FRAMES, [[], [], []])
    assert out.inout is not None
    assert (out.heatmap.shape, len(out.inout), len(out)) == ((0, 16, 16), 0, 0)
    assert len(page(np.zeros((0, 90, 160, 3), np.uint8), [])) == 0


def test_the_scene_is_computed_once_per_frame_with_people(page: PageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, int] = {"scenes": 0, "heads": 0}
    for name in seen:
        whole = getattr(PageModel, f"encode_{name}")

        def counted(self, inputs, name=name, whole=whole):  # type: ignore[no-untyped-def]
            seen[name] += len(inputs)
            return whole(self, inputs)

        monkeypatch.setattr(PageModel, f"encode_{name}", counted)
    page(FRAMES, BOXES)
    assert seen == {"scenes": 2, "heads": 7}


def test_pictures_of_their_own_sizes(page: PageModel) -> None:
    other = RNG.integers(0, 256, (70, 50, 3), dtype=np.uint8)
    together = page([FRAMES[0], other], [BOXES[0], [(0.1, 0.1, 0.6, 0.5)]])
    close(together.heatmap[:2], page(FRAMES[:1], [BOXES[0]]).heatmap)
    close(together.heatmap[2:], page(other[None], [[(0.1, 0.1, 0.6, 0.5)]]).heatmap)


def test_the_head_is_cut_from_the_frames_own_pixels(page: PageModel) -> None:
    """A checkerboard of single pixels disappears in a frame of 64x64; in a crop it is seen."""
    plain, fine = (np.full((512, 512, 3), 128, np.uint8) for _ in range(2))
    fine[100:148:2, 100:148:2] = fine[101:148:2, 101:148:2] = 255
    fine[101:148:2, 100:148:2] = fine[100:148:2, 101:148:2] = 1
    box = (100 / 512, 100 / 512, 148 / 512, 148 / 512)
    scenes = [page.encode_scenes(page.preprocess(frame[None])) for frame in (plain, fine)]
    maps = [page(frame[None], [[box]]).heatmap for frame in (plain, fine)]
    assert (scenes[0] - scenes[1]).abs().max() < 0.1 * scenes[0].abs().max()
    assert (maps[0] - maps[1]).abs().max() > 0.01


PIXELS = [
    ((10.5, 20.5, 40.2, 60.6), (10, 20, 40, 61), "halves go to the even pixel"),
    ((11.5, 21.5, 41.5, 61.5), (12, 22, 42, 62), "halves go to the even pixel, upwards"),
    ((-5.0, 90.4, 30.49, 200.0), (0, 90, 30, 121), "cut at the frame"),
    ((76.6, 0, 77, 121), (76, 0, 77, 121), "the last column: left edges are cut at side - 1"),
]


@pytest.mark.parametrize(("box", "pixels", "why"), PIXELS, ids=[why for *_, why in PIXELS])
def test_pixels_of_a_box(box: tuple[float, ...], pixels: tuple[int, ...], why: str) -> None:
    assert head_pixels(box, (121, 77)) == pixels


REFUSED = [
    ((120.0, 10.0, 180.0, 40.0), "lies outside", "right of the frame: a strip of one pixel in the original"),
    ((10.0, 130.0, 60.0, 140.0), "lies outside", "below it"),
    ((-30.0, 10.0, 0.0, 40.0), "lies outside", "left of it"),
    ((30.1, 10.0, 30.4, 40.0), "no whole pixel", "narrower than a pixel"),
    ((float("nan"), 10.0, 30.4, 40.0), "NaN", "no number"),
]


@pytest.mark.parametrize(("box", "words", "why"), REFUSED, ids=[why for *_, why in REFUSED])
def test_refused_boxes(box: tuple[float, ...], words: str, why: str) -> None:
    with pytest.raises(UsageError, match=words):
        head_pixels(box, (121, 77))


def test_rectangles_are_rounded_half_to_even_and_may_have_no_width() -> None:
    """Cells of a 4x4 grid: 0.5 -> 0, 1.5 -> 2, 2.5 -> 2; a small head has none, and is neither grown nor cut."""
    boxes = [(0.125, 0.375, 0.625, 0.875), (0.51, 0.3, 0.53, 0.8)]
    assert head_rects(boxes, (4, 4)).tolist() == [[2, 0, 4, 2], [1, 2, 3, 2]]


CALLS = [
    (FRAMES[:1], [[None]], "is None", "no head box"),
    (FRAMES[:1], [[(1.2, 0.1, 1.5, 0.4)]], "lies outside", "outside the frame"),
    (FRAMES[:1], [[(10.0, 20.0, 40.0, 60.0)]], "looks like pixels", "pixels in the place of fractions"),
    (FRAMES[:1], [[(0.4, 0.1, 0.3, 0.4)]], "swapped", "swapped corners"),
    (FRAMES[:1], [], "one list per image", "too few lists"),
    (np.zeros((1, 3, 64, 64), np.float32), [[BOXES[0][0]]], "uint8", "the result of preprocess"),
    ([FRAMES[0][..., 0]], [[BOXES[0][0]]], "must be", "grey"),
]


@pytest.mark.parametrize(("images", "boxes", "words", "why"), CALLS, ids=[why for *_, why in CALLS])
def test_refused_calls(page: PageModel, images, boxes, words: str, why: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match=words):
        page(images, boxes)


def test_what_the_pipeline_asks_it(page: PageModel) -> None:
    assert (page.grid, page.in_size, page.out_size, page.has_inout) == ((4, 4), (64, 64), (16, 16), True)
    assert needs_boxes(page)
    assert not needs_boxes(object())  # type: ignore[arg-type]  # a plugin from before there was such a thing
    assert page.preprocess(FRAMES).shape == (3, 3, 64, 64)
    assert has_pixels((0.1, 0.1, 0.12, 0.2), (90, 160))
    assert not has_pixels((0.1001, 0.1, 0.1002, 0.2), (90, 160))


def test_bfloat16_gives_nearly_the_same_maps(page: PageModel, page_file) -> None:  # type: ignore[no-untyped-def]
    from gazetools.gazemodels.page.loading import load_page

    half = load_page(str(page_file), dtype="bfloat16")
    exact = page(FRAMES, BOXES).heatmap
    found = half(FRAMES, BOXES).heatmap
    assert found.dtype == torch.float32
    assert (found - exact).abs().mean() < 0.02
