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
    from gazetools.schemas.evaluation import Estimate, EvaluationReport
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
_TRAINING_STATUS = {
    "done": ("done", "done"),
    "interrupted": ("part", "interrupted"),
    "not begun": ("part", "not begun"),
}
_MAX_NOTES = 20
Cell = str | Text


def text_table(columns: Iterable[str | Column], rows: Iterable[Sequence[Cell]], *, title: str, **more: Any) -> Table:
    """A table whose texts are shown as they are; colours come from `Text` cells."""
    table = Table(*columns, title=escape(title), **more)
    for row in rows:
        table.add_row(*(escape(cell) if isinstance(cell, str) else cell for cell in row))
    return table


def _status(word: str, shown: str | None = None) -> Text:
    return Text(word if shown is None else shown, style=_COLOURS[word])


def _video_id() -> Column:
    return Column("video id", overflow="fold")  # never cut: it is what one copies


def checks(found: Sequence[Check]) -> Table:
    """What this machine has and lacks, with the remedy of each lack."""
    rows = [
        (one.name, _status(one.status, "-" if one.status == "optional" else None), one.found, one.remedy or "")
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
        status = _status(item.status, item.status.replace("_", " "))
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
        rows.append((item.video_id, _status(item.status), *counts))
        rows += [("", line) for line in (item.reason, *item.warnings) if line]
    return text_table(("video id", "status", "frames", "with map", "MB", "s"), rows, title=report.output)


def rendered_videos(report: GroundTruthReport, output: Path) -> Table:
    """One row per video of `groundtruth`, what went wrong below it."""
    rows: list[Sequence[Cell]] = []
    for item in report.items:
        known = sum(item.counts.get(f"depth_{kind}", 0) for kind in ("measured", "points"))
        inside = f"{item.counts.get('inside', 0):.0f} / {item.counts.get('outside', 0):.0f}"
        numbers = (str(item.frames), str(item.rows), inside, f"{known:.0f}", f"{item.seconds:.1f}")
        rows.append((item.video_id, _status(item.status), *numbers))
        rows += [("", item.reason)] if item.reason else []
    return text_table(("video id", "status", "frames", "rows", "in / out", "depth known", "s"), rows, title=str(output))


def scores(report: EvaluationReport, metrics: Mapping[str, str]) -> Table:
    """One row for everything and for each group; `metrics`: name -> heading."""
    names = {"all": report.overall}
    for kind, members in report.groups.items():
        names |= {f"{kind} {name}": found for name, found in members.items()}
    shown = {metric: heading for metric, heading in metrics.items() if metric in report.overall}
    rows = [
        (name, *(_score(found.get(one)) for one in shown), str(max((e.count for e in found.values()), default=0)))
        for name, found in names.items()
    ]
    return text_table(("", *shown.values(), "rows"), rows, title=f"{report.predicted} against {report.truth}")


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


def arms(document: Mapping[str, Any]) -> Table:
    """One row per arm and task of `report`: its figure with the interval, and the difference to the baseline."""
    from gazetools.trainer.report.tables import value_text

    figure = f"recall@{document['k']}"
    on_split = [row for row in document["contrasts"] if row["split"] == document["split"]]
    contrasts = {(row["arm"], row["task"]): row for row in on_split if row["baseline"] == document["baseline"]}
    rows = []
    for row in document["arms"]:
        contrast = contrasts.get((row["arm"], row["task"]))
        value = value_text(row, figure)
        compared = (f"{contrast['difference']:+.2f}", _p_value(contrast)) if contrast else ("", "")
        rows.append((row["arm"], row["seed"], row["task"], value, *compared))
    title = f"{figure} on {document['split']} (95 % intervals over trainings and {document['statistics']['cluster']}s)"
    caption = document["primary"]["text"] if document["primary"] else None
    columns = ("arm", "seed", "task", figure, "difference", "p (Holm)")
    return text_table(columns, rows, title=title, caption=caption and escape(caption))


def _p_value(contrast: Mapping[str, Any]) -> str:
    p = contrast["p"] if contrast["p_holm"] is None else contrast["p_holm"]
    return "" if p is None else f"{p:.3f}"


def trained_models(result: Mapping[str, Any]) -> Table:
    """Figures of the last epoch; with several models one row per model with the weights that were chosen."""
    if result["trainings"]:
        title = f"{result['folder']}: trainings of every arm"
        found = [(str(o["seed"]), _status(*_TRAINING_STATUS[o["status"]]), o["folder"]) for o in result["trainings"]]
        return text_table(("seed", "status", "folder"), found, title=title)
    title = f"{result['folder']}: {result['epochs_done']} epochs, {result['steps_done']} steps"
    if result["final"] and all(set(found) == {"test"} for found in result["final"].values()):
        return _predicted(result)
    if len(result["best_by_learner"]) > 1:
        return _several_models(result, title)
    rows = [
        (name, f"{value:.4f}" if isinstance(value, float) else str(value))
        for name, value in result["metrics"].items()
        if name.startswith(("train_", "val_", "held_out_"))
    ]
    caption = "RANDOM WEIGHTS: encoder and predictor are untrained" if result["random_weights"] else None
    return text_table(("metric", Column("last epoch", justify="right")), rows, title=title, caption=caption)


def new_config(result: Mapping[str, Any]) -> Table:
    """What `train --init` wrote, saw and proposes."""
    annotations, videos, maps, clips = (result[key] for key in ("annotations", "videos", "heatmaps", "clips"))
    classes = ", ".join(f"{count} {task}s" for task, count in clips["classes"].items())
    counted = f"{annotations['actions']} actions, {annotations['participants']} participants or videos"
    rates = ", ".join(f"{rate} fps" for rate in videos["frames_per_second"])
    rows: list[Sequence[Cell]] = [
        ("written", ", ".join(result["written"])),
        (
            "annotations",
            f"{annotations['kind']}: {counted}",
        ),
        ("validation", annotations["validation_from"]),
        ("videos", f"{videos['shown']} ({rates}; {', '.join(videos['sizes'])}), {len(videos['missing'])} missing"),
        ("heatmaps", f"{maps['kind']}, for {maps['present']} of {maps['wanted']} videos"),
        ("encoder", result["encoder"]["what"]),
        ("clips", f"{clips['train']['clips']} train, {clips['validation']['clips']} validation; {classes}"),
        ("held out", f"{clips['held_out_videos']} of the training videos"),
    ]
    rows += [("warning", text) for text in result["warnings"]]
    rows += [("next", command) for command in result["next"]]
    return text_table(("what", "found"), [(name, escape(str(text))) for name, text in rows], title="New config")


def filled_cache(result: Mapping[str, Any]) -> Table:
    """What `train --cache-only` did, and clips that could not be read."""
    rows: list[Sequence[Cell]] = [
        ("clips", str(result["clips"])),
        ("kept before", str(result["present"])),
        ("encoded", str(result["encoded"])),
        ("size of what was missing", f"{result['needed_bytes'] / 1e9:.2f} GB"),
    ]
    rows += [("unreadable", escape(text)) for text in result["unreadable"][:20]]
    return text_table(("features", result["status"]), rows, title=escape(result["folder"]))


def _predicted(result: Mapping[str, Any]) -> Table:
    """One row per model that predicted a test split, with its file for the challenge."""
    files = {one["model"]: one["file"] for one in result["submissions"]}
    rows = [(name, f"{found['test']['clips']:,}", files.get(name, "")) for name, found in result["final"].items()]
    columns = ("model", Column("actions predicted", justify="right"), "submission")
    return text_table(columns, rows, title=f"{result['folder']}: predictions")


def _several_models(result: Mapping[str, Any], title: str) -> Table:
    """One row per model: the epoch that was chosen, and action recall on every split with those weights."""
    splits = list(dict.fromkeys(split for found in result["final"].values() for split in found))
    rows: list[Sequence[Cell]] = []
    for name, best in result["best_by_learner"].items():
        if name in result["failed"]:
            rows.append((name, "dropped"))
            continue
        cells = []
        for split in splits:
            found = result["final"].get(name, {}).get(split, {})
            figure = next((key for key in found if key.startswith("action_recall")), None)
            cells.append(f"{found[figure]:.2f}" if figure else "-")
        rows.append((name, str(best["epoch"]) if best else "-", *cells))
    warning = "; RANDOM WEIGHTS" if result["random_weights"] else ""
    caption = f"action class-mean recall with the chosen weights{warning}"
    return text_table(("model", "epoch", *splits), rows, title=title, caption=caption)
