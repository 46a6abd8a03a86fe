"""`extract_report.html`: what a run did, how fast, what failed and what to do next, and sample pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from markupsafe import Markup, escape

from gazetools._version import __version__
from gazetools.extraction.forecast import Forecast
from gazetools.extraction.samples import SamplePicture
from gazetools.html.frame import render
from gazetools.schemas.extract import ExtractReport, ItemResult
from gazetools.schemas.provenance import Provenance
from gazetools.schemas.stage_times import StageTimes

_MOST_ROWS = 20_000
"""Videos that the page lists one by one; about 5 MB."""
_MOST_CARDS = 300
"""Failures that have a card; the table has all."""
_OPEN_ROWS = 100
"""A longer table is folded."""
_KINDS = {"done": "good", "complete": "note", "part": "note", "failed": "error", "not_reached": "warning"}


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """What the page says about a run in addition to its report."""

    store: Path
    command: str
    """The command that does what the run did, as typed into a shell."""
    began: str
    """Local date and time."""
    seconds: float
    """Since the run began to compute."""
    state: str
    """`finished`, `running`, or the words that ended it early."""
    provenance: Provenance | None = None
    """Provenance of one finished video; None: no video is finished."""
    forecasts: Sequence[Forecast] = ()
    present: Forecast | None = None
    """The forecast of the page's moment; None: nothing to forecast."""
    samples: Sequence[SamplePicture] = field(default_factory=list)


def page_of(report: ExtractReport, facts: RunFacts) -> str:
    """The page of a run, also of one that still runs or ended early."""
    items = report.items
    counts: Counter[str] = Counter(item.status for item in items)
    order = ("failed", "part", "not_reached", "done", "complete")
    listed = sorted(items, key=lambda item: order.index(item.status))[:_MOST_ROWS]
    return render(
        "extraction/page.html.jinja",
        title=f"gazetools extract: {facts.store}",
        command="extract",
        version=__version__,
        facts=facts,
        report=report,
        verdict=_verdict(report, facts, counts),
        tiles=_tiles(report, counts),
        ran=_ran(report, facts),
        stages=_stages(report.profile),
        forecasts=_forecasts(facts),
        took=duration(facts.seconds),
        failed=report.failed[:_MOST_CARDS],
        more_failed=max(0, len(report.failed) - _MOST_CARDS),
        listed=[_row(item) for item in listed],
        unlisted=len(items) - len(listed),
        folded=len(listed) > _OPEN_ROWS,
        samples=facts.samples,
        without_sample=sum(item.status in ("done", "complete") for item in items)
        - len({sample.video_id for sample in facts.samples}),
    )


