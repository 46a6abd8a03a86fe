"""Pinned staging: what is copied, when a slot is filled again, and that batches are given ahead of their results."""

from __future__ import annotations

from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from gazetools.extraction.model.batches import BatchRunner
from gazetools.extraction.model.staging import CudaCopies, PinnedStaging, staging_for
from gazetools.extraction.run import extract
from gazetools.gazemodels.gazelle.loading import load_model
from gazetools.heads.prompts import FramePrompts
from tests.helpers.equal_stores import assert_stores_equal

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")


class LateCopies(CudaCopies):
    """A device whose copies happen at the last moment that is allowed: at `wait` or where its memory is read."""

    def __init__(self) -> None:
        self.pinned_sizes: list[int] = []
        self.sources: list[torch.Tensor] = []
        self._under_way: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.handed_over = 0

    def pinned(self, size: int) -> torch.Tensor:
        self.pinned_sizes.append(size)
        return torch.zeros(size, dtype=torch.uint8)

    def empty(self, shape: tuple[int, ...]) -> torch.Tensor:
        return torch.zeros(shape, dtype=torch.uint8)

    def start(self, target: torch.Tensor, source: torch.Tensor) -> Any:
        self.sources.append(source)
        self._under_way.append((target, source))
        return len(self.sources)

    def wait(self, copy: int) -> None:
        """Copies of one stream end in order."""
        while self._under_way and len(self.sources) - len(self._under_way) < copy:
            target, source = self._under_way.pop(0)
            target.copy_(source)

    def hand_over(self, target: torch.Tensor) -> None:
        self.handed_over += 1

    def read_all(self) -> None:
        """What the device's own work does first."""
        self.wait(len(self.sources))


def _frames(count: int, seed: int = 0) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).integers(0, 256, (count, 6, 8, 3), dtype=np.uint8))


FRAME_BYTES = 6 * 8 * 3


@pytest.mark.parametrize("slot_frames", [0.5, 1, 2.5, 100], ids=lambda n: f"{n} frames per slot")
def test_frames_arrive_whole_though_copies_end_late(slot_frames: float) -> None:
    copies = LateCopies()
    stage = PinnedStaging(copies, slot_bytes=int(slot_frames * FRAME_BYTES))
    batches = [_frames(7, seed) for seed in range(4)]
    targets = [stage.to_device(frames) for frames in batches]
    assert copies.handed_over == 4
    copies.read_all()
    for frames, target in zip(batches, targets, strict=True):
        np.testing.assert_array_equal(target.numpy(), np.stack(frames))


def test_only_two_pinned_slots_are_ever_copied_from() -> None:
    copies = LateCopies()
    stage = PinnedStaging(copies, slot_bytes=2 * FRAME_BYTES)
    for seed in range(5):
        stage.to_device(_frames(6, seed))
    assert copies.pinned_sizes == [2 * FRAME_BYTES] * 2
    places = [source.data_ptr() for source in copies.sources]
    assert len(places) == 15
    assert len(set(places)) == 2
    assert all(one != next_one for one, next_one in pairwise(places)), "the slots take turns"


def test_the_callers_frames_may_be_overwritten_at_once() -> None:
    copies = LateCopies()
    ring = np.stack(_frames(3))
    expected = ring.copy()
    target = PinnedStaging(copies).to_device(list(ring))
    ring[:] = 0
    copies.read_all()
    np.testing.assert_array_equal(target.numpy(), expected)


def test_a_larger_frame_gets_larger_slots() -> None:
    copies = LateCopies()
    stage = PinnedStaging(copies, slot_bytes=FRAME_BYTES)
    stage.to_device(_frames(2))
    large = np.full((60, 80, 3), 7, np.uint8)
    target = stage.to_device([large, large])
    copies.read_all()
    assert bool((target == 7).all())
    assert copies.pinned_sizes == [FRAME_BYTES] * 2 + [large.nbytes] * 2


def test_cuda_alone_is_staged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: f"stream of {device}")
    assert isinstance(staging_for(torch.device("cuda", 1)), PinnedStaging)
    assert staging_for(torch.device("cpu")) is None


