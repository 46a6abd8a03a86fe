"""PaGE with its two steps computed by another program; cropping, resizing and rounding stay the same."""

from __future__ import annotations

import torch

from gazetools.gazemodels.gazelle.prompts import BoxXyxy
from gazetools.gazemodels.interface import GazeOutput
from gazetools.gazemodels.page.decoder import head_rects
from gazetools.gazemodels.page.model import PageModel
from gazetools.gazemodels.runtimes.graphs import OnRuntime, Session

_LAYERS = ("scene_tower", "head_tower", "decoder")


class PageOnSessions(PageModel):
    """A `PageModel` whose scene tokens and heat maps come from ONNX sessions; its own layers are gone."""

    def __init__(self, model: PageModel, sessions: tuple[Session, Session], where: OnRuntime) -> None:
        """Take over everything of `model` but its layers. The sessions are those of `PageForm.steps`."""
        vars(self).update({name: value for name, value in vars(model).items() if name not in _LAYERS})
        self._frame, self._people_step = sessions
        self.device, self.dtype, self.runtime = where.device, where.dtype, where.record
        self.settings = {**model.settings, "runtime": where.record.name}
        self.implementation = f"{model.implementation}, {where.record.program}"

    @torch.inference_mode()
    def encode_scenes(self, inputs: torch.Tensor) -> torch.Tensor:
        """As `PageModel.encode_scenes`, on the CPU."""
        return torch.from_numpy(self._frame.run({"scene": inputs.float().cpu().numpy()})["scene_tokens"])

    @torch.inference_mode()
    def encode_heads(self, inputs: torch.Tensor) -> torch.Tensor:
        """The crops themselves: the head tower is part of the second session."""
        return inputs

    @torch.inference_mode()
    def decode(
        self, scenes: torch.Tensor, heads: torch.Tensor, image_index: torch.Tensor, boxes: list[BoxXyxy]
    ) -> GazeOutput:
        """As `PageModel.decode`, from crops [N, 3, *head_in_size]."""
        inputs = {
            "scene_tokens": scenes,
            "image_index": image_index,
            "heads": heads.float(),
            "head_rects": head_rects(boxes, self.grid),
        }
        out = self._people_step.run({name: tensor.cpu().numpy() for name, tensor in inputs.items()})
        inout = torch.from_numpy(out["inout"]).to(self.device) if self.has_inout else None
        return GazeOutput(torch.from_numpy(out["heatmap"]).to(self.device), inout, image_index.to(self.device))
