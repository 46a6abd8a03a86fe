"""gazelle_tiny's training: what it learns from is right, and a kill changes nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from gazetools.gazemodels.gazelle.config import TINY_MODEL
from gazetools.gazemodels.gazelle.loading import load_model
from gazetools.gazemodels.gazelle.prompts import head_maps
from gazetools.metrics.gaze import target_heatmap
from gazetools.schemas.errors import UsageError
from gazetools.schemas.finetune_from_nothing import FromNothingSettings
from gazetools.trainer.finetune.tiny import crowds
from gazetools.trainer.finetune.tiny.auxiliary import make_batch
from gazetools.trainer.finetune.tiny.crowds import add_heads
from gazetools.trainer.finetune.tiny.network import TrainingNetwork, checkpoint_tensors, target_maps, write_checkpoint
from gazetools.trainer.finetune.tiny.run import train
from gazetools.trainer.finetune.tiny.samples import GazeSample, SamplePool, make_sample
from gazetools.trainer.finetune.tiny.state import STATE, WEIGHTS

SIDE = TINY_MODEL.in_size[0]
SHORT = FromNothingSettings(
    ranks=1,
    pool=6,
    head_steps=2,
    steps=5,
    head_batch=2,
    batch=2,
    warm_up=2,
    save_every=2,
)


@pytest.fixture(autouse=True)
def a_small_bank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crowds, "_BANK", 8)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> SamplePool:
    return SamplePool(seed=3, size=6, folder=tmp_path_factory.mktemp("pool"))


def _samples(pool: SamplePool, count: int) -> list[GazeSample]:
    return [make_sample(pool, k, SIDE) for k in range(count)]


def test_a_sample_is_a_function_of_its_index(pool: SamplePool) -> None:
    first, again, later = (make_sample(pool, k, SIDE) for k in (2, 2, 2 + pool.size))
    assert np.array_equal(first.picture, again.picture)
    assert np.array_equal(first.prompts, again.prompts)
    assert not np.array_equal(first.picture, later.picture), "the same kitchen comes back augmented anew"


def test_augmented_truth_stays_on_its_picture(pool: SamplePool) -> None:
    """A head's middle keeps the colours of the head: found again in the plain picture by its box there."""
    for k in range(4 * pool.size):
        sample = make_sample(pool, k, SIDE)
        scene, seconds = pool.scene(k % pool.size)
        people = scene.truth_at(seconds)
        plain = pool.picture(k % pool.size)
        assert 1 <= len(sample.boxes) <= len(people)
        assert (sample.boxes[:, 2:] > sample.boxes[:, :2]).all()
        assert ((sample.gaze_xy[sample.inside] >= 0) & (sample.gaze_xy[sample.inside] <= 1)).all()
        colours = [_middle_colour(plain, p.box_xyxy) for p in people]
        for box in sample.boxes:
            here = _middle_colour(sample.picture, box)
            # colours are shifted by up to 15 % and 12 levels
            assert min(np.abs(here - colour).max() for colour in colours) < 60


def _middle_colour(picture: np.ndarray, box: object) -> np.ndarray:
    x0, y0, x1, y1 = np.asarray(box, float)
    height, width = picture.shape[:2]
    x, y = (x0 + x1) / 2 * width, (y0 + y1) / 2 * height
    return np.asarray(picture[int(y) - 3 : int(y) + 3, int(x) - 2 : int(x) + 3].reshape(-1, 3).mean(axis=0))


def test_floating_heads_keep_clear_of_real_ones() -> None:
    sprites = np.full((1, 52, 52, 4), 255, np.uint8)
    picture = np.zeros((SIDE, SIDE, 3), np.uint8)
    real = np.array([[0.4, 0.4, 0.6, 0.6]])
    boxes, axes = add_heads(np.random.default_rng(0), picture, real, (sprites, np.array([[0.0, 0.0, 1.0]])))
    assert len(boxes) == len(axes) > 10
    assert picture[int(0.5 * SIDE), int(0.5 * SIDE)].max() == 0
    for box in boxes:
        x, y = ((box[:2] + box[2:]) / 2 * SIDE).astype(int)
        assert picture[y, x].max() > 100


