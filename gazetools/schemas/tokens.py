"""Options of `extract` about the scene tokens that a store keeps next to its heatmaps."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from gazetools.schemas.base import OptionsModel, conflict
from gazetools.schemas.flags import Flag

USUAL_TOKEN_GRID = 8
"""Cells per side of kept scene tokens where no other number is given: 32 KiB a row at 256 channels in float16."""
_Model = Flag(panel="Model")


class TokenOptions(OptionsModel):
    """Whether scene tokens are kept, and how finely."""

    keep: Annotated[list[Literal["tokens"]], _Model] = Field(default=[])
    """`tokens`: keep the scene tokens of each row, too, which `fusion: gaze_tokens` of training reads.

    They are what the gaze decoder's heatmap head reads, after its last block: scene tokens that know the person."""
    token_grid: Annotated[int | None, _Model] = Field(default=None, ge=1, le=64)
    """With --keep tokens: cells per side to which they are averaged by area (default: 8)."""

    @model_validator(mode="after")
    def _tokens_are_kept(self) -> TokenOptions:
        if self.token_grid is not None and "tokens" not in self.keep:
            raise conflict(f"{{token_grid}} ({self.token_grid}) is the grid of kept tokens; set {{keep}} to tokens too")
        return self

    @property
    def kept_token_grid(self) -> int | None:
        """Cells per side of the scene tokens that are kept; None: they are not."""
        return (self.token_grid or USUAL_TOKEN_GRID) if "tokens" in self.keep else None

    def shaping_of_tokens(self) -> dict[str, Any]:
        """The options for provenance and the options key; {} where no tokens are kept, as before there were any."""
        return {} if self.kept_token_grid is None else {"keep": ["tokens"], "token_grid": self.kept_token_grid}
