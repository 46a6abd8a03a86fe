"""The loaded model as its users call it: inputs, people, sizes, dtypes, refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import gazetools
from gazetools.gazemodels import any_model
from gazetools.gazemodels.gazelle.loading import load_model
from gazetools.gazemodels.gazelle.model import GazelleModel
from gazetools.schemas.errors import EnvironmentLacksError, UsageError
from tests.helpers.random_checkpoints import write_tiny_gazelle

LEFT, RIGHT = (0.0, 0.0, 0.4, 0.5), (0.6, 0.5, 1.0, 1.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tiny")


@pytest.fixture(scope="module")
def model(folder: Path) -> GazelleModel:
    return load_model(write_tiny_gazelle(folder / "tiny.safetensors"))


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 90, 120, 3), dtype=np.uint8)


def test_the_facts_of_a_model(model: GazelleModel) -> None:
    assert (model.in_size, model.grid, model.out_size, model.has_inout) == ((56, 56), (4, 4), (64, 64), True)
    assert (model.name, model.backbone_name) == ("gazelle_random_tiny_inout", "dinov2_random_tiny")
    assert (model.device.type, model.dtype) == ("cpu", torch.float32)
    assert set(model.weights_sha256) == {"checkpoint"} and len(model.weights_sha256["checkpoint"]) == 64
    assert model.config.grid == model.grid
    assert gazetools.load_model is any_model.load_model


def test_rows_follow_images_and_boxes(model: GazelleModel, frames: np.ndarray) -> None:
    out = model(frames, [[LEFT, RIGHT], [], [None]])
    assert out.heatmap.shape == (3, 64, 64) and out.heatmap.dtype == torch.float32
    assert out.inout is not None and out.inout.shape == (3,) and out.inout.dtype == torch.float32
    assert out.image_index.tolist() == [0, 0, 2] and out.image_index.dtype == torch.int64
    assert 0 <= float(out.heatmap.min()) < float(out.heatmap.max()) <= 1
    for row, (image, box) in enumerate([(0, LEFT), (0, RIGHT), (2, None)]):
        alone = model(frames[image][None], [[box]])
        torch.testing.assert_close(alone.heatmap[0], out.heatmap[row], atol=1e-5, rtol=0)


def test_image_and_prompt_both_matter(model: GazelleModel, frames: np.ndarray) -> None:
    left, right, none, other_image = model(frames[:2], [[LEFT, RIGHT, None], [LEFT]]).heatmap
    for other in (right, none, other_image):
        assert (left - other).abs().mean() > 0.005


def test_a_box_without_a_cell_acts_as_none(model: GazelleModel, frames: np.ndarray) -> None:
    tiny_box = (0.40, 0.40, 0.43, 0.43)
    x0, y0, x1, y1 = model.head_cells(tiny_box)
    assert x0 >= x1 and y0 >= y1
    pair = model(frames[:1], [[tiny_box, None]]).heatmap
    torch.testing.assert_close(pair[0], pair[1], atol=0, rtol=0)


@pytest.mark.parametrize("boxes", [[[], [], []], []])
def test_nobody_gives_no_rows(model: GazelleModel, frames: np.ndarray, boxes: list[list[None]]) -> None:
    out = model(frames[: len(boxes)], boxes)
    assert out.heatmap.shape == (0, 64, 64)
    assert out.inout is not None and out.inout.shape == (0,)
    assert out.image_index.shape == (0,) and len(out) == 0


def test_the_backbone_runs_once_per_image_with_people(
    model: GazelleModel, frames: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    encode = model.encode
    monkeypatch.setattr(model, "encode", lambda inputs: seen.append(len(inputs)) or encode(inputs))
    model(frames, [[LEFT, RIGHT, None], [], [RIGHT]])
    assert seen == [2]


def test_preprocessed_floats_and_uint8_agree(model: GazelleModel, frames: np.ndarray) -> None:
    boxes = [[LEFT], [], [RIGHT, None]]
    inputs = model.preprocess(frames)
    assert inputs.shape == (3, 3, 56, 56) and inputs.dtype == torch.float32
    expected = model(frames, boxes)
    for images in (inputs, inputs.numpy(), torch.from_numpy(frames)):
        got = model(images, boxes)
        torch.testing.assert_close(got.heatmap, expected.heatmap, atol=1e-6, rtol=0)
        assert got.image_index.tolist() == [0, 2, 2]


def test_read_only_frames_are_taken(model: GazelleModel, frames: np.ndarray) -> None:
    locked = frames.copy()
    locked.flags.writeable = False
    torch.testing.assert_close(model(locked, [[LEFT], [], []]).heatmap, model(frames, [[LEFT], [], []]).heatmap)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.zeros((90, 120, 3), np.uint8), "leading axis"),
        (np.zeros((1, 90, 120, 4), np.uint8), r"\[B, H, W, 3\] RGB"),
        (np.zeros((1, 3, 90, 120), np.uint8), r"\[B, H, W, 3\] RGB"),
        (np.zeros((1, 0, 120, 3), np.uint8), "no pixels"),
        (np.zeros((1, 90, 120, 3), np.int64), "int64"),
        (np.zeros((1, 3, 90, 120), np.float32), r"preprocessed, \[B, 3, 56, 56\]"),
        ([[1, 2, 3]], "not list"),
    ],
)
@pytest.mark.parametrize("boxes", [[[LEFT]], [[]]])
def test_wrong_images_are_refused_with_and_without_people(
    model: GazelleModel, images: object, words: str, boxes: list[list[tuple[float, ...]]]
) -> None:
    with pytest.raises(UsageError, match=words):
        model(images, boxes)  # type: ignore[arg-type]


def test_wrong_boxes_name_image_and_person(model: GazelleModel, frames: np.ndarray) -> None:
    with pytest.raises(UsageError, match=r"boxes\[1\]\[2\].*looks like pixels"):
        model(frames, [[LEFT], [None, RIGHT, (100, 50, 300, 220)], []])
    with pytest.raises(UsageError, match="3 images and 1 lists"):
        model(frames, [[LEFT]])


@pytest.mark.parametrize(("in_size", "out_size"), [((42, 84), (24, 40)), ((98, 56), (64, 64)), ((28, 28), (4, 4))])
def test_other_sizes_and_grids(folder: Path, in_size: tuple[int, int], out_size: tuple[int, int]) -> None:
    path = write_tiny_gazelle(folder / f"{in_size}.safetensors", in_size=in_size, out_size=out_size, inout=False)
    model = load_model(path)
    out = model(np.zeros((1, 30, 40, 3), np.uint8), [[LEFT, None]])
    assert model.grid == (in_size[0] // 14, in_size[1] // 14)
    assert out.heatmap.shape == (2, *out_size) and out.inout is None and not model.has_inout


def test_in_size_override(model: GazelleModel, folder: Path, frames: np.ndarray) -> None:
    larger = load_model(folder / "tiny.safetensors", in_size=(112, 84))
    assert larger.grid == (8, 6) and larger.out_size == (64, 64)
    assert larger(frames, [[LEFT], [], []]).heatmap.shape == (1, 64, 64)
    same = load_model(folder / "tiny.safetensors", in_size=(56, 56))
    boxes = [[LEFT], [], []]
    torch.testing.assert_close(same(frames, boxes).heatmap, model(frames, boxes).heatmap, atol=0, rtol=0)
    with pytest.raises(UsageError, match=r"multiples of the patch size 14.*such as \(448, 448\)"):
        load_model(folder / "tiny.safetensors", in_size=(100, 100))


@pytest.mark.parametrize(("dtype", "atol"), [("bfloat16", 0.1), ("float16", 0.01)])
def test_half_precision_stays_close(
    model: GazelleModel, folder: Path, frames: np.ndarray, dtype: str, atol: float
) -> None:
    half = load_model(folder / "tiny.safetensors", dtype=dtype)  # type: ignore[arg-type]
    assert half.dtype == getattr(torch, dtype)
    boxes = [[LEFT, RIGHT], [None], [LEFT]]
    expected, out = model(frames, boxes), half(frames, boxes)
    assert out.heatmap.dtype == torch.float32 and out.inout is not None and out.inout.dtype == torch.float32
    distance = (out.heatmap - expected.heatmap).abs()
    assert float(distance.max()) < atol
    assert float(distance.max()) > 0, "another dtype that changes nothing is not in use"
    assert len(out.heatmap.unique()) > 1000, "logits must not be quantised to the dtype"


def test_fast_preprocessing_stays_close(model: GazelleModel, folder: Path, frames: np.ndarray) -> None:
    fast = load_model(folder / "tiny.safetensors", preprocess="fast")
    distance = (fast.preprocess(frames) - model.preprocess(frames)).abs()
    assert 0 < float(distance.max()) < 1.01 / 255 / 0.224
    with pytest.raises(UsageError, match="neither 'exact' nor 'fast'"):
        load_model(folder / "tiny.safetensors", preprocess="quick")  # type: ignore[arg-type]


def test_nothing_is_left_in_autograd(model: GazelleModel, frames: np.ndarray) -> None:
    out = model(frames, [[LEFT], [], []])
    assert not out.heatmap.requires_grad
    assert not any(p.requires_grad for m in (model.backbone, model.decoder) for p in m.parameters())
    assert not model.backbone.training and not model.decoder.training


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "cpu:0", "mps"])
def test_unknown_devices_are_usage_errors(folder: Path, device: str) -> None:
    with pytest.raises(UsageError, match="Use auto, cpu, cuda or cuda:N"):
        load_model(folder / "tiny.safetensors", device=device)


def test_missing_cuda_is_the_environments(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EnvironmentLacksError, match=r"CUDA is not available.*--device cpu") as caught:
        load_model(folder / "tiny.safetensors", device="cuda:0")
    assert caught.value.exit_code == 3
    assert load_model(folder / "tiny.safetensors", device="auto").device.type == "cpu"


def test_a_card_that_is_not_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(EnvironmentLacksError, match=r"'cuda:2'.*2 CUDA device"):
        load_model(folder / "tiny.safetensors", device="cuda:2")


def test_unknown_dtype(folder: Path) -> None:
    with pytest.raises(UsageError, match="dtype='int8' is unknown"):
        load_model(folder / "tiny.safetensors", dtype="int8")  # type: ignore[arg-type]


def test_random_weights_are_a_function_of_the_seed(folder: Path) -> None:
    one, two, other = (
        load_model(write_tiny_gazelle(folder / f"seed{i}.safetensors", seed=seed)).weights_sha256["checkpoint"]
        for i, seed in enumerate((5, 5, 6))
    )
    assert one == two != other
