"""The table of gaze models against the models themselves, the command that lists it, and the page made from it."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import math
from pathlib import Path

import pytest
from pydantic import ValidationError

from gazetools.gazemodels import facts_gazelle_dinov3, facts_page, model_names, registry
from gazetools.gazemodels.gazelle.backbone import hub_shapes
from gazetools.gazemodels.gazelle.config import RELEASED_MODELS, TINY_MODEL, GazelleConfig
from gazetools.gazemodels.gazelle.decoder import decoder_shapes
from gazetools.gazemodels.model_table import GAZE_MODELS
from gazetools.schemas.errors import UsageError
from gazetools.schemas.model_facts import ModelFacts
from tests.helpers.command_line import run_cli

DOCS = Path(__file__).parents[2] / "docs"
CONFIGS = {**RELEASED_MODELS, TINY_MODEL.name: TINY_MODEL}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GAZETOOLS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "weights"


@pytest.mark.parametrize("name", GAZE_MODELS)
def test_every_row_has_a_loader(name: str) -> None:
    module, _, function = GAZE_MODELS[name].loader.partition(":")
    found = importlib.import_module(module)
    for part in function.split("."):
        found = getattr(found, part)
    assert callable(found)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=str)
def test_sizes_and_parameters_are_those_of_the_model(config: GazelleConfig) -> None:
    """Counted from the shapes of the weights; the position embedding of the decoder is computed, not learnt."""
    facts = GAZE_MODELS[config.name]
    assert (facts.in_size, facts.grid, facts.out_size) == (config.in_size, config.grid, config.out_size)
    assert facts.inout == config.inout
    shapes = {**decoder_shapes(config), **hub_shapes(config.backbone)}
    decoder = sum(math.prod(shape) for key, shape in decoder_shapes(config).items() if key != "pos_embed")
    assert facts.parameters == decoder + sum(math.prod(shape) for shape in hub_shapes(config.backbone).values())
    assert len(shapes) > 50


def test_the_table_names_every_model_of_ours() -> None:
    assert set(GAZE_MODELS) >= {*CONFIGS, "centre-prior", "head-direction"}
    assert [name for name in model_names() if name in GAZE_MODELS] == list(GAZE_MODELS)


# name, parameters and one published figure, from the repositories' own tables
OTHERS = [
    ("page_vits", 58_981_377, ("gazefollow_min_l2", 0.033), "four sizes of one repository each"),
    ("page_vithplus", 1_697_432_321, ("vat_l2", 0.064), "the largest"),
    ("gazelle_hgnetv2_femto", 3_150_000, ("gazefollow_auc", 0.9391), "grid 26, map 48"),
    ("gazelle_dinov3_vits16_inout", 24_330_000, ("vat_ap", 0.9011), "of the file with in/out"),
]


@pytest.mark.parametrize(("name", "parameters", "figure", "why"), OTHERS, ids=[case[0] for case in OTHERS])
def test_rows_of_other_families(name: str, parameters: int, figure: tuple[str, float], why: str) -> None:
    facts = {one.name: one for one in (*facts_page.FACTS, *facts_gazelle_dinov3.FACTS)}[name]
    assert facts.parameters == parameters
    assert facts.figures is not None
    assert getattr(facts.figures, figure[0]) == figure[1], why


def test_the_names_of_families_do_not_collide() -> None:
    names = [one.name for one in (*facts_page.FACTS, *facts_gazelle_dinov3.FACTS)]
    assert len({*names, *RELEASED_MODELS, TINY_MODEL.name}) == 22 + 5
    files = [one.file_name for one in facts_gazelle_dinov3.FACTS]
    assert "gazelle_hgnetv2_atto_inout_distill.pt" in files
    assert "gazelle_dinov3_vit_tiny.pt" in files


GOOD = GAZE_MODELS["gazelle_tiny"].model_dump()
REFUSED_FACTS = [
    ({"weights": "download"}, "a download without an address"),
    ({"weights": "own file"}, "an own file without a name"),
    ({"urls": ("https://x/y",)}, "an address of packaged weights"),
    ({"weights": "download", "urls": ("https://x/y",), "repository": "a/b"}, "two origins"),
    ({"parameters": -1}, "fewer than no parameters"),
    ({"loader": "no_function"}, "a module alone"),
]


@pytest.mark.parametrize(("change", "why"), REFUSED_FACTS, ids=[case[1] for case in REFUSED_FACTS])
def test_facts_that_contradict_themselves_are_refused(change: dict[str, object], why: str) -> None:
    with pytest.raises(ValidationError):
        ModelFacts.model_validate({**GOOD, **change})


def test_models_lists_every_model_with_its_weights(cache: Path) -> None:
    found = run_cli("models", "--json")
    assert found.exit_code == 0
    models = {one["name"]: one for one in json.loads(found.stdout)["models"]}
    assert list(models) == model_names()
    released = models["gazelle_dinov2_vitl14_inout"]
    assert released["present"] is False
    assert released["command"] == "gazetools models gazelle_dinov2_vitl14_inout --fetch"
    assert released["figures"]["vat_auc"] == 0.937
    assert "2412.09586" in released["figures"]["source"]
    assert released["files"] == [
        str(cache / "gazelle_dinov2_vitl14_inout.pt"),
        str(cache / "dinov2_vitl14_pretrain.pth"),
    ]
    assert (models["gazelle_tiny"]["present"], models["centre-prior"]["present"]) == (True, True)
    for name in ("gazelle_dinov2_vitl14_inout.pt", "dinov2_vitl14_pretrain.pth"):
        cache.mkdir(parents=True, exist_ok=True)
        (cache / name).touch()
    (again,) = json.loads(run_cli("models", "gazelle_dinov2_vitl14_inout", "--json").stdout)["models"]
    assert again["present"] is True
    assert again["command"].startswith("gazetools extract")


def test_the_terminal_shows_one_table_or_one_model() -> None:
    table = run_cli("models").stdout
    assert all(name in table for name in GAZE_MODELS)
    assert ".956 .045 .104" in table
    one = run_cli("models", "gazelle_dinov2_vitb14").stdout
    for word in ("32x32", "Apache-2.0", "2412.09586", "--fetch"):
        assert word in one


WRONG = [
    (["gazele_tiny"], 2, "did you mean gazelle_tiny?"),
    (["--fetch"], 2, "needs the names"),
    (["gazelle_dinov2_vitb14", "--fetch"], 3, "this run is offline"),
    (["gazelle_tiny", "--what"], 2, "No such option"),
]


@pytest.mark.parametrize(("arguments", "code", "words"), WRONG, ids=[case[2] for case in WRONG])
def test_wrong_calls(arguments: list[str], code: int, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAZETOOLS_OFFLINE", "1")
    found = run_cli("models", *arguments)
    assert (found.exit_code, words in found.stderr) == (code, True), found.stderr


def test_models_without_files_need_no_fetching() -> None:
    assert run_cli("models", "gazelle_tiny", "centre-prior", "--fetch", "--json").exit_code == 0


def test_weights_that_only_the_user_may_fetch_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = facts_gazelle_dinov3.FACTS[-1]
    monkeypatch.setitem(GAZE_MODELS, facts.name, facts)
    refused = run_cli("models", facts.name, "--fetch")
    assert refused.exit_code == 3
    for words in (
        "not fetched by gazetools",
        "DINOv3 License",
        "releases/tag/weights",
        f"--checkpoint {facts.name}.pt",
    ):
        assert words in refused.stderr
    (shown,) = json.loads(run_cli("models", facts.name, "--json").stdout)["models"]
    assert (shown["present"], shown["weights"]) == (False, "own file")


def test_models_of_other_packages_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = importlib.metadata.EntryPoint("their-model", "their_package:load", registry.ENTRY_POINTS)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [entry])
    (shown,) = json.loads(run_cli("models", "their-model", "--json").stdout)["models"]
    assert (shown["loader"], shown["present"], shown["family"]) == ("their_package:load", None, "from another package")
    assert "their-model" in run_cli("models").stdout
    assert run_cli("models", "their-model", "--fetch").exit_code == 2


def test_an_unknown_name_of_a_model_names_the_list() -> None:
    with pytest.raises(UsageError, match="`gazetools models` lists all"):
        registry.load_gaze_model("page_vit")
