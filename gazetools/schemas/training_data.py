"""Config keys of a run's data beyond V-JEPA 2's: camera views, context length, and where heatmaps come from."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, FiniteFloat, PositiveInt, field_validator, model_validator

from gazetools.schemas.base import Choices, StrictModel, conflict
from gazetools.schemas.dataset import PeopleRule
from gazetools.schemas.foreign import Axes

PositiveFloat = Annotated[FiniteFloat, Field(gt=0)]
Range = tuple[FiniteFloat, FiniteFloat]
SOURCE_KINDS = Choices("auto", "dataset", "store", "gaze_points")
"""Words of `kind`; gazetools.trainer.data.maps.build.SOURCES has what builds each source."""
EvaluationCrop = Literal["centre", "whole"]

PRIMARY_SOURCE = "heatmap"
"""Name of the source that `heatmap_base_path` makes."""
TOKEN_SOURCE = "gaze_tokens"
"""Name of the source that `experiment.data.gaze_tokens` makes."""
HOW_TO_KEEP_TOKENS = "gazetools extract VIDEOS -o STORE --keep tokens"
"""The command that makes what `experiment.data.gaze_tokens.store` names."""
TEMPLATE_FIELDS = ("video_id", "participant", "take", "camera")
_SOURCE_NAME = re.compile(r"^[A-Za-z][A-Za-z0-9_-]{0,63}$")
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


def check_range(allowed: Callable[[float, float], bool], rule: str) -> AfterValidator:
    """The check of a Range that raises ValueError with the text `rule` where `allowed(low, high)` is false."""

    def check(value: Range) -> Range:
        if not allowed(*value):
            raise ValueError(f"{rule}, got {list(value)}")
        return value

    return AfterValidator(check)


_PositiveRange = Annotated[
    Range, check_range(lambda low, high: 0 < low <= high, "must be two ascending numbers above 0")
]
_SHARE = check_range(lambda _, high: high <= 1, "a share of the map's area lies in (0, 1]")


class GazePointSettings(StrictModel):
    """How gaze points (CSV) are read and rendered: training from raw gaze."""

    sigma_pixels: PositiveFloat | None = None
    """Width of the Gaussian in pixels of the frame. Without any sigma: 3/64 of each side, as Gaze-LLE's targets."""
    sigma_degrees: PositiveFloat | None = None
    """Width as a visual angle; needs `horizontal_fov_degrees`."""
    horizontal_fov_degrees: Annotated[FiniteFloat, Field(gt=0, lt=180)] | None = None
    """Angle that the frame's width covers, for a pinhole camera: focal length = width / 2 / tan(fov / 2)."""
    points_size: tuple[PositiveInt, PositiveInt] | None = None
    """Width and height of the picture that the points' pixels refer to; None: points are relative, 0..1."""
    y_axis: Literal["down", "up"] = "down"
    """`up` where y counts from the bottom edge (Pupil's norm_pos_y)."""
    min_confidence: Annotated[FiniteFloat, Field(ge=0, le=1)] = 0.0
    """Rows whose `confidence` is lower are left out."""
    max_gap_sec: PositiveFloat = 0.06
    """A frame without a point of its own takes the nearest one in time within this gap, never a later one than the
    end of the observation."""
    map_size: tuple[PositiveInt, PositiveInt] = (64, 64)
    """Height and width of the rendered map."""

    @model_validator(mode="after")
    def _one_sigma(self) -> GazePointSettings:
        if self.sigma_pixels is not None and self.sigma_degrees is not None:
            raise conflict("{sigma_pixels} and {sigma_degrees} contradict each other; set one")
        if self.sigma_degrees is not None and self.horizontal_fov_degrees is None:
            raise conflict(
                "{sigma_degrees} needs {horizontal_fov_degrees}, the angle that the frame's width covers; set it"
            )
        return self


class HeatmapSourceSettings(StrictModel):
    """One entry of `experiment.data.heatmap_sources`; None takes the key of the same meaning under `data`."""

    path: str
    """Dataset folder, store folder, or gaze points: one CSV with a column video_id, or a folder of `<video_id>.csv`."""
    kind: Annotated[str, SOURCE_KINDS] = "auto"
    """auto: a `.csv` file is gaze points, a folder with `.h5` files a store, one with `.csv` files gaze points."""
    view: str | None = None
    """Camera whose heatmaps these are; None takes `heatmap_view`."""
    inout: Literal["keep", "gate", "weight"] | None = None
    missing: Literal["zero", "error", "skip"] | None = None
    people: PeopleRule = "max"
    """People of a store whose maps are shown: `max`, `mean`, `wearer` or a track id."""
    normalize: Literal["none", "max", "sum", "minmax"] = "none"
    """Normalisation of a store's maps, per frame."""
    shows: Literal["gaze", "head_box"] = "gaze"
    """What a store's maps show: its heatmaps, or the head boxes that they were made for (the control `head_box`)."""
    key: str | None = Field(default=None, min_length=1, max_length=200)
    """Array of another tool's .npz that holds the heatmaps; None takes `heatmap_key`."""
    axes: Axes | None = None
    """Order of its axes, such as HWT; None takes `heatmap_axes`."""
    first_frame: int | None = Field(default=None, ge=0)
    """Number of the first frame in folders of numbered .npy; None takes `heatmap_first_frame`."""
    points: GazePointSettings = GazePointSettings()


