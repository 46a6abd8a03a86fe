"""`export`: a gaze model as ONNX files for other programs, checked against PyTorch before they get their names."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Literal

import torch

from gazetools._version import __version__
from gazetools.gazemodels.interface import GazeModel
from gazetools.gazemodels.runtimes.agreement import PEOPLE, check_files
from gazetools.gazemodels.runtimes.forms import form_of
from gazetools.gazemodels.runtimes.graphs import Graph, GraphForm, Session
from gazetools.gazemodels.runtimes.onnx_file import describe_onnx
from gazetools.gazemodels.runtimes.pictures import video_pictures
from gazetools.gazemodels.runtimes.sessions import RuntimePlace, open_session, require
from gazetools.gazemodels.runtimes.tracing import data_path_of, write_graph
from gazetools.io.atomic import check_writable_folder, sha256_while_synced, write_error
from gazetools.schemas.errors import UsageError
from gazetools.schemas.export import Compat, OnnxFile, OnnxMetadata, OnnxOptions, OnnxReport

_CHECKER = RuntimePlace(runtime="onnxruntime", device="cpu", threads=1)


def export_onnx(
    model: GazeModel,
    path: str | Path,
    *,
    opset: int = 17,
    people: int | Literal["dynamic"] = "dynamic",
    compat: Compat = "exact",
    split: bool = False,
    overwrite: bool = False,
    check_video: str | None = None,
) -> OnnxReport:
    """Write a loaded model as one ONNX file, or as two; names, shapes and meaning are those of docs/runtimes.md.

    The files are run by onnxruntime with 1 and 3 people (or `people`) and compared with the model; only then do they
    get their names.

    Args:
        model: a model in float32 on the CPU, loaded with `pack="off"`.
        path: the file; it ends in .onnx.
        opset: operator set, 17 to 20.
        people: `dynamic`, or the number of people of every call.
        compat: `nearest`: the last resize as in the files that gazelle-dinov3 publishes.
        split: two files, PATH's stem with .frame.onnx and .people.onnx.
        overwrite: replace files that are there.
        check_video: a video, on three of whose frames the files are compared, too.

    Raises UsageError for a path, model or video that does not fit, EnvironmentLacksError without onnx and onnxruntime,
    FaultError where the numbers differ or the disk is full.
    """
    options = OnnxOptions(opset=opset, people=people, compat=compat, split=split, overwrite=overwrite)
    targets = output_paths(Path(path), options)
    require("onnxruntime", what="export")
    form = form_of(model)
    shown = [None, *_frames_to_check(form, model, check_video)]
    graphs = form.split(compat) if split else (form.whole(compat),)
    facts = [_metadata(model, form, graph, options) for graph in graphs]
    try:
        with tempfile.TemporaryDirectory(dir=targets[0].parent, prefix=".export-") as folder:
            made = [Path(folder) / target.name for target in targets]
            for graph, file, fact in zip(graphs, made, facts, strict=True):
                write_graph(graph, file, opset=opset, people=people, entries=fact.to_entries())
            counts = PEOPLE if people == "dynamic" else (int(people),)
            sessions = [open_session(file, _CHECKER) for file in made]
            worst = max(_check(form, graphs, sessions, counts, compat, picture) for picture in shown)
            files = [_commit(file, target) for file, target in zip(made, targets, strict=True)]
    except OSError as error:
        raise write_error(error, targets[0]) from error
    return OnnxReport(
        tool_version=__version__,
        files=files,
        metadata=facts[0],
        checked_with=sessions[0].program,
        checked_people=list(counts),
        checked_frames=len(shown) - 1,
        max_difference=worst,
    )


def output_paths(path: Path, options: OnnxOptions) -> list[Path]:
    """The files that `export_onnx` writes. UsageError: the name does not end in .onnx, or one is there already."""
    if path.suffix.lower() != ".onnx":
        raise UsageError(f"-o {path}: the name must end in .onnx.", hint=f"Use {path.with_suffix('.onnx').name}.")
    check_writable_folder(path.parent, option="-o")
    paths = [path.with_suffix(f".{part}.onnx") for part in ("frame", "people")] if options.split else [path]
    for one in paths:
        if one.is_dir():
            raise UsageError(f"-o {one} is a folder.", hint="Give the name of a file.")
        if one.exists() and not options.overwrite:
            raise UsageError(f"{one} exists.", hint="Give another name, or --overwrite.", path=str(one))
    return paths


def _frames_to_check(form: GraphForm, model: GazeModel, video: str | None) -> list[torch.Tensor]:
    """Frames of `--check-video` as the form shows them; none without one."""
    if video is None:
        return []
    if not hasattr(form, "picture"):
        raise UsageError(
            f"The graphs of {model.name} cannot be checked on --check-video {video}: their form shows a made picture.",
            hint="Leave out --check-video, or give its GraphForm the attribute `picture`.",
        )
    return video_pictures(Path(video), model.in_size)


def _check(
    form: GraphForm,
    graphs: tuple[Graph, ...],
    sessions: list[Session],
    counts: tuple[int, ...],
    compat: Compat,
    picture: torch.Tensor | None,
) -> float:
    """Largest difference to PyTorch on a picture; None: the made one."""
    if picture is not None:
        form.picture = picture
    nearest = form.whole(compat) if compat == "nearest" else None  # which the model itself does not compute
    wanted = form.answer if nearest is None else lambda n: nearest.run(nearest.example(n))
    return check_files(graphs, sessions, wanted, counts)


def _commit(made: Path, target: Path) -> OnnxFile:
    """Move a finished file, its data first, to its place."""
    found = describe_onnx(made)
    data = data_path_of(made) if "data" in found.sha256 else None
    if data is not None:
        sha256_while_synced(data)
        data.replace(data_path_of(target))
    digest, size = sha256_while_synced(made), made.stat().st_size
    made.replace(target)
    return OnnxFile(
        path=str(target),
        bytes=size,
        sha256=digest,
        data_path=None if data is None else str(data_path_of(target)),
        inputs={name: list(shape) for name, shape in found.inputs.items()},
        outputs={name: list(shape) for name, shape in found.outputs.items()},
    )


def _metadata(model: GazeModel, form: GraphForm, graph: Graph, options: OnnxOptions) -> OnnxMetadata:
    pixels = form.pixels
    return OnnxMetadata(
        gazetools_version=__version__,
        model=model.name,
        backbone=model.backbone_name,
        family=form.family,
        part=graph.part,
        compat=options.compat,
        people=options.people,
        opset=options.opset,
        in_size=model.in_size,
        out_size=model.out_size,
        grid=model.grid,
        inout=model.has_inout,
        colour_order=pixels.colour_order,
        value_range=pixels.value_range,
        mean=pixels.mean,
        std=pixels.std,
        weights_sha256=model.weights_sha256,
    )
