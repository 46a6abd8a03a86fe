"""`--model FILE.onnx`: a file with the interface of gazelle-dinov3's, ours or a published one, as a gaze model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gazetools.gazemodels.devices import DTYPES
from gazetools.gazemodels.gazelle.preprocess import as_tensor, check_frames, resize_antialiased
from gazetools.gazemodels.gazelle.prompts import check_box
from gazetools.gazemodels.interface import Boxes, GazeOutput, Images, LoadSettings
from gazetools.gazemodels.runtimes.agreement import PEOPLE
from gazetools.gazemodels.runtimes.computed import place_for
from gazetools.gazemodels.runtimes.graphs import Session
from gazetools.gazemodels.runtimes.onnx_file import OnnxDescription, Shape, describe_onnx
from gazetools.gazemodels.runtimes.sessions import RuntimePlace, open_session
from gazetools.schemas.errors import CheckpointError, UsageError
from gazetools.schemas.provenance import RuntimeRecord

IMAGE, BOXES, HEATMAP, INOUT = "image_bgr", "bboxes_x1y1x2y2", "heatmap", "inout"
_PATCH = 16
"""Pixels per cell of the files that gazelle-dinov3 publishes; nothing in them says it."""


class OnnxGazeModel:
    """A `GazeModel` of one ONNX file: one frame and its people per call of the file."""

    needs_boxes = False

    def __init__(self, found: OnnxDescription, session: Session, place: RuntimePlace) -> None:
        self.name = found.path.stem if found.metadata is None else found.metadata.model
        self.backbone_name = "in the ONNX file" if found.metadata is None else found.metadata.backbone
        self.device, self.dtype = torch.device(place.device), DTYPES[place.dtype]
        self.weights_sha256 = found.sha256
        height, width = self.in_size = _in_size(found)
        self.has_inout = INOUT in found.outputs
        self.grid = (height // _PATCH, width // _PATCH) if found.metadata is None else found.metadata.grid
        self._session, self._fixed_people = session, _fixed_people(found)
        self.out_size = self._try(found.path)
        made_by = "gazelle-dinov3's interface" if found.metadata is None else "gazetools export"
        self.implementation = f"ONNX file ({made_by}, last resize {found.resize}), {session.program}"
        self.runtime = RuntimeRecord(
            name=place.runtime, program=session.program, threads=place.threads, output_resize=found.resize
        )
        self.settings: dict[str, Any] = {"runtime": place.runtime, "output_resize": found.resize}

    @torch.inference_mode()
    def preprocess(self, images: Images) -> torch.Tensor:
        """uint8 RGB frames [B, H, W, 3] to BGR in 0..255, float32 [B, 3, *in_size]: resized as for the torch models."""
        frames = as_tensor(images)
        check_frames(frames)
        return resize_antialiased(frames.cpu().permute(0, 3, 1, 2).flip(1).float(), self.in_size).contiguous()

    @torch.inference_mode()
    def __call__(self, images: Images, boxes: Boxes) -> GazeOutput:
        """As `GazeModel.__call__`. UsageError for another number of people than a file with a fixed number takes."""
        frames = as_tensor(images)
        if len(boxes) != len(frames):
            raise UsageError(f"There are {len(frames)} images and {len(boxes)} lists of boxes; one list per image.")
        given = [
            [_box(box, where=f"boxes[{image}][{person}]") for person, box in enumerate(some)]
            for image, some in enumerate(boxes)
        ]
        maps, inouts = [np.zeros((0, *self.out_size), np.float32)], [np.zeros(0, np.float32)]
        for index, some in enumerate(given):
            if some:  # the file is never called with 0 people
                frame = frames[index : index + 1]
                pixels = frame if frame.is_floating_point() else self.preprocess(frame)
                heatmap, inout = self._people(pixels.cpu().float().numpy(), some)
                maps.append(heatmap)
                inouts.append(inout)
        index_n = torch.tensor([i for i, some in enumerate(given) for _ in some], dtype=torch.int64)
        inout_n = torch.from_numpy(np.concatenate(inouts)) if self.has_inout else None
        return GazeOutput(torch.from_numpy(np.concatenate(maps)), inout_n, index_n)

    def _people(self, pixels: np.ndarray, boxes: Sequence[Sequence[float]]) -> tuple[np.ndarray, np.ndarray]:
        """Heat maps [N, h, w] and in/out scores [N] (zeros without) of one picture; a fixed number is filled up."""
        step = self._fixed_people or len(boxes)
        maps, inouts = [], []
        for start in range(0, len(boxes), step):
            some = np.zeros((1, step, 4), np.float32)
            taken = boxes[start : start + step]
            some[0, : len(taken)] = taken
            out = self._session.run({IMAGE: pixels, BOXES: some})
            maps.append(out[HEATMAP][: len(taken)])
            inouts.append(out[INOUT][: len(taken)] if self.has_inout else np.zeros(len(taken), np.float32))
        return np.concatenate(maps), np.concatenate(inouts)

    def _try(self, path: Path) -> tuple[int, int]:
        """(height, width) of a heat map, from calls with 1 and 3 people. CheckpointError: not those of an interface."""
        pixels = np.zeros((1, 3, *self.in_size), np.float32)
        self.out_size = (0, 0)
        for people in PEOPLE:
            maps, inouts = self._people(pixels, [(0.2, 0.2, 0.4, 0.4)] * people)
            if maps.ndim != 3 or len(maps) != people or inouts.shape != (people,):
                raise CheckpointError(
                    f"{path}: for {people} people {HEATMAP} has the shape {list(maps.shape)} and {INOUT} "
                    f"{list(inouts.shape)}; expected [people, h, w] and [people].",
                    hint="Give a file for any number of heads (1xNx4), or one for one head (1x1x4).",
                    path=str(path),
                )
        return int(maps.shape[1]), int(maps.shape[2])


def load_onnx(settings: LoadSettings, runtime: str = "onnxruntime") -> OnnxGazeModel:
    """The ONNX file `settings.name` as a gaze model, in a runtime.

    Raises CheckpointError for a file that is none, is damaged or has another interface, UsageError for options that
    make no sense for it, EnvironmentLacksError without the packages.
    """
    path = Path(settings.name)
    given = [f"--{name}" for name in ("checkpoint", "backbone") if getattr(settings, name) is not None]
    if given:
        raise UsageError(f"{path} has its own weights; {' and '.join(given)} would give others.", hint="Leave it out.")
    if settings.preprocess != "exact":
        raise UsageError(f"--preprocess {settings.preprocess} is not for ONNX files.", hint="Leave it out.")
    place = place_for(settings, runtime)
    place.check()
    found = describe_onnx(path)
    _check_interface(found)
    return OnnxGazeModel(found, open_session(path, place), place)


def heatmap_shape_of_onnx(path: Path) -> tuple[int, int] | None:
    """(H, W) of the heat maps of a file as it states them; None where it does not."""
    shape = describe_onnx(path).outputs.get(HEATMAP, ())
    return (shape[1], shape[2]) if len(shape) == 3 and isinstance(shape[1], int) and isinstance(shape[2], int) else None


def _check_interface(found: OnnxDescription) -> None:
    """CheckpointError unless the names and shapes are those of section "Gaze-LLE's files" of docs/runtimes.md."""
    metadata = found.metadata
    if metadata is not None and (metadata.family, metadata.part) != ("gazelle", "whole"):
        raise CheckpointError(
            f"{found.path} is the {metadata.part} part of a {metadata.family} export, which extract does not run.",
            hint=f"Give the model itself: --model {metadata.model} --runtime onnxruntime.",
            path=str(found.path),
        )
    wanted_in, wanted_out = {IMAGE, BOXES}, {HEATMAP}
    if found.inputs.keys() != wanted_in or not wanted_out <= found.outputs.keys() <= wanted_out | {INOUT}:
        raise CheckpointError(
            f"{found.path}: its inputs are {_names(found.inputs)} and its outputs {_names(found.outputs)}; needed are "
            f"{IMAGE} and {BOXES}, and {HEATMAP} with or without {INOUT}.",
            hint="Give a file of gazelle-dinov3 (..._1x3xHxW_1xNx4.onnx), or one that gazetools export wrote.",
            path=str(found.path),
        )
    for name, rule, right in (
        (IMAGE, "[1, 3, H, W] with fixed H and W", _is_image(found.inputs[IMAGE])),
        (BOXES, "[1, people, 4]", _is_boxes(found.inputs[BOXES])),
    ):
        if not right:
            raise CheckpointError(
                f"{found.path}: {name} has the shape {list(found.inputs[name])}; needed is {rule}.",
                path=str(found.path),
            )
    if metadata is not None and metadata.in_size != _in_size(found):
        raise CheckpointError(
            f"{found.path}: its picture is {list(_in_size(found))} (height, width), but its metadata say "
            f"{list(metadata.in_size)}.",
            hint="The file was changed after its export: export again.",
            path=str(found.path),
        )


def _is_image(shape: Shape) -> bool:
    return len(shape) == 4 and shape[1] == 3 and all(isinstance(n, int) for n in shape[2:]) and shape[0] in (1, "?")


def _is_boxes(shape: Shape) -> bool:
    return len(shape) == 3 and shape[2] == 4


def _in_size(found: OnnxDescription) -> tuple[int, int]:
    height, width = found.inputs[IMAGE][2:]
    return int(height), int(width)


def _fixed_people(found: OnnxDescription) -> int | None:
    people = found.inputs[BOXES][1]
    return people if isinstance(people, int) else None


def _box(box: Sequence[float] | None, *, where: str) -> tuple[float, ...]:
    """Cut at the frame, since files differ there; an empty box for None: it marks no cell."""
    return (0.0,) * 4 if box is None else tuple(min(max(value, 0.0), 1.0) for value in check_box(box, where=where))


def _names(some: dict[str, Shape]) -> str:
    return ", ".join(some) or "none"
