"""`table`: plan the columns, go through the videos block by block, and write or collect the rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gazetools._version import __version__
from gazetools.exchange.areas import read_areas
from gazetools.exchange.areas.area_boxes import AreaBoxes
from gazetools.exchange.areas.on_maps import areas_of_video
from gazetools.exchange.table.files import TableFile, open_table, output_files
from gazetools.exchange.table.row_blocks import TableBlock, VideoRows, joined
from gazetools.exchange.table.sources import GazeSource, open_source
from gazetools.progress import NoProgress, Progress
from gazetools.schemas.base import given_or_parsed
from gazetools.schemas.errors import DataFileError, UsageError
from gazetools.schemas.table import (
    PAIR_COLUMNS,
    TableColumn,
    TableOptions,
    TableReport,
    TableVideo,
    area_column,
)


@dataclass(kw_only=True)
class _Work:
    """A table that is made: what it has, and what became of its videos so far."""

    source: GazeSource
    options: TableOptions
    columns: list[TableColumn]
    absent: dict[str, str]
    areas: AreaBoxes | None
    names: list[str]
    """Areas in the order of their columns."""
    progress: Progress
    videos: list[TableVideo] = field(default_factory=list)

    def blocks(self) -> Iterator[TableBlock]:
        """All rows, video by video; a video that can't be used is noted and left out."""
        for video_id in self.source.video_ids:
            try:
                rows = self.source.open(video_id)
            except UsageError as error:
                self._fail(video_id, error)
                continue
            with rows:
                yield from self._blocks_of(video_id, rows)

    def _blocks_of(self, video_id: str, rows: VideoRows) -> Iterator[TableBlock]:
        try:
            areas = None if self.areas is None else areas_of_video(self.areas, self.names, rows.frames)
        except UsageError as error:
            self._fail(video_id, error)
            return
        broken = empty = pairs = 0
        self.progress.start(video_id, rows.count, unit="rows")
        for block in rows.blocks(areas, self.options):
            broken, empty = broken + block.broken, empty + block.empty
            pairs += 0 if block.pairs is None else len(block.pairs["frame"])
            yield block
            self.progress.advance(video_id, len(block.rows["video_id"]))
        self.progress.finish(video_id)
        index = rows.frames.index
        self.videos.append(
            TableVideo(
                video_id=video_id,
                status="done",
                frames=rows.count if index is None else len(index),
                rows=rows.count,
                frames_without_people=rows.frames_without_people,
                rows_without_head=rows.rows_without_head,
                rows_with_broken_map=broken,
                rows_with_empty_map=empty,
                pairs=pairs,
            )
        )

    def _fail(self, video_id: str, error: UsageError) -> None:
        self.progress.say(f"{video_id}: {error}")
        self.videos.append(TableVideo(video_id=video_id, status="failed", reason=str(error)))


def gaze_table(
    source: str | Path,
    *,
    videos: Sequence[str] | None = None,
    options: TableOptions | None = None,
    **settings: Any,
) -> dict[str, npt.NDArray[Any]]:
    """Gaze as columns: one row per frame and person of a store, or per row of a dataset.

    Args:
        source: folder of a store, one `.h5` file of it, a dataset, or a folder of other tools' heatmaps.
        videos: ids; None for all.
        options: areas of interest; or pass the fields as `settings`, such as `areas="areas.csv"`.

    Returns column -> array [N]; names, units and ranges are in docs/table.md. NaN means unknown; texts are arrays of
    objects; columns that no video has are not there. Everything is in memory: for hours of video write a file with
    `gazetools table` and read parts of it. Raises UsageError for inputs and options that can't work, and for the first
    video that can't be used.

    >>> table = gazetools.gaze_table("STORE")                   # doctest: +SKIP
    >>> of_one = table["track_id"] == 1                         # doctest: +SKIP
    >>> table["peak_x"].compress(of_one)                        # doctest: +SKIP
    array([0.4609375, 0.4609375, 0.4765625])
    """
    options = given_or_parsed(options, TableOptions, settings, what="table options")
    if options.social is not None:
        raise UsageError("The table of pairs is a file.", hint="Use gazetools table STORE -o FILE --social FILE.")
    work = _plan(Path(source).expanduser(), videos, options, NoProgress())
    names = [column.name for column in work.columns]
    with work.source:
        parts = [{name: np.asarray(block.rows[name]) for name in names} for block in work.blocks()]
    for video in work.videos:
        if video.status == "failed":
            raise DataFileError(f"{video.video_id}: {video.reason}", hint="Leave it out by `videos`.")
    empty = {column.name: np.zeros(0, object if column.kind == "text" else column.kind) for column in work.columns}
    return joined([empty, *parts])


