"""`--small-heads crop`: closed-form geometry of the crop and its way back, and the rows of mixed frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import gazetools
from gazetools.extraction.model.batches import BatchRunner
from gazetools.extraction.model.crops import MIN_SHARE, box_in_crop, crop_around, cut, map_into_frame
from gazetools.gazemodels import GazeOutput
from gazetools.gazemodels.gazelle.prompts import box_cells, is_empty
from gazetools.heads.prompts import FramePrompts
from gazetools.schemas.store import Prompt
from gazetools.store import open_store

GRID = (32, 32)


@pytest.mark.parametrize("frame_hw", [(448, 448), (1080, 1920), (1920, 1080)])
def test_a_head_without_a_cell_has_one_in_its_crop(frame_hw: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        sides = rng.uniform(0.1, 1.4, 2) / 32
        corner = rng.random(2) * (1 - sides)
        box = (*corner.tolist(), *(corner + sides).tolist())
        crop = crop_around(box, GRID, frame_hw)
        assert min(crop) >= 0 and max(crop) <= 1
        width, height = crop[2] - crop[0], crop[3] - crop[1]
        assert abs(width - height) < 1.01 / min(frame_hw), "one share for both sides: the frame's ratio"
        inside = box_in_crop(box, crop)
        assert min(inside) > -1e-9 and max(inside) < 1 + 1e-9, "the head lies in its crop"
        if min(sides) * 32 / 2 > MIN_SHARE:
            assert not is_empty(box_cells(inside, GRID))
        # back again: box_in_crop is the affine map of the crop
        np.testing.assert_allclose([crop[0] + inside[0] * width, crop[1] + inside[1] * height], box[:2], atol=1e-12)


CROPS = [
    # head, crop: 0.02 of 32 cells is 0.64 cells, so 0.32 of the frame
    ((0.49, 0.49, 0.51, 0.51), (0.34, 0.34, 0.66, 0.66), "in the middle"),
    ((0.0, 0.0, 0.02, 0.02), (0.0, 0.0, 0.32, 0.32), "in the corner: shifted inside"),
    ((0.98, 0.49, 1.0, 0.51), (0.68, 0.34, 1.0, 0.66), "at the right edge"),
    ((0.499, 0.49, 0.501, 0.51), (0.437, 0.437, 0.562, 0.562), "two pixels wide: the least share"),
]


@pytest.mark.parametrize(("box", "wanted", "why"), CROPS, ids=[case[2] for case in CROPS])
def test_crops_of_known_heads(box: tuple, wanted: tuple, why: str) -> None:  # type: ignore[type-arg]
    np.testing.assert_allclose(crop_around(box, GRID, (1000, 1000)), wanted, atol=0.0011, err_msg=why)


def test_the_cut_has_the_crops_pixels() -> None:
    frame = np.arange(10 * 20 * 3, dtype=np.uint8).reshape(10, 20, 3)
    np.testing.assert_array_equal(cut(frame, (0.25, 0.2, 0.75, 0.7)), frame[2:7, 5:15])


def test_a_map_comes_back_to_the_place_of_its_crop() -> None:
    """Crop = the quarter from (1/4, 1/4) to (3/4, 3/4): each frame pixel holds 2x2 crop pixels."""
    rng = np.random.default_rng(1)
    small = rng.random((64, 64)).astype(np.float32)
    frame = map_into_frame(small, (0.25, 0.25, 0.75, 0.75))
    np.testing.assert_allclose(frame[16:48, 16:48], small.reshape(32, 2, 32, 2).mean(axis=(1, 3)), rtol=1e-6)
    frame[16:48, 16:48] = 0
    assert not frame.any()


def test_a_map_of_the_whole_frame_stays_as_it_is() -> None:
    small = np.random.default_rng(2).random((64, 48)).astype(np.float32)
    np.testing.assert_allclose(map_into_frame(small, (0, 0, 1, 1)), small, rtol=1e-6)


@pytest.mark.parametrize("crop", [(0.1, 0.2, 0.43, 0.53), (0.0, 0.0, 0.125, 0.125), (0.77, 0.31, 0.98, 0.52)])
def test_integral_and_middle_of_a_peak_follow_the_affine_map(crop: tuple[float, float, float, float]) -> None:
    y, x = (np.mgrid[0:64, 0:64] + 0.5) / 64
    peak = np.exp(-((x - 0.6) ** 2 + (y - 0.4) ** 2) / (2 * 0.08**2)).astype(np.float32)
    frame = map_into_frame(peak, crop)
    width, height = crop[2] - crop[0], crop[3] - crop[1]
    assert frame.mean() == pytest.approx(peak.mean() * width * height, rel=1e-5)
    assert frame.min() >= 0 and frame.max() <= peak.max() + 1e-6
    middle = [(frame * axis).sum() / frame.sum() for axis in (x, y)]
    wanted = [(peak * axis).sum() / peak.sum() for axis in (x, y)]
    np.testing.assert_allclose(middle, [crop[0] + width * wanted[0], crop[1] + height * wanted[1]], atol=2e-3)


class _Seeing:
    """A model whose heatmap is the brightness of what it is shown, times the number of cells of the head prompt."""

    name, dtype, device = "seeing", torch.float32, torch.device("cpu")
    out_size, grid, has_inout = (64, 64), (32, 32), True

    def __init__(self) -> None:
        self.passes: list[int] = []

    def preprocess(self, images: np.ndarray) -> torch.Tensor:  # type: ignore[type-arg]
        levels = torch.from_numpy(np.asarray(images)).float().mean(dim=3, keepdim=True).permute(0, 3, 1, 2) / 255
        return torch.nn.functional.interpolate(levels, size=(64, 64), mode="area")

    def __call__(self, images, boxes):  # type: ignore[no-untyped-def]
        inputs = images if isinstance(images, torch.Tensor) else self.preprocess(images)
        self.passes.append(len(inputs))
        index = [i for i, people in enumerate(boxes) for _ in people]
        cells = [box_cells(box, self.grid) for people in boxes for box in people]
        sizes = [float((c[2] - c[0]) * (c[3] - c[1])) for c in cells]
        return GazeOutput(inputs[index, 0], torch.tensor(sizes), torch.tensor(index))


def _prompts(boxes: list[tuple[float, float, float, float]], small: tuple[int, ...]) -> FramePrompts:
    return FramePrompts(
        track_id=np.arange(len(boxes), dtype=np.int32),
        box_xyxy=np.array(boxes, np.float32),
        prompt_boxes=list(boxes),
        prompt=np.array([Prompt.CROPPED if i in small else Prompt.GIVEN for i in range(len(boxes))], np.uint8),
        small=small,
    )


LARGE, SMALL = (0.1, 0.1, 0.4, 0.4), (0.60, 0.60, 0.615, 0.62)


def test_what_is_seen_in_the_crop_lies_where_it_is_in_the_frame() -> None:
    frame = np.zeros((1080, 1920, 3), np.uint8)
    frame[680:720, 1250:1290] = 255  # a bright spot near the small head
    frame[100:140, 100:140] = 255  # and one far outside its crop
    model = _Seeing()
    result = BatchRunner(model, 4).begin([frame], [_prompts([SMALL], (0,))]).result()  # type: ignore[arg-type]
    (found,) = result.heatmap.astype(float)
    y, x = (np.mgrid[0:64, 0:64] + 0.5) / 64
    middle = ((found * x).sum() / found.sum(), (found * y).sum() / found.sum())
    np.testing.assert_allclose(middle, (1270 / 1920, 700 / 1080), atol=2e-3)
    # the fake model's resize keeps the sum only to some percent
    assert found.sum() / 64**2 == pytest.approx(40 * 40 / (1920 * 1080), rel=0.05)
    assert result.inout[0] >= 1, "the head has a cell in its crop"


def test_rows_keep_their_order_and_others_their_numbers_in_mixed_frames() -> None:
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (90, 160, 3), dtype=np.uint8) for _ in range(3)]
    prompts = [_prompts([LARGE, SMALL], (1,)), _prompts([SMALL, LARGE, SMALL], (0, 2)), _prompts([LARGE], ())]
    model = _Seeing()
    mixed = BatchRunner(model, 3).begin(frames, prompts).result()  # type: ignore[arg-type]
    assert model.passes == [3, 3], "one pass over the frames, one over the three crops"
    alone = [
        BatchRunner(_Seeing(), 1).begin([frame], [_prompts([box], (0,) if box is SMALL else ())]).result()  # type: ignore[arg-type]
        for frame, people in zip(frames, ([LARGE, SMALL], [SMALL, LARGE, SMALL], [LARGE]), strict=True)
        for box in people
    ]
    np.testing.assert_allclose(mixed.heatmap, np.concatenate([a.heatmap for a in alone]), atol=1e-3)
    np.testing.assert_array_equal(mixed.inout, np.concatenate([a.inout for a in alone]))


def test_crops_never_exceed_the_batch_that_fits() -> None:
    frame = np.zeros((90, 160, 3), np.uint8)
    model = _Seeing()
    BatchRunner(model, 2).begin([frame] * 2, [_prompts([SMALL] * 3, (0, 1, 2))] * 2).result()  # type: ignore[arg-type]
    assert model.passes == [2, 2, 2]


def test_extract_records_cropped_rows(clip: Path, tiny_model: Path, tmp_path: Path) -> None:
    boxes = tmp_path / "small.csv"
    boxes.write_text("frame,track_id,xmin,ymin,xmax,ymax\n0,1,40,20,43,23\n0,2,0,0,60,50\n0,3,90,60,93,62\n")
    options = {"heads": f"file:{boxes}", "end": 0.1, "model": str(tiny_model)}
    item = gazetools.extract(clip, tmp_path / "crop", small_heads="crop", **options).items[0]
    assert (item.rows, item.small_heads) == (3, 2)
    gazetools.extract(clip, tmp_path / "grow", small_heads="grow", **options)
    with open_store(tmp_path / "crop" / "clip.h5") as crop, open_store(tmp_path / "grow" / "clip.h5") as grow:
        assert crop.row_prompt.tolist() == [Prompt.CROPPED, Prompt.GIVEN, Prompt.CROPPED]
        assert crop.provenance.heads.prompts == {"given": 1, "cropped": 2}
        mine, other = crop.rows(), grow.rows()
        np.testing.assert_allclose(mine.heatmap[1].astype(float), other.heatmap[1].astype(float), atol=2e-3)
        part = crop_around((40 / 96, 20 / 64, 43 / 96, 23 / 64), (4, 4), (64, 96))
        outside = np.ones((64, 64), bool)
        x0, y0, x1, y1 = (round(v * 64) for v in part)
        outside[max(y0 - 1, 0) : y1 + 1, max(x0 - 1, 0) : x1 + 1] = False
        assert not mine.heatmap[0][outside].any()
        assert mine.heatmap[0].any()
        np.testing.assert_allclose(mine.box_xyxy, other.box_xyxy)
