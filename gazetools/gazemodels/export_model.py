"""`export`: load a gaze model by name as its graphs are written from, and write it as ONNX."""

from __future__ import annotations

from pathlib import Path

from gazetools.gazemodels.registry import is_onnx, load_gaze_model
from gazetools.gazemodels.runtimes.exporting import export_onnx, output_paths
from gazetools.gazemodels.runtimes.sessions import require
from gazetools.progress import Progress
from gazetools.schemas.errors import UsageError
from gazetools.schemas.export import OnnxOptions, OnnxReport


def export_named(name: str, path: Path, options: OnnxOptions, *, progress: Progress) -> OnnxReport:
    """Load the model called `name` as its graphs are written from, and write it; errors of loading and `export_onnx`.

    What can be refused without weights is refused before they are loaded.
    """
    require("onnxruntime", what="export")
    if is_onnx(name):
        raise UsageError(f"{name} is an ONNX file already.", hint="Name the model that it was made from.")
    output_paths(path, options)
    progress.start("loading model", None, unit="steps")
    model = load_gaze_model(
        name,
        checkpoint=options.checkpoint,
        backbone=options.backbone,
        device="cpu",
        dtype="float32",
        backend="traceable",
        progress=progress,
    )
    progress.finish("loading model")
    return export_onnx(model, path, **options.model_dump(exclude={"checkpoint", "backbone"}))
