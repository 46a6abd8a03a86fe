"""The report's page as HTML, Markdown and PDF, and each of its plots as SVG and PNG."""

from __future__ import annotations

from pathlib import Path

from gazetools.html.markdown import markdown_of
from gazetools.io.atomic import write_bytes_atomic
from gazetools.schemas.report import ReportOptions
from gazetools.trainer.report.page import Plots, plot_file
from gazetools.trainer.report.pdf import pdf_of, require_pdf
from gazetools.trainer.report.raster import png_of, require_png


def require_formats(options: ReportOptions) -> None:
    """Raise EnvironmentLacksError where a package for the wanted files is missing: before the work, not after it."""
    if "png" in options.plots:
        require_png()
    if "pdf" in options.format:
        require_pdf()


def write_plots(folder: Path, plots: Plots, options: ReportOptions) -> None:
    """Write `plots/<name>.svg` and `.png` of every chart, whole with its legend."""
    for name, chart in plots.by_name.items():
        drawing = chart.whole()
        if "svg" in options.plots:
            write_bytes_atomic(folder / plot_file(name, ".svg"), drawing.as_file().encode())
        if "png" in options.plots:
            write_bytes_atomic(folder / plot_file(name, ".png"), png_of(drawing))


def plot_suffix(options: ReportOptions) -> str | None:
    """Suffix of the plots that Markdown links: SVG where it is written, which is sharp at any size; None: no files."""
    return next((f".{kind}" for kind in ("svg", "png") if kind in options.plots), None)


def write_pages(folder: Path, page: str, options: ReportOptions) -> None:
    """Write `report.html`, `report.md` and `report.pdf`, as far as they are wanted, all with the words of `page`."""
    if "html" in options.format:
        write_bytes_atomic(folder / "report.html", page.encode())
    if "md" in options.format:
        write_bytes_atomic(folder / "report.md", markdown_of(page).encode())
    if "pdf" in options.format:
        write_bytes_atomic(folder / "report.pdf", pdf_of(page))
