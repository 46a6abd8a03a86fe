"""Page-locked batches: which settings ask for them, and that every tensor for the GPU is locked and copied so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from gazetools.trainer.data.anchors import resolve_anchors
from gazetools.trainer.data.batch import Batch
from gazetools.trainer.data.clips import ClipDataset, ClipOptions
from gazetools.trainer.data.maps.build import build_sources
from gazetools.trainer.data.survey import plan_data
from gazetools.trainer.learn.feed import Loaders
from gazetools.trainer.learn.forward import Forward, encode_future
from gazetools.trainer.plan.config import load_config
from tests.trainer.conftest import Study


class Loader:
    """torch's DataLoader as far as it counts here; the real one ignores pin_memory where there is no GPU."""

    def __init__(
        self,
        dataset: ClipDataset,
        *,
        batch_sampler: list[list[int]],
        collate_fn: Callable[..., Batch],
        pin_memory: bool,
        **_: Any,
    ) -> None:
        self.batches = (collate_fn([dataset[place] for place in places]) for places in batch_sampler)
        self.pin_memory = pin_memory

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.batches:
            yield batch.pin_memory() if self.pin_memory else batch


@pytest.fixture
def locked(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Addresses of page-locked tensors, without a GPU."""
    found: set[int] = set()
    kept = []

    def pin_memory(tensor: Tensor) -> Tensor:
        kept.append(tensor.clone())
        found.add(kept[-1].data_ptr())
        return kept[-1]

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin_memory)
    monkeypatch.setattr("gazetools.trainer.learn.feed.DataLoader", Loader)
    return found


def loaded(
    study: Study, tmp_path: Path, device: str, chosen: list[list[int]], **values: Any
) -> tuple[ClipDataset, list[Batch]]:
    """The batches `chosen` as they are loaded for `device`."""
    config = load_config(study.config(tmp_path, **values))
    data = config.experiment.data
    plan = plan_data(data, resolve_anchors(config))
    options = ClipOptions(training=True, seed=0, future_frames=2)
    dataset = ClipDataset(plan.train, data, plan.labels, options, heatmaps=build_sources(data))
    return dataset, list(Loaders(config, torch.device(device)).load(dataset, chosen))


@pytest.mark.parametrize(
    ("device", "asked", "wanted"), [("cuda", True, True), ("cuda", False, False), ("cpu", True, False)]
)
def test_batches_are_page_locked_for_a_gpu_where_the_config_asks(
    study: Study, tmp_path: Path, locked: set[int], device: str, asked: bool, wanted: bool
) -> None:
    _, batches = loaded(study, tmp_path, device, [[0, 1], [], [2]], pin_memory=asked)
    assert [batch.clips for batch in batches] == [[0, 1], [], [2]]
    for batch in (batches[0], batches[2]):
        assert batch.video is not None and (batch.video.data_ptr() in locked) is wanted


def test_what_goes_to_the_gpu_is_locked_unchanged_and_copied_without_waiting(
    study: Study, tmp_path: Path, locked: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, (plain,) = loaded(study, tmp_path, "cpu", [[0, 1]])
    dataset, (batch,) = loaded(study, tmp_path, "cuda", [[0, 1]])
    assert batch.clips == plain.clips and batch.counts == plain.counts and next(iter(batch.heatmaps)) == "heatmap"
    copied: list[Tensor] = []

    def to(tensor: Tensor, device: torch.device, *, non_blocking: bool = False) -> Tensor:
        assert device.type == "cuda" and non_blocking
        copied.append(tensor)
        return tensor

    monkeypatch.setattr(torch.Tensor, "to", to)
    # An encoder that gives its video back, in front of a predictor that takes heatmaps.
    wrapper: Any = SimpleNamespace(encode=lambda video: video, takes_heatmap=True, predicted_count=1)
    forward = Forward(load_config(study.config(tmp_path)), [SimpleNamespace(wrapper=wrapper)], torch.device("cuda"))  # type: ignore[list-item]
    monkeypatch.setattr(Forward, "autocast", lambda self: nullcontext())
    seen = forward.encode(batch, dataset)
    future = encode_future(wrapper, batch, torch.device("cuda"))
    assert future is not None
    assert batch.future_known is not None
    # Which futures are known is counted on the host: their places are copied, a number each.
    wanted = locked - {batch.future_known.data_ptr()} | {future.known.data_ptr()}
    assert {tensor.data_ptr() for tensor in copied} == wanted, "all that is locked is copied, and nothing else"
    assert len(copied) == 7, "video, heatmaps, verb, noun, action, future and the places where it is known"
    assert plain.video is not None and torch.equal(seen.tokens, plain.video)
    assert torch.equal(seen.sources["heatmap"], plain.heatmaps["heatmap"])
    assert {task: values.tolist() for task, values in seen.labels.items()} == {
        task: values.tolist() for task, values in plain.labels.items()
    }
    assert plain.future is not None and torch.equal(future.tokens, plain.future[:, -1:])
