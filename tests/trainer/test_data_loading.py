"""Loading: workers, ranks, several sources, context length, compat, unseen classes, kept frame indexes."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.utils.data import DataLoader

from gazetools.io.open_files import OpenFiles
from gazetools.schemas.errors import DataFileError, UsageError
from gazetools.schemas.training_optimization import OptimizationSettings
from gazetools.trainer.data.anchors import resolve_anchors
from gazetools.trainer.data.clips import Batch, ClipDataset, ClipOptions, Sample, collate
from gazetools.trainer.data.index_cache import load_index, open_indexed, save_index
from gazetools.trainer.data.maps.build import build_sources
from gazetools.trainer.data.order import batches, epoch_order
from gazetools.trainer.data.sampling import NumberedClip, clip_frames, clip_frames_vjepa2
from gazetools.trainer.data.survey import plan_data
from gazetools.trainer.learn.feed import training_steps, validation_batches
from gazetools.trainer.learn.losses import build_loss, task_loss
from gazetools.trainer.learn.metrics import MetricSet, TaskMetrics
from gazetools.trainer.plan.config import load_config
from gazetools.trainer.processes.world import World
from gazetools.video import VideoReader
from tests.helpers.clips import write_clip
from tests.helpers.videos import ArrayVideo
from tests.trainer.conftest import Study

EVERYTHING = {
    "auto_augment": True,
    "motion_shift": True,
    "reprob": 0.5,
    "random_resize_scale": [0.3, 1.0],
    "train_context_sec": [0.5, 1.0],
}


def make_dataset(
    study: Study, tmp_path: Path, *, training: bool = True, compat: Any = "none", **data: Any
) -> ClipDataset:
    config = load_config(study.config(tmp_path, **data))
    settings = config.experiment.data
    plan = plan_data(settings, resolve_anchors(config), compat=compat)
    split = plan.train if training else plan.validation[0]
    options = ClipOptions(training=training, seed=3, compat=compat)
    return ClipDataset(split, settings, plan.labels, options, heatmaps=build_sources(settings))


# Ranks


@pytest.mark.parametrize("world_size", [1, 2, 3, 5, 8])
@pytest.mark.parametrize(("count", "size"), [(1, 4), (17, 2), (24, 3), (40, 4)])
def test_ranks_see_every_clip_once_in_the_batches_of_one_process(count: int, size: int, world_size: int) -> None:
    order = epoch_order(count, seed=1, epoch=2)
    ranks = [steps_of(order, size, World(rank=rank, size=world_size)) for rank in range(world_size)]
    assert len({len(own) for own in ranks}) == 1, "every rank makes the same number of steps"
    together = [[clip for part in step for clip in part] for step in zip(*ranks, strict=True)]
    assert together == batches(order, size * world_size)
    assert all(len(batch) <= size for own in ranks for batch in own)
    resumed = [steps_of(order, size, World(rank=rank, size=world_size), skip_steps=1) for rank in range(world_size)]
    assert resumed == [own[1:] for own in ranks]


def steps_of(order: npt.NDArray[np.int64], size: int, world: World, *, skip_steps: int = 0) -> list[list[int]]:
    """The batch of every step, as the loop takes them."""
    steps = training_steps(order, batch_size=size, accumulation=1, world=world, skip_steps=skip_steps)
    return [batch for (batch,) in steps]


def test_a_rank_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="rank 2 of 2"):
        World(rank=2, size=2)


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_metrics_of_any_number_of_ranks_add_up_to_those_of_one(world_size: int) -> None:
    generator = torch.Generator().manual_seed(0)
    classes = {"verb": 6, "action": 9}
    logits = {task: torch.randn(23, count, generator=generator) for task, count in classes.items()}
    # some labels are of classes that only validation has
    labels = {task: torch.randint(0, count + 2, (23,), generator=generator) for task, count in classes.items()}
    total = MetricSet(classes)
    total.update(4.0, logits, labels)
    merged = MetricSet(classes)
    for rank in range(world_size):
        own = MetricSet(classes)
        for batch in validation_batches(np.arange(23), batch_size=2, world=World(rank=rank, size=world_size)):
            one = ({t: v[batch] for t, v in logits.items()}, {t: v[batch] for t, v in labels.items()})
            own.update(4.0 * len(batch) / 23, *one)
        merged.add(own.state())
    assert merged.values() == pytest.approx(total.values())
    assert merged.clips == 23


# Workers


def test_worker_processes_give_the_same_batches_as_none(study: Study, tmp_path: Path) -> None:
    """With everything random switched on; spawn, as the trainer starts them."""
    dataset = make_dataset(study, tmp_path, **EVERYTHING)

    def load(workers: int) -> list[Batch]:
        context = "spawn" if workers else None
        loader = DataLoader(
            dataset, batch_sampler=[[0, 1], [2, 3, 4], []], num_workers=workers, collate_fn=collate,
            multiprocessing_context=context,
        )  # fmt: skip
        return list(loader)

    for alone, worker in zip(load(0), load(1), strict=True):
        assert alone.clips == worker.clips and alone.counts == worker.counts
        assert (alone.video is None) == (worker.video is None)
        if alone.video is not None and worker.video is not None:
            assert torch.equal(alone.video, worker.video)
            assert torch.equal(alone.heatmaps["heatmap"], worker.heatmaps["heatmap"])


def test_a_batch_without_clips_is_empty_and_whole(study: Study) -> None:
    batch = collate([])
    assert batch.video is None and batch.heatmaps == {} and batch.clips == [] and batch.labels == {}


# Sources side by side


def test_several_sources_share_geometry_and_are_told_apart(study: Study, tmp_path: Path) -> None:
    """The primary and a copy of it under another name are equal; points of one video only are counted as missing."""
    (tmp_path / "gaze").mkdir()
    rows = "".join(f"{frame},0.5,0.5\n" for frame in range(150))
    (tmp_path / "gaze" / "P01_01.csv").write_text("frame,x,y\n" + rows)
    sources = {"copy": {"path": str(study.heatmaps)}, "truth": {"path": str(tmp_path / "gaze")}}
    dataset = make_dataset(study, tmp_path, **EVERYTHING, heatmap_sources=sources)
    assert list(dataset.heatmaps) == ["heatmap", "copy", "truth"]
    assert dataset.split.coverages == {"heatmap": 0.8, "copy": 0.8, "truth": 0.4}
    items = [dataset[place] for place in range(len(dataset))]
    batch = collate(items)
    assert next(iter(batch.heatmaps)) == "heatmap"
    assert torch.equal(batch.heatmaps["heatmap"], batch.heatmaps["copy"])
    seen = [item.segment.video_id for item in dataset.split.clips]
    for place, video_id in enumerate(seen):
        assert bool(batch.heatmaps["truth"][place].any()) == (video_id == "P01_01")
    assert batch.counts["heatmap_missing"] == 1
    assert batch.counts["heatmap_missing_copy"] == 1 and batch.counts["heatmap_missing_truth"] == 3


def test_a_source_without_any_map_stops_the_run_and_skip_leaves_clips_out(study: Study, tmp_path: Path) -> None:
    (tmp_path / "gaze").mkdir()
    (tmp_path / "gaze" / "P01_01.csv").write_text("frame,x,y\n0,0.5,0.5\n")
    skipping = {"truth": {"path": str(tmp_path / "gaze"), "missing": "skip"}}
    dataset = make_dataset(study, tmp_path, heatmap_sources=skipping)
    assert {clip.segment.video_id for clip in dataset.split.clips} == {"P01_01"}
    assert dataset.split.counts["heatmap_missing_skipped"] == 3
    (tmp_path / "gaze" / "P01_01.csv").rename(tmp_path / "gaze" / "other.csv")
    with pytest.raises(UsageError, match="train on zeros"):
        make_dataset(study, tmp_path, heatmap_sources=skipping)


# What a clip shows


def test_everything_random_changes_with_the_epoch_and_nothing_in_validation(study: Study, tmp_path: Path) -> None:
    training, validation = (make_dataset(study, tmp_path, training=t, **EVERYTHING) for t in (True, False))
    for dataset, same in ((training, False), (validation, True)):
        first = dataset[0]
        dataset.epoch = 0 if same else 1
        second = dataset[0]
        assert isinstance(first, Sample) and isinstance(second, Sample)
        assert torch.equal(first.video, second.video) is same


def test_nothing_after_the_observation_enters_with_everything_switched_on(study: Study, tmp_path: Path) -> None:
    """Every pixel and every map from the end of the observation on is replaced; no input changes."""

    def spoilt(end: float | None) -> ArrayVideo:
        frames = np.random.default_rng(0).integers(0, 256, (150, 48, 64, 3), dtype=np.uint8)
        if end is not None:
            frames[np.arange(150) / 30 >= end] = 9
        return ArrayVideo(frames)

    folder = tmp_path / "maps"
    folder.mkdir()
    config = {**EVERYTHING, "heatmap_base_path": str(folder), "frames_per_second": 30}
    maps = np.random.default_rng(1).random((150, 8, 8)).astype(np.float32)
    np.savez(folder / "P01_01.npz", heatmap=maps)
    for epoch in range(8):
        tau = None
        samples = []
        for spoil in (False, True):
            end = 3.0 - tau if spoil and tau is not None else None
            changed = maps.copy()
            if end is not None:
                changed[np.arange(150) / 30 >= end] = 0.123
            np.savez(folder / "P01_01.npz", heatmap=changed)
            dataset = make_dataset(study, tmp_path, **config)
            dataset.epoch, dataset.reader = epoch, lambda path, e=end: spoilt(e)  # type: ignore[misc, return-value]
            sample = dataset[1]
            assert isinstance(sample, Sample) and "heatmap" in sample.heatmaps
            tau = sample.anticipation_seconds
            samples.append(sample)
        assert torch.equal(samples[0].video, samples[1].video)
        assert torch.equal(samples[0].heatmaps["heatmap"], samples[1].heatmaps["heatmap"])


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        (None, [0, 2, 4, 6, 8]),
        (1.0, [0, 2, 4, 6, 8]),
        (0.6, [4, 4, 4, 6, 8]),
        (0.25, [8, 8, 8, 8, 8]),
        (0.01, [8, 8, 8, 8, 8]),
    ],
)
def test_a_shorter_context_holds_its_first_frame(context: float | None, expected: list[int]) -> None:
    """Five frames at 5 per second up to 1 s: 0, 0.2, ... 0.8 s, of a video of 10 per second."""
    chosen = clip_frames(
        np.arange(20) / 10,
        observation_end_seconds=1.0,
        frames_per_clip=5,
        frames_per_second=5,
        context_seconds=context,
    )
    assert chosen.frame_indices.tolist() == expected


# compat


def test_compat_uses_frame_numbers_and_the_nominal_rate(study: Study, tmp_path: Path) -> None:
    actions = tmp_path / "frames.csv"
    actions.write_text(
        "video_id,start_timestamp,stop_timestamp,verb_class,noun_class,start_frame,stop_frame\n"
        "P01_01,0.1,0.2,0,3,90,120\nP01_01,2,3,0,3,91,121\n"
    )
    dataset = make_dataset(
        study, tmp_path, compat="vjepa2", training=False, dataset_train=str(actions), dataset_val=str(actions)
    )
    # the first action has no observation by its times, and is kept as upstream keeps it
    assert len(dataset) == 2
    sample, seen = dataset[0], []

    class Spy(VideoReader):
        def frames(self, indices: Any = None) -> Any:
            seen.append(list(indices))
            return super().frames(indices)

    dataset.reader, dataset._videos = Spy, OpenFiles(8)
    again = dataset[0]
    assert isinstance(sample, Sample) and isinstance(again, Sample) and torch.equal(sample.video, again.video)
    # 30 fps asked at 4: every 7th frame before frame 90 - 30
    assert seen == [[32, 39, 46, 53]]


def test_compat_refuses_rows_without_frame_numbers_and_rates_that_are_too_low(study: Study, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no start_frame and stop_frame"):
        make_dataset(study, tmp_path, compat="vjepa2")
    with pytest.raises(DataFileError, match="cannot take 8 frames per second"):
        clip_frames_vjepa2(
            NumberedClip(
                start_frame=9, stop_frame=19, video_fps=7.5, frames_per_clip=4, frames_per_second=8,
                anticipation_seconds=1.0, point=1.0,
            )
        )  # fmt: skip


# Classes that only validation has


def test_unseen_classes_count_as_wrong_in_the_unfiltered_figures_only(study: Study, tmp_path: Path) -> None:
    val = tmp_path / "val.csv"
    val.write_text(
        "video_id,start_timestamp,stop_timestamp,verb_class,noun_class\n"
        "P01_01,2,3,0,3\nP01_01,2.1,3,99,3\nP01_01,2.2,3,4,7\n"
    )
    kept = make_dataset(study, tmp_path, training=False, dataset_val=str(val), keep_unseen_classes=True)
    dropped = make_dataset(study, tmp_path, training=False, dataset_val=str(val))
    assert len(dropped) == 1 and dropped.split.counts["unknown_class"] == 2
    assert len(kept) == 3 and kept.split.counts["unseen_class_clips"] == 2
    labels = [kept.labels.encode(clip.segment) for clip in kept.split.clips]
    # verb 99 and the pairs (99, 3), (4, 7) are no classes of training; 4 and 7 are
    assert labels == [
        {"verb": 0, "noun": 0, "action": 0},
        {"verb": 2, "noun": 0, "action": 4},
        {"verb": 1, "noun": 1, "action": 3},
    ]
    counts = kept.labels.counts
    assert counts == {"verb": 2, "noun": 2, "action": 3}
    batch = {task: torch.tensor([one[task] for one in labels]) for task in counts}
    # every logit answers the true class where there is one
    logits = {t: torch.nn.functional.one_hot(batch[t].clamp(max=n - 1), n).float() for t, n in counts.items()}
    metrics = MetricSet(counts)
    metrics.update(1.0, logits, batch)
    values = metrics.values()
    assert values["verb_top1"] == values["action_top1"] == 100.0
    assert values["noun_unfiltered_top1"] == 100.0
    assert values["verb_unfiltered_top1"] == pytest.approx(200 / 3)
    assert values["action_unfiltered_top1"] == pytest.approx(100 / 3)
    # class means: action 0 right, the two unseen pairs wrong
    assert values["action_unfiltered_recall3"] == pytest.approx(100 / 3)
    assert values["action_recall3"] == 100.0


@pytest.mark.parametrize("focal", [True, False])
def test_labels_without_a_class_add_nothing_to_the_loss(focal: bool) -> None:
    logits = {"action": torch.randn(3, 4, generator=torch.Generator().manual_seed(0))}
    loss = build_loss(OptimizationSettings(use_focal_loss=focal))
    known = task_loss(loss, {"action": logits["action"][:2]}, {"action": torch.tensor([1, 3])})
    mixed = task_loss(loss, logits, {"action": torch.tensor([1, 3, 7])})
    torch.testing.assert_close(mixed, known)
    alone = task_loss(loss, {"action": logits["action"][2:]}, {"action": torch.tensor([7])})
    assert float(alone) == 0.0


def test_valid_classes_only_compete_among_themselves() -> None:
    metrics = TaskMetrics(6, k=1, valid_classes=[0, 2])
    metrics.update(torch.tensor([[0.0, 9.0, 1.0, 9.0, 9.0, 9.0]]), torch.tensor([2]))
    assert metrics.values()["top1"] == 100.0


# Kept frame indexes


def test_a_kept_index_gives_the_same_frames_without_reading_the_packets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, cache = write_clip(tmp_path / "a.mp4", frames=40), tmp_path / "cache"
    first = open_indexed(path, cache, threads=1)
    frames = first.read([0, 17, 39])
    assert len(list(cache.glob("*.npz"))) == 1

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the index was built again")

    monkeypatch.setattr("gazetools.video.file_stream.build_index", refuse)
    again = open_indexed(path, cache, threads=1)
    np.testing.assert_array_equal(again.read([0, 17, 39]), frames)
    np.testing.assert_array_equal(again.pts_seconds, first.pts_seconds)
    # another file under the same name has another index
    write_clip(path, frames=41)
    with pytest.raises(AssertionError, match="built again"):
        _ = open_indexed(path, cache, threads=1).pts_seconds


@pytest.mark.parametrize("damage", [b"", b"PK nothing", None])
def test_a_damaged_index_is_built_anew(tmp_path: Path, damage: bytes | None) -> None:
    path, cache = write_clip(tmp_path / "a.mp4", frames=20), tmp_path / "cache"
    open_indexed(path, cache, threads=1)
    (kept,) = cache.glob("*.npz")
    if damage is None:
        np.savez(kept, pts=np.arange(3))
    else:
        kept.write_bytes(damage)
    assert open_indexed(path, cache, threads=1).frame_count == 20
    assert len(load_index(kept)) == 20


def test_an_index_keeps_every_fact(tmp_path: Path) -> None:
    with VideoReader(write_clip(tmp_path / "a.mp4", frames=20)) as reader:
        index = replace(reader.frame_index, damage=("cut",), ignored_pts=frozenset({3, 1}), preroll=1)
    save_index(tmp_path / "i.npz", index)
    found = load_index(tmp_path / "i.npz")
    assert (found.damage, found.ignored_pts, found.preroll) == (("cut",), {1, 3}, 1)
    for name in ("pts", "packet_of_frame", "frame_of_packet", "key_packets", "key_of_frame"):
        np.testing.assert_array_equal(getattr(found, name), getattr(index, name))
    assert found.packets.listed == index.packets.listed and found.packets.stopped == index.packets.stopped
    assert pickle.loads(pickle.dumps(found)).pts.tolist() == index.pts.tolist()
