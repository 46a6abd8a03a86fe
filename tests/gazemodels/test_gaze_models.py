"""The interface of gaze models: controls with known geometry, registration, and the upstream package by a stand-in."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import gazetools
from gazetools.gazemodels import (
    GazeModel,
    GazeOutput,
    Loader,
    LoadSettings,
    load_gaze_model,
    model_names,
    register,
    register_backend,
    registry,
)
from gazetools.gazemodels.baselines import CONE_POWER, CentrePrior, HeadDirection
from gazetools.gazemodels.gazelle.decoder import GazeDecoder
from gazetools.gazemodels.gazelle.model import GazelleModel
from gazetools.metrics.gaze import gazefollow_auc
from gazetools.schemas.errors import CheckpointError, EnvironmentLacksError, UsageError
from gazetools.schemas.extract import BACKEND_NAMES
from gazetools.schemas.store import Prompt
from gazetools.store import open_store
from tests.helpers.command_line import run_cli
from tests.helpers.page_weights import TINY_PAGE, write_page_file
from tests.helpers.random_checkpoints import write_tiny_gazelle
from tests.helpers.random_dinov3 import TINY_VIT, random_dinov3_tensors

FRAMES = np.zeros((2, 60, 80, 3), np.uint8)
CPU = torch.device("cpu")


def test_the_centre_prior_peaks_in_the_middle_for_everybody() -> None:
    out = CentrePrior(CPU)(FRAMES, [[(0, 0, 0.2, 0.2), None], [(0.7, 0.1, 0.9, 0.3)]])
    assert out.image_index.tolist() == [0, 0, 1]
    assert out.inout is None
    assert torch.equal(out.heatmap[0], out.heatmap[2])
    assert torch.equal(out.heatmap[0], out.heatmap[0].flip(0, 1)), "symmetric about the middle"
    assert 0.99 < float(out.heatmap.max()) <= 1


CONES = [
    ((0.0, 0.4, 0.2, 0.6), (32, 63), "from the left edge: to the right edge"),
    ((0.8, 0.4, 1.0, 0.6), (32, 0), "from the right edge: to the left edge"),
    ((0.4, 0.0, 0.6, 0.2), (63, 32), "from the top: to the bottom"),
    ((0.0, 0.0, 0.2, 0.2), (63, 63), "from a corner: to the opposite one"),
]


@pytest.mark.parametrize(("box", "target", "why"), CONES, ids=[case[2] for case in CONES])
def test_heads_look_to_the_middle_and_beyond(
    box: tuple[float, float, float, float], target: tuple[int, int], why: str
) -> None:
    (found,) = HeadDirection(CPU)(FRAMES[:1], [[box]]).heatmap
    assert float(found[target]) > 0.98, why
    row, column = (int(64 * (box[1] + box[3]) / 2), int(64 * (box[0] + box[2]) / 2))
    assert float(found[row, column]) == 0, "not at the own head"
    assert float(found.min()) == 0 and float(found.max()) <= 1


def test_angles_are_those_of_the_pixels_not_of_the_square_map() -> None:
    """In a frame of 2:1 the point 30 degrees off the axis has cos(30 degrees) ** power."""
    (found,) = HeadDirection(CPU)(np.zeros((1, 500, 1000, 3), np.uint8), [[(0.0, 0.49, 0.02, 0.51)]]).heatmap
    column = 20
    x = (column + 0.5) / 64 * 1000 - 10
    row = int((0.5 + x * np.tan(np.radians(30)) / 500) * 64)
    angle = np.arctan2(((row + 0.5) / 64 - 0.5) * 500, x)
    assert float(found[row, column]) == pytest.approx(np.cos(angle) ** CONE_POWER, rel=1e-5)


def test_without_a_direction_it_is_the_centre_prior() -> None:
    prior = CentrePrior(CPU)(FRAMES[:1], [[None]]).heatmap[0]
    out = HeadDirection(CPU)(FRAMES[:1], [[None, (0.45, 0.45, 0.55, 0.55)]])
    assert torch.equal(out.heatmap[0], prior)
    assert torch.equal(out.heatmap[1], prior)


def test_controls_score_as_controls_should() -> None:
    """A target in the middle is found by the prior, one in the corner is not."""
    prior = CentrePrior(CPU)(FRAMES[:1], [[None]]).heatmap[0]
    assert gazefollow_auc(prior.numpy(), [0.5], [0.5], height=64, width=64) > 0.99
    assert gazefollow_auc(prior.numpy(), [0.02], [0.02], height=64, width=64) < 0.2


@pytest.mark.parametrize("name", ["centre-prior", "head-direction"])
def test_extract_runs_them_like_any_model(name: str, clip: Path, boxes: Path, tmp_path: Path) -> None:
    report = gazetools.extract(clip, tmp_path, model=name, heads=f"file:{boxes}", stride=10)
    assert (report.items[0].status, report.items[0].rows) == ("done", 8)
    with open_store(tmp_path / "clip.h5") as store:
        rows = store.rows()
        assert set(rows.prompt.tolist()) == {Prompt.GIVEN}
        assert np.isnan(rows.inout).all()
        assert rows.heatmap.astype(float).max() > 0.9
        assert (store.provenance.model.name, store.provenance.model.weights_sha256) == (name, {})
    with pytest.raises(UsageError, match="has no weights"):
        load_gaze_model(name, checkpoint="x.pt")


class _Own(CentrePrior):
    name = "own"

    def heatmap(self, box, frame_hw):  # type: ignore[no-untyped-def]
        return torch.full((64, 64), 0.25)


def test_another_model_is_registered_without_touching_the_pipeline(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_LOADERS", {})
    register("own", _Own.load)
    assert "own" in model_names()
    with pytest.raises(UsageError, match="is taken"):
        register("own", _Own.load)
    with pytest.raises(UsageError, match="is taken"):
        register("gazelle_dinov2_vitb14", _Own.load)
    assert run_cli("extract", str(clip), "-o", str(tmp_path), "--model", "own", "--stride", "20").exit_code == 0
    with open_store(tmp_path / "clip.h5") as store:
        assert (store.rows().heatmap == 0.25).all()


def test_installed_packages_add_models_by_an_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = importlib.metadata.EntryPoint(
        "installed", "tests.gazemodels.test_gaze_models:_Own.load", registry.ENTRY_POINTS
    )
    monkeypatch.setattr(
        importlib.metadata, "entry_points", lambda group: [entry] if group == registry.ENTRY_POINTS else []
    )
    assert "installed" in model_names()
    assert load_gaze_model("installed").name == "own"


@pytest.mark.parametrize(("name", "expected"), [("gazelle_dinov2_vitb14", "own"), ("centre-prior", "centre-prior")])
def test_entry_points_may_take_the_names_of_gaze_lle_but_not_those_of_the_controls(
    name: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = importlib.metadata.EntryPoint(name, "tests.gazemodels.test_gaze_models:_Own.load", registry.ENTRY_POINTS)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [entry])
    assert model_names().count(name) == 1
    assert load_gaze_model(name).name == expected


def test_another_backend_is_registered_without_touching_the_pipeline(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is used through the command line, and receives the model's own loader."""

    def load_quarter(settings: LoadSettings, loader: Loader) -> GazeModel:
        assert (settings.name, loader(settings).name) == ("centre-prior", "centre-prior")
        return _Own.load(settings)

    monkeypatch.setattr(registry, "BACKENDS", dict(registry.BACKENDS))
    assert list(registry.BACKENDS) == list(BACKEND_NAMES)
    register_backend("quarter", load_quarter)
    try:
        with pytest.raises(ValueError, match="is taken"):
            register_backend("quarter", load_quarter)
        arguments = ["extract", str(clip), "-o", str(tmp_path), "--model", "centre-prior", "--stride", "20"]
        assert run_cli(*arguments, "--backend", "quarter").exit_code == 0
    finally:
        BACKEND_NAMES.remove("quarter")
    with open_store(tmp_path / "clip.h5") as store:
        assert (store.rows().heatmap == 0.25).all()
    refused = run_cli(*arguments, "--backend", "quarter")
    assert (refused.exit_code, "must be 'gazetools' or 'upstream'" in refused.stderr) == (2, True)


