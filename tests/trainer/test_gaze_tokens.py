"""`fusion: gaze_tokens`: which tokens a clip shows, where they stand in the predictor, and arms that read them."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from gazetools.schemas.errors import DataFileError, UsageError
from gazetools.schemas.training import DataSettings
from gazetools.schemas.training_data import GazeTokensSettings, HeatmapSourceSettings
from gazetools.store import open_store
from gazetools.trainer import train
from gazetools.trainer.data.anchors import resolve_anchors
from gazetools.trainer.data.batch import SHUFFLED
from gazetools.trainer.data.clips import ClipDataset, ClipOptions, Sample
from gazetools.trainer.data.geometry import View, evaluation_view, whole_view
from gazetools.trainer.data.maps.build import build_sources
from gazetools.trainer.data.maps.store import StoreMaps
from gazetools.trainer.data.maps.tokens import StoreTokens, token_size
from gazetools.trainer.data.survey import plan_data
from gazetools.trainer.data.transforms import transform_heatmaps, transform_tokens
from gazetools.trainer.models.predictor import VisionTransformerPredictorHeatmap
from gazetools.trainer.models.scene_tokens import SceneTokens
from gazetools.trainer.plan.arms import plan_learners
from gazetools.trainer.plan.config import load_config
from gazetools.trainer.plan.describe import predictor_flops
from gazetools.trainer.plan.ignored import ignored_keys
from gazetools.trainer.report.examples import _map_of
from tests.helpers.command_line import run_cli
from tests.helpers.runs import Listener, assert_same, learner_state
from tests.helpers.stores import make_piece, make_provenance, make_store
from tests.trainer.conftest import FRAMES, Study
from tests.trainer.test_data_sources import asked
from tests.trainer.test_models import GRID, STEPS, context, predictor

SIZE = (3, 5)  # cells per side, channels
PREDICTOR, DATA = "model_kwargs.pretrain_kwargs.predictor", "experiment.data"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tokens of P01_01 and P01_02, every frame; of P02_01 there are none. Frame 6 has nobody, others one or two."""
    root = tmp_path_factory.mktemp("tokens")
    for seed, video_id in enumerate(("P01_01", "P01_02")):
        rows = [(frame, track) for frame in range(FRAMES) for track in (1, 2)[: 1 + frame % 2] if frame != 6]
        piece = make_piece(list(range(FRAMES)), rows, seed=seed, tokens_shape=(SIZE[0], *SIZE))
        provenance = make_provenance(video_id, frame_count=FRAMES)
        make_store(root, video_id, pieces=[piece], provenance=provenance, roles={1: "wearer", 2: "other"})
    return root


def with_tokens(config: dict[str, Any], store: Path, arms: list[Any], **data: Any) -> dict[str, Any]:
    config = copy.deepcopy(config)
    config["experiment"]["data"] |= {"gaze_tokens": {"store": str(store)}, **data}
    return {**config, "arms": arms}


# What a clip shows


def source(store: Path, **settings: Any) -> StoreMaps:
    tokens = GazeTokensSettings(store=str(store), **settings)
    data = DataSettings(base_path="x", dataset_train="x", dataset_val="x", use_heatmap=True, gaze_tokens=tokens)
    (found,) = build_sources(data).values()
    assert isinstance(found, StoreTokens) and found.size == SIZE
    return found


@pytest.mark.parametrize(
    ("people", "expected"), [("mean", lambda t: t.mean(0)), ("wearer", lambda t: t[0]), ("2", lambda t: t[1])]
)
def test_tokens_are_those_of_the_frame_and_people(store: Path, people: str, expected: Any) -> None:
    found = source(store, people=people).maps_of("P01_01", asked([3, 3, 9], count=FRAMES))
    assert found.invalid_frames == 0 and found.maps_thw.shape == (3, 3, 15)
    with open_store(store / "P01_01.h5") as reader:
        for got, frame in zip(found.maps_thw, (3, 3, 9), strict=True):
            first, last = np.searchsorted(reader.row_frame, [frame, frame + 1])
            raw = reader.read_tokens(int(first), int(last)).astype(np.float32)
            np.testing.assert_allclose(got.reshape(3, 3, 5), expected(raw), rtol=1e-5, atol=1e-6)


