"""Gaze-LLE with its two steps computed by another program; everything around them stays the same."""

from __future__ import annotations

import torch

from gazetools.gazemodels.gazelle.model import GazelleModel
from gazetools.gazemodels.interface import GazeOutput
from gazetools.gazemodels.runtimes.graphs import OnRuntime, Session
from gazetools.schemas.errors import UsageError


class GazelleOnSessions(GazelleModel):
    """A `GazelleModel` whose scene tokens and heat maps come from ONNX sessions; its own layers are gone."""

    def __init__(self, model: GazelleModel, sessions: tuple[Session, Session], where: OnRuntime) -> None:
        """Take over everything of `model` but its layers. The sessions are those of `GazelleForm.steps`."""
        vars(self).update({name: value for name, value in vars(model).items() if name not in ("backbone", "decoder")})
        self._frame, self._people = sessions
        self.token_channels = None
        self.device, self.dtype, self.runtime = where.device, where.dtype, where.record
        self.settings = {**model.settings, "runtime": where.record.name}
        self.implementation = f"{model.implementation}, {where.record.program}"

    @torch.inference_mode()
    def encode(self, inputs: torch.Tensor) -> torch.Tensor:
        """Scene tokens [B, dim, rows, columns] of preprocessed images [B, 3, *in_size], on the CPU."""
        return torch.from_numpy(self._frame.run({"images": inputs.float().cpu().numpy()})["scene"])

    @torch.inference_mode()
    def decode(
        self, features: torch.Tensor, image_index: torch.Tensor, head_maps_nhw: torch.Tensor, *, tokens: bool = False
    ) -> GazeOutput:
        """As `GazelleModel.decode`, from scene tokens; those of people stay inside the other program."""
        if tokens:
            raise UsageError(f"{self.name} on {self.runtime.name} gives no scene tokens.", hint="Use --runtime torch.")
        inputs = {"scene": features, "image_index": image_index, "head_maps": head_maps_nhw.float()}
        out = self._people.run({name: tensor.cpu().numpy() for name, tensor in inputs.items()})
        inout = torch.from_numpy(out["inout"]).to(self.device) if self.has_inout else None
        return GazeOutput(torch.from_numpy(out["heatmap"]).to(self.device), inout, image_index.to(self.device))
