"""What `gazetools extract` shows: the plan of a dry run, the result of each video, where the time went."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gazetools.cli.common import TERMINAL

if TYPE_CHECKING:
    from rich.table import Table

    from gazetools.extraction.disk_estimate import SpaceEstimate
    from gazetools.extraction.inputs import VideoItem
    from gazetools.io.space import FreeSpace
    from gazetools.schemas.extract import ExtractReport, StageTimes


def show_plan(
    items: Sequence[VideoItem],
    head_files: dict[str, Path] | None,
    *,
    heads: str,
    estimate: SpaceEstimate | None,
    free: FreeSpace,
) -> None:
    """The videos of a dry run with their box files, and the space that they would take."""
    listing = [
        {
            "video_id": item.video_id,
            "path": str(item.path),
            "heads": item.problem or _heads_of(heads, head_files, item.video_id),
        }
        for item in items
    ]
    needed = vars(estimate) if estimate else {"needed_bytes": None, "needed_files": None}
    TERMINAL.emit({"videos": listing, "space": {**needed, "free_bytes": free.bytes, "free_files": free.files}})
    TERMINAL.show(_plan_table(listing, _space_line(estimate, free)))


def show_report(report: ExtractReport, output: Path, *, profile: bool) -> None:
    """One row per video, the reason of each failure, and with `profile` the stages."""
    from rich.markup import escape

    TERMINAL.emit(report.model_dump(mode="json"))
    TERMINAL.show(_result_table(report, output))
    for item in report.failed:
        TERMINAL.show(f"[red]failed[/] {escape(item.video_id)}: {escape(item.reason or '')}")
    if profile and report.profile is not None:
        TERMINAL.show(_profile_table(report.profile))


def _heads_of(spec: str, head_files: dict[str, Path] | None, video_id: str) -> str:
    """What the listing says of a video's boxes: its file, `missing`, or the source that needs none."""
    return str(head_files.get(video_id) or "missing") if head_files else spec


def _plan_table(listing: list[dict[str, str]], caption: str) -> Table:
    from rich.markup import escape
    from rich.table import Column, Table

    name = Column("video id", overflow="fold")
    title = f"{len(listing)} videos would be extracted"
    table = Table(name, "file", "head boxes", title=title, caption=caption)
    for row in listing:
        table.add_row(*(escape(row[key]) for key in ("video_id", "path", "heads")))
    return table


def _space_line(estimate: SpaceEstimate | None, free: FreeSpace) -> str:
    """Bytes and files that a dry run's videos need and the disk has; red where that is too little."""
    from gazetools.io.space import size_text

    bytes_free, files_free = size_text(free.bytes), "uncounted" if free.files is None else f"{free.files:,}"
    if estimate is None:
        return f"space needed: unknown, no file says how many frames it has; free: {bytes_free}, {files_free} files"
    short = estimate.needed_bytes > free.bytes or (free.files is not None and estimate.needed_files > free.files)
    needed = f"{size_text(estimate.needed_bytes)}, {estimate.needed_files:,} files"
    return (
        f"space needed: about {f'[red]{needed}[/]' if short else needed}; free: {bytes_free}, {files_free} files "
        f"(estimated from {estimate.probed:,} of {estimate.videos:,} unfinished videos, {estimate.people})"
    )


def _result_table(report: ExtractReport, output: Path) -> Table:
    from rich.markup import escape
    from rich.table import Column, Table

    name = Column("video id", overflow="fold")
    table = Table(name, "status", "frames", "rows", "no people", "small heads", "clipped", "s", title=str(output))
    style = {"done": "green", "complete": "cyan", "part": "yellow", "failed": "red"}
    for item in report.items:
        status = f"[{style[item.status]}]{item.status}[/]"
        counts = (item.frames, item.rows, item.frames_without_people, item.small_heads, item.clipped_boxes)
        table.add_row(escape(item.video_id), status, *map(str, counts), f"{item.seconds:.1f}")
    return table


def _profile_table(times: StageTimes) -> Table:
    from rich.table import Table

    stages = {
        **({"detect heads": times.detect} if times.detect else {}),
        "open files": times.open,
        "wait for frames": times.decode_wait,
        "prompts": times.prompt,
        "model": times.model,
        "wait for writing": times.write_wait,
        "join and commit": times.join,
        "other": times.other,
    }
    workers = f"{times.workers} worker{'s' if times.workers > 1 else ''}"
    title = f"{times.frames_per_second:.1f} frames/s with {workers}; bottleneck: {times.bottleneck}"
    table = Table("stage", "s", "share", title=title)
    for name, seconds in stages.items():
        table.add_row(name, f"{seconds:.2f}", f"{seconds / times.wall:.1%}" if times.wall else "")
    table.add_section()
    table.add_row("decoding, beside it", f"{times.decode_busy:.2f}", "")
    table.add_row("writing, beside it", f"{times.write_busy:.2f}", "")
    return table
