"""PaGE as graphs: frame, head crops and their places in, heat maps and in/out scores out."""

from __future__ import annotations

import torch
from torch import nn

from gazetools.gazemodels.gazelle.preprocess import IMAGENET_MEAN, IMAGENET_STD
from gazetools.gazemodels.head_crops import relative
from gazetools.gazemodels.page.decoder import PageDecoder, head_rects
from gazetools.gazemodels.page.model import PageModel
from gazetools.gazemodels.page.preprocess import head_input, pixel_box, scene_input
from gazetools.gazemodels.runtimes.fixed_resize import FixedResize
from gazetools.gazemodels.runtimes.graphs import (
    EXAMPLE_FRAMES,
    Arrays,
    Graph,
    OnRuntime,
    PixelFacts,
    Session,
    TensorSpec,
)
from gazetools.gazemodels.runtimes.page_sessions import PageOnSessions
from gazetools.gazemodels.runtimes.pictures import example_boxes, example_picture
from gazetools.schemas.errors import UsageError
from gazetools.schemas.export import Compat


class PageScene(nn.Module):
    """Frames [F, 3, H, W], normalised, to tokens after the scene's own block [F, T, D]."""

    def __init__(self, model: PageModel) -> None:
        super().__init__()
        self.tower, self.decoder = model.scene_tower, model.decoder

    def forward(self, images_fchw: torch.Tensor) -> torch.Tensor:
        """Tower, projection, block."""
        return self.decoder.scene_self(self.decoder.scene_tokens(self.tower(images_fchw)))


