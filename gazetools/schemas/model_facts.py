"""What is known about a gaze model before it is loaded: sizes, published figures, licences, origin of its weights."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from gazetools.schemas.base import StrictModel

Share = Annotated[float, Field(gt=0, le=1)]
Pixels = Annotated[int, Field(ge=1, le=8192)]
WeightsSource = Literal["none", "package", "download", "own file"]
"""none: the model has no weights. package: they are part of gazetools. download: gazetools fetches them at first use.
own file: the user fetches them and names the file."""


class PublishedFigures(StrictModel):
    """Accuracy as its authors published it; None: not published for this very model. L2 in sides of the frame."""

    gazefollow_auc: Share | None = None
    gazefollow_min_l2: Share | None = None
    gazefollow_avg_l2: Share | None = None
    vat_auc: Share | None = None
    vat_l2: Share | None = None
    vat_ap: Share | None = None
    """VideoAttentionTarget: average precision of in/out."""
    childplay_auc: Share | None = None
    childplay_l2: Share | None = None
    childplay_ap: Share | None = None
    source: str = Field(min_length=1)
    """Where the figures are published."""


class ModelFacts(StrictModel):
    """One row of the table of gaze models, `gazetools.gazemodels.model_table.GAZE_MODELS`."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    """Word of `--model`."""
    family: str
    loader: str = Field(pattern=r"^[\w.]+:[\w.]+$")
    """`module:function` of its `gazetools.gazemodels.Loader`, imported at the first use."""
    in_size: tuple[Pixels, Pixels]
    """(height, width) of the model input in pixels."""
    grid: tuple[Pixels, Pixels]
    """(rows, columns) to which head boxes are rounded."""
    out_size: tuple[Pixels, Pixels]
    """(height, width) of a heatmap."""
    inout: bool
    """Whether it also outputs the probability that the gaze target is inside the frame."""
    needs_boxes: bool = False
    """Whether a person without a head box gets no map."""
    parameters: int = Field(ge=0)
    """Backbone included; 0: a control without weights."""
    figures: PublishedFigures | None = None
    code_licence: str
    weights_licence: str
    weights: WeightsSource
    urls: tuple[str, ...] = ()
    """download: addresses of the files, the checkpoint first, then the backbone."""
    home: str
    """Page where the model, and for `own file` its weights, are found."""
    file_name: str | None = None
    """own file: name of the file, or of the folder, that the user gets from `home`."""
    fetched_by: str | None = None
    """own file: the command that gets it."""

    @model_validator(mode="after")
    def _has_a_source(self) -> ModelFacts:
        given = [bool(self.urls), self.file_name is not None, self.fetched_by is not None]
        wanted = {"download": [True, False, False], "own file": [False, True, True]}
        if given != wanted.get(self.weights, [False, False, False]):
            raise ValueError(
                f"{self.name}: weights {self.weights!r} do not fit urls={self.urls}, file_name={self.file_name}, "
                f"fetched_by={self.fetched_by}: download takes urls, own file a file_name and what fetches it"
            )
        return self
