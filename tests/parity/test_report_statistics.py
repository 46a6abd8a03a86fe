"""Contrasts, levels, bands, verdicts and planning of a report against recorded numbers, and their error rates."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from gazetools.metrics.bands import simultaneous_band
from gazetools.metrics.crossed import (
    ArmHits,
    Clips,
    CrossedEstimate,
    clips_of,
    contrast,
    contrast_parts,
    level,
    two_sided_p,
)
from gazetools.metrics.replicates import replicates_of
from gazetools.metrics.verdicts import Planning, holm, noise_floor, saturation_of, verdict_of
from tests.parity.conftest import Golden

vectors = pytest.mark.golden("report_statistics", other="report_statistics_simulation")


def check(found: Any, expected: dict[str, Any], golden: Golden, what: str) -> None:
    """Compare every recorded value of a dataclass; null: not given."""
    tolerance = golden.spec["tolerance"]
    values = dataclasses.asdict(found)
    for name, wanted in expected.items():
        if wanted is None or isinstance(wanted, str):
            assert values[name] == wanted, (what, name)
        else:
            near = pytest.approx(wanted, rel=tolerance["relative"], abs=tolerance["absolute"])
            assert values[name] == near, (what, name)
    missing = {"low", "high", "se"} - set(expected)
    if "value" in expected:
        assert all(values[name] is None for name in missing), (what, "no interval is given")


def hits_of(arm: dict[str, Any]) -> ArmHits:
    return ArmHits(seeds=arm["seeds"], hits=np.array(arm["hits"], dtype=float))


def clips(case: dict[str, Any]) -> Clips:
    return clips_of(np.array(case["label"]), case["cluster"])


@vectors
def test_contrasts(golden: Golden) -> None:
    for case in golden.spec["contrast"]:
        found = contrast(hits_of(case["first"]), hits_of(case["second"]), clips(case))
        check(found, case["expected"], golden, case["name"])


@vectors
def test_replicates(golden: Golden) -> None:
    for case in golden.spec["replicates"]:
        arms = [
            {(model["run_seed"], model["arm_seed"]): np.array(model["hits"], dtype=float) for model in case[name]}
            for name in ("first", "second")
        ]
        first, second, varies = replicates_of(*arms)
        expected = case["expected"]
        assert varies == expected["varies"], case["name"]
        assert list(first.seeds) == expected["first_replicates"], case["name"]
        assert list(second.seeds) == expected["second_replicates"], case["name"]
        wanted = dict(expected["contrast"])
        if varies == "initialisation":  # its p-values are left out where contrasts are reported
            assert (wanted.pop("p"), wanted.pop("p_strict")) == (None, None)
        check(contrast(first, second, clips(case)), wanted, golden, case["name"])


@vectors
def test_levels(golden: Golden) -> None:
    for case in golden.spec["level"]:
        hits = np.array(case["hits"], dtype=float)
        expected = dict(case["expected"])
        per_seed = expected.pop("per_seed", None)
        check(level(ArmHits(seeds=range(len(hits)), hits=hits), clips(case)), expected, golden, case["name"])
        if per_seed is not None:
            assert (100 * hits @ clips(case).weight).tolist() == pytest.approx(per_seed, rel=1e-9)


@vectors
def test_holm_noise_floor_and_saturation(golden: Golden) -> None:
    for case in golden.spec["holm"]:
        assert holm(case["p"]) == pytest.approx(case["expected"], rel=1e-9)
    for case in golden.spec["noise_floor"]:
        found = noise_floor(case["recall_by_seed"])
        if case["expected"] is None:
            assert found is None
        else:
            check(found, case["expected"], golden, str(case["recall_by_seed"]))
    for case in golden.spec["saturation"]:
        assert saturation_of(case["classes"], case["k"]) == case["expected"], case
        assert 100 * min(1.0, case["k"] / case["classes"]) == pytest.approx(case["random"])


@vectors
def test_planning(golden: Golden) -> None:
    for case in golden.spec["planning"]:
        given = {name: case[name] for name in ("gain", "seed_sd", "var_clusters", "df_clusters")}
        planning = Planning(**given)
        assert planning.seeds_needed() == case["seeds_needed"], case
        for seeds, power in case["power"].items():
            assert planning.power(int(seeds)) == pytest.approx(power, abs=case["power_tolerance"]), case


@vectors
def test_verdicts(golden: Golden) -> None:
    for case in golden.spec["verdict"]:
        names = ("seeds", "clusters", "effective_clusters", "low", "high", "low90", "high90")
        found = CrossedEstimate(value=0.0, mode="paired", **{name: case[name] for name in names})
        given = {name: case[name] for name in ("margin", "saturated", "varies")}
        assert verdict_of(found, **given) == case["expected"], case["name"]


@vectors
def test_bands(golden: Golden) -> None:
    for case in golden.spec["band"]:
        arms = zip(case["first"], case["second"], strict=True)
        parts = [
            contrast_parts(
                *(ArmHits(seeds=range(len(hits)), hits=np.array(hits, dtype=float)) for hits in pair), clips(case)
            )
            for pair in arms
        ]
        band, expected = simultaneous_band(parts), case["expected"]
        assert band is not None
        assert [one.value for one in parts] == pytest.approx(expected["value"], rel=1e-9)
        assert band.df == pytest.approx(expected["df"], rel=1e-9)
        np.testing.assert_allclose(band.correlation, expected["correlation"], atol=1e-9)
        critical = pytest.approx(expected["critical"], rel=case["critical_tolerance_relative"])
        assert band.critical == critical
        assert list(band.p) == pytest.approx(expected["p_band"], abs=case["p_tolerance_absolute"])
        for place, se in enumerate(expected["se"]):
            assert band.high[place] == pytest.approx(expected["value"][place] + band.critical * se, rel=1e-6)


# Error rates: simulated studies whose truth is known


def simulated_figures(cell: dict[str, Any]) -> dict[str, float]:
    """Shares over the replicates of a cell, as the fixture's `model` and `figures` define them."""
    random = np.random.default_rng(cell["rng_seed"])
    counts = dict.fromkeys(("covers", "level_covers", "rejects", "gain", "clusters_only_lacks_0"), 0)
    for _ in range(cell["replicates"]):
        hits, label, cluster, truth = simulated_study(cell, random)
        chosen = clips_of(label, cluster.tolist())
        base, arm = (ArmHits(seeds=range(cell["seeds"]), hits=hits[number]) for number in (0, 1))
        found, recall = contrast(arm, base, chosen), level(arm, chosen)
        assert found.low is not None and found.high is not None and recall.low is not None and recall.high is not None
        counts["covers"] += found.low <= truth[1] - truth[0] <= found.high
        counts["level_covers"] += recall.low <= truth[1] <= recall.high
        lacks = not found.low <= 0 <= found.high
        counts["rejects"] += lacks if found.p is None else found.p < 0.05
        verdict = verdict_of(found, margin=None, saturated=False, varies="training")
        counts["gain"] += verdict == "gain"
        assert found.var_clusters is not None and found.df_clusters is not None
        one_part = two_sided_p(found.value, float(np.sqrt(found.var_clusters)), found.df_clusters)
        counts["clusters_only_lacks_0"] += one_part < 0.05
    return {name: count / cell["replicates"] for name, count in counts.items()}