class GazeTokensSettings(StrictModel):
    """`experiment.data.gaze_tokens`: the scene tokens of a gaze model, which arms with `fusion: gaze_tokens` read."""

    store: str
    """Store that `gazetools extract --keep tokens` made."""
    people: PeopleRule = "mean"
    """People of a frame whose tokens are shown: the `mean` of all, the `wearer`, or a track id."""
    size: tuple[PositiveInt, PositiveInt] | None = None
    """Cells per side and channels of the tokens; None: as the store has them."""

    @field_validator("people")
    @classmethod
    def _averages(cls, value: str) -> str:
        if value == "max":
            raise ValueError("must be mean, wearer or a track id: the largest of several people's tokens means nothing")
        return value


class FeatureCacheSettings(StrictModel):
    """`experiment.data.feature_cache`: the frozen encoder's tokens of clips that every epoch shows alike, on disk."""

    folder: str
    """Folder of the cache. Several runs may share it; tokens of another encoder, transform or file are never used."""
    budget_gib: PositiveFloat = 100.0
    """Size that the folder may reach; nothing is stored beyond it, and nothing removed."""
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    """None stores tokens as they are computed: results are those without a cache. Others round them."""


class ViewSettings(StrictModel):
    """Keys of `experiment.data` that say which cameras, how much context and which heatmaps a clip has."""

    video_view: str | list[str] | None = None
    """For annotations of takes (Ego-Exo4D keysteps): camera names or patterns such as `cam*`, or `ego`, `exo`,
    `best_exo`. Every camera of a take gives a clip of its own."""
    heatmap_view: str | None = None
    """Camera of the heatmaps where it is not the video's own: own transforms, frames matched by take time."""
    heatmap_random_resize_scale: Annotated[_PositiveRange, _SHARE] = (1.0, 1.0)
    """Share of the area that a random crop of another view's heatmaps covers in training; 1: the whole map."""
    takes_file: str | None = None
    """Ego-Exo4D's takes.json; None looks for it in `base_path`. Needed for `best_exo`."""
    evaluation_crop: EvaluationCrop = "centre"
    """`centre`: V-JEPA 2's central square, which cuts off half of a 16:9 frame; `whole`: the whole frame, squashed to
    the square, for third-person video whose objects lie anywhere."""
    context_sec: _PositiveRange | None = None
    """Seconds seen before the end of the observation, drawn from this range. None: frames_per_clip /
    frames_per_second. Shorter context shows its first frame for the times before it."""
    train_context_sec: _PositiveRange | None = None
    """Training; None takes `context_sec`."""
    heatmap_sources: dict[str, HeatmapSourceSettings] = Field(default={})
    """Several sources by name; `heatmap_base_path` adds one named `heatmap`, the first."""
    gaze_tokens: GazeTokensSettings | None = None
    """Scene tokens, in addition to or in place of heatmaps; None: no arm can have `fusion: gaze_tokens`."""
    heatmap_key: str | None = Field(default=None, min_length=1, max_length=200)
    """Array of another tool's .npz that holds the heatmaps; None: the only one that fits."""
    heatmap_axes: Axes | None = None
    """Order of the axes of another tool's heatmaps, such as HWT; None: THW, T1HW, THW1, or HW for a single map."""
    heatmap_first_frame: int | None = Field(default=None, ge=0)
    """Number of the first frame in folders of numbered .npy of another tool; None: 0, which must be there."""
    keep_unseen_classes: bool = False
    """Validation also runs actions that training lacks and reports `unfiltered_*` metrics, where they count as wrong;
    the other metrics leave them out, as V-JEPA 2 does."""
    feature_cache: FeatureCacheSettings | None = None
    """Validation clips, and training clips under `train_transform: evaluation` with a fixed anticipation time."""
    index_cache: str | None = None
    """Folder where frame indexes of videos are kept between epochs and runs; None keeps them in memory only."""

    @field_validator("video_view")
    @classmethod
    def _views(cls, value: str | list[str] | None) -> list[str] | None:
        if value is None:
            return None
        names = [value] if isinstance(value, str) else value
        if not names or not all(names):
            raise ValueError("name at least one camera, such as cam01, or ego, exo, best_exo")
        return names

    @field_validator("heatmap_sources")
    @classmethod
    def _names(cls, value: dict[str, HeatmapSourceSettings]) -> dict[str, HeatmapSourceSettings]:
        for name in value:
            if not _SOURCE_NAME.match(name) or name in (PRIMARY_SOURCE, TOKEN_SOURCE):
                raise ValueError(
                    f"{name!r} is no name for a source: a letter, then letters, digits, _ and -; not "
                    f"{PRIMARY_SOURCE!r} or {TOKEN_SOURCE!r}"
                )
        return value


def check_template(value: str) -> str:
    """A folder layout such as `takes/{take}/frame_aligned_videos/{camera}`; ValueError for unknown placeholders."""
    fields, rest = set(_PLACEHOLDER.findall(value)), _PLACEHOLDER.sub("", value)
    if not fields or not fields <= set(TEMPLATE_FIELDS) or "{" in rest or "}" in rest:
        raise ValueError(
            f"file_format {value!r} is 0, 1 or a path with placeholders of "
            + ", ".join(f"{{{name}}}" for name in TEMPLATE_FIELDS)
        )
    if value.startswith("/") or ".." in value.split("/"):
        raise ValueError(f"file_format {value!r} must stay below base_path")
    return value