def test_frames_without_a_row_or_before_the_end_alone(store: Path) -> None:
    found = source(store).maps_of("P01_01", asked([5, 6, 7], count=FRAMES))
    assert found.invalid_frames == 1 and not found.maps_thw[1].any() and found.maps_thw[[0, 2]].any()
    known, cut = (source(store).maps_of("P01_01", asked([8, 9], count=FRAMES, end=end)) for end in (99.0, 8.5 / 30))
    np.testing.assert_array_equal(cut.maps_thw, known.maps_thw[[0, 0]], err_msg="nothing at or after the end")


def test_a_store_is_of_one_size_and_says_which_file_is_not(store: Path, tmp_path: Path) -> None:
    for video_id, shape in (("a", (3, 3, 5)), ("b", (2, 2, 5)), ("c", None)):
        make_store(tmp_path, video_id, pieces=[make_piece([0], [(0, 1)], tokens_shape=shape)], roles={1: "other"})
    assert token_size(tmp_path) == SIZE
    survey = source(tmp_path).survey(["a", "b", "c", "d"])
    assert survey.present == {"a"} and survey.missing == ("d",) and set(survey.broken) == {"b", "c"}
    assert "[2, 2, 5]" in survey.broken["b"] and "no tokens" in survey.broken["c"]
    with pytest.raises(DataFileError, match="--keep tokens"):
        source(tmp_path).maps_of("b", asked([0], count=1))


def test_boxes_that_were_filled_from_later_frames_show_the_future(store: Path, tmp_path: Path) -> None:
    heads = make_provenance("a").heads.model_copy(update={"counts": {"filled_boxes": 3}})
    for video_id, changes in (("a", {"heads": heads}), ("b", {})):
        provenance = make_provenance(video_id).model_copy(update=changes)
        piece = make_piece([0], [(0, 1)], tokens_shape=(3, 3, 5))
        make_store(tmp_path, video_id, pieces=[piece], roles={1: "other"}, provenance=provenance)
    settings = HeatmapSourceSettings(path=str(tmp_path))
    for one in (source(tmp_path), StoreMaps(tmp_path, settings, missing="zero", inout="keep")):
        assert one.survey(["a", "b"]).uses_future == ("a",)


VIEWS: list[tuple[View, str]] = [
    (whole_view((48, 64)), "the whole frame"),
    (evaluation_view((48, 64), 32), "the centre"),
    (View(resized_hw=(48, 64), top=5, left=9, height=20, width=30, flip=True), "a mirrored crop"),
]


@pytest.mark.parametrize(("view", "why"), VIEWS, ids=[why for _, why in VIEWS])
def test_every_channel_is_cropped_as_a_heatmap(view: View, why: str) -> None:
    tokens = np.random.default_rng(0).normal(size=(4, 3, 15)).astype(np.float32)
    seen = transform_tokens(tokens, view).view(4, 3, 3, 5)
    for channel in range(5):
        plane = np.ascontiguousarray(tokens.reshape(4, 3, 3, 5)[..., channel])
        torch.testing.assert_close(seen[..., channel], transform_heatmaps(plane, view, 3))
    if why == "the whole frame":
        np.testing.assert_allclose(seen.reshape(4, 3, 15), tokens, atol=1e-5)


def test_clips_carry_tokens_beside_maps_and_zeros_where_there_are_none(
    study: Study, store: Path, tmp_path: Path
) -> None:
    config = load_config(with_tokens(study.config(tmp_path), store, ["gaze_tokens"]))
    plan = plan_data(config.experiment.data, resolve_anchors(config))
    options = ClipOptions(training=True, seed=0, compat="none", index_cache=None, shuffled=("gaze_tokens",))
    clips = ClipDataset(
        plan.train, config.experiment.data, plan.labels, options, heatmaps=build_sources(config.experiment.data)
    )
    found = [clips[place] for place in range(len(clips))]
    for clip, sample in zip(plan.train.clips, found, strict=True):
        assert isinstance(sample, Sample)
        tokens, shuffled = sample.heatmaps["gaze_tokens"], sample.heatmaps[f"{SHUFFLED}gaze_tokens"]
        assert tokens.shape == shuffled.shape == (4, 3, 15) and sample.heatmaps["heatmap"].shape == (4, 32, 32)
        has = clip.segment.video_id != "P02_01"
        assert bool(tokens.any()) == has
        assert sample.counts["heatmap_missing_gaze_tokens"] == int(not has)
        assert not torch.equal(tokens, shuffled) or not has
    assert set(plan.heatmap_contents()) == {"heatmap", "gaze_tokens"}, "a resumed run must see the same tokens"


