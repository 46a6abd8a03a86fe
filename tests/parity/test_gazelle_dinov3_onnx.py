"""Our ONNX files with the nearest resize against recordings of gazelle-dinov3's own export on the same weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from gazetools.gazemodels import LoadSettings
from gazetools.gazemodels.runtimes.forms import form_of
from tests.parity.conftest import Golden
from tests.parity.test_gazelle_dinov3 import close, model_of

pytestmark = pytest.mark.golden("gazelle_dinov3_tiny")


def test_the_graph_computes_what_upstreams_graph_computes(golden: Golden) -> None:
    """In torch, so that this is also checked where no other program is installed."""
    graph = form_of(model_of(golden)).whole("nearest")
    image, boxes = golden.tensors["onnx.image_bgr"].float(), golden.tensors["onnx.bboxes_x1y1x2y2"]
    assert [spec.name for spec in graph.inputs] == ["image_bgr", "bboxes_x1y1x2y2"]
    found = graph.run((image, boxes))
    names = ["heatmap", "inout"] if golden.spec["config"]["gazelle"]["inout"] else ["heatmap"]
    assert list(found) == names
    for name in names:
        close(golden, f"onnx.{name}", torch.from_numpy(found[name]))


def test_the_exact_graph_is_another_one(golden: Golden) -> None:
    """The nearest neighbour where the last resize does something; it is not to be had unasked."""
    model = model_of(golden)
    image, boxes = golden.tensors["onnx.image_bgr"].float(), golden.tensors["onnx.bboxes_x1y1x2y2"]
    exact = form_of(model).whole("exact").run((image, boxes))["heatmap"]
    resizes = tuple(2 * n for n in model.grid) != tuple(model.out_size)
    assert (np.abs(exact - golden.tensors["onnx.heatmap"].numpy()).max() > 1e-3) == resizes


def test_the_written_file_as_a_model_of_the_pipeline(golden: Golden, tmp_path: Path) -> None:
    """Through onnxruntime and `--model FILE.onnx`, with uint8 RGB frames."""
    pytest.importorskip("onnx", reason="the extra [onnx] is not installed: pip install -e '.[onnx]'")
    pytest.importorskip("onnxruntime", reason="the extra [onnx] is not installed: pip install -e '.[onnx]'")
    from gazetools.gazemodels.runtimes.exporting import export_onnx
    from gazetools.gazemodels.runtimes.onnx_model import load_onnx

    path = tmp_path / "golden.onnx"
    export_onnx(model_of(golden), path, compat="nearest")
    frame_hwc = golden.tensors["onnx.image_bgr"][0].flip(0).permute(1, 2, 0)
    boxes = golden.tensors["onnx.bboxes_x1y1x2y2"][0].tolist()
    out = load_onnx(LoadSettings(name=str(path)))(frame_hwc[None].numpy(), [boxes])
    close(golden, "onnx.heatmap", out.heatmap)
    assert (out.inout is not None) == ("onnx.inout" in golden.tensors)
    if out.inout is not None:
        close(golden, "onnx.inout", out.inout)
