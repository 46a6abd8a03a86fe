"""`export`: names, shapes and meaning of the files as other programs rely on them, read back without our code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gazetools.gazemodels import load_gaze_model
from gazetools.gazemodels.baselines import CentrePrior
from gazetools.gazemodels.gazelle.loading import load_model
from gazetools.gazemodels.gazelle.packed import pack_linears
from gazetools.gazemodels.gazelle.preprocess import IMAGENET_MEAN, IMAGENET_STD
from gazetools.schemas.errors import EnvironmentLacksError, FaultError, UsageError
from gazetools.schemas.export import OnnxMetadata
from gazetools.video import VideoReader
from tests.helpers.command_line import run_cli
from tests.helpers.random_checkpoints import write_tiny_gazelle

onnx = pytest.importorskip("onnx", reason="the extra [onnx] is not installed: pip install -e '.[onnx]'")
onnxruntime = pytest.importorskip("onnxruntime", reason="the extra [onnx] is not installed: pip install -e '.[onnx]'")

from gazetools.gazemodels.runtimes import agreement, tracing  # noqa: E402
from gazetools.gazemodels.runtimes.exporting import export_onnx  # noqa: E402
from gazetools.gazemodels.runtimes.fixed_resize import FixedResize  # noqa: E402
from gazetools.gazemodels.runtimes.onnx_file import describe_onnx  # noqa: E402
from gazetools.gazemodels.runtimes.sessions import OnnxRuntimeSession  # noqa: E402

RNG = np.random.default_rng(3)
BOXES = [(0.1, 0.1, 0.4, 0.5), (0.5, 0.0, 0.8, 0.3), (0.3, 0.55, 0.6, 0.9), (0.13, 0.13, 0.62, 0.62)]


def _tensors(values: Any) -> dict[str, tuple[str, list[int | str]]]:
    """Name -> (type, shape), read by the package onnx."""
    names = {onnx.TensorProto.FLOAT: "float32", onnx.TensorProto.INT64: "int64"}
    found = {}
    for value in values:
        kind = value.type.tensor_type
        found[value.name] = (names[kind.elem_type], [d.dim_param or d.dim_value for d in kind.shape.dim])
    return found


INTERFACE = [
    ("whole", {}, "in", {"image_bgr": [1, 3, 56, 56], "bboxes_x1y1x2y2": [1, "heads", 4]}),
    ("whole", {}, "out", {"heatmap": ["heads", 64, 64], "inout": ["heads"]}),
    ("two people", {"people": 2}, "in", {"image_bgr": [1, 3, 56, 56], "bboxes_x1y1x2y2": [1, 2, 4]}),
    ("two people", {"people": 2}, "out", {"heatmap": [2, 64, 64], "inout": [2]}),
    ("nearest", {"compat": "nearest"}, "in", {"image_bgr": [1, 3, 56, 56], "bboxes_x1y1x2y2": [1, "heads", 4]}),
]


@pytest.mark.parametrize(("what", "settings", "side", "wanted"), INTERFACE, ids=[f"{c[0]}-{c[2]}" for c in INTERFACE])
def test_names_order_types_and_shapes_are_those_of_gazelle_dinov3(
    what: str, settings: dict[str, Any], side: str, wanted: dict[str, list[int | str]], tiny_model: Path, tmp_path: Path
) -> None:
    export_onnx(load_gaze_model(str(tiny_model)), tmp_path / "m.onnx", **settings)
    model = onnx.load(str(tmp_path / "m.onnx"))
    found = _tensors(model.graph.input if side == "in" else model.graph.output)
    assert list(found) == list(wanted), "the order is part of the interface"
    assert found == {name: ("float32", shape) for name, shape in wanted.items()}
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 17)]


def test_the_two_parts_have_these_names(tiny_model: Path, tmp_path: Path) -> None:
    report = export_onnx(load_gaze_model(str(tiny_model)), tmp_path / "m.onnx", split=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.frame.onnx", "m.people.onnx"]
    assert [one.inputs for one in report.files] == [
        {"image_bgr": [1, 3, 56, 56]},
        {"scene": [1, 32, 4, 4], "bboxes_x1y1x2y2": [1, "heads", 4]},
    ]
    assert [one.outputs for one in report.files] == [
        {"scene": [1, 32, 4, 4]},
        {"heatmap": ["heads", 64, 64], "inout": ["heads"]},
    ]
    assert OnnxMetadata.from_entries(_entries(tmp_path / "m.people.onnx")).part == "people"  # type: ignore[union-attr]


def _entries(path: Path) -> dict[str, str]:
    return {e.key: e.value for e in onnx.load(str(path), load_external_data=False).metadata_props}


def test_metadata_say_what_the_file_is(tiny_model: Path, tmp_path: Path) -> None:
    model = load_gaze_model(str(tiny_model))
    export_onnx(model, tmp_path / "m.onnx")
    entries = _entries(tmp_path / "m.onnx")
    assert entries["gazetools.model"] == "gazelle_random_tiny_inout"
    assert json.loads(entries["gazetools.in_size"]) == [56, 56]
    assert json.loads(entries["gazetools.mean"]) == [0.485, 0.456, 0.406]
    assert json.loads(entries["gazetools.std"]) == [0.229, 0.224, 0.225]
    assert (entries["gazetools.colour_order"], entries["gazetools.value_range"]) == ("BGR", "0..255")
    assert json.loads(entries["gazetools.weights_sha256"]) == model.weights_sha256
    assert entries["gazetools.gazetools_version"]


@pytest.mark.parametrize("people", [1, 2, 3, 4])
@pytest.mark.parametrize("out_size", [(64, 64), (6, 5)], ids=["grows", "shrinks"])
def test_the_file_answers_like_the_model(people: int, out_size: tuple[int, int], tmp_path: Path) -> None:
    """Boxes that round half to even, touch the edges and lie over them are among those that agree."""
    path = write_tiny_gazelle(tmp_path / "m.safetensors", out_size=out_size)
    model = load_gaze_model(str(path))
    export_onnx(model, tmp_path / "m.onnx")
    frame = RNG.integers(0, 256, (1, 56, 56, 3), dtype=np.uint8)
    out = model(frame, [BOXES[:people]])
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"))
    image = frame[0, :, :, ::-1].transpose(2, 0, 1)[None].astype(np.float32)
    maps, inout = session.run(None, {"image_bgr": image, "bboxes_x1y1x2y2": np.float32([BOXES[:people]])})
    assert np.abs(maps - out.heatmap.numpy()).max() < 1e-5
    assert np.abs(inout - out.inout.numpy()).max() < 1e-5  # type: ignore[union-attr]
    assert (maps.reshape(people, -1).argmax(1) == out.heatmap.flatten(1).argmax(1).numpy()).all(), "equal peaks"


def test_a_box_over_the_edge_is_cut_and_one_without_cells_is_no_prompt(tiny_model: Path, tmp_path: Path) -> None:
    model = load_gaze_model(str(tiny_model))
    export_onnx(model, tmp_path / "m.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"))
    frame = RNG.integers(0, 256, (1, 56, 56, 3), dtype=np.uint8)
    image = frame[0, :, :, ::-1].transpose(2, 0, 1)[None].astype(np.float32)
    out = model(frame, [[(-0.3, -0.2, 0.4, 0.5), None]])
    given = np.float32([[(-0.3, -0.2, 0.4, 0.5), (0.0, 0.0, 0.0, 0.0)]])
    maps, _ = session.run(None, {"image_bgr": image, "bboxes_x1y1x2y2": given})
    assert np.abs(maps - out.heatmap.numpy()).max() < 1e-5


def test_nearest_is_another_map_of_the_same_numbers(tmp_path: Path) -> None:
    """From 8x8 to 6x5 cells: each is one of the 64 low-resolution values, as floor(i * 8 / n) chooses."""
    model = load_gaze_model(str(write_tiny_gazelle(tmp_path / "m.safetensors", out_size=(6, 5))))
    export_onnx(model, tmp_path / "m.onnx", compat="nearest")
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"))
    frame = RNG.integers(0, 256, (1, 56, 56, 3), dtype=np.uint8)
    low = load_gaze_model(str(write_tiny_gazelle(tmp_path / "low.safetensors", out_size=(8, 8))))
    full = low(frame, [BOXES[:1]]).heatmap[0].numpy()
    image = frame[0, :, :, ::-1].transpose(2, 0, 1)[None].astype(np.float32)
    found = session.run(["heatmap"], {"image_bgr": image, "bboxes_x1y1x2y2": np.float32([BOXES[:1]])})[0][0]
    wanted = full[np.arange(6) * 8 // 6][:, np.arange(5) * 8 // 5]
    assert np.abs(found - wanted).max() < 1e-5
    assert np.abs(found - model(frame, [BOXES[:1]]).heatmap[0].numpy()).max() > 1e-3, "the exact one differs"
    assert describe_onnx(tmp_path / "m.onnx").resize == "nearest"


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("sizes", [((80, 80), (64, 64)), ((8, 8), (64, 48)), ((9, 7), (4, 7))])
def test_two_matrix_products_are_the_resize(sizes: tuple[tuple[int, int], tuple[int, int]], antialias: bool) -> None:
    maps = torch.rand((2, *sizes[0]), generator=torch.Generator().manual_seed(0))
    wanted = torch.nn.functional.interpolate(maps[None], size=sizes[1], mode="bilinear", antialias=antialias)[0]
    assert torch.allclose(FixedResize(*sizes, antialias=antialias)(maps), wanted, atol=1e-6)


def test_packed_layers_are_not_what_is_written(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On AVX-512 layers are packed, which cannot be traced; `export` loads the model without."""
    packed = []
    monkeypatch.setattr(
        "gazetools.gazemodels.gazelle.loading.pays", lambda kind, device, dtype: kind != "off" and not packed.append(1)
    )
    monkeypatch.setattr("gazetools.gazemodels.gazelle.loading.pack_linears", pack_linears)
    load_model(tiny_model)
    assert packed == [1]
    assert run_cli("export", str(tiny_model), "-o", str(tmp_path / "m.onnx")).exit_code == 0
    assert packed == [1], "loaded with pack off"