# Where they stand in the predictor


def model(**settings: Any) -> VisionTransformerPredictorHeatmap:
    return predictor(fusion="gaze_tokens", scene_tokens=(2, 5), **settings)


def tokens(*, frames: int = 2 * STEPS, seed: int = 2) -> torch.Tensor:
    return torch.randn(2, frames, 2, 2 * 5, generator=torch.Generator().manual_seed(seed))


def test_tokens_have_the_centres_of_the_cells_that_they_cover_before_their_step() -> None:
    maps = model()._maps(tokens(), context()[1])
    assert maps is not None
    placed, positions, steps = maps.placed()
    assert placed.shape == (2, STEPS * 4, 36)
    assert steps.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    # a cell of 2 x 2 video cells: 0 and 1 have the middle 0.5, 2 and 3 have 2.5
    step = [[t, y, x] for t in range(STEPS) for y in (0.5, 2.5) for x in (0.5, 2.5)]
    assert positions[0].tolist() == step and GRID == 4


@pytest.mark.parametrize("frames", [2 * STEPS, 2 * STEPS - 1])
def test_a_change_of_one_cell_of_one_frame_reaches_the_tokens_of_its_step_and_cell_alone(frames: int) -> None:
    layer = SceneTokens(dim=7, size=(2, 5), tubelet_size=2)
    before, changed = tokens(frames=frames), tokens(frames=frames)
    changed[0, 3, 1, 4] += 1.0  # frame 3 is of step 1; row 1, column 0, the last channel
    (first,), (second,) = layer(before), layer(changed)
    assert first.tokens.shape == (2, STEPS, 4, 7)
    moved = (first.tokens != second.tokens).any(dim=-1).nonzero().tolist()
    assert moved == [[0, 1, 2]]


def test_the_mean_of_a_step_then_norm_then_linear_layer() -> None:
    layer = SceneTokens(dim=7, size=(2, 5), tubelet_size=2)
    given = tokens()
    (grid,) = layer(given)
    (part,) = layer.scales
    norm, linear, modality = (part.get_submodule("norm"), part.get_submodule("embed"), part.get_parameter("modality"))
    by_hand = given.reshape(2, STEPS, 2, 4, 5).mean(2)
    torch.testing.assert_close(grid.tokens, linear(norm(by_hand)) + modality, atol=1e-6, rtol=0)


def test_the_prediction_depends_on_the_tokens_their_place_and_their_time() -> None:
    one = model()
    with torch.no_grad():
        plain, none = one(*context(), tokens()), one(*context())
        swapped, shifted = tokens(), tokens().roll(2, dims=1)
        swapped = swapped.unflatten(3, (2, 5)).flip(2).flatten(3)
        for other in (swapped, shifted, torch.zeros_like(swapped)):
            assert (one(*context(), other) - plain).abs().max() > 1e-5
        assert (plain - none).abs().max() > 1e-5
        itself = predictor(fusion="none")  # V-JEPA 2's, which has none of the new weights
        itself.load_state_dict({name: w for name, w in one.state_dict().items() if not name.startswith("heatmap")})
        assert torch.equal(none, itself(*context()))


def test_every_weight_of_the_tokens_learns() -> None:
    one = model()
    output = one(*context(), tokens())
    (output * torch.randn_like(output)).sum().backward()
    new = {name: p.grad for name, p in one.named_parameters() if name.startswith("heatmap")}
    assert {name.rsplit(".", 1)[0].rsplit(".", 1)[-1] for name in new} == {"norm", "embed", "0"}
    assert all(grad is not None and grad.abs().max() > 0 for grad in new.values())


def test_flops_against_torchs_counter() -> None:
    one = model()
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        one(*context(1), tokens()[:1])
    assert predictor_flops(one, steps=STEPS) == counter.get_total_flops()


# Arms

ARMS: list[Any] = [
    "none",
    "estimated",
    "gaze_tokens",
    {"name": "no_tokens", "fusion": "gaze_tokens", "control": "zeros"},
    {"name": "others_tokens", "fusion": "gaze_tokens", "control": "shuffled"},
    {"name": "late_tokens", "fusion": "gaze_tokens", "control": "time_shifted", "train": "heatmap"},
]


