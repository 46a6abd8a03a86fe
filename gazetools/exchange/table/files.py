"""Files of a table: CSV with full precision and a page of its columns next to it, or Parquet with them inside."""

from __future__ import annotations

import csv
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gazetools._version import __version__
from gazetools.exchange.table.row_blocks import Block
from gazetools.io.atomic import atomic_path, check_writable_folder
from gazetools.schemas.errors import EnvironmentLacksError, UsageError
from gazetools.schemas.table import TableColumn

SUFFIXES = (".csv", ".parquet")
_ROW_GROUP = 131_072
"""Rows of a Parquet row group: a reader that wants a part of the file reads no less."""
_METADATA_KEY = "gazetools"


def output_files(path: Path, *, option: str, overwrite: bool) -> list[Path]:
    """The files that a table at `path` consists of, after checks that nothing stands in their way.

    Raises UsageError for another suffix, files that are there, and a folder that can't be written to;
    EnvironmentLacksError for Parquet without pyarrow.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(
            f"{option} {path} must end in .csv or .parquet.", hint=f"Write {path.with_suffix('.csv').name}."
        )
    files = [path] if path.suffix.lower() == ".parquet" else [path, columns_page(path)]
    for one in files:
        if one.is_dir():
            raise UsageError(f"{option} {one} is a folder.", hint="Name a file.", path=str(one))
        if one.exists() and not overwrite:
            raise UsageError(f"{one} exists.", hint="Give another name, or --overwrite.", path=str(one))
    if path.suffix.lower() == ".parquet":
        _pyarrow()
    check_writable_folder(path.parent, option=option)
    return files


def columns_page(path: Path) -> Path:
    """The page that describes the columns of the CSV at `path`."""
    return path.with_name(f"{path.stem}.columns.md")


class TableFile(ABC):
    """A table that is being written."""

    @abstractmethod
    def add(self, block: Block) -> None:
        """Append the rows of a block, which has all columns of the table."""


@contextmanager
def open_table(path: Path, columns: Sequence[TableColumn], notes: dict[str, Any]) -> Iterator[TableFile]:
    """A table at `path`, committed with what describes it when the block ends without an error.

    `notes` may be changed while rows are added; it is written last. Raises FaultError where the disk is full.
    """
    if path.suffix.lower() == ".parquet":
        with atomic_path(path) as temp, _parquet(temp, columns, notes) as table:
            yield table
        return
    page = columns_page(path)
    with atomic_path(page) as about, atomic_path(path) as temp:
        with temp.open("w", encoding="utf-8", newline="") as file:
            yield CsvTable(file, columns)
        about.write_text(columns_text(path.name, columns, notes), encoding="utf-8")


class CsvTable(TableFile):
    """CSV in UTF-8: empty cells for what is unknown, numbers that read back to the same bits, true and false."""

    def __init__(self, file: io.TextIOBase | Any, columns: Sequence[TableColumn]) -> None:
        self._file, self._columns = file, columns
        csv.writer(file, lineterminator="\n").writerow([column.name for column in columns])

    def add(self, block: Block) -> None:
        cells = [_cells(block[column.name], column) for column in self._columns]
        rows = list(map(",".join, zip(*cells, strict=True)))
        if rows:
            self._file.write("\n".join(rows) + "\n")


def _cells(values: npt.NDArray[Any], column: TableColumn) -> list[str]:
    """The cells of one column; 9 and 17 digits at most give float32 and float64 back."""
    if column.kind == "text":
        quoted = {text: _quoted(text) for text in set(values.tolist())}
        return [quoted[text] for text in values.tolist()]
    if column.kind == "bool":
        return ["true" if value else "false" for value in values.tolist()]
    if column.kind in ("int32", "int64"):
        return list(map(str, values.tolist()))
    if column.kind == "float32":
        return ["" if value != value else f"{value:.9g}" for value in values.tolist()]  # noqa: PLR0124
    return ["" if value != value else repr(value) for value in values.tolist()]  # noqa: PLR0124


def _quoted(text: str) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow([text])
    return out.getvalue()


def columns_text(name: str, columns: Sequence[TableColumn], notes: dict[str, Any]) -> str:
    """The page about the columns of the file `name`, as Markdown."""
    lines = [
        f"# Columns of {name}",
        "",
        f"Written by gazetools {__version__}. An empty cell means: unknown.",
        "",
        "| column | type | unit, range | meaning |",
        "|---|---|---|---|",
        *(f"| {_cell(c.name)} | {c.kind} | {_cell(c.unit)} | {_cell(c.text)} |" for c in columns),
        "",
        "```json",
        json.dumps(notes, indent=2, sort_keys=True, ensure_ascii=False),
        "```",
    ]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())


@contextmanager
def _parquet(path: Path, columns: Sequence[TableColumn], notes: dict[str, Any]) -> Iterator[TableFile]:
    arrow = _pyarrow()
    from pyarrow import parquet

    kinds = {"text": arrow.string(), "bool": arrow.bool_()}
    fields = [
        arrow.field(c.name, kinds.get(c.kind) or getattr(arrow, c.kind)(), metadata={"unit": c.unit, "text": c.text})
        for c in columns
    ]
    schema = arrow.schema(fields)
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        table = ParquetTable(arrow, schema, writer)
        yield table
        table.flush()
        text = json.dumps({"tool_version": __version__, **notes}, sort_keys=True, ensure_ascii=False)
        writer.add_key_value_metadata({_METADATA_KEY: text})


class ParquetTable(TableFile):
    """Parquet by pyarrow, compressed with zstd; nulls for what is unknown."""

    def __init__(self, arrow: Any, schema: Any, writer: Any) -> None:
        self._arrow, self._schema, self._writer = arrow, schema, writer
        self._waiting: list[Any] = []
        self._rows = 0

    def add(self, block: Block) -> None:
        arrays = [
            self._arrow.array(np.ascontiguousarray(block[field.name]), type=field.type, from_pandas=True)
            for field in self._schema
        ]
        batch = self._arrow.RecordBatch.from_arrays(arrays, schema=self._schema)
        self._waiting.append(batch)
        self._rows += batch.num_rows
        if self._rows >= _ROW_GROUP:
            self.flush()

    def flush(self) -> None:
        """Write the waiting rows as a row group."""
        if self._rows:
            self._writer.write_table(self._arrow.Table.from_batches(self._waiting, self._schema))
        self._waiting, self._rows = [], 0


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise EnvironmentLacksError(
            f"Parquet needs the package pyarrow, which cannot be imported ({error}).",
            hint="pip install 'gazetools[table]', or write a .csv",
        ) from error
    return pyarrow
