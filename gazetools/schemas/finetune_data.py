"""The config of `finetune`: labelled heads to learn from, and those that are held out."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, NonNegativeInt, PositiveInt

from gazetools.schemas.base import StrictModel
from gazetools.schemas.gaze_labels import LabelKind

Share = Annotated[FiniteFloat, Field(ge=0, lt=1)]


class LabelSource(StrictModel):
    """Labels of pictures or video frames, in a form that `evaluate` reads, too."""

    kind: Literal["labels"] = "labels"
    path: str
    """File or folder: a benchmark as released or as prepared JSON, or a CSV of clicked points."""
    form: LabelKind = "auto"
    """Form of the labels; `auto`: by name and content."""
    images: str | None = None
    """Root of the pictures, and of the videos of clicked points; None: the folder of the labels."""
    split: str | None = None
    """Only this split of the labels; None: all of them."""
    every: PositiveInt = 1
    """Every N-th labelled frame of each clip, beginning with the first; single pictures are all used."""


class GazeStoreSource(StrictModel):
    """A store: ground truth that `groundtruth` made, or a teacher's heatmaps for `learning.distil` of kind `store`."""

    kind: Literal["store"]
    path: str
    """The store."""
    videos: str | None = None
    """Root of the videos; None: where the store says that they lay."""
    every: PositiveInt = 1
    """Every N-th frame with people of each video."""


class SceneSource(StrictModel):
    """Synthetic kitchens, drawn once; each is one picture."""

    kind: Literal["scenes"]
    world: Literal["kitchens", "shifted"] = "kitchens"
    """Look of people, camera and light: those of gazelle_tiny's training, or others."""
    seed: NonNegativeInt = 0
    """Seed of the rooms; those of training, held-out and test sets must not overlap."""
    count: PositiveInt = 1000
    """Number of kitchens."""
    folder: str | None = None
    """Folder that keeps the pictures; None: `scenes` in the run folder."""


Source = Annotated[LabelSource | GazeStoreSource | SceneSource, Field(discriminator="kind")]


class FinetuneData(StrictModel):
    """`data`: where labelled heads come from."""

    train: Annotated[list[Source], Field(min_length=1)]
    """Sources of training heads; those of several are mixed as they are."""
    validation: list[Source] = Field(default=[])
    """Sources of held-out heads; empty: a part of `train`, see `held_out`. Never a benchmark's test set."""
    held_out: Share = 0.1
    """Share of the groups of `train` that is held out where `validation` is empty; 0: nothing is held out."""
    group: Literal["video", "person"] = "video"
    """What a split never divides: videos (single pictures are groups of their own), or persons over all videos."""
    least_head_pixels: Annotated[FiniteFloat, Field(ge=2)] = 2.0
    """Heads whose box has a shorter side are left out, and counted."""
    workers: NonNegativeInt = 1
    """Processes, for each training process, that read and change pictures; 0: the training process itself."""
    keep_features: bool = False
    """Keep the frozen tower's features of whole pictures, and of their mirror images, in `features` of the run folder.

    The tower then runs once for each of them, and in every epoch for the samples that show a part of a picture
    (augment.crop). A picture takes 4 bytes per feature: 3.1 MB for DINOv2 ViT-B at 448x448, twice that with flips."""