def test_maps_and_tokens_are_compared_in_one_run_and_each_arm_equals_its_run_alone(
    tiny: dict[str, Any], store: Path, tmp_path: Path
) -> None:
    listener = Listener()
    one_epoch = ["experiment.optimization.num_epochs=1"]
    together = train(with_tokens(tiny, store, ARMS), overrides=one_epoch, progress=listener)
    arms = together.model["arms"]
    assert arms["none"]["heatmap_tokens"] == 0
    assert arms["gaze_tokens"]["heatmap_tokens"] == 2 * 9 and arms["gaze_tokens"]["fusion"] == "gaze_tokens"
    assert arms["gaze_tokens"]["heatmap_parameters"] == 2 * 5 + 24 * (5 + 1) + 24
    assert any("(gaze_tokens)" in line for line in listener.said), "coverage of the tokens"
    for place in (2, 4):
        entry = ARMS[place] if isinstance(ARMS[place], dict) else {"name": ARMS[place], "fusion": ARMS[place]}
        folder = tmp_path / f"alone{place}"
        train({**with_tokens(tiny, store, [entry]), "folder": str(folder)}, overrides=one_epoch)
        for mine, other in zip(
            learner_state(tmp_path / "run", entry["name"]), learner_state(folder, entry["name"]), strict=True
        ):
            assert_same(mine, other, entry["name"])
    states = {name: repr(learner_state(tmp_path / "run", name)) for name in ("gaze_tokens", "no_tokens")}
    assert states["gaze_tokens"] != states["no_tokens"]


def test_tokens_alone_train_without_any_heatmap_and_resume(tiny: dict[str, Any], store: Path, tmp_path: Path) -> None:
    config = with_tokens(tiny, store, [], heatmap_base_path=None)
    config["model_kwargs"]["pretrain_kwargs"]["predictor"] |= {"fusion": "gaze_tokens", "heatmap_dropout": 0.5}
    whole = train(config)
    parted = {**copy.deepcopy(config), "folder": str(tmp_path / "parted")}
    train(parted, overrides=["experiment.optimization.num_epochs=2"], progress=Listener(signal_after_steps=2))
    again = train(parted)
    assert whole.status == again.status == "done"
    for mine, other in zip(
        learner_state(tmp_path / "run", "main"), learner_state(tmp_path / "parted", "main"), strict=True
    ):
        assert_same(mine, other, "main")
    checked = train({**config, "folder": str(tmp_path / "dry")}, dry_run=True, measured=True)
    assert checked.step is not None and checked.step["fits"]


REFUSED: list[tuple[list[Any], dict[str, Any], str, str]] = [
    (["gaze_tokens"], {"gaze_tokens": None}, r"experiment\.data\.gaze_tokens is not set.*extract .* --keep tokens",
     "no store is named: the key and the command that makes one"),
    (["gaze_tokens"], {"gaze_tokens": {"store": "/nowhere"}}, r"store: /nowhere does not exist.*--keep tokens",
     "the store is not there"),
    (["gaze_tokens"], {"gaze_tokens": {"store": "PLAIN"}}, r"store: .* without scene tokens.*--keep tokens",
     "a store of heatmaps alone"),
    (["gaze_tokens"], {"gaze_tokens": {"store": "STORE", "size": [8, 256]}}, r"size is \[8, 256\].* have \[3, 5\]",
     "another size than the store's"),
    ([{"name": "a", "fusion": "gaze_tokens", "source": "truth"}], {}, "reads either heatmaps or scene tokens",
     "an arm of both"),
    ([{"name": "a", "fusion": "gaze_tokens", "control": "centre"}], {}, "zeros, shuffled and time_shifted",
     "a control that only heatmaps have"),
    ([{"name": "a", "fusion": "gaze_tokens", "temporal": "frame"}], {}, "temporal: tubelet", "grids per frame"),
    ([{"name": "a", "fusion": "gaze_tokens", "heatmap_patch_size": 8}], {}, "heatmap_patch_size is a key of heatmaps",
     "a key of heatmaps"),
    (["estimated"], {"heatmap_base_path": None}, "there are no heatmaps", "a heatmap arm in a run of tokens alone"),
    (["none"], {"gaze_tokens": {"store": "STORE", "people": "max"}}, "mean, wearer or a track id", "the largest token"),
    (["none"], {"heatmap_sources": {"gaze_tokens": {"path": "STORE"}}}, "is no name for a source", "a taken name"),
    (["none"], {"gaze_tokens": {"path": "STORE"}}, "gaze_tokens.store", "the name of the key"),
]  # fmt: skip


