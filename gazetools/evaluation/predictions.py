"""Predictions for the heads of a benchmark: an .npz in the order of the annotations, or a model."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from gazetools.annotations.gaze_labels import BenchmarkPicture
from gazetools.gazemodels.head_crops import has_pixels
from gazetools.gazemodels.interface import needs_boxes
from gazetools.io.npz import Npz
from gazetools.layouts.registry import foreign_layout
from gazetools.schemas.errors import DataFileError, UsageError, VideoError
from gazetools.schemas.evaluation import EvaluateOptions
from gazetools.schemas.foreign import ArrayChoice

Prediction = tuple[npt.NDArray[np.float32], float]  # heatmap [h, w] and in/out score (NaN where the model has none)


def read_picture(root: Path, name: str) -> npt.NDArray[np.uint8]:
    """RGB [H, W, 3] of a picture below `root`, not rotated: annotations refer to the pixels as stored."""
    path = root / name
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if picture is None:
        raise VideoError(f"The picture {path} is missing or can't be read.", hint="Check --images.", path=str(path))
    return np.ascontiguousarray(np.asarray(picture, np.uint8)[:, :, ::-1])


def check_sources(sources: Sequence[str]) -> None:
    """Raise the error of a source that does not exist, before the first one takes hours."""
    from gazetools.gazemodels.registry import load_gaze_model, model_names

    for source in sources:
        name = source.removeprefix("model:")
        if Path(name).exists() or name in model_names():
            continue
        if source.startswith("model:"):
            load_gaze_model(name)  # its error says which names are known
        else:
            raise UsageError(f"The predictions {source} do not exist.", hint="Check the path.")


def predictions(
    source: str, pictures: list[BenchmarkPicture], options: EvaluateOptions, failed: dict[str, str]
) -> Iterator[list[Prediction | None]]:
    """The predictions of each picture's heads, in order; None for a head whose box the model can't take.

    `source` is an .npz with heatmaps [N, h, w] (found by the rule in `layouts.choosing`) and optionally `inout` [N],
    one entry per annotated head in the order of the annotations; or `model:NAME_OR_PATH`, which is loaded with the
    options' checkpoint and runs on the pictures. A model that sees a crop of each head can't take a box without a whole
    pixel of its picture, as in extraction. A picture that a model can't read goes to `failed` with
    the reason, and has no predictions.
    Raises UsageError or DataFileError for sources that don't fit.
    """
    if source.startswith("model:"):
        return _from_model(source.removeprefix("model:"), pictures, options, failed)
    if source.endswith(".npz"):
        return _from_npz(Path(source), pictures, options)
    raise UsageError(
        f"Predictions {source!r} can't be scored against a benchmark of pictures.",
        hint="Pass model:NAME_OR_PATH, or an .npz with heatmap [N, h, w] and inout [N] in annotation order.",
    )


def _from_npz(path: Path, pictures: list[BenchmarkPicture], choice: ArrayChoice) -> Iterator[list[Prediction | None]]:
    heads = sum(len(picture.heads) for picture in pictures)
    layout = foreign_layout(path, choice)
    with Npz(path) as archive, layout.open(path, archive) as stored:
        maps = stored.read(np.arange(stored.shape[0]))
        inout = archive.load("inout") if "inout" in archive.names else np.full(len(maps), np.nan)
    if len(maps) != heads or len(inout) != heads:
        raise DataFileError(
            f"{path} has heatmaps {list(maps.shape)} and {len(inout)} in/out scores for {heads} annotated heads.",
            hint="Write one heatmap per head, in the order of the annotations.",
            path=str(path),
        )
    rows = zip(maps, inout.tolist(), strict=True)
    for picture in pictures:
        yield [(heatmap.astype(np.float32), score) for heatmap, score in itertools.islice(rows, len(picture.heads))]


def _from_model(
    name: str, pictures: list[BenchmarkPicture], options: EvaluateOptions, failed: dict[str, str]
) -> Iterator[list[Prediction | None]]:
    if options.images is None:
        raise UsageError("A model needs the pictures.", hint="Pass --images ROOT of the benchmark.")
    from gazetools.gazemodels import load_gaze_model

    model = load_gaze_model(
        name, checkpoint=options.checkpoint, backbone=options.backbone, device=options.device, dtype=options.dtype
    )
    for picture in pictures:
        if not picture.heads:
            yield []
            continue
        try:
            rgb = read_picture(Path(options.images), picture.path)
        except VideoError as error:
            failed[picture.path] = str(error)
            yield []
            continue
        frame_hw = (rgb.shape[0], rgb.shape[1])
        usable = [not needs_boxes(model) or has_pixels(head.box_xyxy, frame_hw) for head in picture.heads]
        out = model(rgb[None], [[head.box_xyxy for head, fits in zip(picture.heads, usable, strict=True) if fits]])
        scores = [float("nan")] * len(out) if out.inout is None else out.inout.cpu().tolist()
        rows = zip(out.heatmap.cpu().float().numpy(), scores, strict=True)
        yield [next(rows) if fits else None for fits in usable]
