"""The folders of pictures of a run (`input_format: frames`): where a video's is, and how it is opened."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from torch.utils.data import get_worker_info

from gazetools.io.find_files import existing_path
from gazetools.io.picture_names import PictureList, files_in, is_picture
from gazetools.schemas.errors import UsageError, VideoError
from gazetools.schemas.picture_times import PictureTimes
from gazetools.schemas.training import DataSettings
from gazetools.trainer.data.videos import require_folder
from gazetools.video.frame_clock import clock_of, read_rates, timed_pictures, times_of_numbers
from gazetools.video.frame_folder import FrameFolder

LAYOUTS = ("{video}", "{participant}/{video}", "{participant}/rgb_frames/{video}", "rgb_frames/{video}")
"""Where the folder of a video may be below base_path, in the order in which they are tried (CorrineQiu/JFAA 38482c8,
evals/action_anticipation_frozen/epickitchens_frames.py)."""


@dataclass(frozen=True, kw_only=True)
class FrameFolders:
    """Folders of pictures, opened by their path, which ends in the video's id."""

    base_path: Path
    template: str
    offset: int
    times: PictureTimes

    @staticmethod
    def of(data: DataSettings) -> FrameFolders | None:
        """Those of a config; None where its videos are files. Raises DataFileError for a CSV that does not parse."""
        if data.input_format != "frames":
            return None
        times = data.of_pictures()
        if data.video_info_path is not None:
            read_rates(Path(data.video_info_path))
            times = PictureTimes.of_table(Path(data.video_info_path))
        return FrameFolders(
            base_path=Path(data.base_path),
            template=data.frame_template,
            offset=data.frame_index_offset,
            times=times,
        )

    def find(self, video_ids: Iterable[str]) -> dict[str, Path]:
        """Id -> folder for every id that has one. Raises UsageError for folders without stated times."""
        base = existing_path(self.base_path)
        require_folder(base)
        found = {}
        for video_id in dict.fromkeys(video_ids):
            names = {"video": video_id, "participant": video_id.partition("_")[0]}
            places = (base / layout.format(**names) for layout in LAYOUTS)
            if (place := next((one for one in places if one.is_dir()), None)) is not None:
                found[video_id] = place
        without: dict[str, UsageError] = {}
        for video_id, place in found.items():
            try:
                clock_of(place, self.times)
            except UsageError as error:
                without[video_id] = error
        if without:
            video_id, reason = next(iter(without.items()))
            raise UsageError(
                f"{self.times.frame_rate or base} has no fps for {len(without)} of {len(found)} videos, such as "
                f"{video_id!r}: {reason.message}",
                hint="A run on frames needs experiment.data.video_info_path, a CSV with video_id and fps of these "
                "videos, or experiment.data.frame_rate or frame_times.",
                videos=list(without)[:1000],
            )
        return found

    def open(self, path: Path) -> FrameFolder:
        """The pictures in the folder `path`. Raises VideoError where its first or last picture is not there."""
        threads = 0 if get_worker_info() is None else 1  # the loader already has one worker per core
        clock = clock_of(path, self.times)
        if clock.table is not None or clock.rate is None:
            return FrameFolder(*timed_pictures(path, clock), clock, threads, weighed=False)
        pictures = self._numbered(path, clock.count)
        seconds = times_of_numbers(pictures.numbers, clock.rate)
        return FrameFolder(pictures, seconds, clock, threads, weighed=False)

    def _numbered(self, folder: Path, promised: int | None) -> PictureList:
        """The pictures that the template names, without gaps: annotations count frames by their numbers."""
        if not folder.is_dir():
            raise VideoError(f"{folder} is no folder of pictures.", path=str(folder))
        count = sum(map(is_picture, files_in(folder))) if promised is None else promised
        if not count:
            raise VideoError(f"{folder} holds no pictures.", path=str(folder))
        numbers = tuple(range(self.offset, self.offset + count))
        names = tuple(map(self.template.format, numbers))
        for name in (names[0], names[-1]):
            if not (folder / name).is_file():
                raise VideoError(
                    f"{folder}: picture {name} is not there, although {count} are "
                    f"{'counted' if promised is None else 'promised'}, from number {self.offset} on.",
                    hint="Correct frame_template and frame_index_offset, or num_frames in the CSV of video_info_path.",
                    path=str(folder),
                )
        return PictureList(folder=folder, names=names, numbers=numbers, pattern=self.template)