def write_gaze_table(
    source: str | Path,
    output: str | Path,
    *,
    options: TableOptions | None = None,
    videos: Sequence[str] | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> TableReport:
    """Write the table of `gaze_table` as CSV or Parquet, in memory that does not grow with the videos.

    Args:
        source: as for `gaze_table`.
        output: file that ends in .csv or .parquet; columns are described in STEM.columns.md or inside the file.
        options: areas, the second table of pairs, thresholds.
        videos: ids; None for all.
        overwrite: replace files that are there.
        progress: receives rows done.

    A video that can't be used is left out and named in the report. Equal input gives equal bytes. Raises UsageError for
    inputs and options that can't work, EnvironmentLacksError for Parquet without pyarrow, FaultError where the disk is
    full; files under their final names are complete.
    """
    options, output = options or TableOptions(), Path(output).expanduser()
    files = output_files(output, option="-o", overwrite=overwrite)
    social = None if options.social is None else Path(options.social).expanduser()
    if social is not None:
        more = output_files(social, option="--social", overwrite=overwrite)
        if {one.absolute() for one in files} & {one.absolute() for one in more}:
            raise UsageError(f"-o {output} and --social {social} are the same file.", hint="Give two names.")
        files += more
    work = _plan(Path(source).expanduser(), videos, options, progress or NoProgress())
    notes = _notes(work, str(source))
    with work.source, ExitStack() as stack:
        table = stack.enter_context(open_table(output, work.columns, notes))
        pairs = None if social is None else stack.enter_context(open_table(social, PAIR_COLUMNS, notes))
        for block in work.blocks():
            _add(block, table, pairs)
        if all(video.status == "failed" for video in work.videos):
            reasons = "; ".join(f"{video.video_id}: {video.reason}" for video in work.videos[:3])
            raise DataFileError(f"No video of {source} can be used. {reasons}")
        notes["videos"] = [video.model_dump(exclude_defaults=True) for video in work.videos]
    return TableReport(
        tool_version=__version__,
        source=str(source),
        kind=work.source.kind,
        files=[str(one) for one in files],
        columns=[column.name for column in work.columns],
        absent=work.absent,
        areas=None if work.areas is None else work.areas.record(work.names),
        notes=_remarks(work),
        videos=work.videos,
    )


def _add(block: TableBlock, table: TableFile, pairs: TableFile | None) -> None:
    table.add(block.rows)
    if pairs is not None and block.pairs is not None:
        pairs.add(block.pairs)


def _plan(path: Path, videos: Sequence[str] | None, options: TableOptions, progress: Progress) -> _Work:
    source = open_source(path, videos)
    if options.social is not None and source.kind != "store":
        raise UsageError(
            f"{path} has one map per frame and no people, so that there are no pairs for --social.",
            hint="Make the table of the store.",
        )
    columns, absent = source.columns()
    areas = None if options.areas is None else read_areas(Path(options.areas).expanduser(), options)
    names: list[str] = []
    if areas is not None:
        names = areas.names_for(source.video_ids)
        if len(source.video_ids) > 1 and not areas.fixed and None in areas.video:
            raise UsageError(
                f"{areas.source} has boxes of single frames and does not say of which video; {path} has "
                f"{len(source.video_ids)} videos.",
                hint="Choose one with --video ID, or write a CSV with the column video_id.",
            )
        columns = [*columns, *map(area_column, names)]
    return _Work(
        source=source, options=options, columns=columns, absent=absent, areas=areas, names=names, progress=progress
    )


def _notes(work: _Work, source: str) -> dict[str, Any]:
    """What a file says of its own making."""
    notes: dict[str, Any] = {"source": source, "kind": work.source.kind, "absent": work.absent}
    if work.areas is not None:
        notes["areas"] = work.areas.record(work.names).model_dump()
    if work.options.social is not None:
        notes["thresholds"] = work.options.model_dump(include={"look_mass", "look_inout", "shared_distance"})
    return notes


def _remarks(work: _Work) -> list[str]:
    """What a reader of the table should know and the columns do not say."""
    remarks = []
    if work.source.kind == "dataset":
        remarks.append("Masses and spreads are of the maps as they were packed; minmax and softmax change them.")
    if work.areas is not None and work.areas.fixed:
        remarks.append("The areas hold for all frames.")
    return remarks