class PagePeople(nn.Module):
    """Scene tokens, head crops and places of heads to heat maps and in/out scores."""

    def __init__(self, model: PageModel) -> None:
        super().__init__()
        rows, columns = model.grid
        self.tower, self.decoder = model.head_tower, model.decoder
        self.resize = FixedResize((2 * rows, 2 * columns), model.out_size, antialias=True)

    def forward(
        self, scene_ftd: torch.Tensor, image_index: torch.Tensor, heads_nchw: torch.Tensor, rects_n4: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """([N, *out_size],) or, with in/out, ([N, *out_size], [N])."""
        decoder: PageDecoder = self.decoder
        heads = decoder.head_self(decoder.head_tokens(self.tower(heads_nchw)))
        scene, head = decoder.interact(scene_ftd[image_index], heads, rects_n4)
        maps = torch.sigmoid(self.resize(decoder.lowres_logits(scene).squeeze(1)))
        inout = decoder.inout_logits(scene, head)
        return (maps,) if inout is None else (maps, torch.sigmoid(inout))


class PageOneScene(nn.Module):
    """`PagePeople` for the heads of one frame."""

    def __init__(self, people: PagePeople) -> None:
        super().__init__()
        self.people = people

    def forward(
        self, scene_1td: torch.Tensor, heads_nchw: torch.Tensor, rects_n4: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """As `PagePeople.forward`."""
        return self.people(scene_1td, torch.zeros_like(rects_n4[:, 0], dtype=torch.int64), heads_nchw, rects_n4)


class PageWhole(nn.Module):
    """One frame and the crops of its heads to heat maps and in/out scores."""

    def __init__(self, scene: PageScene, people: PageOneScene) -> None:
        super().__init__()
        self.scene, self.people = scene, people

    def forward(
        self, scene_13hw: torch.Tensor, heads_nchw: torch.Tensor, rects_n4: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """As `PagePeople.forward`."""
        return self.people(self.scene(scene_13hw), heads_nchw, rects_n4)


class PageForm:
    """`GraphForm` of PaGE; cropping, resizing and rounding stay outside of the files."""

    family = "page"
    pixels = PixelFacts("RGB", "normalised", IMAGENET_MEAN, IMAGENET_STD)

    def __init__(self, model: PageModel) -> None:
        self._model = model
        self.picture: torch.Tensor | None = None
        self._scene, self._people = PageScene(model), PagePeople(model)

    def whole(self, compat: Compat) -> Graph:
        _only_exact(compat)
        return Graph(
            part="whole",
            module=PageWhole(self._scene, PageOneScene(self._people)),
            inputs=(self._picture_spec("scene", 1), *self._people_specs()),
            outputs=self._outputs(),
            people_axis="people",
            example=lambda n: (self._frames(1), *self._heads(n)),
        )

    def split(self, compat: Compat) -> tuple[Graph, Graph]:
        _only_exact(compat)
        people = Graph(
            part="people",
            module=PageOneScene(self._people),
            inputs=(self._tokens_spec(1), *self._people_specs()),
            outputs=self._outputs(),
            people_axis="people",
            example=lambda n: (self._tokens(1), *self._heads(n)),
        )
        return self._frame(self._picture_spec("scene", 1), self._tokens_spec(1), frames=1), people

    def steps(self) -> tuple[Graph, Graph]:
        heads, rects = self._people_specs()
        people = Graph(
            part="people",
            module=self._people,
            inputs=(self._tokens_spec("frames"), TensorSpec("image_index", ("people",), "int64"), heads, rects),
            outputs=self._outputs(),
            people_axis="people",
            example=lambda n: (self._tokens(EXAMPLE_FRAMES), torch.arange(n) % EXAMPLE_FRAMES, *self._heads(n)),
        )
        return self._frame(self._picture_spec("scene", "frames"), self._tokens_spec("frames")), people

    def answer(self, people: int) -> Arrays:
        out = self._model(self._uint8()[None], [example_boxes(people)[0].tolist()])
        found = {"heatmap": out.heatmap.float().cpu().numpy()}
        return found if out.inout is None else found | {"inout": out.inout.cpu().numpy()}

    def on_sessions(self, frame: Session, people: Session, where: OnRuntime) -> PageOnSessions:
        return PageOnSessions(self._model, (frame, people), where)

    def _frame(self, given: TensorSpec, made: TensorSpec, *, frames: int | None = None) -> Graph:
        """The graph of the scene; `frames` None: as many as its example is asked for."""
        example = self._frames if frames is None else (lambda n: self._frames(frames))
        return Graph(
            part="frame",
            module=self._scene,
            inputs=(given,),
            outputs=(made,),
            people_axis="",
            example=lambda n: (example(n),),
        )

    def _picture_spec(self, name: str, frames: int | str) -> TensorSpec:
        return TensorSpec(name, (frames, 3, *self._model.in_size))

    def _tokens_spec(self, frames: int | str) -> TensorSpec:
        config = self._model.config
        rows, columns = config.grid
        return TensorSpec("scene_tokens", (frames, config.front + rows * columns, config.dim))

    def _people_specs(self) -> tuple[TensorSpec, TensorSpec]:
        heads = TensorSpec("heads", ("people", 3, *self._model.config.head_in_size))
        return heads, TensorSpec("head_rects", ("people", 4))

    def _outputs(self) -> tuple[TensorSpec, ...]:
        maps = TensorSpec("heatmap", ("people", *self._model.out_size))
        return (maps, TensorSpec("inout", ("people",))) if self._model.has_inout else (maps,)

    def _uint8(self) -> torch.Tensor:
        """The example's frame, RGB [H, W, 3], of the input's size."""
        picture = example_picture(self._model.in_size) if self.picture is None else self.picture
        return picture[0].flip(0).permute(1, 2, 0).to(torch.uint8).contiguous()

    def _frames(self, count: int) -> torch.Tensor:
        frames = [self._uint8().roll(37 * i, dims=1)[None] for i in range(count)]
        return scene_input(frames, self._model.in_size, torch.device("cpu"), "exact")

    def _tokens(self, frames: int) -> torch.Tensor:
        with torch.no_grad():
            return self._scene(self._frames(frames))

    def _heads(self, people: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Crops and places of so many heads of the first frame."""
        frame, size = self._uint8()[None], self._model.in_size
        pixels = [pixel_box(box, size, where="example") for box in example_boxes(people)[0].tolist()]
        crops = head_input(frame, pixels, self._model.config.head_in_size, torch.device("cpu"))
        return crops, head_rects([relative(box, size) for box in pixels], self._model.grid)


def _only_exact(compat: Compat) -> None:
    if compat != "exact":
        raise UsageError(f"--compat {compat} is for the files of gazelle-dinov3; PaGE's have no such form.")
