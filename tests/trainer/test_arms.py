"""Arms, seeds and probes side by side: equal to running alone, one decoding and encoding per clip, faults contained."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gazetools.schemas.errors import CheckpointError, FaultError, UsageError
from gazetools.trainer import train
from gazetools.trainer.arms.learner import Learner
from gazetools.trainer.arms.plan import plan_learners
from gazetools.trainer.arms.sources import centre_prior, maps_for
from gazetools.trainer.config import load_config
from gazetools.trainer.data.annotations import LabelSpace, read_annotations
from gazetools.trainer.data.clips import ClipDataset
from gazetools.trainer.loop import Loop
from gazetools.trainer.models.build import build_probe
from gazetools.trainer.models.encoder import VideoEncoder
from gazetools.trainer.predictions import ranks, read_predictions
from tests.helpers.runs import Listener
from tests.trainer.conftest import Study
from tests.trainer.test_train import assert_same, final_state, lines

ARMS: list[Any] = [
    "none",
    "estimated",
    "shuffled",
    {"name": "added", "fusion": "add", "train": "heatmap", "seeds": [0, 3]},
    {"name": "frozen", "fusion": "cross_attention", "train": "probe"},
]


def learner_state(folder: Path, name: str) -> tuple[Any, Any]:
    state = final_state(folder)
    learner = state["learners"][name]
    trunks = [key for key in state["predictors"] if name.startswith(key)]
    return learner, state["predictors"][max(trunks, key=len)]


@pytest.fixture
def many(tiny: dict[str, Any]) -> dict[str, Any]:
    tiny["arms"] = ARMS
    tiny["experiment"]["optimization"]["multihead_kwargs"] = [{"lr": 1e-3}, {"lr": 3e-3, "weight_decay": 0.1}]
    tiny["experiment"]["evaluation"] = {"held_out": 0.3}
    return tiny


def test_every_arm_seed_and_probe_equals_its_run_alone_to_the_bit(many: dict[str, Any], tmp_path: Path) -> None:
    together = train(many)
    assert len(together.best_by_learner) == (len(ARMS) + 1) * 2
    for arm, seed, head in [(0, 0, 1), (2, 0, 0), (3, 3, 1), (4, 0, 1)]:
        alone = copy.deepcopy(many)
        entry = {"name": ARMS[arm], "fusion": "none"} if ARMS[arm] == "none" else ARMS[arm]
        entry = entry if isinstance(entry, dict) else {"name": entry}
        if entry["name"] == "shuffled":
            entry = {"name": "shuffled", "control": "shuffled"}
        alone["arms"] = [{**entry, "seeds": [seed]}]
        alone["folder"] = str(tmp_path / f"alone{arm}")
        result = train(alone, overrides=[f"experiment.optimization.head={head}"])
        name = f"{entry['name']}.s{seed}.h{head}"
        for mine, other in zip(
            learner_state(tmp_path / "run", name), learner_state(Path(alone["folder"]), entry["name"]), strict=True
        ):
            assert_same(mine, other, name)
        for split, values in result.final[entry["name"]].items():  # `none` alone loads no maps and counts none
            mine = together.final[name][split]
            assert {k: v for k, v in mine.items() if "heatmap" not in k} == {
                k: v for k, v in values.items() if "heatmap" not in k
            }


def test_clips_are_decoded_and_encoded_once_however_many_arms(
    many: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {"decoded": 0, "encoded": 0}
    load, encode = ClipDataset._load, VideoEncoder.forward

    def counted_load(self: ClipDataset, *arguments: Any) -> Any:
        counts["decoded"] += 1
        return load(self, *arguments)

    def counted_encode(self: VideoEncoder, video: torch.Tensor) -> torch.Tensor:
        counts["encoded"] += len(video)
        return encode(self, video)

    monkeypatch.setattr(ClipDataset, "_load", counted_load)
    monkeypatch.setattr(VideoEncoder, "forward", counted_encode)
    seen = []
    for number, arms in enumerate(([], ARMS)):
        counts.update(decoded=0, encoded=0)
        head = ["experiment.optimization.head=0"] if not arms else []
        train({**copy.deepcopy(many), "arms": arms, "folder": str(tmp_path / str(number))}, overrides=head)
        seen.append(dict(counts))
    train_and_held_out, validation = 5, 5
    clips = 2 * (train_and_held_out + validation) + (validation + 1 + 1)
    assert seen[0] == seen[1]
    assert seen[0]["decoded"] == seen[0]["encoded"] <= clips


def test_a_bad_probe_is_dropped_by_name_and_spoils_no_other(
    many: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many["arms"] = ["none", "estimated"]
    train(many)
    true_judge, calls = Learner.judge, []

    def judge(self: Learner, context: torch.Tensor, labels: Any) -> Any:
        logits, loss = true_judge(self, context, labels)
        if self.name == "none.h1" and torch.is_grad_enabled():
            calls.append(1)
            return logits, loss * (float("inf") if len(calls) == 2 else 1.0)
        return logits, loss

    monkeypatch.setattr(Learner, "judge", judge)
    result = train({**many, "folder": str(tmp_path / "bad")})
    assert result.status == "done"
    assert set(result.failed) == {"none.h1"} and "step 2" in result.failed["none.h1"]
    assert "none.h1" not in result.final and "none.h1/train_loss" not in result.metrics
    for name in ("none.h0", "estimated.h0", "estimated.h1"):
        for mine, other in zip(
            learner_state(tmp_path / "run", name), learner_state(tmp_path / "bad", name), strict=True
        ):
            assert_same(mine, other, name)


def test_the_last_learner_that_fails_stops_the_run(many: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    true_judge = Learner.judge

    def judge(self: Learner, context: torch.Tensor, labels: Any) -> Any:
        logits, loss = true_judge(self, context, labels)
        return logits, loss * float("nan")

    monkeypatch.setattr(Learner, "judge", judge)
    many["arms"] = ["none", "estimated"]
    with pytest.raises(FaultError, match=r"estimated\.h1: .* step 1"):
        train(many)


def test_accumulated_batches_give_the_gradient_of_one_large_batch(tiny: dict[str, Any], tmp_path: Path) -> None:
    for focal in (True, False):
        found = []
        for size, accumulated in ((4, 1), (2, 2), (1, 4)) if focal else ((4, 1), (1, 4)):
            folder = tmp_path / f"{focal}{size}"
            keys = {"batch_size": size, "accumulation_steps": accumulated, "use_focal_loss": focal, "clip_grad_norm": 1}
            train(
                {**copy.deepcopy(tiny), "folder": str(folder)},
                overrides=[f"experiment.optimization.{key}={value}" for key, value in keys.items()],
            )
            found.append([line["loss"] for line in lines(folder / "steps" / "epoch_0001.jsonl")])
        assert len(found[0]) == 2  # five clips in steps of four
        # float32 sums in another order
        for other in found[1:]:
            assert other == pytest.approx(found[0], rel=1e-4)


def test_clipping_bounds_the_gradient(tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    norms = []
    step = torch.optim.AdamW.step

    def spy(self: Any, *arguments: Any) -> Any:
        gradients = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        norms.append(float(torch.nn.utils.get_total_norm(gradients)))
        return step(self, *arguments)

    monkeypatch.setattr(torch.optim.AdamW, "step", spy)
    train(tiny, overrides=["experiment.optimization.clip_grad_norm=0.01", "experiment.optimization.num_epochs=1"])
    assert norms and max(norms) <= 0.01 * 1.001


def test_the_best_epoch_is_chosen_on_held_out_videos_and_both_numbers_are_shown(
    tiny: dict[str, Any], tmp_path: Path
) -> None:
    tiny["experiment"]["evaluation"] = {"held_out": 0.3}
    result = train(tiny)
    assert result.best is not None and result.best["metric"].startswith("held_out_action_recall")
    assert result.data["train"]["clips"] + result.data["held_out"]["clips"] == 5
    assert {"held_out", "val_start"} == set(result.final["main"])
    chosen = next(e for e in lines(tmp_path / "run" / "metrics.jsonl") if e["epoch"] == result.best["epoch"])
    assert result.final["main"]["val_start"]["action_top1"] == chosen["val_start_action_top1"]
    assert result.final["main"]["held_out"]["action_top1"] == chosen["held_out_action_top1"]
    with pytest.raises(UsageError, match="held_out=0"):
        train({**tiny, "folder": str(tmp_path / "one")}, overrides=["experiment.data.max_train_clips=1"])


def test_horizons_measure_the_same_clips_and_beyond_the_reach_is_exit_2(tiny: dict[str, Any], tmp_path: Path) -> None:
    tiny["experiment"]["evaluation"] = {"held_out": 0, "horizons": [1.5, 0.25]}
    tiny["experiment"]["optimization"]["num_epochs"] = 1
    listener = Listener()
    result = train(tiny, progress=listener)
    assert listener.tasks == [
        "epoch 1/1 train", "epoch 1 validation (start)", "chosen weights validation (start)",
        "chosen weights horizon 0.25 s (start)", "chosen weights horizon 1.5 s (start)",
    ]  # fmt: skip
    found = {key: value for key, value in result.final["main"].items() if key.startswith("horizon")}
    assert list(found) == ["horizon_0.25", "horizon_1.5"]
    files = [read_predictions(tmp_path / "run" / "predictions" / "main" / f"{key}.npz") for key in found]
    assert files[0].arrays["clip"].tolist() == files[1].arrays["clip"].tolist() == [0, 1, 2, 3, 4]
    assert not np.array_equal(files[0].arrays["score_action"], files[1].arrays["score_action"])
    with pytest.raises(UsageError, match=r"predictor\.num_frames="):
        train(tiny, overrides=["experiment.evaluation.horizons=[3.75]", f"folder={tmp_path / 'far'}"])
    with pytest.raises(UsageError, match="horizons"):
        train(
            tiny,
            overrides=["experiment.evaluation.horizons=[5.0]", "model_kwargs.pretrain_kwargs.predictor.num_frames=64"],
        )


def test_predictions_agree_with_the_metrics(many: dict[str, Any], tmp_path: Path) -> None:
    many["arms"] = ["estimated"]
    result = train(many)
    for name, splits in result.final.items():
        for split, values in splits.items():
            found = read_predictions(tmp_path / "run" / "predictions" / name / f"{split}.npz")
            assert found.tasks == ["verb", "noun", "action"]
            for task in found.tasks:
                top1 = 100 * float(np.mean(found.arrays[f"rank_{task}"] == 0))
                assert top1 == pytest.approx(values[f"{task}_top1"])
            assert len(found.arrays["clip"]) == values["clips"]
            assert set(found.video_ids) <= {"P01_01", "P01_02", "P02_01"}


def test_ranks_with_ties_never_flatter() -> None:
    scores = torch.tensor([[3.0, 2.0, 1.0], [1.0, 1.0, 1.0], [0.0, 5.0, 5.0]])
    assert ranks(scores, torch.tensor([1, 0, 1])).tolist() == [1, 2, 1]
    assert ranks(scores, torch.tensor([0, 7, 0])).tolist() == [0, 3, 2], "a class that training lacks is never right"


@pytest.mark.slow
def test_dropped_heatmaps_are_drawn_again_after_a_resume(
    study: Study, tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one draw that is no function of the clip: without its saved state a resumed run differs."""
    override = ["model_kwargs.pretrain_kwargs.predictor.heatmap_dropout=0.5"]
    train(tiny, overrides=override)
    whole = final_state(tmp_path / "run")
    for restores in (True, False):
        folder = tmp_path / f"stopped{restores}"
        config = study.config(folder)
        train(config, overrides=override, progress=Listener(signal_after_steps=2))
        if not restores:
            original = Loop.restore

            def forgetful(self: Loop, state: Any, original: Any = original) -> None:
                fresh = {trunk.name: torch.Generator().manual_seed(99).get_state() for trunk in self.trunks}
                original(self, {**state, "processes": [{**part, "dropout": fresh} for part in state["processes"]]})

            monkeypatch.setattr(Loop, "restore", forgetful)
        train(config, overrides=override)
        same = torch.equal(
            whole["predictors"]["main"]["predictor_proj.weight"],
            final_state(folder)["predictors"]["main"]["predictor_proj.weight"],
        )
        assert same is restores