@pytest.mark.parametrize(("arms", "data", "words", "why"), REFUSED, ids=[why for *_, why in REFUSED])
def test_what_cannot_be_is_refused_with_the_names_of_the_keys(
    tiny: dict[str, Any], store: Path, tmp_path: Path, arms: list[Any], data: dict[str, Any], words: str, why: str
) -> None:
    make_store(tmp_path / "plain", "P01_01")
    names = {"STORE": str(store), "PLAIN": str(tmp_path / "plain")}

    def filled(value: Any) -> Any:
        return {k: filled(v) for k, v in value.items()} if isinstance(value, dict) else names.get(str(value), value)

    with pytest.raises(UsageError, match=words) as caught:
        train(with_tokens(tiny, store, arms, **filled(data)), dry_run=True)
    assert caught.value.exit_code == 2


def test_a_key_of_tokens_is_told_where_no_arm_reads_them_and_of_maps_where_none_reads_those(
    tiny: dict[str, Any], store: Path
) -> None:
    cpu = torch.device("cpu")
    config = load_config(with_tokens(tiny, store, ["none", "estimated"]))
    assert ignored_keys(config, cpu)["no arm has fusion: gaze_tokens"] == [f"{DATA}.gaze_tokens"]
    config = load_config(with_tokens(tiny, store, ["none", "gaze_tokens"]), [f"{PREDICTOR}.heatmap_patch_size=8"])
    told = ignored_keys(config, cpu)["every arm reads scene tokens"]
    assert told == [f"{DATA}.heatmap_base_path", f"{PREDICTOR}.heatmap_patch_size"]
    both = load_config(with_tokens(tiny, store, ["estimated", "gaze_tokens"]))
    assert not {"every arm reads scene tokens", "no arm has fusion: gaze_tokens"} & ignored_keys(both, cpu).keys()
    (spec,) = [one for one in plan_learners(both) if one.arm == "gaze_tokens"]
    assert spec.source == "gaze_tokens"
    assert _map_of(spec, {"gaze_tokens": torch.ones(4, 3, 15)}) == (None, "scene tokens, not drawn"), "in the report"
    assert spec.config.experiment.data.gaze_tokens is not None and spec.config.experiment.data.gaze_tokens.size == SIZE


@pytest.mark.slow
def test_from_videos_to_a_report_of_maps_and_tokens_by_the_command_line(
    study: Study, tiny_model: Path, tmp_path: Path
) -> None:
    made = tmp_path / "store"
    command = ["extract", str(study.root / "videos"), "-o", str(made), "--model", str(tiny_model), "--fps", "10"]
    refused = run_cli(*command, "--token-grid", "4")
    assert refused.exit_code == 2 and "set --keep to tokens too" in refused.stderr
    done = run_cli(*command, "--keep", "tokens", "--token-grid", "4", "--device", "cpu")
    assert done.exit_code == 0, done.stderr
    checked = run_cli("validate", str(made), "--videos", str(study.root / "videos"), "--deep", "4", "--json")
    findings = json.loads(checked.stdout)["findings"]
    assert not [one for one in findings if one["severity"] == "error"], findings
    arms = ["none", {"name": "heatmap", "fusion": "interleave"}, *ARMS[2:4]]
    config = with_tokens(study.config(tmp_path / "run"), made, arms, heatmap_base_path=str(made))
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    dry = run_cli("train", "--config", str(tmp_path / "config.yaml"), "--dry-run", "--json")
    assert dry.exit_code == 0, dry.stderr
    planned = json.loads(dry.stdout)
    assert planned["model"]["arms"]["gaze_tokens"]["tokens_per_step"]["heatmap"] == 16
    assert planned["step"]["fits"]
    trained = run_cli("train", "--config", str(tmp_path / "config.yaml"), "--json")
    assert trained.exit_code == 0, trained.stderr
    final = json.loads(trained.stdout)["final"]
    assert set(final) == {"none", "heatmap", "gaze_tokens", "no_tokens"}
    for figures in final.values():
        assert figures["val_start"]["heatmap_missing_gaze_tokens"] == 0
    losses = {name: figures["val_start"]["loss"] for name, figures in final.items()}
    assert len(set(losses.values())) == 4, "every arm saw something else"
    page = run_cli("report", str(tmp_path / "run"), "-o", str(tmp_path / "report"))
    assert page.exit_code == 0, page.stderr
    assert "no_tokens" in (tmp_path / "report" / "report.html").read_text()
