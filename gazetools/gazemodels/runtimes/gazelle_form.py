"""Gaze-LLE and gazelle-dinov3 as graphs: picture and boxes in, heat maps and in/out scores out."""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

from gazetools.gazemodels.gazelle.decoder import GazeDecoder
from gazetools.gazemodels.gazelle.model import GazelleModel, PictureBackbone
from gazetools.gazemodels.gazelle.preprocess import IMAGENET_MEAN, IMAGENET_STD
from gazetools.gazemodels.runtimes.fixed_resize import FixedResize, NearestResize
from gazetools.gazemodels.runtimes.gazelle_sessions import GazelleOnSessions
from gazetools.gazemodels.runtimes.graphs import (
    EXAMPLE_FRAMES,
    Arrays,
    Graph,
    OnRuntime,
    PixelFacts,
    Session,
    TensorSpec,
)
from gazetools.gazemodels.runtimes.pictures import example_boxes, example_picture
from gazetools.schemas.export import Compat

LEVEL = 0.003921569
"""1 / 255 as the files of gazelle-dinov3 write it."""


class SceneGraph(nn.Module):
    """Normalised pictures [B, 3, H, W] to scene tokens [B, dim, rows, columns]."""

    def __init__(self, model: GazelleModel) -> None:
        super().__init__()
        self.backbone, self.decoder = model.backbone, model.decoder

    def forward(self, images_bchw: torch.Tensor) -> torch.Tensor:
        """Backbone, projection and position embedding."""
        return self.decoder.scene_tokens(cast(PictureBackbone, self.backbone).features(images_bchw))


