"""An ONNX file that somebody gives: whether it is one, whole, and which inputs and outputs it has; nothing is run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gazetools.gazemodels.runtimes.sessions import require
from gazetools.io.atomic import sha256_of_file
from gazetools.schemas.errors import CheckpointError
from gazetools.schemas.excerpt import shortened
from gazetools.schemas.export import OnnxMetadata

Shape = tuple[int | str, ...]


@dataclass(frozen=True, kw_only=True)
class OnnxDescription:
    """What an ONNX file states."""

    path: Path
    sha256: dict[str, str]
    """Role (`checkpoint`, `data`) -> hex sha256 of the file."""
    inputs: dict[str, Shape]
    """Name -> shape; a word or `?` is an axis of any length."""
    outputs: dict[str, Shape]
    opset: int
    resize: str
    """Mode of the last resize: `nearest`, `linear`, `cubic`, or `none` where there is no resize."""
    metadata: OnnxMetadata | None
    """What gazetools wrote into it; None: another program made the file."""


def describe_onnx(path: Path) -> OnnxDescription:
    """Read names, shapes and metadata of an ONNX file, and check that its external data are whole.

    Raises CheckpointError for no such file, one that is no ONNX file, or damaged external data;
    EnvironmentLacksError without the package onnx.
    """
    require("onnxruntime", what=f"The model file {path}")
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise CheckpointError(f"The model file {path} {what}.", hint="Give the path of an .onnx file.", path=str(path))
    model = _parsed(path)
    try:
        metadata = OnnxMetadata.from_entries({entry.key: entry.value for entry in model.metadata_props})
    except ValueError as error:
        raise CheckpointError(f"{path}: its metadata are damaged: {error}.", path=str(path)) from None
    sums = {"checkpoint": sha256_of_file(path)} | _check_external_data(path, model, metadata)
    constants = {tensor.name for tensor in model.graph.initializer}
    return OnnxDescription(
        path=path,
        sha256=sums,
        inputs={v.name: _shape(v) for v in model.graph.input if v.name not in constants},
        outputs={v.name: _shape(v) for v in model.graph.output},
        opset=max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0),
        resize=_last_resize(model),
        metadata=metadata,
    )


def _parsed(path: Path) -> Any:
    import onnx

    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:
        raise CheckpointError(
            f"{path} is not an ONNX file ({path.stat().st_size} bytes): {shortened(error, 200)}.",
            hint="Fetch or export it again, and compare its size.",
            path=str(path),
        ) from error
    if not model.graph.node or not model.graph.output:
        raise CheckpointError(
            f"{path} is not an ONNX file ({path.stat().st_size} bytes): it has no graph.",
            hint="Fetch or export it again, and compare its size.",
            path=str(path),
        )
    return model


def _shape(value: Any) -> Shape:
    return tuple(d.dim_value or d.dim_param or "?" for d in value.type.tensor_type.shape.dim)


def _check_external_data(path: Path, model: Any, metadata: OnnxMetadata | None) -> dict[str, str]:
    """{"data": sha256} of the file with the numbers; {} where they are inside. CheckpointError: not whole."""
    import onnx

    names: set[str] = set()
    for tensor in model.graph.initializer:
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        facts = {entry.key: entry.value for entry in tensor.external_data}
        name = facts.get("location", "")
        data = path.parent / name
        if not name or Path(name).is_absolute() or ".." in Path(name).parts:
            raise CheckpointError(f"{path}: its data lie outside of its folder: {name!r}.", path=str(path))
        if not data.is_file():
            raise CheckpointError(
                f"{path}: the file with its data, {name}, is missing.", hint="Keep both in one folder.", path=str(path)
            )
        end = int(facts.get("offset") or 0) + int(facts.get("length") or 0)
        if end > data.stat().st_size:
            raise CheckpointError(
                f"{path}: {name} has {data.stat().st_size} bytes, but {tensor.name} needs {end}; it is cut off.",
                hint="Fetch or export both files again.",
                path=str(path),
            )
        names.add(name)
    if not names:
        return {}
    if len(names) > 1:
        raise CheckpointError(f"{path}: its data lie in {len(names)} files; one is read.", path=str(path))
    digest = sha256_of_file(path.parent / names.pop())
    if metadata is not None and digest != metadata.data_sha256:
        raise CheckpointError(
            f"{path}: its data have the sha256 {digest}, but {metadata.data_sha256} was written.",
            hint="One of the two files is damaged or of another export: export again.",
            path=str(path),
        )
    return {"data": digest}


def _last_resize(model: Any) -> str:
    modes = [
        next((a.s.decode() for a in node.attribute if a.name == "mode"), "nearest")  # ONNX's default
        for node in model.graph.node
        if node.op_type == "Resize"
    ]
    return modes[-1] if modes else "none"