def test_names_are_known_without_torch() -> None:
    code = "import sys, gazetools.gazemodels as g; g.model_names(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class _Network(torch.nn.Module):
    """What `gazelle.model.get_gazelle_model` gives: same parameter names, per-image lists, no care for empty images."""

    def __init__(self, ours: GazelleModel) -> None:
        super().__init__()
        with torch.device("cpu"):
            decoder = GazeDecoder(ours.config)
        for name, module in decoder.named_children():
            self.add_module(name, module)
        self.register_buffer("pos_embed", decoder.pos_embed)
        self.backbone = ours.backbone
        self._ours = [ours]
        self.in_size, self.out_size, self.inout = ours.in_size, ours.out_size, ours.has_inout
        self.featmap_h, self.featmap_w = ours.grid

    def load_gazelle_state_dict(self, tensors: dict[str, torch.Tensor]) -> None:
        self.load_state_dict({**self.state_dict(), **tensors}, strict=False)

    def forward(self, given: dict) -> dict:  # type: ignore[type-arg]
        torch.testing.assert_close(self.get_parameter("linear.weight"), self._ours[0].decoder.linear.weight)
        assert all(given["bboxes"]), "the original crashes on an image without people"
        assert all(0 <= v <= 1 for some in given["bboxes"] for box in some if box for v in box)
        out = self._ours[0](given["images"], given["bboxes"])
        counts = [len(some) for some in given["bboxes"]]
        return {"heatmap": out.heatmap.split(counts), "inout": out.inout.split(counts)}


