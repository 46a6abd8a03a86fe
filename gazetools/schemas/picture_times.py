"""When the pictures of a folder of frames were taken: the two options that every command which opens videos has."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, TypedDict

from pydantic import BeforeValidator, field_validator, model_validator

from gazetools.schemas.base import StrictModel, conflict
from gazetools.schemas.flags import Flag

EPIC_RULE = "epic"
"""Word of `frame_rate` for EPIC-KITCHENS: 60 for the videos PXX_YY, 50 for PXX_1YY."""
RATE_FILE, TIMES_FILE = "frame_rate.txt", "frame_times.csv"
"""Files next to the pictures that state their times where no option does."""
_TABLES = (".csv", ".tsv", ".txt")
_Pictures = Flag(panel="Folders of frames")


def parse_rate(text: str) -> Fraction:
    """Pictures per second: `30`, `29.97` or `30000/1001`; ValueError for anything else, and for 0 or less.

    A decimal number that is a fraction with a denominator of at most 1001 but for its rounding is that fraction.

    >>> parse_rate("59.94005994005994")
    Fraction(60000, 1001)
    """
    try:
        rate = Fraction(text.strip())
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0 < rate <= 1_000_000:
        raise ValueError(f"{text.strip()[:40]!r} is no rate above 0, such as 30 or 30000/1001")
    near = rate.limit_denominator(1001)
    return near if abs(float(near / rate) - 1) < 1e-12 else rate


def _as_text(value: Any) -> Any:
    return str(value) if isinstance(value, (int, float, Fraction, Path)) and not isinstance(value, bool) else value


class ReaderTimes(TypedDict, total=False):
    """Keyword arguments of `gazetools.VideoReader`."""

    frame_rate: str
    frame_times: str


class PictureTimes(StrictModel):
    """The times of pictures that lie in folders as `frame_0000000001.jpg`; files of videos have their own."""

    frame_rate: Annotated[str | None, BeforeValidator(_as_text), _Pictures] = None
    """Folders of frames: pictures per second such as 60 or 30000/1001, `epic`, or a CSV with video_id and fps.

    There is no default. `epic` is EPIC-KITCHENS' rule: 60 for the videos PXX_YY, 50 for PXX_1YY. A file frame_rate.txt
    in the folder says the same. A picture's time is its number, counted from the first one, divided by the rate."""
    frame_times: Annotated[Path | None, _Pictures] = None
    """Folders of frames: a CSV with frame (from 0) or name, and seconds; for several, a folder with such VIDEO_ID.csv.

    A file frame_times.csv in the folder says the same."""

    @field_validator("frame_rate")
    @classmethod
    def _rate_or_table(cls, value: str | None) -> str | None:
        if value is None or value == EPIC_RULE or Path(value).suffix.lower() in _TABLES:
            return value
        try:
            parse_rate(value)
        except ValueError:
            raise ValueError("must be a rate above 0 such as 30 or 30000/1001, epic, or a CSV file") from None
        return value

    @model_validator(mode="after")
    def _one_statement(self) -> PictureTimes:
        if self.frame_rate is not None and self.frame_times is not None:
            raise conflict("{frame_rate} and {frame_times} both say when pictures were taken; give one of them")
        return self

    @staticmethod
    def of_table(path: Path) -> PictureTimes:
        """The rates in a CSV with video_id and fps, whatever its name ends in."""
        return PictureTimes.model_construct(frame_rate=str(path), frame_times=None)

    def of_pictures(self) -> PictureTimes:
        """These two options alone."""
        return PictureTimes(frame_rate=self.frame_rate, frame_times=self.frame_times)

    def anywhere(self) -> PictureTimes:
        """The same with absolute paths, for processes with another working folder."""
        rate = self.frame_rate
        if rate is not None and Path(rate).suffix.lower() in _TABLES:
            rate = str(Path(rate).absolute())
        return PictureTimes(
            frame_rate=rate, frame_times=None if self.frame_times is None else self.frame_times.absolute()
        )

    def for_reader(self) -> ReaderTimes:
        """Those that are given, as keyword arguments of `gazetools.VideoReader`."""
        if self.frame_times is not None:
            return {"frame_times": str(self.frame_times)}
        return {} if self.frame_rate is None else {"frame_rate": self.frame_rate}


def epic_rate(video_id: str) -> Fraction | None:
    """The rate of EPIC-KITCHENS' released frames of a video such as `P01_101`; None for other names.

    The 55 hours of 2018 (PXX_YY) have 60 pictures per second, the extension of 2020 (PXX_1YY) has 50: start_frame is
    start_timestamp times that, in the annotations of both.
    """
    match = re.fullmatch(r"P\d\d_(1?)\d\d", video_id)
    return None if match is None else Fraction(50 if match[1] else 60)