@pytest.mark.parametrize(
    ("call", "where"),
    [
        ("arms.learner.Learner.learn", "in step 1"),
        ("arms.learner.Learner.end_step", "in step 1"),
        ("validation._judge", "measuring validation"),
    ],
)
def test_out_of_memory_names_what_to_change(
    tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch, call: str, where: str
) -> None:
    """In the passes, where the optimizer makes its moments, and in validation."""

    def full(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(f"gazetools.trainer.{call}", full)
    with pytest.raises(FaultError, match=f"{where} with batches of 2 clips") as caught:
        train(tiny)
    assert "accumulation_steps" in str(caught.value) and int(caught.value.exit_code) == 4


def test_released_probes_are_imported_strictly(study: Study, tiny: dict[str, Any], tmp_path: Path) -> None:
    labels = LabelSpace.of(read_annotations(study.root / "actions.csv"))
    tiny["experiment"]["optimization"]["multihead_kwargs"] = [{"lr": 1e-3}, {"lr": 1e-4}]
    config = load_config(tiny)
    probes = [build_probe(config, labels.counts, 24, seed=seed) for seed in (7, 8)]
    path = tmp_path / "probes.pt"
    states = [{f"module.{key}": value for key, value in probe.state_dict().items()} for probe in probes]
    torch.save({"classifiers": states, "epoch": 20}, path)
    override = ["val_only=true", f"classifier_checkpoint={path}", "resume_checkpoint=false"]
    result = train(tiny, overrides=override)
    assert set(result.final) == {"main.h0", "main.h1"} and any("another order" in note for note in result.notes)
    single = train(tiny, overrides=[*override, "experiment.optimization.head=1", f"folder={tmp_path / 'one'}"])
    assert single.final["main"]["val_start"]["loss"] == result.final["main.h1"]["val_start"]["loss"]
    del states[0]["module.verb_classifier.weight"]
    torch.save({"classifiers": states}, path)
    with pytest.raises(CheckpointError, match=r"verb_classifier\.weight"):
        train(tiny, overrides=override)
    with pytest.raises(UsageError, match=r"multihead_kwargs|entries"):
        train(tiny, overrides=[*override, "experiment.optimization.head=2"])


def test_best_weights_of_every_arm_are_evaluated_alone(many: dict[str, Any], tmp_path: Path) -> None:
    many["arms"] = ["none", "estimated"]
    trained = train(many)
    again = train(
        many,
        overrides=["val_only=true", f"classifier_checkpoint={tmp_path / 'run'}", f"folder={tmp_path / 'val'}"],
        resume=False,
    )
    for name, splits in trained.final.items():
        assert again.final[name]["val_start"] == splits["val_start"]


# Settings and sources


def test_what_an_arm_cannot_be_is_said_for_all_arms_at_once(many: dict[str, Any]) -> None:
    many["arms"] = [
        {"name": "a", "fusion": "add", "temporal": "frame"},
        {"name": "b", "heatmap_patch_size": 5},
        {"name": "c", "fusion": "none", "control": "zeros"},
    ]
    with pytest.raises(UsageError) as caught:
        train(many)
    for part in ("arm a: fusion: add", "arm b: The heatmap's 32", "arm c: control: zeros needs"):
        assert part in str(caught.value), part
    for wrong, message in ((["nothing"], "no known arm"), (["none", "none"], "more than once")):
        with pytest.raises(UsageError, match=message):
            load_config({**many, "arms": wrong})


def test_an_arms_unknown_source_is_named(many: dict[str, Any]) -> None:
    many["arms"] = ["ground_truth"]
    with pytest.raises(UsageError, match="'ground_truth' is none of the data's: heatmap"):
        train(many)


@pytest.fixture
def true_gaze(study: Study, tmp_path: Path) -> Path:
    """Other maps than the study's own, of P01_01 only."""
    folder = tmp_path / "true"
    folder.mkdir()
    with np.load(study.heatmaps / "P01_01.npz") as own:
        np.savez(folder / "P01_01.npz", **{**own, "heatmap": own["heatmap"][:, ::-1]})
    return folder


def test_an_arm_of_another_source_equals_a_run_on_that_source(
    many: dict[str, Any], true_gaze: Path, tmp_path: Path
) -> None:
    many["experiment"]["optimization"]["head"] = 0
    own = many["experiment"]["data"]["heatmap_base_path"]
    many["arms"] = ["estimated", "ground_truth"]
    many["experiment"]["data"]["heatmap_sources"] = {"ground_truth": {"path": str(true_gaze)}}
    together = train(many)
    del many["experiment"]["data"]["heatmap_sources"]
    for name, path in (("estimated", own), ("ground_truth", str(true_gaze))):
        alone = {**copy.deepcopy(many), "folder": str(tmp_path / name), "arms": [{"name": name}]}
        alone["experiment"]["data"]["heatmap_base_path"] = path
        result = train(alone)
        states = [learner_state(folder, name) for folder in (tmp_path / "run", tmp_path / name)]
        for mine, other in zip(*states, strict=True):
            assert_same(mine, other, name)
        assert together.final[name]["val_start"]["action_top1"] == result.final[name]["val_start"]["action_top1"]
    values = together.final["estimated"]["val_start"]
    assert values["heatmap_missing_ground_truth"] > values["heatmap_missing"] > 0, "counted source by source"


def test_the_only_source_is_seen_by_arms_that_name_none(many: dict[str, Any], true_gaze: Path, tmp_path: Path) -> None:
    many["experiment"]["optimization"]["head"] = 0
    many["arms"] = ["estimated"]
    many["experiment"]["data"]["heatmap_base_path"] = str(true_gaze)
    train(many)
    del many["experiment"]["data"]["heatmap_base_path"]
    many["experiment"]["data"]["heatmap_sources"] = {"true": {"path": str(true_gaze)}}
    train({**many, "folder": str(tmp_path / "named")})
    states = [learner_state(folder, "estimated") for folder in (tmp_path / "run", tmp_path / "named")]
    for mine, other in zip(*states, strict=True):
        assert_same(mine, other)


def test_names_of_learners(many: dict[str, Any]) -> None:
    names = [spec.name for spec in plan_learners(load_config(many))]
    assert names[:2] == ["none.s0.h0", "none.s0.h1"] and "added.s3.h1" in names
    trunks = {spec.trunk for spec in plan_learners(load_config(many)) if spec.arm == "frozen"}
    assert trunks == {"frozen.s0"}, "a predictor that does not train is shared by its probes"


def test_controls_do_what_they_say() -> None:
    maps = torch.rand(3, 4, 6, 6)
    others = torch.rand(3, 4, 6, 6)

    def control(name: Any) -> torch.Tensor:
        found = maps_for({"heatmap": maps, "shuffled:heatmap": others}, source="heatmap", control=name)
        assert found is not None and found.shape == maps.shape
        return found

    assert torch.equal(control(None), maps)
    assert not control("zeros").any()
    assert torch.equal(control("time_shifted"), maps[:, [2, 3, 0, 1]])
    assert torch.equal(control("shuffled"), others)
    centre = control("centre")
    assert torch.equal(centre[0, 0], centre[2, 3]) and float(centre.max()) == 1.0
    assert centre_prior((5, 5)).argmax() == 12
    assert maps_for({}, source=None, control=None) is None


def test_dry_run_shows_every_arm_and_refuses_what_does_not_fit(
    many: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    result = train(many, dry_run=True)
    assert len(result.model["learners"]) == 12
    assert result.model["arms"]["none"]["heatmap_tokens"] == 0
    assert result.model["arms"]["added"]["tokens_per_step"] == {"video": 16, "heatmap": 16, "interleaved": False}
    assert result.model["arms"]["estimated"]["forward_gflops_per_clip"]["predictor"] > 0
    json.dumps(result.as_dict(), allow_nan=False)
    import gazetools.trainer.setup as module

    monkeypatch.setattr(module.os, "sysconf", lambda name: 1000)
    with pytest.raises(UsageError, match="Use fewer arms"):
        train(many, dry_run=True)
