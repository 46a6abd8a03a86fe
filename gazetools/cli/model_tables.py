"""What `gazetools models` shows: one line per model, everything about a few, number types against float32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Column, Table
from rich.text import Text

from gazetools.cli.tables import Cell, text_table
from gazetools.schemas.precision import FLAT_TOLERANCE, INOUT_TOLERANCE, LEAST_ROWS

if TYPE_CHECKING:
    from gazetools.gazemodels.model_list import ListedModel
    from gazetools.schemas.model_facts import ModelFacts
    from gazetools.schemas.precision import PrecisionReport, TypeAgreement

_FIGURES = {
    "GazeFollow AUC, min L2, avg L2": ("gazefollow_auc", "gazefollow_min_l2", "gazefollow_avg_l2"),
    "VideoAttentionTarget AUC, L2, in/out AP": ("vat_auc", "vat_l2", "vat_ap"),
    "ChildPlay AUC, L2, AP": ("childplay_auc", "childplay_l2", "childplay_ap"),
}


def all_models(models: Sequence[ListedModel]) -> Table:
    """A few lines per model, narrow enough for a terminal of 80 columns."""
    columns = (
        Column("--model\nlicence of its weights", min_width=max(len(model.name) for model in models), ratio=1),
        Column("input\nparams", no_wrap=True),
        Column("published", no_wrap=True),
        Column("weights", no_wrap=True),
    )
    caption = (
        "GF: GazeFollow AUC, min L2, avg L2. VAT: VideoAttentionTarget AUC, L2, in/out AP. All are the authors' own.\n"
        "Source, licences in full, origin and command of one: gazetools models NAME"
    )
    return text_table(columns, [_line(model) for model in models], title="gaze models", caption=caption)


def _line(model: ListedModel) -> Sequence[Cell]:
    facts = model.facts
    if facts is None:
        return (f"{model.name}\n  from {model.loader}", "", "", "")
    gazefollow, vat = (_figures(facts, names) for names in list(_FIGURES.values())[:2])
    published = [f"{word} {shown}" for word, shown in (("GF ", gazefollow), ("VAT", vat)) if shown]
    licence = f"\n  {facts.weights_licence.split(' (')[0]}" if facts.weights != "none" else ""
    size = f"{_size(facts.in_size)}\n{_parameters(facts)}"
    return (f"{facts.name}{licence}", size, "\n".join(published), _presence(model))


def _presence(model: ListedModel) -> Text:
    assert model.facts is not None, "models of other packages have a line of their own"
    if model.facts.weights == "none":
        return Text("none", style="green")
    if model.present:
        return Text("present", style="green")
    return Text("own file" if model.facts.weights == "own file" else "absent", style="yellow")


def one_model(model: ListedModel) -> Table:
    """Everything about one model."""
    facts = model.facts
    rows: list[Sequence[Cell]] = []
    if facts is not None:
        rows += [
            ("family", facts.family),
            ("input", f"{_size(facts.in_size)} (height x width), grid {_size(facts.grid)}"),
            ("heatmap", f"{_size(facts.out_size)}{', and in/out' if facts.inout else ''}"),
            ("people without a head box", "get no map" if facts.needs_boxes else "are possible"),
            ("parameters", _parameters(facts)),
            *((what, shown) for what, names in _FIGURES.items() if (shown := _figures(facts, names))),
            *([("published in", facts.figures.source)] if facts.figures else []),
            ("licence of the code", facts.code_licence),
            ("licence of the weights", facts.weights_licence),
            ("page", facts.home),
            ("weights", _presence(model)),
        ]
    rows += [("loader", model.loader), ("from", model.origin)]
    rows += [("in the cache as", "\n".join(model.files))] if model.files else []
    rows += [("command", model.command)]
    columns = (Column(no_wrap=True), Column(overflow="fold"))
    return text_table(columns, rows, title=model.name, show_header=False)


def number_types(report: PrecisionReport) -> Table:
    """One row per number type that was compared with float32."""
    rows: list[Sequence[Cell]] = [("float32", "", "", "", f"{report.float32_milliseconds_per_frame:.1f}", "")]
    for one in report.compared:
        verdict = Text("agrees", style="green") if one.agrees else Text(_what_differs(one), style="red")
        inout = "-" if one.inout_difference is None else f"{one.inout_difference:.4f}"
        peaks = f"{one.moved_peaks} of {one.peak_rows}"
        figures = (peaks, str(one.farthest_cells), inout, f"{one.milliseconds_per_frame:.1f}")
        rows.append((one.dtype, *(figures if one.refused is None else ("", "", "", "")), verdict))
    columns = ("number type", "peaks moved", "farthest, cells", "in/out differs by", "ms per frame", "")
    title = f"{report.model} on {report.device}, {report.frames} frames of {report.video}"
    flat = max((one.flat_rows for one in report.compared), default=0)
    caption = f"{flat} maps without a peak were compared value by value" if flat else None
    return text_table(columns, rows, title=title, caption=caption)


def _what_differs(one: TypeAgreement) -> str:
    if one.refused is not None:
        return one.refused
    if one.peak_rows < LEAST_ROWS:
        return f"too little to compare: {one.peak_rows} maps with a peak, {LEAST_ROWS} are needed"
    found = [
        (one.moved_peaks, "peaks move"),
        ((one.inout_difference or 0) > INOUT_TOLERANCE, f"in/out differs by over {INOUT_TOLERANCE:g}"),
        (one.flat_difference > FLAT_TOLERANCE, f"flat maps differ by {one.flat_difference:.3f}"),
    ]
    return ", ".join(words for wrong, words in found if wrong)


def _figures(facts: ModelFacts, names: Sequence[str]) -> str:
    values = [getattr(facts.figures, name, None) for name in names]
    return " ".join(f"{value:.3f}".lstrip("0") for value in values if value is not None)


def _parameters(facts: ModelFacts) -> str:
    millions = facts.parameters / 1e6
    return f"{millions:.{2 if millions < 10 else 1}f} M" if facts.parameters else "-"


def _size(height_width: tuple[int, int]) -> str:
    return "x".join(map(str, height_width))