@pytest.fixture
def upstream(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[GazelleModel, Path]:
    """An importable `gazelle`; our model of the same weights; its decoder's checkpoint."""
    from safetensors.torch import save_file

    ours = gazetools.load_model(str(tiny_model))
    package, module = types.ModuleType("gazelle"), types.ModuleType("gazelle.model")
    module.get_gazelle_model = lambda name: (_Network(ours), None)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gazelle", package)
    monkeypatch.setitem(sys.modules, "gazelle.model", module)
    path = tmp_path / "decoder.safetensors"
    save_file({k: v.contiguous() for k, v in ours.decoder.state_dict().items()}, path)
    return ours, path


def test_upstream_gives_the_same_rows_as_ours(upstream: tuple[GazelleModel, Path]) -> None:
    ours, path = upstream
    model = load_gaze_model("gazelle_dinov2_vitb14_inout", checkpoint=str(path), backend="upstream", device="cpu")
    assert model.implementation == "upstream gazelle"
    frames = np.random.default_rng(0).integers(0, 256, (3, 60, 80, 3), dtype=np.uint8)
    boxes = [[(0.1, 0.1, 0.5, 0.6), None], [], [(0.5, 0.2, 0.9, 0.7)]]
    mine, theirs = ours(frames, boxes), model(frames, boxes)
    assert theirs.image_index.tolist() == [0, 0, 2]
    torch.testing.assert_close(mine.heatmap, theirs.heatmap)
    torch.testing.assert_close(mine.inout, theirs.inout)
    assert len(model(frames, [[], [], []])) == 0
    over_the_edge = model(frames[:1], [[(-0.2, 0.1, 0.5, 0.6)]])
    assert isinstance(over_the_edge, GazeOutput)


def test_upstream_refuses_weights_that_do_not_fit(upstream: tuple[GazelleModel, Path], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(upstream[1])
    tensors["linear.biass"] = tensors.pop("linear.bias")
    save_file(tensors, tmp_path / "wrong.safetensors")
    with pytest.raises(CheckpointError, match=r"missing \['linear.bias'\], unexpected \['linear.biass'\]"):
        load_gaze_model(
            "gazelle_dinov2_vitb14_inout", checkpoint=str(tmp_path / "wrong.safetensors"), backend="upstream"
        )


UPSTREAM_REFUSALS = [
    ({"name_or_path": "centre-prior"}, UsageError, "runs Gaze-LLE only"),
    ({"name_or_path": "some.safetensors"}, UsageError, "upstream knows"),
    ({"backbone": "x"}, UsageError, "torch.hub"),
    ({"dtype": "bfloat16"}, UsageError, "computes in float32"),
    ({}, EnvironmentLacksError, "git clone"),
]


@pytest.mark.parametrize(("settings", "kind", "words"), UPSTREAM_REFUSALS, ids=[c[2] for c in UPSTREAM_REFUSALS])
def test_what_upstream_can_not_do_is_said(
    settings: dict[str, str], kind: type[Exception], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gazelle", None)
    name = settings.pop("name_or_path", "gazelle_dinov2_vitb14_inout")
    with pytest.raises(kind, match=words):
        load_gaze_model(name, backend="upstream", **settings)  # type: ignore[arg-type]


def _gazelle(folder: Path) -> Path:
    return write_tiny_gazelle(folder / "tiny.safetensors")


def _page(folder: Path) -> Path:
    return write_page_file(folder / "page.safetensors", TINY_PAGE)


def _dinov3(folder: Path) -> Path:
    path = folder / "dinov3.safetensors"
    save_file(random_dinov3_tensors(TINY_VIT, 0), path, TINY_VIT.to_metadata())
    return path


@pytest.mark.parametrize("write", [_gazelle, _page, _dinov3], ids=["Gaze-LLE", "PaGE", "gazelle-dinov3"])
def test_load_model_takes_every_family(write: Any, tmp_path: Path) -> None:
    path = write(tmp_path)
    frames, boxes = np.zeros((1, 60, 80, 3), np.uint8), [[(0.1, 0.1, 0.5, 0.6)]]
    out = gazetools.load_model(path, pack="off", offline=True)(frames, boxes)
    assert torch.equal(out.heatmap, load_gaze_model(str(path), device="cpu")(frames, boxes).heatmap)


def test_load_model_takes_controls_and_plug_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[LoadSettings] = []
    monkeypatch.setitem(registry._LOADERS, "toy", lambda settings: received.append(settings) or CentrePrior(CPU))
    assert isinstance(gazetools.load_model("toy", dtype="float32"), CentrePrior)
    assert (received[0].name, received[0].device, received[0].dtype) == ("toy", "cpu", "float32")
    assert isinstance(gazetools.load_model("head-direction"), HeadDirection)
    with pytest.raises(UsageError, match=r"offline=True can't be passed to 'toy', which tests\.gazemodels"):
        gazetools.load_model("toy", offline=True)


@pytest.mark.parametrize(
    ("name", "options", "error", "says"),
    [
        ("page_vits", {}, EnvironmentLacksError, "page_vits"),
        ("page_vits", {"in_size": (448, 448)}, UsageError, "in_size=(448, 448) is for Gaze-LLE"),
        ("page_vits", {"pack": "on"}, UsageError, "pack='on' is for Gaze-LLE"),
        ("page_vits", {"backbone": "dinov2.pth"}, UsageError, "both towers"),
        ("gazelle_dinov3_vits16", {"in_size": (448, 448)}, UsageError, "in_size=(448, 448) is for Gaze-LLE"),
        ("page_vit", {}, UsageError, "page_vits"),
    ],
)
def test_load_model_refuses_what_a_family_does_not_have(
    name: str, options: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error) as caught:
        gazetools.load_model(name, **options)
    assert says in str(caught.value)


def test_loading_a_model_imports_no_compiler(tmp_path: Path) -> None:
    """Operations on "meta" tensors can make torch import sympy and dynamo: 800 modules, 1 s and 70 MiB."""
    program = "import sys; from gazetools.gazemodels import load_gaze_model\n"
    program += "".join(f"load_gaze_model({str(write(tmp_path))!r})\n" for write in (_gazelle, _page, _dinov3))
    program += "print([name for name in ('sympy', 'torch._dynamo', 'torch.onnx') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