def test_targets_are_the_metrics_heatmaps() -> None:
    points = np.array([[0.5, 0.5], [0.02, 0.97], [0.99, 0.4]], np.float32)
    maps = target_maps(torch.from_numpy(points), (64, 64)).numpy()
    for (x, y), one in zip(points, maps, strict=True):
        assert one == pytest.approx(target_heatmap(float(x), float(y)), abs=1e-5)


def test_training_and_inference_are_one_function(pool: SamplePool, tmp_path: Path) -> None:
    samples = _samples(pool, 3)
    network = TrainingNetwork(seed=1)
    batch = make_batch(samples, TINY_MODEL.grid)
    shipped = {key: value.half().float() for key, value in network.shipped().items()}
    network.load_state_dict({**network.state_dict(), **shipped})
    with torch.no_grad():
        maps, inout = network.maps(
            network.tokens(batch.images), batch.image_index, head_maps(batch.prompts, TINY_MODEL.grid)
        )
    write_checkpoint(tmp_path / "m.safetensors", network.shipped(), TINY_MODEL)
    model = load_model(tmp_path / "m.safetensors")
    out = model(np.stack([s.picture for s in samples]), [[tuple(b) for b in s.prompts] for s in samples])
    assert out.inout is not None
    torch.testing.assert_close(out.heatmap, maps, atol=2e-5, rtol=0)
    torch.testing.assert_close(out.inout, inout, atol=2e-5, rtol=0)
    assert (tmp_path / "m.safetensors").stat().st_size < 6_000_000
    assert all(t.dtype == torch.float16 for t in checkpoint_tensors(network.shipped()).values())


def test_left_out_cells_are_the_only_difference(pool: SamplePool) -> None:
    network = TrainingNetwork(seed=1)
    images = make_batch(_samples(pool, 2), TINY_MODEL.grid).images
    every = torch.arange(TINY_MODEL.grid[0] * TINY_MODEL.grid[1]).expand(2, -1)
    with torch.no_grad():
        torch.testing.assert_close(network.tokens(images, every), network.tokens(images), atol=1e-5, rtol=0)
        assert network.tokens(images, every[:, 5:9]).shape == (2, 4, TINY_MODEL.backbone.embed_dim)


def test_every_cell_knows_what_is_on_it(pool: SamplePool) -> None:
    (sample,) = _samples(pool, 1)
    batch = make_batch([sample], TINY_MODEL.grid)
    rows, columns = TINY_MODEL.grid
    x, y = (sample.boxes[-1][:2] + sample.boxes[-1][2:]) / 2
    cell = int(y * rows) * columns + int(x * columns)
    told = {name: values[0, cell] for name, values in batch.token_targets.items()}
    assert told["head"] == 1
    assert torch.linalg.vector_norm(told["axes"]) == pytest.approx(1, abs=1e-5)
    if told["inside"] == 1:
        middle = torch.tensor([(cell % columns + 0.5) / columns, (cell // columns + 0.5) / rows])
        distance = np.linalg.norm(sample.gaze_xy - (middle + told["offset"]).numpy(), axis=1)
        assert distance.min() < 1e-5


@pytest.mark.slow
def test_a_kill_changes_nothing(tmp_path: Path) -> None:
    """Phase change, averaging and falling rate lie between the stop and the end."""
    train(tmp_path / "whole", SHORT, workers=0)
    train(tmp_path / "killed", SHORT, workers=0, until=1)
    train(tmp_path / "killed", SHORT, workers=0, until=3)
    train(tmp_path / "killed", SHORT, workers=0)
    whole, killed = (load_file(tmp_path / name / STATE) for name in ("whole", "killed"))
    assert whole.keys() == killed.keys()
    assert all(torch.equal(whole[key], killed[key]) for key in whole)
    assert (tmp_path / "whole" / WEIGHTS).read_bytes() == (tmp_path / "killed" / WEIGHTS).read_bytes()


def test_a_folder_of_other_settings_is_refused(tmp_path: Path) -> None:
    train(tmp_path, SHORT, workers=0, until=1)
    with pytest.raises(UsageError, match="learning_rate differ"):
        train(tmp_path, SHORT.model_copy(update={"learning_rate": 2e-3}), workers=0)
    train(tmp_path, SHORT.model_copy(update={"steps": 6, "head_steps": 3}), workers=0, until=2)  # both lie ahead
