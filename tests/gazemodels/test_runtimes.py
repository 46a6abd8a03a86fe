"""`extract --runtime`: the same numbers outside torch, the choice by measurement, and foreign ONNX files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gazetools
from gazetools.gazemodels import LoadSettings, load_gaze_model
from gazetools.schemas.errors import EnvironmentLacksError, UsageError
from gazetools.schemas.provenance import ModelRecord
from gazetools.store import open_store
from tests.helpers.command_line import run_cli

onnx = pytest.importorskip("onnx", reason="the extra [onnx] is not installed: pip install -e '.[onnx]'")
pytest.importorskip("onnxruntime", reason="the extra [onnx] is not installed: pip install -e '.[onnx]'")

from gazetools.gazemodels.runtimes import choosing, step_files, tracing  # noqa: E402
from gazetools.gazemodels.runtimes.choosing import choose_fastest, load_fastest  # noqa: E402
from gazetools.gazemodels.runtimes.exporting import export_onnx  # noqa: E402
from gazetools.gazemodels.runtimes.sessions import PRECISIONS, RuntimePlace, is_installed  # noqa: E402

TOLERANCE = 1e-4
"""What docs/runtimes.md promises for heat maps and in/out scores in float32."""
HALF_STEP = 2**-11
"""Stores keep float16: numbers near 1 may be rounded to neighbours."""
FRAMES = np.random.default_rng(0).integers(0, 256, (3, 70, 90, 3), dtype=np.uint8)
BOXES = [[(0.1, 0.1, 0.4, 0.5), None], [], [(0.5, 0.0, 0.8, 0.3), (0.3, 0.55, 0.6, 0.9), (0.0, 0.4, 0.3, 0.8)]]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own for each test."""
    monkeypatch.setenv("GAZETOOLS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def _needs(runtime: str) -> None:
    if runtime == "openvino":
        pytest.importorskip("openvino", reason="the extra [openvino] is not installed: pip install -e '.[openvino]'")


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_runtime_gives_the_numbers_of_torch(runtime: str, tiny_model: Path) -> None:
    """Several frames, one without people and one person without a box, in one call; peaks are equal."""
    _needs(runtime)
    expected = load_gaze_model(str(tiny_model))(FRAMES, BOXES)
    found = load_gaze_model(str(tiny_model), backend=runtime)(FRAMES, BOXES)
    assert found.image_index.tolist() == expected.image_index.tolist() == [0, 0, 2, 2, 2]
    assert float((found.heatmap - expected.heatmap).abs().max()) < TOLERANCE
    assert float((found.inout - expected.inout).abs().max()) < TOLERANCE  # type: ignore[operator]
    assert torch.equal(found.heatmap.flatten(1).argmax(1), expected.heatmap.flatten(1).argmax(1)), "equal peaks"


def test_nobody_is_never_passed_to_a_session(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = load_gaze_model(str(tiny_model), backend="onnxruntime")
    for session in (model._frame, model._people):
        monkeypatch.setattr(session, "run", lambda inputs: pytest.fail("called with 0 people"))
    out = model(FRAMES, [[], [], []])
    assert (len(out), out.heatmap.shape, len(out.inout)) == (0, (0, 64, 64), 0)


def _store(folder: Path) -> tuple[np.ndarray, np.ndarray, ModelRecord, str]:
    with open_store(folder / "clip.h5") as store:
        rows = store.rows()
        return rows.heatmap.astype(np.float32), rows.inout, store.provenance.model, store.provenance.options_key


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_extract_writes_the_same_store_by_any_runtime(
    runtime: str, clip: Path, boxes: Path, tiny_model: Path, tmp_path: Path
) -> None:
    _needs(runtime)
    for name in ("torch", runtime):
        flags = ["--model", str(tiny_model), "--heads", f"file:{boxes}", "--stride", "5", "--runtime", name]
        done = run_cli("extract", str(clip), "-o", str(tmp_path / name), *flags)
        assert done.exit_code == 0, done.stderr
    maps, inout, plain, key = _store(tmp_path / "torch")
    found_maps, found_inout, record, found_key = _store(tmp_path / runtime)
    assert np.abs(found_maps - maps).max() <= TOLERANCE + HALF_STEP
    assert np.abs(found_inout - inout).max() < TOLERANCE
    assert plain.runtime is None
    assert record.runtime is not None
    assert (record.runtime.name, record.runtime.chosen) == (runtime, "named")
    assert record.runtime.program.startswith(f"{runtime} ")
    assert record.runtime.max_difference is not None and record.runtime.max_difference < TOLERANCE
    assert record.weights_sha256 == plain.weights_sha256
    assert key != found_key, "stores of two programs are never mixed"


def test_the_graphs_are_written_once_and_again_where_they_are_damaged(
    tiny_model: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    original = step_files.write_graph
    monkeypatch.setattr(step_files, "write_graph", lambda *a, **k: (written.append(1), original(*a, **k)))
    for _ in range(2):
        load_gaze_model(str(tiny_model), backend="onnxruntime")
    assert len(written) == 2, "the frame's and the people's graph, once"
    (graph,) = cache.rglob("people.onnx")
    content = bytearray(graph.read_bytes())
    content[len(content) // 2] ^= 1
    graph.write_bytes(content)
    out = load_gaze_model(str(tiny_model), backend="onnxruntime")(FRAMES, BOXES)
    assert len(written) == 4
    assert float((out.heatmap - load_gaze_model(str(tiny_model))(FRAMES, BOXES).heatmap).abs().max()) < TOLERANCE


class _Takes:
    """A model that takes so many seconds on a simulated clock."""

    in_size = (8, 8)
    device = torch.device("cpu")

    def __init__(self, seconds: float, clock: list[float]) -> None:
        self.seconds, self.clock = seconds, clock
        self.calls = 0

    def __call__(self, images: Any, boxes: Any) -> Any:
        self.calls += 1
        self.clock[0] += self.seconds * (100 if self.calls == 1 else 1)
        return type("Out", (), {"heatmap": torch.zeros(1, 2, 2)})


CHOICES = [
    ({"torch": 1.0, "openvino": 0.5, "onnxruntime": 0.7}, "openvino", "the fastest"),
    ({"torch": 1.0, "onnxruntime": 0.97}, "torch", "3 % are noise"),
    ({"torch": 1.0, "openvino": 2.0}, "torch", "torch is the fastest"),
    ({"torch": 1.0}, "torch", "nothing else is installed"),
]


@pytest.mark.parametrize(("seconds", "wanted", "why"), CHOICES, ids=[case[2] for case in CHOICES])
def test_the_choice_by_times(seconds: dict[str, float], wanted: str, why: str) -> None:
    """The first call of each, which takes a hundred times as long, does not count."""
    time = [0.0]
    models: Any = {name: _Takes(some, time) for name, some in seconds.items()}
    choice = choose_fastest(models, {"tensorrt": "not installed"}, clock=lambda: time[0])
    assert choice.name == wanted
    assert choice.milliseconds == pytest.approx({name: 1000 * some for name, some in seconds.items()})
    assert choice.left_out == {"tensorrt": "not installed"}


def test_auto_measures_once_and_records_its_choice(
    clip: Path, tiny_model: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = []
    original = choosing.choose_fastest
    monkeypatch.setattr(choosing, "choose_fastest", lambda *a, **k: (measured.append(1), original(*a, **k))[1])
    settings = {"model": str(tiny_model), "heads": "whole", "stride": 20, "runtime": "auto"}
    gazetools.extract(clip, tmp_path / "store", **settings)
    record = _store(tmp_path / "store")[2].runtime
    assert record is not None
    assert record.chosen == "measured"
    assert {"torch", "onnxruntime"} <= record.milliseconds.keys() | record.left_out.keys()
    assert record.left_out.get("tensorrt") or is_installed("tensorrt")
    (kept,) = (cache / "runtimes" / "choices").iterdir()
    assert json.loads(kept.read_text())["name"] == record.name
    again: Any = load_gaze_model(str(tiny_model), backend="auto")
    assert measured == [1]
    assert again.runtime.name == record.name
    torch.set_num_threads(threads := torch.get_num_threads() + 1)
    try:
        load_gaze_model(str(tiny_model), backend="auto")
        assert measured == [1, 1], "with another number of threads another program may be faster"
    finally:
        torch.set_num_threads(threads - 1)


def test_auto_leaves_out_what_computes_other_numbers(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gazetools.gazemodels.runtimes import agreement

    monkeypatch.setitem(agreement.TOLERANCE, "float32", 1e-12)
    settings = LoadSettings(name=str(tiny_model))
    from gazetools.gazemodels.gazelle.loading import load

    model: Any = load_fastest(settings, load)
    assert model.runtime.name == "torch"
    assert "other numbers" in model.runtime.left_out["onnxruntime"]


@pytest.fixture
def published(tiny_model: Path, tmp_path: Path) -> Path:
    """A file as gazelle-dinov3 publishes them: the nearest resize, and nothing of ours in its metadata."""
    path = tmp_path / "gazelle_hgnetv2_x_1x3x56x56_1xNx4.onnx"
    export_onnx(load_gaze_model(str(tiny_model)), path, compat="nearest")
    model = onnx.load(str(path))
    del model.metadata_props[:]
    onnx.save(model, str(path))
    return path


def test_a_published_file_runs_and_is_named_as_such(
    published: Path, tiny_model: Path, clip: Path, boxes: Path, tmp_path: Path
) -> None:
    flags = ["--heads", f"file:{boxes}", "--stride", "10"]
    for name, model in (("torch", tiny_model), ("file", published)):
        done = run_cli("extract", str(clip), "-o", str(tmp_path / name), "--model", str(model), *flags)
        assert done.exit_code == 0, done.stderr
    maps, inout, _, _ = _store(tmp_path / "torch")
    found, found_inout, record, _ = _store(tmp_path / "file")
    assert record.name == published.stem
    assert "gazelle-dinov3's interface" in record.implementation
    assert "last resize nearest" in record.implementation
    assert record.runtime is not None and record.runtime.output_resize == "nearest"
    assert np.abs(found_inout - inout).max() < 1e-3, "in/out does not know of the resize"
    assert np.abs(found - maps).max() > 1e-3, "8x8 to 64x64: nearest is not bilinear"
    low = found.reshape(-1, 8, 8, 8, 8)
    assert np.ptp(low.transpose(0, 1, 3, 2, 4).reshape(-1, 64, 64), axis=2).max() == 0, "blocks of equal numbers"


def test_our_own_file_is_a_model_too(tiny_model: Path, tmp_path: Path) -> None:
    export_onnx(load_gaze_model(str(tiny_model)), tmp_path / "m.onnx")
    model: Any = load_gaze_model(str(tmp_path / "m.onnx"))
    expected = load_gaze_model(str(tiny_model))(FRAMES, BOXES)
    out = model(FRAMES, BOXES)
    assert (model.name, model.grid, model.in_size) == ("gazelle_random_tiny_inout", (4, 4), (56, 56))
    assert out.image_index.tolist() == [0, 0, 2, 2, 2]
    assert float((out.heatmap - expected.heatmap).abs().max()) < TOLERANCE
    assert float((model(model.preprocess(FRAMES), BOXES).heatmap - out.heatmap).abs().max()) == 0


def test_a_file_for_one_head_is_called_once_per_person(tiny_model: Path, tmp_path: Path) -> None:
    export_onnx(load_gaze_model(str(tiny_model)), tmp_path / "m.onnx", people=1)
    expected = load_gaze_model(str(tiny_model))(FRAMES, BOXES)
    out = load_gaze_model(str(tmp_path / "m.onnx"))(FRAMES, BOXES)
    assert float((out.heatmap - expected.heatmap).abs().max()) < TOLERANCE


def _text(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1")


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def _renamed(path: Path) -> None:
    model = onnx.load(str(path))
    for node in model.graph.node:
        node.input[:] = ["image" if name == "image_bgr" else name for name in node.input]
    model.graph.input[0].name = "image"
    onnx.save(model, str(path))


def _other_boxes(path: Path) -> None:
    model = onnx.load(str(path))
    model.graph.input[1].type.tensor_type.shape.dim[2].dim_value = 5
    onnx.save(model, str(path))


def _other_size(path: Path) -> None:
    model = onnx.load(str(path))
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 448
    onnx.save(model, str(path))


def _no_fixed_size(path: Path) -> None:
    model = onnx.load(str(path))
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    onnx.save(model, str(path))


def _wrong_metadata(path: Path) -> None:
    model = onnx.load(str(path))
    next(e for e in model.metadata_props if e.key == "gazetools.grid").value = "many"
    onnx.save(model, str(path))


def _unknown_operator(path: Path) -> None:
    model = onnx.load(str(path))
    model.graph.node[3].op_type = "NoSuchOperator"
    onnx.save(model, str(path))


BAD = [
    (_text, "is not an ONNX file", "a Git LFS pointer"),
    (_empty, "is not an ONNX file (0 bytes)", "an empty file"),
    (_cut, "is not an ONNX file", "a cut file"),
    (_renamed, "its inputs are image, bboxes_x1y1x2y2", "other names"),
    (_other_boxes, "bboxes_x1y1x2y2 has the shape [1, 'heads', 5]", "another shape of boxes"),
    (_other_size, "its metadata say [56, 56]", "another input size than it says"),
    (_no_fixed_size, "needed is [1, 3, H, W] with fixed H and W", "no input size"),
    (_wrong_metadata, "its metadata are damaged: grid", "damaged metadata"),
    (_unknown_operator, "cannot load", "an operator that nobody knows"),
    (lambda path: path.unlink(), "does not exist", "no such file"),
]


@pytest.mark.parametrize(("spoil", "says", "why"), BAD, ids=[case[2] for case in BAD])
def test_bad_files_are_refused_before_the_first_frame(
    spoil: Any, says: str, why: str, tiny_model: Path, clip: Path, tmp_path: Path
) -> None:
    path = tmp_path / "m.onnx"
    export_onnx(load_gaze_model(str(tiny_model)), path)
    spoil(path)
    done = run_cli("extract", str(clip), "-o", str(tmp_path / "store"), "--model", str(path))
    assert (done.exit_code, says in done.stderr) == (2, True), done.stderr
    assert not list((tmp_path / "store").glob("*.h5"))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda data: data.unlink(), "is missing"),
        (lambda data: data.write_bytes(data.read_bytes()[:-1000]), "it is cut off"),
        (lambda data: data.write_bytes(b"\1" + data.read_bytes()[1:]), "have the sha256"),
    ],
    ids=["missing", "cut", "one byte"],
)
def test_damaged_external_data_are_refused(
    spoil: Any, says: str, tiny_model: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "ONE_FILE_BYTES", 10_000)
    path = tmp_path / "m.onnx"
    export_onnx(load_gaze_model(str(tiny_model)), path)
    assert load_gaze_model(str(path))(FRAMES, BOXES).heatmap.shape == (5, 64, 64)
    spoil(tmp_path / "m.onnx.data")
    done = run_cli("extract", str(clip), "-o", str(tmp_path / "store"), "--model", str(path))
    assert (done.exit_code, says in done.stderr) == (2, True), done.stderr


REFUSED = [
    (["--runtime", "torch", "--model", "m.onnx"], 2, "does not run the ONNX file"),
    (["--runtime", "auto", "--model", "m.onnx"], 2, "compares programs with torch"),
    (["--backend", "upstream", "--runtime", "onnxruntime"], 2, "computes in torch"),
    (["--model", "m.onnx", "--checkpoint", "x.pt"], 2, "has its own weights"),
    (["--model", "m.onnx", "--preprocess", "fast"], 2, "is not for ONNX files"),
    (["--model", "centre-prior", "--runtime", "onnxruntime"], 2, "cannot be written as ONNX"),
    (["--runtime", "onnxruntime", "--dtype", "bfloat16"], 2, "computes in float32, not in bfloat16"),
    (["--runtime", "tensorrt", "--device", "cpu"], 2, "runs on a CUDA device"),
    (["--runtime", "tensorflow"], 2, "tensorrt"),
]


@pytest.mark.parametrize(("flags", "code", "says"), REFUSED, ids=[" ".join(case[0]) for case in REFUSED])
def test_combinations_that_make_no_sense(
    flags: list[str],
    code: int,
    says: str,
    clip: Path,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    if "m.onnx" in flags:
        export_onnx(load_gaze_model(str(tiny_model)), tmp_path / "m.onnx")
    model = [] if "--model" in flags else ["--model", str(tiny_model)]
    done = run_cli("extract", str(clip), "-o", "store", *model, *flags)
    assert (done.exit_code, says in done.stderr) == (code, True), done.stderr


@pytest.mark.parametrize(("runtime", "extra"), [("onnxruntime", "onnx"), ("openvino", "openvino")])
def test_a_missing_package_is_named_with_its_command(
    runtime: str, extra: str, clip: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, runtime, None)
    done = run_cli("extract", str(clip), "-o", str(tmp_path / "s"), "--model", str(tiny_model), "--runtime", runtime)
    assert done.exit_code == 3
    assert f"pip install 'gazetools[{extra}]'" in done.stderr


def test_tensorrt_asks_for_its_packages_and_providers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It never ran here; what can be checked is what is asked of onnxruntime, and the lack of it."""
    from gazetools.gazemodels.runtimes import sessions

    place = RuntimePlace(runtime="tensorrt", device="cuda:1", dtype="float16")
    with pytest.raises(EnvironmentLacksError, match="TensorrtExecutionProvider") as caught:
        sessions._providers(place, ["CPUExecutionProvider"])
    assert "onnxruntime-gpu" in str(caught.value)
    names = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    (first, settings), (second, _) = sessions._providers(place, names)
    assert (first, second) == tuple(names[:2])
    assert settings == {"device_id": 1, "trt_fp16_enable": True}


def test_openvino_is_for_the_cpu() -> None:
    with pytest.raises(UsageError, match="runs on the CPU, not on cuda:0"):
        RuntimePlace(runtime="openvino", device="cuda:0").check()


def test_a_signal_is_handled_after_openvino_models_are_freed(tiny_model: Path) -> None:
    """OpenVINO moves the stack of signal handlers; it must not leave the process with one that is freed."""
    _needs("openvino")
    program = f"""
import gc, os, signal
from gazetools.gazemodels import load_gaze_model
for _ in range(2):
    model = load_gaze_model({str(tiny_model)!r}, backend="openvino")  # two files, and no other model stays
    del model
    gc.collect()
signal.signal(signal.SIGUSR1, lambda number, frame: print("handled"))
os.kill(os.getpid(), signal.SIGUSR1)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr


def test_openvino_says_where_the_cpu_has_no_bfloat16(tiny_model: Path) -> None:
    """With it the numbers lie within the wider tolerance; without it nothing falls back silently."""
    openvino = pytest.importorskip(
        "openvino", reason="the extra [openvino] is not installed: pip install -e '.[openvino]'"
    )
    assert "bfloat16" in PRECISIONS["openvino"]
    if "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        out = load_gaze_model(str(tiny_model), backend="openvino", dtype="bfloat16")(FRAMES, BOXES)
        expected = load_gaze_model(str(tiny_model))(FRAMES, BOXES)
        assert float((out.heatmap - expected.heatmap).abs().max()) < 0.05
    else:
        with pytest.raises(EnvironmentLacksError, match="no bfloat16 on this CPU"):
            load_gaze_model(str(tiny_model), backend="openvino", dtype="bfloat16")
