"""Targets, augmentations and losses against recordings of the three public training scripts.

Families `gazelle_training_{targets,augment,losses}`, also with `dinov3_` and `page_`; every size, draw and case is
read from the files. Where upstream stops or gives NaN our rule stands: parts are cut at the picture, losses are 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from gazetools.metrics.gaze import target_heatmap
from gazetools.schemas.finetune_augment import AugmentSettings
from gazetools.schemas.finetune_learning import FinetuneLearning, GazeLossSettings, MapDistillation, TokenDistillation
from gazetools.trainer.finetune.augment import augmented, cropped, flipped, jittered
from gazetools.trainer.finetune.distilling import map_divergence, temperature_at, token_distance, token_loss
from gazetools.trainer.finetune.head_sample import HeadSample
from gazetools.trainer.finetune.map_losses import GazeAnswer, gaze_loss
from gazetools.trainer.finetune.page_network import target_sigma
from gazetools.trainer.finetune.photometric import Distortion
from tests.parity.conftest import Golden, golden_files

PREFIXES = ("", "dinov3_", "page_")


def files(kind: str) -> Any:
    """One run of a test per file of the kind; no file at all is a failing test."""
    found = [golden for prefix in PREFIXES for golden in golden_files(f"gazelle_training_{prefix}{kind}")]
    return pytest.mark.parametrize("golden", found or [None], ids=lambda golden: getattr(golden, "name", "no_file"))


def is_page(golden: Golden) -> bool:
    return "_page_" in golden.name


@files("targets")
def test_targets(golden: Golden) -> None:
    for case in golden.spec["cases"]:
        height, width = case["size"]
        sigma = target_sigma((height, width)) if is_page(golden) else 3
        found = target_heatmap(case["x"], case["y"], height=height, width=width, sigma=sigma)
        expected = golden.tensors[case["tensor"]][case["row"]].numpy()
        np.testing.assert_allclose(found, expected, atol=1e-6, rtol=0, err_msg=case["tag"])


@files("targets")
def test_the_first_annotator_is_learnt_from(golden: Golden) -> None:
    for case in golden.spec["annotators"]:
        if "trap" in case:
            continue  # x >= 0 with y < 0, which the readers of labels refuse
        width, height = case["width"], case["height"]
        points = [(x * width, y * height) for x, y in zip(case["gazex_norm"], case["gazey_norm"], strict=True)]
        sample = HeadSample(
            picture=np.zeros((height, width, 3), np.uint8),
            box_xyxy=(0, 0, 1, 1),
            gaze_xy=tuple(points),
            inside=points[0][0] >= 0,
        )
        expected = golden.tensors[case["train_target"]].numpy()
        found = target_heatmap(*sample.gaze_shares, height=expected.shape[0], width=expected.shape[1])
        np.testing.assert_allclose(found, expected, atol=1e-6, rtol=0)


class RecordedDraws:
    """The numbers that upstream drew, in its order; asks for other numbers are errors."""

    def __init__(self, draws: list[dict[str, Any]], photometric: list[dict[str, Any]]) -> None:
        self._draws: Iterator[dict[str, Any]] = iter(draws)
        self._photometric = iter(photometric)

    def _next(self, *kinds: str) -> dict[str, Any]:
        draw = next(self._draws)
        assert draw["kind"] in kinds
        return draw

    def coin(self) -> float:
        return float(self._next("sample")["value"])

    def uniform(self) -> float:
        return float(self._next("random_sample")["value"])

    def integer(self, low: int, high: int) -> int:
        draw = self._next("randint")
        assert (low, high) == (draw["low"], draw["high_inclusive"])
        return int(draw["value"])

    def distortion(self) -> Distortion:
        drawn = next(self._photometric)
        first, second, third = drawn["channel_permutation"]
        return Distortion(
            brightness=drawn["brightness_factor"],
            contrast=drawn["contrast_factor"],
            saturation=drawn["saturation_factor"],
            hue=drawn["hue_factor"],
            contrast_first=drawn["contrast_before"],
            channels=(first, second, third),
        )

    def assert_used_up(self) -> None:
        assert (list(self._draws), list(self._photometric)) == ([], [])


def sample_of(golden: Golden, item: int) -> HeadSample:
    recorded = golden.spec["items"][item]["heads"][0]
    return HeadSample(
        picture=golden.tensors[f"image{item}"].numpy(),
        box_xyxy=tuple(recorded["bbox"]),
        gaze_xy=tuple(zip(recorded["gazex"], recorded["gazey"], strict=True)),
        inside=recorded["inout"] == 1,
    )


@files("augment")
def test_augmentations_with_the_recorded_draws(golden: Golden) -> None:
    assert golden.spec["probability_each"] == 0.5
    settings = AugmentSettings(photometric=0.5 if "photometric" in golden.spec["order"] else 0)
    for number, case in enumerate(golden.spec["cases"]):
        before = sample_of(golden, case["item"])
        draws = RecordedDraws(case["draws"], case.get("photometric", []))
        after = augmented(before, draws, settings)
        draws.assert_used_up()
        assert after.size_wh == (case["width"], case["height"])
        width, height = after.size_wh
        box = [v / side for v, side in zip(after.box_xyxy, (width, height) * 2, strict=True)]
        np.testing.assert_allclose(box, case["bbox_norm"], atol=1e-12)
        np.testing.assert_allclose([x / width for x, _ in after.gaze_xy], case["gazex_norm"], atol=1e-12)
        np.testing.assert_allclose([y / height for _, y in after.gaze_xy], case["gazey_norm"], atol=1e-12)
        levels = 1 if case.get("photometric") else 0  # that step runs in another library there
        off = np.abs(after.picture.astype(int) - golden.tensors[f"case{number}.image"].numpy().astype(int))
        assert off.max() <= levels, f"case {number}"
        if after.inside:
            map_hw = golden.tensors[f"case{number}.heatmap"].numpy()
            found = target_heatmap(*after.gaze_shares, height=map_hw.shape[0], width=map_hw.shape[1])
            np.testing.assert_allclose(found, map_hw, atol=1e-6, rtol=0)


@files("augment")
def test_each_augmentation_alone(golden: Golden) -> None:
    steps = {"crop": cropped, "jitter": jittered}
    for case in golden.spec["single"]:
        before = sample_of(golden, case["item"])
        draws = RecordedDraws(case.get("draws", []), [])
        after = flipped(before) if case["function"] == "flip" else steps[case["function"]](before, draws)
        draws.assert_used_up()
        np.testing.assert_allclose(after.box_xyxy, case["bbox"], atol=1e-12)
        if "gazex" in case:
            np.testing.assert_allclose([x for x, _ in after.gaze_xy], case["gazex"], atol=1e-12)
            np.testing.assert_allclose([y for _, y in after.gaze_xy], case["gazey"], atol=1e-12)
        if "size_wh" in case:
            assert list(after.size_wh) == case["size_wh"]
        if "image" in case:
            assert np.array_equal(after.picture, golden.tensors[case["image"]].numpy())


class EdgeDraws(RecordedDraws):
    """The least and the greatest whole number that may be drawn."""

    def __init__(self, greatest: bool) -> None:
        super().__init__([], [])
        self.greatest, self.ranges = greatest, []  # type: ignore[var-annotated]

    def integer(self, low: int, high: int) -> int:
        assert low <= high
        self.ranges.append([low, high])
        return high if self.greatest else low


@files("augment")
def test_crops_where_upstream_has_nothing_to_draw_from(golden: Golden) -> None:
    for case in golden.spec["empty_crop_ranges"]:
        before = HeadSample(
            picture=np.zeros((case["height"], case["width"], 3), np.uint8),
            box_xyxy=tuple(case["bbox"]),
            gaze_xy=tuple(zip(case["gazex"], case["gazey"], strict=True)),
            inside=case["inout"] == 1,
        )
        for greatest in (False, True):
            draws = EdgeDraws(greatest)
            after = cropped(before, draws)
            assert min(after.size_wh) >= 1
            if not case["upstream_fails"]:
                assert [draws.ranges[0], draws.ranges[2]] == case["x_ranges"]


def relative_close(found: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-6) -> None:
    largest = float(expected.abs().max())
    torch.testing.assert_close(found, expected, atol=tolerance * largest, rtol=0)


def label_cases(golden: Golden) -> list[dict[str, Any]]:
    return [case for case in golden.spec["cases"] if not case["recipe"].startswith("distil")]


@files("losses")
def test_losses_and_gradients(golden: Golden) -> None:
    for case in label_cases(golden):
        probabilities = golden.name.endswith("training_losses") or case["name"].endswith("_sigmoid")
        settings = GazeLossSettings(
            domain="probabilities" if probabilities else "logits", inout_weight=case.get("lambda", 0.0)
        )
        kind = "prob" if probabilities else "logit"
        maps = golden.tensors[f"pred_{kind}"].clone().requires_grad_()
        scores = golden.tensors[f"inout_{kind}"].clone().requires_grad_() if "inout" in case else None
        inside = torch.tensor(case.get("inout", [1] * len(maps)), dtype=torch.bool)
        loss = gaze_loss(GazeAnswer(maps=maps, inout=scores), golden.tensors["targets"], inside, settings)
        parts = {"loss": loss.total, "heatmap_loss": loss.heatmap, "inout_loss": loss.inout}
        for name, part in parts.items():
            if case.get(name) is None:
                continue
            if case[name] == "nan":  # no head looks into the picture: our heatmap loss is 0
                expected = 0.0 if name == "heatmap_loss" else case["lambda"] * case["inout_loss"]
            else:
                expected = case[name]
            assert part is not None
            assert part.item() == pytest.approx(expected, rel=1e-6, abs=1e-12), case["name"]
        loss.total.backward()
        assert maps.grad is not None and bool(torch.isfinite(maps.grad).all())
        for tensor, name in ((maps, "heatmap"), (scores, "inout")):
            recorded = golden.tensors.get(f"{case['name']}.grad_{name}")
            if tensor is not None and tensor.grad is not None and recorded is not None:
                ordinary = recorded.abs() < 1e9  # at exactly 0 or 1 only the values are compared
                relative_close(tensor.grad[ordinary], recorded[ordinary])


@files("losses")
def test_distillation(golden: Golden) -> None:
    for case in golden.spec["cases"]:
        if "temperature" in case:
            student = golden.tensors["pred_logit"].clone().requires_grad_()
            loss = map_divergence(student, golden.tensors["teacher_logit"], case["temperature"])
            assert loss.item() == pytest.approx(case["loss"], rel=1e-6)
            loss.backward()
            relative_close(student.grad, golden.tensors[f"{case['name']}.grad_heatmap"])  # type: ignore[arg-type]
        elif case["name"].startswith("l1cos_"):
            part = case["name"].removeprefix("l1cos_")
            student = golden.tensors[f"student.{part}"].clone().requires_grad_()
            loss = token_distance(student, golden.tensors[f"teacher.{part}"])
            assert loss.item() == pytest.approx(case["loss"], rel=1e-6)
            loss.backward()
            relative_close(student.grad, golden.tensors[f"{case['name']}.grad"], 1e-5)  # type: ignore[arg-type]
        elif case["name"].startswith("distill_total"):
            names = ("scene", "head", "scene_dino", "head_dino")
            students = [golden.tensors[f"student.{name}"].clone().requires_grad_() for name in names]
            settings = TokenDistillation(
                kind="tokens", teacher="page", head_weight=case["head_lambda"], projection_weight=case["dino_lambda"]
            )
            loss = token_loss(students, [golden.tensors[f"teacher.{name}"] for name in names], settings)
            assert loss.item() == pytest.approx(case["loss"], rel=1e-6)
            loss.backward()
            for name, student in zip(names, students, strict=True):
                relative_close(student.grad, golden.tensors[f"{case['name']}.grad_{name}"], 1e-5)  # type: ignore[arg-type]


@files("losses")
def test_temperatures(golden: Golden) -> None:
    schedule = golden.spec.get("temperature_schedule")
    if schedule is None:
        return
    settings = MapDistillation(
        kind="maps", teacher="t", first_temperature=schedule["start"], last_temperature=schedule["end"]
    )
    steps = schedule["total_steps"]
    found = [temperature_at(settings, step, steps) for step in range(steps)]
    np.testing.assert_allclose(found, schedule["temperature_of_step"], rtol=1e-12)


def test_map_distillation_asks_for_logits() -> None:
    distil = MapDistillation(kind="maps", teacher="t")
    with pytest.raises(ValueError, match=r"set loss\.domain to logits"):
        FinetuneLearning(distil=distil)
    assert FinetuneLearning(distil=distil, loss=GazeLossSettings(domain="logits")).distil == distil
