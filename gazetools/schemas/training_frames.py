"""Keys of `experiment.data` for videos that are folders of numbered pictures."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from gazetools.schemas.base import conflict
from gazetools.schemas.picture_times import PictureTimes


class FrameFolderSettings(PictureTimes):
    """Where a clip's frames come from: video files, or folders of pictures as EPIC-KITCHENS releases them."""

    input_format: Literal["video", "frames"] = "video"
    """`frames`: each video is a folder of numbered pictures, `V`, `P/V`, `P/rgb_frames/V` or `rgb_frames/V` below
    base_path (V: the video id, P: its part before the first `_`)."""
    video_info_path: str | None = None
    """CSV with the columns video_id and fps, such as EPIC_100_video_info.csv, for `input_format: frames`; a column
    num_frames replaces counting the pictures. Without it: frame_rate, frame_times, or a file in each folder."""
    frame_template: str = "frame_{:010d}.jpg"
    """Name of a picture, with one number in Python's notation."""
    frame_index_offset: int = Field(default=1, ge=0)
    """Number of the first picture."""

    @field_validator("frame_template")
    @classmethod
    def _one_number(cls, value: str) -> str:
        try:
            names = {value.format(number) for number in (1, 2)}
        except (ValueError, IndexError, KeyError, AttributeError, TypeError):
            names = set()
        if len(names) != 2 or any("/" in name or "\\" in name or "\0" in name for name in names):
            raise ValueError("must be a file name with one number, such as frame_{:010d}.jpg")
        return value

    @model_validator(mode="after")
    def _one_source_of_times(self) -> FrameFolderSettings:
        if self.video_info_path is not None and (self.frame_rate is not None or self.frame_times is not None):
            given = "frame_times" if self.frame_rate is None else "frame_rate"
            raise conflict(f"{{video_info_path}} and {{{given}}} both say when pictures were taken; give one of them")
        if self.input_format == "video" and (self.frame_rate is not None or self.frame_times is not None):
            given = "frame_times" if self.frame_rate is None else "frame_rate"
            raise conflict(f"{{{given}}} is for {{input_format}}: frames; files of videos have their own times")
        return self
