"""`experiment.data` of a training config: annotations, clips, heatmaps and transforms."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, NonNegativeInt, PositiveInt, field_validator, model_validator

from gazetools.schemas.base import conflict
from gazetools.schemas.training_data import Range, ViewSettings, check_range, check_template
from gazetools.schemas.training_frames import FrameFolderSettings

Anchor = Literal["start", "end"]
MissingPolicy = Literal["zero", "error", "skip"]
PastEndPolicy = Literal["error", "drop", "keep"]
InOutUse = Literal["keep", "gate", "weight"]
Compat = Literal["none", "vjepa2", "jfaa"]
_ORDERED = check_range(lambda low, high: low <= high, "the first number must not be above the second")
_Seconds = Annotated[Range, _ORDERED, check_range(lambda low, _: low >= 0, "anticipation times must be >= 0 seconds")]
_POINTS = "anticipation points lie in 0 (action end) .. 1 (action start)"
_Points = Annotated[Range, check_range(lambda *ends: 0 <= min(ends) <= max(ends) <= 1, _POINTS), _ORDERED]
_SHARE = check_range(lambda low, high: 0 < low <= high <= 1, "a share of the frame's area lies in (0, 1]")
_RATIO = check_range(lambda low, _: low > 0, "aspect ratios must be > 0")


class DataSettings(ViewSettings, FrameFolderSettings):
    """`experiment.data`: annotations, clips, heatmaps and transforms."""

    dataset: str = "EK100"
    base_path: str
    """Folder of the videos."""
    dataset_train: str
    """CSV with the columns video_id, start_timestamp, stop_timestamp and verb_class, noun_class (or action_class), or
    Ego-Exo4D's keystep JSON (with `video_view`), or Ego4D's fho_lta JSON."""
    dataset_val: str
    dataset_test: str | None = None
    """Annotations whose labels nobody has, such as EPIC_100_test_timestamps.csv: predicted with the chosen weights."""
    official_lists: str | None = None
    """Folder of the lists that are released with annotations: class names, tail classes, unseen participants. None:
    those next to `dataset_val`, where that has its released name (EPIC_100_*.csv, fho_lta_*.json)."""
    ego4d_videos: Literal["auto", "full", "clips"] = "auto"
    """Files that Ego4D's fho_lta annotations are about: whole videos (`<video_uid>`), or the clips of them
    (`<clip_uid>`), with times from the clip's start; `auto`: whole videos where they are, else clips."""
    file_format: Literal[0, 1] | str | None = None
    """0: PXX/videos/PXX_YY.MP4, 1: PXX/PXX_YY.MP4, or a path without suffix such as
    `takes/{take}/frame_aligned_videos/{camera}`; `<video_id>.<mp4|mkv|...>` and Ego-Exo4D's folders are tried last."""
    missing_videos: Literal["error", "skip"] = "error"
    frames_per_clip: PositiveInt = 32
    frames_per_second: Annotated[FiniteFloat, Field(gt=0)] = 8
    resolution: PositiveInt = 256
    """Side of the square crop in pixels."""
    anchor: Anchor | None = None
    """What the anticipation time counts back from. None: see gazetools.trainer.data.anchors.resolve_anchors."""
    anticipation_time_sec: _Seconds = (1.0, 1.0)
    """Validation: seconds between the end of the observation and the anchor, drawn from this range."""
    train_anticipation_time_sec: _Seconds | None = None
    """Training; None takes `anticipation_time_sec`."""
    train_anticipation_point: _Points | None = None
    """V-JEPA 2: 1 = action start, 0 = action end."""
    val_anticipation_point: _Points | None = None
    train_transform: Literal["random", "evaluation"] = "random"
    """`evaluation`: training shows frames as validation does, without crops, flips, augmentation and erasing."""
    train_views: PositiveInt | None = None
    """Number of fixed views of each training clip: its crop, flip, augmentation and anticipation time are drawn that
    often, once for all trainings, and every epoch shows one of them; their features can be cached. None: new draws in
    every epoch."""
    random_resize_scale: Annotated[Range, _ORDERED, _SHARE] = (0.3, 1.0)
    """Share of the frame's area that a random crop covers in training."""
    random_resize_aspect_ratio: Annotated[Range, _ORDERED, _RATIO] = (3 / 4, 4 / 3)
    random_horizontal_flip: bool = True
    auto_augment: bool = False
    """RandAugment as V-JEPA 2 sets it; its geometric part moves the heatmap, too."""
    motion_shift: bool = False
    """Move the random crop from one place to another during the clip."""
    reprob: Annotated[FiniteFloat, Field(ge=0, le=1)] = 0.0
    """Probability of random erasing."""
    num_workers: Annotated[int, Field(ge=0, le=256)] = 2
    pin_memory: bool = True
    use_heatmap: bool = False
    heatmap_base_path: str | None = None
    """A packed dataset, a folder of .npz files or .npy folders named by video id, a store, or gaze points (CSV)."""
    heatmap_resolution: PositiveInt | None = None
    """Side of the square heatmap that the model sees, in pixels; None takes `resolution`."""
    heatmap_frame_tolerance: NonNegativeInt = 1
    """By how many frames a heatmap without times may be shorter or longer than its video."""
    heatmap_inout: InOutUse = "keep"
    """`gate`: maps with inout < 0.5 become zeros; `weight`: maps are multiplied by inout."""
    missing: MissingPolicy = "zero"
    """Clips whose video has no heatmap: zeros, stop, or leave them out; always counted."""
    past_end: PastEndPolicy = "error"
    """Actions that lie past the end of their video (other units, a cut file, a typing error): stop with their lines,
    leave them out and count them, or `keep` them as clips; the run stops where such a clip cannot be read."""
    allow_future: bool = False
    """Accept datasets whose gaps were filled from later frames."""
    max_unreadable_clips: NonNegativeInt = 0
    """Clips per epoch that may fail to decode before the run stops; each is named and counted."""
    max_train_clips: PositiveInt | None = None
    """Limit for small runs: the first clips of the annotations."""
    max_val_clips: PositiveInt | None = None

    @field_validator("file_format")
    @classmethod
    def _template(cls, value: Literal[0, 1] | str | None) -> Literal[0, 1] | str | None:
        return check_template(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_transform(self) -> DataSettings:
        drawn = {"auto_augment": self.auto_augment, "motion_shift": self.motion_shift, "reprob": self.reprob > 0}
        if self.train_transform == "evaluation" and any(drawn.values()):
            names = " and ".join(f"{{{name}}}" for name, on in drawn.items() if on)
            raise conflict(f"{{train_transform}}: evaluation augments nothing, but {names} is set; remove one of them")
        return self

    @model_validator(mode="after")
    def _one_camera(self) -> DataSettings:
        if self.input_format == "frames" and self.video_view is not None:
            raise conflict("{input_format}: frames has no cameras of takes; remove {video_view}")
        return self

    @property
    def training_clips_repeat(self) -> bool:
        """Whether features of training clips can be cached: epochs show them again as they were."""
        low, high = self.train_anticipation_time_sec or self.anticipation_time_sec
        return self.train_views is not None or (self.train_transform == "evaluation" and low == high)

    @model_validator(mode="after")
    def _heatmap_path(self) -> DataSettings:
        if self.use_heatmap and not (self.heatmap_base_path or self.heatmap_sources or self.gaze_tokens):
            raise conflict("{use_heatmap} is true, but {heatmap_base_path} is not set; set it, or use_heatmap=false")
        return self