def test_cuda_copies_are_pinned_asynchronous_and_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The calls that CudaCopies makes, in order, with stand-ins for everything that needs a card."""
    calls: list[Any] = []

    class Stream:
        def __init__(self, name: object) -> None:
            self.name = str(name)

        def wait_stream(self, other: Stream) -> None:
            calls.append((self.name, "waits for", other.name))

    class Event:
        def record(self, stream: Stream) -> None:
            calls.append(("event in", stream.name))

        def synchronize(self) -> None:
            calls.append("event waited for")

    class Target:
        def copy_(self, source: object, *, non_blocking: bool) -> None:
            calls.append(("copy", non_blocking))

        def record_stream(self, stream: Stream) -> None:
            calls.append(("kept for", stream.name))

    def empty(shape: object, *, dtype: torch.dtype, pin_memory: bool = False, device: object = "cpu") -> Any:
        calls.append(("empty", shape, pin_memory, str(device)))
        return Target()

    def within(stream: Stream) -> nullcontext[None]:
        calls.append(("in", stream.name))
        return nullcontext()

    monkeypatch.setattr(torch.cuda, "Stream", lambda device: Stream("side"))
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "stream", within)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream(f"model's of {device}"))
    monkeypatch.setattr(torch, "empty", empty)
    copies = CudaCopies(torch.device("cuda", 1))
    source = copies.pinned(5)
    target = copies.empty((1, 2))
    copies.wait(copies.start(target, source))
    copies.hand_over(target)
    assert calls == [
        ("empty", 5, True, "cpu"),
        ("in", "side"), ("empty", (1, 2), False, "cuda:1"),
        ("in", "side"), ("copy", True), ("event in", "side"), "event waited for",
        ("model's of cuda:1", "waits for", "side"), ("kept for", "model's of cuda:1"),
    ]  # fmt: skip


def _whole(count: int) -> list[FramePrompts]:
    one = FramePrompts(
        track_id=np.zeros(1, np.int32),
        box_xyxy=np.array([[0, 0, 1, 1]], np.float32),
        prompt_boxes=[None],
        prompt=np.array([3], np.uint8),
    )
    return [one] * count


def test_a_staged_batch_gives_the_numbers_of_an_unstaged_one(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model(str(tiny_model), device="cpu")
    expected = BatchRunner(model, 4).begin(_frames(4), _whole(4)).result()
    copies = LateCopies()
    runner = BatchRunner(model, 4)
    monkeypatch.setattr(runner, "_staging", PinnedStaging(copies))
    preprocess = model.preprocess

    def after_the_copies(images: Any) -> torch.Tensor:
        copies.read_all()
        return preprocess(images)

    monkeypatch.setattr(model, "preprocess", after_the_copies)
    got = runner.begin(_frames(4), _whole(4)).result()
    assert len(copies.sources) == 1, "the frames went through the staging"
    np.testing.assert_array_equal(got.heatmap, expected.heatmap)
    np.testing.assert_array_equal(got.inout, expected.inout)


def test_the_next_batch_is_given_before_the_last_one_is_waited_for(
    clip: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log: list[str] = []
    begin = BatchRunner.begin

    def logged(self: BatchRunner, images: Any, prompts: Any) -> Any:
        pending = begin(self, images, prompts)
        number = sum(word.startswith("given") for word in log)
        log.append(f"given {number}")

        def take() -> Any:
            log.append(f"taken {number}")
            return pending.result()

        return SimpleNamespace(result=take)

    extract(clip, tmp_path / "plain", model=str(tiny_model), device="cpu", stride=4, batch_size=4)
    monkeypatch.setattr(BatchRunner, "begin", logged)
    extract(clip, tmp_path / "logged", model=str(tiny_model), device="cpu", stride=4, batch_size=4)
    assert log == ["given 0", "given 1", "taken 0", "given 2", "taken 1", "taken 2"]
    assert_stores_equal(tmp_path / "logged" / "clip.h5", tmp_path / "plain" / "clip.h5")


@needs_cuda
def test_staging_on_a_card_keeps_every_pixel_while_the_card_is_busy() -> None:
    stage = staging_for(torch.device("cuda", 0))
    assert stage is not None
    weights = torch.rand(4096, 4096, device="cuda:0")
    batches = [list(np.random.default_rng(k).integers(0, 256, (16, 540, 960, 3), dtype=np.uint8)) for k in range(3)]
    targets = []
    for frames in batches:
        for _ in range(20):
            weights = weights @ weights / 4096
        targets.append(stage.to_device(frames))
    for frames, target in zip(batches, targets, strict=True):
        np.testing.assert_array_equal(target.cpu().numpy(), np.stack(frames))


@needs_cuda
def test_a_card_gives_the_cpus_maps_and_begins_without_waiting(tiny_model: Path) -> None:
    card = BatchRunner(load_model(str(tiny_model), device="cuda:0", dtype="float32"), 4)
    expected = BatchRunner(load_model(str(tiny_model), device="cpu"), 4).begin(_frames(4), _whole(4)).result()
    card.begin(_frames(4), _whole(4)).result()  # the first call sets libraries up
    torch.cuda.set_sync_debug_mode("error")
    try:
        pending = card.begin(_frames(4), _whole(4))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    got = pending.result()
    np.testing.assert_allclose(got.heatmap.astype(float), expected.heatmap.astype(float), atol=2e-3)
    np.testing.assert_allclose(got.inout, expected.inout, atol=1e-3)
