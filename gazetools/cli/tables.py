"""What the commands show: tables of results, one function per kind of report. Names in them are never markup."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Column, Table
from rich.text import Text

from gazetools.schemas.findings import frame_runs

if TYPE_CHECKING:
    from gazetools.doctor import Check
    from gazetools.extraction.disk_estimate import SpaceEstimate
    from gazetools.io.space import FreeSpace
    from gazetools.schemas.dataset import PackReport
    from gazetools.schemas.evaluation import Estimate, EvaluationReport, EvaluationTable
    from gazetools.schemas.extract import ExtractReport
    from gazetools.schemas.findings import ValidationReport
    from gazetools.schemas.groundtruth import GroundTruthReport
    from gazetools.schemas.stage_times import StageTimes

_COLOURS = {
    **dict.fromkeys(("done", "packed", "ok"), "green"),
    **dict.fromkeys(("complete", "unchanged", "note"), "cyan"),
    **dict.fromkeys(("part", "not_reached", "warning", "optional"), "yellow"),
    **dict.fromkeys(("failed", "error", "missing"), "red"),
}
_MAX_NOTES = 20
Cell = str | Text


def text_table(columns: Iterable[str | Column], rows: Iterable[Sequence[Cell]], *, title: str, **more: Any) -> Table:
    """A table whose texts are shown as they are; colours come from `Text` cells."""
    table = Table(*columns, title=escape(title), **more)
    for row in rows:
        table.add_row(*(escape(cell) if isinstance(cell, str) else cell for cell in row))
    return table


def status_text(word: str, shown: str | None = None) -> Text:
    """The status `word`, or the text `shown` for it, in the colour of the word."""
    return Text(word if shown is None else shown, style=_COLOURS[word])


def _video_id() -> Column:
    return Column("video id", overflow="fold")  # never cut: it is what one copies


def checks(found: Sequence[Check]) -> Table:
    """What this machine has and lacks, with the remedy of each lack."""
    rows = [
        (one.name, status_text(one.status, "-" if one.status == "optional" else None), one.found, one.remedy or "")
        for one in found
    ]
    return text_table(("what", "", "found", "remedy"), rows, title="")


def planned_videos(
    listing: Sequence[Mapping[str, str]], usable: int, estimate: SpaceEstimate | None, free: FreeSpace
) -> Table:
    """The videos of a dry run with their box files, how many are `usable`, and the space that they would take."""
    rows = [(row["video_id"], row["path"], row["heads"]) for row in listing]
    title = f"{usable} {f'of {len(listing)} ' * (usable < len(listing))}videos would be extracted"
    return text_table((_video_id(), "file", "head boxes"), rows, title=title, caption=_space_line(estimate, free))


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


def extracted_videos(report: ExtractReport, output: Path) -> Table:
    """One row per input of `extract`."""
    rows: list[Sequence[Cell]] = []
    for item in report.items:
        counts = (item.frames, item.rows, item.frames_without_people, item.small_heads, item.clipped_boxes)
        status = status_text(item.status, item.status.replace("_", " "))
        rows.append((item.video_id, status, *map(str, counts), f"{item.seconds:.1f}"))
    columns = (_video_id(), "status", "frames", "rows", "no people", "small heads", "clipped", "s")
    return text_table(columns, rows, title=str(output))


def stage_times(times: StageTimes) -> Table:
    """Where the time of an extraction went, and the memory that it took."""
    from gazetools.io.space import size_text

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
    rows = [(name, f"{s:.2f}", f"{s / times.wall:.1%}" if times.wall else "") for name, s in stages.items()]
    table = text_table(("stage", "s", "share"), rows, title=title)
    table.add_section()
    table.add_row("decoding, in parallel", f"{times.decode_busy:.2f}", "")
    table.add_row("writing, in parallel", f"{times.write_busy:.2f}", "")
    table.add_section()
    table.add_row("people", str(times.people), "")
    if times.people_not_evaluated:
        table.add_row("people not evaluated", str(times.people_not_evaluated), "")
    if times.peak_memory:
        table.add_row("largest memory", size_text(times.peak_memory), "")
    if times.peak_device_memory:
        table.add_row("largest memory of the GPU", size_text(times.peak_device_memory), "")
    return table


def packed_videos(report: PackReport) -> Table:
    """One row per video of `pack` or `convert`, what went wrong below it."""
    rows: list[Sequence[Cell]] = []
    for item in report.items:
        counts = (str(item.frames), str(item.valid_frames), f"{item.bytes / 1e6:.2f}", f"{item.seconds:.1f}")
        rows.append((item.video_id, status_text(item.status), *counts))
        rows += [("", line) for line in (item.reason, *item.warnings) if line]
    return text_table(("video id", "status", "frames", "with map", "MB", "s"), rows, title=report.output)


def rendered_videos(report: GroundTruthReport, output: Path) -> Table:
    """One row per video of `groundtruth`, what went wrong below it."""
    rows: list[Sequence[Cell]] = []
    for item in report.items:
        known = sum(item.counts.get(f"depth_{kind}", 0) for kind in ("measured", "points"))
        inside = f"{item.counts.get('inside', 0):.0f} / {item.counts.get('outside', 0):.0f}"
        numbers = (str(item.frames), str(item.rows), inside, f"{known:.0f}", f"{item.seconds:.1f}")
        rows.append((item.video_id, status_text(item.status), *numbers))
        rows += [("", item.reason)] if item.reason else []
    return text_table(("video id", "status", "frames", "rows", "in / out", "depth known", "s"), rows, title=str(output))


_COLUMNS = 5
"""Metrics that fit side by side on a terminal."""


def scores(report: EvaluationReport, metrics: Mapping[str, str]) -> Table:
    """One row for everything and for each group; `metrics`: name -> heading.

    The first five metrics are columns. What a benchmark has in addition stands below the table, for all heads.
    """
    names = {"all": report.overall}
    for kind, members in report.groups.items():
        names |= {f"{kind.replace('_', ' ')} {name}": found for name, found in members.items()}
    there = [(metric, heading) for metric, heading in metrics.items() if metric in report.overall]
    shown = dict(one for one in there if one[0] in list(metrics)[:_COLUMNS])
    rows = [(name, *(_score(found.get(one)) for one in shown), str(_most_rows(found))) for name, found in names.items()]
    table = text_table(("", *shown.values(), "rows"), rows, title=f"{report.predicted} against {report.truth}")
    below = [f"{heading}: {_score(report.overall[metric])}" for metric, heading in there if metric not in shown]
    table.caption = escape("\n".join(below)) if below else None
    return table


def models_scores(table: EvaluationTable, metrics: Mapping[str, str]) -> Table:
    """One row per metric, one column per model and per difference to the first model; `metrics`: name -> heading."""
    first, *others = table.reports
    columns = {report.predicted: report.overall for report in table.reports}
    for other in others:
        own = {one.metric: one.difference for one in table.differences if one.predicted == other.predicted}
        columns[f"{other.predicted} minus {first.predicted}"] = own
    used = [(one, heading) for one, heading in metrics.items() if any(one in found for found in columns.values())]
    rows = [(heading, *(_score(found.get(one)) for found in columns.values())) for one, heading in used]
    rows.append(("rows", *(str(_most_rows(found)) for found in columns.values())))
    headings: tuple[str | Column, ...] = ("", *(Column(escape(name), overflow="fold") for name in columns))
    return text_table(headings, rows, title=f"{len(table.reports)} models against {table.truth}")


def _most_rows(found: Mapping[str, Estimate]) -> int:
    return max((one.count for one in found.values()), default=0)


def _score(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    interval = "" if estimate.low is None else f" [{estimate.low:.3f}, {estimate.high:.3f}]"
    return f"{estimate.value:.4f}{interval}"


def findings(report: ValidationReport) -> Table | str:
    """Errors and warnings in full, the first notes."""
    if not report.findings:
        return "No findings: every file was read to its end."
    loud = [finding for finding in report.findings if finding.severity != "note"]
    notes = [finding for finding in report.findings if finding.severity == "note"]
    rows: list[Sequence[Cell]] = []
    for finding in [*loud, *notes[:_MAX_NOTES]]:
        kind = Text.assemble((finding.severity, _COLOURS[finding.severity]), f"\n{finding.code}")
        where = "\n".join(part for part in (finding.video_id, _frames(finding.frames)) if part)
        rows.append((kind, where, f"{finding.message}\n{finding.remedy}"))
    if len(notes) > _MAX_NOTES:
        rows.append(("note", "", f"... and {len(notes) - _MAX_NOTES} more notes; --json has all."))
    columns = (Column("code", no_wrap=True), "where", Column("what, and what to do", ratio=1))
    return text_table(columns, rows, title="findings", show_lines=True)


def _frames(frames: list[int] | None) -> str:
    """`frames 3-5, 9, ...`"""
    return "" if frames is None else f"frames {frame_runs(frames, most=4)}"