class PeopleGraph(nn.Module):
    """Scene tokens and head maps to one heat map (and in/out score) per person."""

    def __init__(self, decoder: GazeDecoder, resize: nn.Module) -> None:
        super().__init__()
        self.decoder, self.resize = decoder, resize

    def forward(
        self, scene_bchw: torch.Tensor, image_index: torch.Tensor, head_maps_nhw: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """([N, *out_size],) or, with in/out, ([N, *out_size], [N])."""
        tokens = self.decoder.transformer(self.decoder.prompt(scene_bchw, image_index, head_maps_nhw))
        maps_nhw, inout_n = self.decoder.heads(tokens)
        maps_nhw = self.resize(maps_nhw)
        return (maps_nhw,) if inout_n is None else (maps_nhw, inout_n)


class PixelInput(nn.Module):
    """Pictures BGR in 0..255 to the model's input: RGB in 0..1, then normalised."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, pixels: PixelFacts) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(pixels.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(pixels.std).view(1, 3, 1, 1), persistent=False)
        self.plain = pixels.mean == (0.0, 0.0, 0.0) and pixels.std == (1.0, 1.0, 1.0)

    def forward(self, image_bgr: torch.Tensor) -> torch.Tensor:
        """[1, 3, H, W] -> [1, 3, H, W]."""
        rgb = image_bgr.flip(1) * LEVEL
        return rgb if self.plain else (rgb - self.mean) / self.std


class BoxMaps(nn.Module):
    """Boxes [1, N, 4] in 0..1 to head maps [N, rows, columns]; rounded half to even, cut at the frame's edges."""

    scale: torch.Tensor
    rows: torch.Tensor
    columns: torch.Tensor

    def __init__(self, grid_hw: tuple[int, int]) -> None:
        super().__init__()
        rows, columns = grid_hw
        self.register_buffer("scale", torch.tensor([columns, rows, columns, rows], dtype=torch.float32))
        self.register_buffer("rows", torch.arange(rows, dtype=torch.float32))
        self.register_buffer("columns", torch.arange(columns, dtype=torch.float32))

    def forward(self, boxes_1n4: torch.Tensor) -> torch.Tensor:
        """1 inside the box, 0 elsewhere."""
        cells = torch.round(boxes_1n4.squeeze(0) * self.scale)
        inside_x = (self.columns >= cells[:, 0:1]) & (self.columns < cells[:, 2:3])
        inside_y = (self.rows >= cells[:, 1:2]) & (self.rows < cells[:, 3:4])
        return (inside_y.unsqueeze(2) & inside_x.unsqueeze(1)).to(torch.float32)


class ScenePart(nn.Module):
    """One picture, BGR in 0..255, to its scene tokens."""

    def __init__(self, pixels: PixelFacts, scene: SceneGraph) -> None:
        super().__init__()
        self.pixels, self.scene = PixelInput(pixels), scene

    def forward(self, image_bgr: torch.Tensor) -> torch.Tensor:
        """[1, 3, H, W] -> [1, dim, rows, columns]."""
        return self.scene(self.pixels(image_bgr))


class BoxesPart(nn.Module):
    """Scene tokens of one picture and boxes [1, N, 4] to heat maps and in/out scores."""

    def __init__(self, grid_hw: tuple[int, int], people: PeopleGraph) -> None:
        super().__init__()
        self.maps, self.people = BoxMaps(grid_hw), people

    def forward(self, scene_1chw: torch.Tensor, boxes_1n4: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """As `PeopleGraph.forward`."""
        maps_nhw = self.maps(boxes_1n4)
        return self.people(scene_1chw, torch.zeros_like(boxes_1n4[0, :, 0], dtype=torch.int64), maps_nhw)


class OneFrame(nn.Module):
    """One picture and its boxes to heat maps and in/out scores: the whole model."""

    def __init__(self, scene: ScenePart, boxes: BoxesPart) -> None:
        super().__init__()
        self.scene, self.boxes = scene, boxes

    def forward(self, image_bgr: torch.Tensor, boxes_1n4: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """As `PeopleGraph.forward`."""
        return self.boxes(self.scene(image_bgr), boxes_1n4)


class GazelleForm:
    """`GraphForm` of Gaze-LLE and gazelle-dinov3; the files have the interface of those that the latter publishes."""

    family = "gazelle"

    def __init__(self, model: GazelleModel) -> None:
        self._model = model
        self.picture: torch.Tensor | None = None
        mean, std = (IMAGENET_MEAN, IMAGENET_STD) if model.config.normalised else ((0.0,) * 3, (1.0,) * 3)
        self.pixels = PixelFacts("BGR", "0..255", mean, std)
        self._scene = SceneGraph(model)

    def whole(self, compat: Compat) -> Graph:
        frame, people = self.split(compat)
        assert isinstance(frame.module, ScenePart) and isinstance(people.module, BoxesPart)
        return Graph(
            part="whole",
            module=OneFrame(frame.module, people.module),
            inputs=(frame.inputs[0], people.inputs[1]),
            outputs=people.outputs,
            people_axis="heads",
            example=lambda n: (self._shown(), example_boxes(n)),
        )

    def split(self, compat: Compat) -> tuple[Graph, Graph]:
        model, scene_shape = self._model, (1, *self._scene_shape())
        scene = ScenePart(self.pixels, self._scene)
        boxes = BoxesPart(model.grid, PeopleGraph(model.decoder, self._resize(compat)))
        frame = Graph(
            part="frame",
            module=scene,
            inputs=(TensorSpec("image_bgr", (1, 3, *model.in_size)),),
            outputs=(TensorSpec("scene", scene_shape),),
            people_axis="",
            example=lambda n: (self._shown(),),
        )
        people = Graph(
            part="people",
            module=boxes,
            inputs=(TensorSpec("scene", scene_shape), TensorSpec("bboxes_x1y1x2y2", (1, "heads", 4))),
            outputs=self._outputs("heads"),
            people_axis="heads",
            example=lambda n: (_computed(scene, self._shown()), example_boxes(n)),
        )
        return frame, people

    def steps(self) -> tuple[Graph, Graph]:
        model, scene_shape = self._model, ("frames", *self._scene_shape())
        frame = Graph(
            part="frame",
            module=self._scene,
            inputs=(TensorSpec("images", ("frames", 3, *model.in_size)),),
            outputs=(TensorSpec("scene", scene_shape),),
            people_axis="",
            example=self._inputs,
        )
        people = Graph(
            part="people",
            module=PeopleGraph(model.decoder, self._resize("exact")),
            inputs=(
                TensorSpec("scene", scene_shape),
                TensorSpec("image_index", ("people",), "int64"),
                TensorSpec("head_maps", ("people", *model.grid)),
            ),
            outputs=self._outputs("people"),
            people_axis="people",
            example=lambda n: (
                _computed(self._scene, *self._inputs(EXAMPLE_FRAMES)),
                torch.arange(n) % EXAMPLE_FRAMES,
                BoxMaps(model.grid)(example_boxes(n)),
            ),
        )
        return frame, people

    def answer(self, people: int) -> Arrays:
        frame_hwc = self._shown()[0].flip(0).permute(1, 2, 0).to(torch.uint8).contiguous()
        out = self._model(frame_hwc.unsqueeze(0), example_boxes(people).tolist())
        found = {"heatmap": out.heatmap.float().cpu().numpy()}
        return found if out.inout is None else found | {"inout": out.inout.cpu().numpy()}

    def on_sessions(self, frame: Session, people: Session, where: OnRuntime) -> GazelleOnSessions:
        return GazelleOnSessions(self._model, (frame, people), where)

    def _shown(self) -> torch.Tensor:
        return example_picture(self._model.in_size) if self.picture is None else self.picture

    def _inputs(self, frames: int) -> tuple[torch.Tensor]:
        """So many different pictures, as the one input of the frame step."""
        picture = PixelInput(self.pixels)(self._shown())
        return (torch.cat([picture.roll(37 * i, dims=3) for i in range(frames)]),)

    def _scene_shape(self) -> tuple[int, int, int]:
        return (len(self._model.decoder.pos_embed), *self._model.grid)

    def _outputs(self, axis: str) -> tuple[TensorSpec, ...]:
        maps = TensorSpec("heatmap", (axis, *self._model.out_size))
        return (maps, TensorSpec("inout", (axis,))) if self._model.has_inout else (maps,)

    def _resize(self, compat: Compat) -> nn.Module:
        (rows, columns), out_size = self._model.grid, self._model.out_size
        if compat == "nearest":
            return NearestResize(out_size)
        return FixedResize((2 * rows, 2 * columns), out_size, antialias=self._model.decoder.antialias)


def _computed(module: nn.Module, *tensors: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = module(*tensors)
    return found
