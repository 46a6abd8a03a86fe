"""PaGE as ONNX files and in other programs: names and shapes as an interface, numbers as in torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gazetools.gazemodels import load_gaze_model
from gazetools.schemas.errors import CheckpointError, UsageError
from tests.helpers.command_line import run_cli
from tests.helpers.page_weights import TINY_PAGE, write_page_file

onnx = pytest.importorskip("onnx", reason="the extra [onnx] is not installed: pip install -e '.[onnx]'")
onnxruntime = pytest.importorskip("onnxruntime", reason="the extra [onnx] is not installed: pip install -e '.[onnx]'")

from gazetools.gazemodels.runtimes.exporting import export_onnx  # noqa: E402

FRAMES = np.random.default_rng(0).integers(0, 256, (3, 70, 90, 3), dtype=np.uint8)
BOXES = [[(0.1, 0.1, 0.4, 0.5)], [], [(0.5, 0.0, 0.8, 0.3), (0.3, 0.55, 0.6, 0.9), (-0.1, 0.4, 0.3, 1.2)]]


@pytest.fixture(autouse=True)
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small PaGE of random weights, whose last resize shrinks; a cache of its own."""
    monkeypatch.setenv("GAZETOOLS_CACHE", str(tmp_path / "cache"))
    return write_page_file(tmp_path / "page.safetensors", TINY_PAGE.model_copy(update={"out_size": (6, 5)}))


def _shapes(path: Path) -> dict[str, list[int | str]]:
    graph = onnx.load(str(path)).graph
    return {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in graph.input} | {
        f"-> {v.name}": [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in graph.output
    }


def test_names_and_shapes(page: Path, tmp_path: Path) -> None:
    model = load_gaze_model(str(page))
    export_onnx(model, tmp_path / "m.onnx")
    assert list(_shapes(tmp_path / "m.onnx").items()) == [
        ("scene", [1, 3, 64, 64]),
        ("heads", ["people", 3, 48, 48]),
        ("head_rects", ["people", 4]),
        ("-> heatmap", ["people", 6, 5]),
        ("-> inout", ["people"]),
    ]
    export_onnx(model, tmp_path / "s.onnx", split=True)
    assert _shapes(tmp_path / "s.frame.onnx") == {"scene": [1, 3, 64, 64], "-> scene_tokens": [1, 21, 32]}
    assert list(_shapes(tmp_path / "s.people.onnx")) == [
        "scene_tokens", "heads", "head_rects", "-> heatmap", "-> inout",
    ]  # fmt: skip


@pytest.mark.parametrize("people", [1, 2, 3])
def test_the_file_answers_like_the_model(people: int, page: Path, tmp_path: Path) -> None:
    """Pixels of whole numbers of cells, so that the test needs no rounding of ours."""
    model: Any = load_gaze_model(str(page))
    export_onnx(model, tmp_path / "m.onnx")
    frame = np.random.default_rng(1).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
    cells = [(0, 1, 3, 4), (1, 0, 2, 2), (2, 2, 4, 3)][:people]  # y0, x0, y1, x1 of the 4x4 grid
    out = model(frame, [[(x0 / 4, y0 / 4, x1 / 4, y1 / 4) for y0, x0, y1, x1 in cells]])
    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    rgb = ((frame[0].astype(np.float32) / 255 - mean) / std).transpose(2, 0, 1)
    crops = [torch.from_numpy(rgb[None, :, 16 * y0 : 16 * y1, 16 * x0 : 16 * x1]) for y0, x0, y1, x1 in cells]
    resize = torch.nn.functional.interpolate
    heads = np.concatenate([resize(c, (48, 48), mode="bilinear", antialias=True).numpy() for c in crops])
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"))
    maps, inout = session.run(None, {"scene": rgb[None], "heads": heads, "head_rects": np.float32(cells)})
    assert np.abs(maps - out.heatmap.numpy()).max() < 1e-5
    assert np.abs(inout - out.inout.numpy()).max() < 1e-5


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_runtime_gives_the_numbers_of_torch(runtime: str, page: Path) -> None:
    """Several frames, one without people; crops and places are those of torch, so peaks are equal."""
    if runtime == "openvino":
        pytest.importorskip("openvino", reason="the extra [openvino] is not installed: pip install -e '.[openvino]'")
    expected = load_gaze_model(str(page))(FRAMES, BOXES)
    model: Any = load_gaze_model(str(page), backend=runtime)
    found = model(FRAMES, BOXES)
    assert model.runtime.name == runtime
    assert model.needs_boxes
    assert found.image_index.tolist() == expected.image_index.tolist() == [0, 2, 2, 2]
    assert float((found.heatmap - expected.heatmap).abs().max()) < 1e-4
    assert float((found.inout - expected.inout).abs().max()) < 1e-4  # type: ignore[operator]
    assert torch.equal(found.heatmap.flatten(1).argmax(1), expected.heatmap.flatten(1).argmax(1))


def test_auto_runs_it_too(page: Path) -> None:
    model: Any = load_gaze_model(str(page), backend="auto")
    assert model.runtime.chosen == "measured"
    assert {"torch", "onnxruntime"} <= model.runtime.milliseconds.keys()


def test_its_file_is_for_other_programs(page: Path, clip: Path, tmp_path: Path) -> None:
    model = load_gaze_model(str(page))
    export_onnx(model, tmp_path / "m.onnx")
    with pytest.raises(CheckpointError, match="whole part of a page export"):
        load_gaze_model(str(tmp_path / "m.onnx"))
    with pytest.raises(UsageError, match="nearest is for the files of gazelle-dinov3"):
        export_onnx(model, tmp_path / "n.onnx", compat="nearest")
    assert run_cli("export", str(page), "-o", str(tmp_path / "o.onnx"), "--compat", "nearest").exit_code == 2