def test_large_models_keep_their_numbers_next_to_the_file(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "ONE_FILE_BYTES", 10_000)
    report = export_onnx(load_gaze_model(str(tiny_model)), tmp_path / "m.onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.onnx", "m.onnx.data"]
    assert report.files[0].data_path == str(tmp_path / "m.onnx.data")
    assert (tmp_path / "m.onnx").stat().st_size < (tmp_path / "m.onnx.data").stat().st_size
    onnxruntime.InferenceSession(str(tmp_path / "m.onnx"))
    assert set(describe_onnx(tmp_path / "m.onnx").sha256) == {"checkpoint", "data"}


def test_a_file_with_other_numbers_gets_no_name(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(agreement.TOLERANCE, "float32", 1e-12)
    with pytest.raises(FaultError, match="other numbers than PyTorch"):
        export_onnx(load_gaze_model(str(tiny_model)), tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


REFUSED = [
    (["--people", "0"], 2, "at least 1", "nobody"),
    (["--people", "many"], 2, "dynamic", "a word"),
    (["--opset", "16"], 2, "17", "an operator set without LayerNormalization"),
    (["-o", "m.pt"], 2, "must end in .onnx", "another ending"),
    (["-o", "there.onnx"], 2, "exists", "there already"),
    (["-o", "folder.onnx"], 2, "is a folder", "a folder"),
    (["--compat", "linear"], 2, "nearest", "an unknown word"),
]


@pytest.mark.parametrize(("flags", "code", "says", "why"), REFUSED, ids=[case[3] for case in REFUSED])
def test_what_export_refuses(
    flags: list[str], code: int, says: str, why: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.onnx").write_bytes(b"mine")
    (tmp_path / "folder.onnx").mkdir()
    output = [] if "-o" in flags else ["-o", "m.onnx"]
    done = run_cli("export", str(tiny_model), *output, *flags)
    assert (done.exit_code, says in done.stderr) == (code, True), done.stderr
    assert (tmp_path / "there.onnx").read_bytes() == b"mine"
    assert not (tmp_path / "m.onnx").exists()


def test_models_without_graphs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written as ONNX"):
        export_onnx(CentrePrior(torch.device("cpu")), tmp_path / "m.onnx")


def test_the_report_and_the_table(tiny_model: Path, tmp_path: Path) -> None:
    done = run_cli("export", str(tiny_model), "-o", str(tmp_path / "m.onnx"), "--json")
    report = json.loads(done.stdout)
    assert (report["checked_people"], report["max_difference"] < 1e-5) == ([1, 3], True)
    assert report["files"][0]["inputs"]["image_bgr"] == [1, 3, 56, 56]
    done = run_cli("export", str(tiny_model), "-o", str(tmp_path / "m.onnx"), "--overwrite")
    assert done.exit_code == 0
    assert "image_bgr" in done.stdout
    assert "largest difference to PyTorch" in " ".join(done.stdout.split())


def test_without_the_packages_the_command_is_named(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(EnvironmentLacksError, match="onnxruntime"):
        export_onnx(load_gaze_model(str(tiny_model)), tmp_path / "m.onnx")
    done = run_cli("export", str(tiny_model), "-o", str(tmp_path / "m.onnx"))
    assert done.exit_code == 3
    assert "pip install 'gazetools[onnx]'" in done.stderr


@pytest.mark.parametrize("settings", [{}, {"split": True}, {"compat": "nearest"}], ids=["whole", "split", "nearest"])
def test_frames_of_a_video_are_compared_too(
    settings: dict[str, Any], tiny_model: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames 10, 20 and 29 of 40, as the model's own preprocessing shows them but for the rounding to whole levels."""
    model: Any = load_gaze_model(str(tiny_model))
    seen: list[Any] = []
    run = OnnxRuntimeSession.run
    monkeypatch.setattr(OnnxRuntimeSession, "run", lambda self, inputs: (seen.append(inputs), run(self, inputs))[1])
    report = export_onnx(model, tmp_path / "m.onnx", check_video=str(clip), **settings)
    assert (report.checked_frames, report.checked_people) == (3, [1, 3])
    pictures = [inputs["image_bgr"] for inputs in seen if "image_bgr" in inputs]
    assert len(pictures) == 4 * 2 and len({picture.tobytes() for picture in pictures}) == 4
    with VideoReader(clip) as reader:
        frames = model.preprocess(reader.read([10, 20, 29]))
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    for picture, frame in zip(pictures[2::2], frames, strict=True):
        rgb = torch.from_numpy(np.ascontiguousarray(picture[:, ::-1])) / 255
        assert float(((rgb - mean) / std - frame).abs().max()) < 0.05


def test_a_video_that_is_none_is_refused_before_anything_is_written(tiny_model: Path, tmp_path: Path) -> None:
    flags = ["--check-video", str(tmp_path / "none.mp4")]
    done = run_cli("export", str(tiny_model), "-o", str(tmp_path / "m.onnx"), *flags)
    assert (done.exit_code, "none.mp4" in done.stderr) == (2, True), done.stderr
    assert not list(tmp_path.iterdir())