def simulated_study(cell: dict[str, Any], random: np.random.Generator) -> tuple[Any, ...]:
    """Hits [arm, seed, clip], labels and clusters [clip], and the true recall of both arms in percent."""
    design, sd, seeds = cell["design"], cell["sd"], cell["seeds"]
    videos, per_video = design["videos"], design["clips_per_video"]
    video = np.repeat(np.arange(videos), per_video)
    person = video // design["videos_per_participant"]
    chance = (1.0 + np.arange(design["classes"])) ** -design["zipf"]
    label = np.unique(random.choice(design["classes"], len(video), p=chance / chance.sum()), return_inverse=True)[1]
    classes, people, clips_ = label.max() + 1, person.max() + 1, len(video)

    def draw(name: str, *shape: int) -> Any:
        return random.normal(0.0, 1.0, shape) * sd.get(name, 0.0)

    by_class = draw("class", classes)
    shared = by_class[label] + draw("participant", people)[person] + draw("video", videos)[video] + draw("clip", clips_)
    arm_class = draw("arm_class", 2, classes)
    method = (
        arm_class[:, label] + draw("arm_participant", 2, people)[:, person] + draw("arm_video", 2, videos)[:, video]
    )
    method = method + cell["gain"] * np.array([[0.0], [1.0]])
    common = draw("seed", seeds, 1) + draw("seed_class", seeds, classes)[:, label]
    own = draw("seed_arm", 2, seeds, 1) + draw("seed_arm_class", 2, seeds, classes)[..., label]
    own = own + draw("seed_arm_video", 2, seeds, videos)[..., video] + draw("noise", 2, seeds, clips_)
    score = cell["mean"] + shared + method[:, None] + common + own
    spread = ("participant", "video", "clip", "arm_participant", "arm_video", "seed", "seed_class", "seed_arm")
    spread += ("seed_arm_class", "seed_arm_video", "noise")
    total = np.sqrt(sum(sd.get(name, 0.0) ** 2 for name in spread))
    level_of = cell["mean"] + by_class + arm_class + cell["gain"] * np.array([[0.0], [1.0]])
    truth = 100 * norm.cdf(level_of / total).mean(1)
    return (score > 0).astype(float), label, video if design["cluster"] == "video" else person, truth


def within_bounds(cells: list[dict[str, Any]]) -> None:
    for cell in cells:
        found = simulated_figures(cell)
        for name, (lowest, highest) in cell["bounds"].items():
            assert lowest <= found[name] <= highest, (cell["name"], name, found[name])


@pytest.mark.golden("report_statistics_simulation")
def test_error_rates_of_small_studies(golden: Golden) -> None:
    within_bounds(golden.spec["small"])


@pytest.mark.slow
@pytest.mark.golden("report_statistics_simulation")
def test_error_rates_of_studies_of_real_size(golden: Golden) -> None:
    within_bounds(golden.spec["large"])