def duration(seconds: float) -> str:
    """`0.4 s`, `42 s`, `7 min 5 s`, `3 h 20 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def _verdict(report: ExtractReport, facts: RunFacts, counts: Counter[str]) -> dict[str, str]:
    there = counts["done"] + counts["complete"] + counts["part"]
    text = f"{there:,} of {len(report.items):,} videos are done"
    if counts["failed"]:
        text += f", {counts['failed']:,} failed"
    if counts["not_reached"]:
        text += f", {counts['not_reached']:,} were not reached"
    if facts.state == "running":
        left = f" About {duration(facts.present.total - facts.seconds)} are left." if facts.present else ""
        return {"kind": "note", "text": f"Running: {text}.", "more": f"The page is of a moment of the run.{left}"}
    if facts.state != "finished":
        more = f"The run ended early: {facts.state} The same command goes on where it ended."
        return {"kind": "warning", "text": f"{text}.", "more": more}
    if counts["failed"]:
        more = "The same command tries the failed ones again and keeps the others."
        return {"kind": "error", "text": f"{text}.", "more": more}
    if counts["not_reached"]:
        more = "The same command, or the other shards, go on with them."
        return {"kind": "warning", "text": f"{text}.", "more": more}
    return {"kind": "good", "text": f"{text}.", "more": ""}


def _tiles(report: ExtractReport, counts: Counter[str]) -> list[tuple[str, str]]:
    items = report.items
    frames, rows = sum(item.frames for item in items), sum(item.rows for item in items)
    empty = sum(item.frames_without_people for item in items)
    found = [(f"{counts[status]:,}", status.replace("_", " ")) for status in _KINDS if counts[status]]
    found += [(f"{frames:,}", "frames"), (f"{rows:,}", "maps (frames x people)")]
    if frames:
        found += [(f"{100 * (frames - empty) / frames:.1f} %", "frames with people")]
        found += [(f"{rows / frames:.2f}", "people per frame")]
    if report.profile is not None and report.profile.frames:
        found.append((f"{report.profile.frames_per_second:.1f}", "frames per second"))
    for name, label in (("small_heads", "small heads"), ("clipped_boxes", "clipped boxes")):
        if total := sum(getattr(item, name) for item in items):
            found.append((f"{total:,}", label))
    return found


def _ran(report: ExtractReport, facts: RunFacts) -> list[tuple[str, str, bool]]:
    """(what, value, whether it is code) of the run."""
    options, record = report.options, facts.provenance
    found = [("command", facts.command, True), ("began", facts.began, False), ("took", duration(facts.seconds), False)]
    found.append(("gazetools", report.tool_version, False))
    if record is None:
        found += [("model", str(options["model"]), True), ("number type", f"--dtype {options['dtype']}", True)]
        found.append(("device", str(options["device"]), True))
    else:
        model, runtime = record.model, record.model.runtime
        chosen = " (chosen by --dtype auto)" if model.precision is not None else ""
        found += [
            ("model", f"{model.name}, backbone {model.backbone}, maps {model.out_size[0]}x{model.out_size[1]}", False),
            ("weights", ", ".join(f"{role} {digest[:12]}" for role, digest in model.weights_sha256.items()), True),
            ("number type", model.dtype + chosen, False),
            (
                "computed by",
                model.implementation if runtime is None else f"{runtime.program} ({runtime.chosen})",
                False,
            ),
            ("device", f"{model.device}, batches of {record.batch_size}", False),
            ("decoder", record.video.decoder, False),
        ]
    found += [("head boxes", str(options["heads"]), True), ("people", str(options["people"]), False)]
    if report.shard is not None:
        found.append(("shard", report.shard, False))
    return found


def _stages(times: StageTimes | None) -> list[tuple[str, float, float]]:
    """(stage, seconds, share of the wall time 0..1) of the workers' main loops; none where nothing was computed."""
    if times is None or not times.wall:
        return []
    names = {
        "find heads": times.detect, "open files": times.open, "wait for frames": times.decode_wait,
        "prompts": times.prompt, "model": times.model, "wait for writing": times.write_wait,
        "join and commit": times.join, "other": times.other,
    }  # fmt: skip
    return [(name, seconds, min(1.0, seconds / times.wall)) for name, seconds in names.items() if seconds]


def _forecasts(facts: RunFacts) -> list[tuple[str, str, str, str]]:
    """(share of the work, time then, total expected then, how far off) of each kept forecast."""
    found = []
    for one in facts.forecasts:
        off = ""
        if facts.state == "finished" and facts.seconds > 0:
            off = f"{100 * (one.total - facts.seconds) / facts.seconds:+.0f} %"
        found.append((f"{100 * one.share:.0f} %", duration(one.seconds), duration(one.total), off))
    return found


def _row(item: ItemResult) -> Markup:
    """The cells of a video; written here, since 10,000 rows of template code take a second."""
    covered = "" if not item.frames else f"{100 * (item.frames - item.frames_without_people) / item.frames:.1f} %"
    resumed = [f"{item.resumed_frames:,} frames taken over from an earlier run"] if item.resumed_frames else []
    reason = [item.reason] if item.reason and item.status == "failed" else []
    notes = escape("; ".join([*reason, *item.notes, *item.head_notes, *resumed]))
    status = f'<span class="badge {_KINDS[item.status]}">{item.status.replace("_", " ")}</span>'
    numbers = (item.frames, item.rows, covered, item.small_heads, item.clipped_boxes, f"{item.seconds:.1f}")
    cells = "".join(f"<td>{number}</td>" for number in numbers)
    video = f'<td class="id">{escape(item.video_id)}</td><td class="left">{status}</td>'
    return Markup(f'{video}{cells}<td class="left long">{notes}</td>')
