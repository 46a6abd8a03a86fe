"""The control `shuffled` (partners over the whole data set), and positions of maps of another view."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gazetools.schemas.errors import UsageError
from gazetools.trainer import train
from gazetools.trainer.data.anchors import resolve_anchors
from gazetools.trainer.data.batch import SHUFFLED
from gazetools.trainer.data.clips import ClipDataset, ClipOptions, Sample
from gazetools.trainer.data.maps.build import build_sources
from gazetools.trainer.data.order import partners_of
from gazetools.trainer.data.survey import plan_data
from gazetools.trainer.plan.arms import plan_learners
from gazetools.trainer.plan.config import load_config
from gazetools.trainer.plan.ignored import notes_of
from tests.trainer.conftest import Study


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "sizes",
    [[1, 1], [3, 3], [5, 2, 3], [1] * 20, [4, 1, 1, 1, 1], [7, 7, 1], [50, 30, 20]],
    ids=lambda sizes: "-".join(map(str, sizes[:4])),
)
def test_everyone_is_the_partner_of_exactly_one_clip_of_another_video(sizes: list[int], seed: int) -> None:
    groups = np.repeat([f"v{number}" for number in range(len(sizes))], sizes)[
        np.random.default_rng(seed).permutation(sum(sizes))
    ]
    partners = partners_of(groups.tolist(), [True] * len(groups), seed=seed, epoch=3)
    assert sorted(partners) == list(range(len(groups))), "the very same maps are shown, each once"
    assert (groups[partners] != groups).all()
    assert np.array_equal(partners, partners_of(groups.tolist(), [True] * len(groups), seed=seed, epoch=3))


def test_partners_change_with_seed_and_epoch() -> None:
    groups = [f"v{number % 9}" for number in range(90)]
    first = partners_of(groups, [True] * 90, seed=0, epoch=0)
    for seed, epoch in ((0, 1), (1, 0)):
        assert (partners_of(groups, [True] * 90, seed=seed, epoch=epoch) != first).mean() > 0.5


def test_a_video_with_most_clips_shares_the_others_and_a_single_one_has_nobody() -> None:
    groups = ["a"] * 7 + ["b", "c"]
    partners = partners_of(groups, [True] * 9, seed=0, epoch=0)
    assert set(partners[:7]) == {7, 8} and all(groups[p] == "a" for p in partners[7:])
    assert partners_of(["a"] * 4, [True] * 4, seed=0, epoch=0).tolist() == [-1] * 4
    assert partners_of([], [], seed=0, epoch=0).tolist() == []


def test_clips_without_maps_neither_get_nor_give_any() -> None:
    groups, maps = ["a", "a", "b", "b", "c"], [True, False, True, False, True]
    partners = partners_of(groups, maps, seed=0, epoch=0)
    assert partners[1] == partners[3] == -1
    assert sorted(partners[[0, 2, 4]]) == [0, 2, 4]


def make_dataset(study: Study, tmp_path: Path, **data: Any) -> ClipDataset:
    config = load_config(study.config(tmp_path, **data))
    settings = config.experiment.data
    plan = plan_data(settings, resolve_anchors(config))
    return ClipDataset(
        plan.train, settings, plan.labels, ClipOptions(training=True, seed=4, shuffled=("heatmap",)),
        heatmaps=build_sources(settings),
    )  # fmt: skip


def test_a_clip_sees_what_its_partner_sees_in_that_epoch(study: Study, tmp_path: Path) -> None:
    """Crop, flip, tau and frames included; and its own frames and maps are those without the control."""
    dataset, plain = make_dataset(study, tmp_path, auto_augment=True), make_dataset(study, tmp_path, auto_augment=True)
    plain.options = replace(plain.options, shuffled=())
    groups = [clip.segment.group for clip in dataset.split.clips]
    has_maps = [clip.has_heatmap for clip in dataset.split.clips]
    assert has_maps == [True] * 4 + [False]
    for epoch in range(2):
        dataset.epoch = plain.epoch = epoch
        partners = partners_of(groups, has_maps, seed=4, epoch=epoch)
        own = [plain[place] for place in range(5)]
        for place, partner in enumerate(partners.tolist()):
            sample, alone = dataset[place], own[place]
            assert isinstance(sample, Sample) and isinstance(alone, Sample)
            assert torch.equal(sample.video, alone.video)
            assert torch.equal(sample.heatmaps["heatmap"], alone.heatmaps["heatmap"])
            other = own[partner]
            assert isinstance(other, Sample)
            shown = sample.heatmaps[SHUFFLED + "heatmap"]
            expected = other.heatmaps["heatmap"] if partner >= 0 else torch.zeros(4, 32, 32)
            assert torch.equal(shown, expected) and bool(shown.any()) is (partner >= 0)
            assert sample.counts["without_partner_heatmap"] == 0, "a clip without maps of its own lacks no partner"


def test_the_shuffled_arm_depends_on_no_batch_and_tells_of_lonely_clips(
    study: Study, tiny: dict[str, Any], tmp_path: Path
) -> None:
    tiny["arms"] = ["shuffled"]
    found = []
    for size in (1, 4):
        config = copy.deepcopy(tiny) | {"folder": str(tmp_path / str(size))}
        overrides = [f"experiment.optimization.batch_size={size}", "experiment.optimization.multihead_kwargs.0.lr=0"]
        result = train(config, overrides=[*overrides, "experiment.optimization.num_epochs=1"])
        found.append(result.final["shuffled"]["val_start"])
    # Nothing is learned at rate 0: both measure the same weights on the same partners.
    assert found[0]["loss"] == pytest.approx(found[1]["loss"], rel=1e-6) and found[0]["without_partner"] == 0
    rows = (study.root / "actions.csv").read_text().splitlines()
    (tmp_path / "one.csv").write_text("\n".join([rows[0], *(row for row in rows if "P01_01" in row)]) + "\n")
    for key in ("dataset_train", "dataset_val"):
        tiny["experiment"]["data"][key] = str(tmp_path / "one.csv")
    result = train(tiny, overrides=["experiment.optimization.num_epochs=1"])
    assert result.final["shuffled"]["val_start"]["without_partner"] == 2
    assert result.metrics["train_without_partner_heatmap"] == 2


@pytest.mark.parametrize(
    ("data", "predictor", "expected", "why"),
    [
        ({}, {}, "shared", "the maps are of the video itself"),
        ({"video_view": "ego", "heatmap_view": "best_exo"}, {}, "own", "another camera"),
        ({"video_view": "cam01", "heatmap_view": "cam01"}, {}, "shared", "the same camera, named twice"),
        ({"video_view": "cam*", "heatmap_view": "cam01"}, {}, "own", "most clips are of another camera"),
        ({"video_view": "ego", "heatmap_view": "exo"}, {"heatmap_positions": "shared"}, "shared", "set by hand"),
        ({}, {"heatmap_positions": "own"}, "own", "set by hand"),
    ],
)
def test_positions_of_heatmaps_follow_the_views(
    tiny: dict[str, Any], data: dict[str, Any], predictor: dict[str, Any], expected: str, why: str
) -> None:
    tiny["experiment"]["data"] |= data
    tiny["model_kwargs"]["pretrain_kwargs"]["predictor"] |= predictor
    config = load_config(tiny)
    (spec,) = plan_learners(config)
    assert spec.config.model_kwargs.pretrain_kwargs.predictor.heatmap_positions == expected, why
    told = [note for note in notes_of(config, torch.device("cpu")) if "heatmap_positions: own for main" in note]
    assert bool(told) is (expected == "own" and not predictor), "what was chosen automatically is told"


def test_each_source_has_its_own_view_and_add_refuses_another(tiny: dict[str, Any]) -> None:
    tiny["experiment"]["data"] |= {"video_view": "ego", "heatmap_sources": {"exo": {"path": "x", "view": "cam01"}}}
    tiny["arms"] = ["estimated", {"name": "exo", "source": "exo"}]
    specs = plan_learners(load_config(tiny))
    found = [spec.config.model_kwargs.pretrain_kwargs.predictor.heatmap_positions for spec in specs]
    assert found == ["shared", "own"]
    tiny["arms"] = [{"name": "exo", "source": "exo", "fusion": "add"}]
    with pytest.raises(UsageError, match="arm exo: fusion: add needs the heatmap in the video's own view"):
        plan_learners(load_config(tiny))
