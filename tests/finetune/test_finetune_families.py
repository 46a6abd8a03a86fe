"""Training of every family, and of everything but the decoder: low-rank changes, towers, teachers, number types."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import gazetools
from gazetools.schemas.errors import UsageError
from gazetools.schemas.finetune_model import FinetuneModel
from gazetools.trainer.finetune.config_file import load_finetune_config
from gazetools.trainer.finetune.head_sample import HeadSample
from gazetools.trainer.finetune.networks import open_network
from gazetools.trainer.finetune.run import finetune
from tests.finetune.conftest import Configure
from tests.helpers.page_weights import TINY_PAGE, write_page_file
from tests.helpers.random_dinov3 import TINY_VIT, random_dinov3_tensors

ROOT = Path(__file__).parents[2]
LOGITS = {"loss": {"domain": "logits"}}


@pytest.fixture(scope="module")
def models(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Family -> self-describing file of a tiny random model."""
    folder = tmp_path_factory.mktemp("families")
    dinov3 = folder / "dinov3.safetensors"
    save_file(random_dinov3_tensors(TINY_VIT, 0), dinov3, TINY_VIT.to_metadata())
    page = write_page_file(folder / "page.safetensors", TINY_PAGE)
    return {"gazelle": tiny_model, "dinov3": dinov3, "page": page}


@pytest.mark.parametrize("family", ["gazelle", "dinov3", "page"])
@pytest.mark.parametrize("trains", ["decoder", "lora", "tower"])
def test_written_weights_are_those_that_learnt(
    configure: Configure, models: dict[str, Path], family: str, trains: str
) -> None:
    """The written file, read as for inference, says what the network said at the end of its training."""
    model = {"name": str(models[family]), "trains": trains}
    learning = {"epochs": 1, "batch_size": 8, "optimizer": {"lr": 1e-2}, **LOGITS}
    config = configure("run", {"model": model, "learning": learning})
    result = finetune(config)
    assert result.weights is not None
    picture = np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8)
    box = (0.1, 0.1, 0.45, 0.5)
    sample = HeadSample(picture=picture, box_xyxy=(9.6, 6.4, 43.2, 32.0), gaze_xy=((0.0, 0.0),), inside=True)
    learnt = _learnt(config, models[family])
    with torch.no_grad():
        inside = learnt(learnt.inputs([sample]), "probabilities")
    written = gazetools.load_model(result.weights, device="cpu", dtype="float32")
    out, before = (
        m(picture[None], [[box]]) for m in (written, gazetools.load_model(str(models[family]), device="cpu"))
    )
    torch.testing.assert_close(out.heatmap, inside.maps, rtol=1e-3, atol=2e-4)
    assert not torch.allclose(out.heatmap, before.heatmap, atol=1e-3), "it has learnt"


def _learnt(config: dict[str, Any], start: Path) -> Any:
    """The network with the saved state of a training, in eval mode, adapters not merged."""
    torch.manual_seed(0)
    network = open_network(FinetuneModel(**{**config["model"], "name": str(start)}))
    state = load_file(Path(config["folder"]) / "state.safetensors")
    with torch.no_grad():
        for name, parameter in network.learning().items():
            parameter.copy_(state[f"network.{name}"])
    return network.eval()


def test_bfloat16_learns_what_float32_learns(configure: Configure) -> None:
    lost = {}
    for dtype in ("float32", "bfloat16"):
        learning = {"epochs": 4, "batch_size": 8, "optimizer": {"lr": 3e-3}, "dtype": dtype, **LOGITS}
        lost[dtype] = finetune(configure(dtype, {"learning": learning})).metrics["train_loss"]
    assert lost["bfloat16"] == pytest.approx(lost["float32"], rel=0.05) and lost["bfloat16"] != lost["float32"]


def test_a_student_follows_a_teachers_maps(configure: Configure, models: dict[str, Path]) -> None:
    """Another family's maps of another size: the teacher's pictures are its own."""
    distil = {"kind": "maps", "teacher": str(models["dinov3"]), "weight": 10.0}
    learning = {"epochs": 6, "batch_size": 8, "optimizer": {"lr": 3e-3}, "distil": distil, **LOGITS}
    config = configure("run", {"learning": learning, "augment": {"crop": 0, "flip": 0, "jitter": 0}})
    finetune(config)
    lines = [json.loads(line) for line in (Path(config["folder"]) / "log.jsonl").read_text().splitlines()]
    terms = [line["train_distil"] for line in lines if "epoch" in line]
    assert terms[-1] < 0.8 * terms[0]


def test_pages_tokens_follow_a_teacher_and_nothing_else_does(configure: Configure, models: dict[str, Path]) -> None:
    teacher = models["page"].with_name("teacher.safetensors")
    write_page_file(teacher, TINY_PAGE, seed=1)
    distil = {"kind": "tokens", "teacher": str(teacher)}
    learning = {"epochs": 4, "batch_size": 8, "optimizer": {"lr": 3e-3}, "distil": distil, **LOGITS}
    model = {"name": str(models["page"]), "trains": "tower"}
    config = configure("run", {"model": model, "learning": learning, "selection": {"metric": "loss"}})
    finetune(config)
    lines = [json.loads(line) for line in (Path(config["folder"]) / "log.jsonl").read_text().splitlines()]
    terms = [line["train_distil"] for line in lines if "epoch" in line]
    assert terms[-1] < 0.9 * terms[0]
    config["model"] = {"name": str(models["gazelle"])}
    with pytest.raises(UsageError, match="no head tower"):
        finetune({**config, "folder": config["folder"] + "2"})


def test_a_store_teaches_without_labels(
    configure: Configure, clip: Path, boxes: Path, tiny_model: Path, models: dict[str, Path], tmp_path: Path
) -> None:
    """A student of another family learns the maps that a teacher left in a store."""
    gazetools.extract(clip, tmp_path / "store", model=str(tiny_model), heads=f"file:{boxes}", stride=4)
    data = {"train": [{"kind": "store", "path": str(tmp_path / "store")}], "held_out": 0}
    learning = {"epochs": 8, "batch_size": 8, "optimizer": {"lr": 3e-3}, "distil": {"kind": "store"}, **LOGITS}
    model = {"name": str(models["dinov3"])}
    config = configure("run", {"model": model, "data": data, "learning": learning})
    result = finetune(config)
    lines = [json.loads(line) for line in (Path(config["folder"]) / "log.jsonl").read_text().splitlines()]
    losses = [line["train_loss"] for line in lines if "epoch" in line]
    assert result.data["train"]["heads"] > 10 and losses[-1] < losses[0]
    config["learning"]["distil"] = {"kind": "store", "least_peak": 1.0}
    with pytest.raises(UsageError, match="teacher_sees_no_gaze"):
        finetune({**config, "folder": config["folder"] + "2"})


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_recipes_are_configs(path: Path) -> None:
    settings = load_finetune_config(path)
    assert settings.folder


def test_no_recipe_looks_at_a_test_set() -> None:
    for path in (ROOT / "recipes").glob("*.yaml"):
        settings = path.read_text()
        sources = [line for line in settings.splitlines() if "path:" in line and not line.strip().startswith("#")]
        assert not any("test" in line for line in sources), path
