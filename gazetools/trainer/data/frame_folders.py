"""The folders of pictures of a run (`input_format: frames`): where a video's is, and its rate."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from gazetools.io.find_files import existing_path
from gazetools.io.tables import read_table
from gazetools.schemas.errors import DataFileError, UsageError
from gazetools.schemas.training import DataSettings
from gazetools.trainer.data.videos import require_folder
from gazetools.video.frame_folder import FrameFolder

LAYOUTS = ("{video}", "{participant}/{video}", "{participant}/rgb_frames/{video}", "rgb_frames/{video}")
"""Where the folder of a video may be below base_path, in the order in which they are tried (CorrineQiu/JFAA 38482c8,
evals/action_anticipation_frozen/epickitchens_frames.py)."""


@dataclass(frozen=True, kw_only=True)
class VideoRate:
    """What the CSV says of a video."""

    rate: Fraction
    frame_count: int | None


@dataclass(frozen=True, kw_only=True)
class FrameFolders:
    """Folders of pictures, opened by their path, which ends in the video's id."""

    base_path: Path
    template: str
    offset: int
    rates: dict[str, VideoRate]
    source: str
    """The CSV, for messages."""

    @staticmethod
    def of(data: DataSettings) -> FrameFolders | None:
        """Those of a config; None where its videos are files. Raises DataFileError for a CSV that does not parse."""
        if data.input_format != "frames":
            return None
        assert data.video_info_path is not None, "the settings refuse it"
        return FrameFolders(
            base_path=Path(data.base_path),
            template=data.frame_template,
            offset=data.frame_index_offset,
            rates=read_rates(Path(data.video_info_path)),
            source=data.video_info_path,
        )

    def find(self, video_ids: Iterable[str]) -> dict[str, Path]:
        """Id -> folder for every id that has one. Raises UsageError for folders whose rate the CSV lacks."""
        base = existing_path(self.base_path)
        require_folder(base)
        found = {}
        for video_id in dict.fromkeys(video_ids):
            names = {"video": video_id, "participant": video_id.partition("_")[0]}
            places = (base / layout.format(**names) for layout in LAYOUTS)
            if (place := next((one for one in places if one.is_dir()), None)) is not None:
                found[video_id] = place
        if without := [name for name in found if name not in self.rates]:
            raise UsageError(
                f"{self.source} has no fps for {len(without)} of {len(found)} videos, such as {without[0]!r}.",
                hint="Set experiment.data.video_info_path to the CSV of these videos.",
                videos=without[:1000],
            )
        return found

    def open(self, path: Path) -> FrameFolder:
        """The pictures in the folder `path`. Raises VideoError where its first or last picture is not there."""
        ends = ("/".join(path.parts[first:]) for first in range(len(path.parts)))
        facts = self.rates[next(end for end in ends if end in self.rates)]
        return FrameFolder(path, facts.rate, self.template, self.offset, facts.frame_count)


def read_rates(path: Path) -> dict[str, VideoRate]:
    """Video id -> rate and number of frames, of a CSV with video_id, fps and, optionally, num_frames.

    Raises UsageError where the file is not there, DataFileError for a row without a rate above 0.
    """
    if not path.is_file():
        raise UsageError(f"experiment.data.video_info_path: {path} does not exist.")
    table = read_table(path, required=["video_id", "fps"], optional=["num_frames"])
    counts = table.integers("num_frames", empty=0).tolist() if "num_frames" in table else [0] * len(table)
    rates: dict[str, VideoRate] = {}
    for row, (video_id, text, count) in enumerate(
        zip(table.columns["video_id"], table.columns["fps"], counts, strict=True)
    ):
        try:
            rate = Fraction(text)
        except (ValueError, ZeroDivisionError):
            rate = Fraction(0)
        if rate <= 0 or count < 0:
            raise DataFileError(
                f"{path}, line {table.lines[row]}: fps {text!r} and num_frames {count} of {video_id!r} must be above 0."
            )
        rates[video_id] = VideoRate(rate=rate, frame_count=count or None)
    return rates
