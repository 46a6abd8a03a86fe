"""The writer of one run of a layout in shards: what earlier runs finished stays, the rest follows in order."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from gazetools.io.atomic import write_bytes_atomic
from gazetools.io.json_files import dumps, read_json
from gazetools.io.parallel import ahead
from gazetools.layouts.open_shard import OpenShard
from gazetools.layouts.shard_format import BlockContent, EncodedBlock, ShardFormat, VideoForm
from gazetools.layouts.shard_index import ShardBlock, VideoIndex, read_index
from gazetools.layouts.stream import MapStream, Written
from gazetools.schemas.dataset import SHARD_MB, WORK_FOLDER, PackOptions
from gazetools.schemas.errors import DataFileError
from gazetools.schemas.shards import MAX_SHARD_INDEX_BYTES, SHARD_INDEX_NAME, ShardEntry, ShardIndexFile

_BLOCK_ROWS = 128
_BLOCK_BYTES = 8 << 20
BlockRow = tuple[str, int, int, int, int, int]
"""An element of `ShardEntry.blocks`."""


@dataclass(frozen=True)
class _Mark:
    """A place in the shards, to which a run returns when a video fails."""

    number: int
    position: int
    rows: int
    form: VideoForm | None


class ShardRun:
    """Writes the blocks of each video behind those of the video before it.

    The place of the next block is a shard and a byte in it. A block that stands there already, as `index.json` or the
    journal of a run that was killed says, is not written again. The first block that differs opens the shard anew,
    under a temporary name and with a copy of what precedes the block. The journal forgets a shard before it is
    replaced and learns it afterwards, so that a kill costs at most the unfinished shard.
    """

    def __init__(self, layout: ShardFormat, dataset: Path, options: PackOptions) -> None:
        self._layout, self._dataset, self._options = layout, dataset, options
        self._limit = (options.shard_size or SHARD_MB) * 10**6
        self._journal = dataset / WORK_FOLDER / "shards"
        self._known = self._finished_shards()
        self._hashing = ThreadPoolExecutor(1, thread_name_prefix="gazetools-sha256")
        self._finishing = ThreadPoolExecutor(1, thread_name_prefix="gazetools-shards")
        self._pending: Future[None] | None = None
        self._open: OpenShard | None = None
        self._number, self._position = 0, 0
        self._rows: list[BlockRow] = []
        """The blocks of the current shard so far."""
        self._form: VideoForm | None = None

    def write(self, path: Path, stream: MapStream) -> Written:
        """Write the blocks of the video at `path`, then its index; on any error the shards are as before."""
        video_id = path.relative_to(self._dataset).as_posix().removesuffix(self._layout.suffix)
        form = VideoForm(height=stream.shape[1], width=stream.shape[2], dtype=stream.dtype, members=stream.member_names)
        mark = self._mark()
        try:
            self._take_form(form, video_id)
            blocks = tuple(self._append(*block) for block in ahead(self._encoded(video_id, stream)))
            members = stream.members()
        except BaseException:
            self._return_to(mark)
            raise
        depth = video_id.count("/")
        index = VideoIndex(shape=stream.shape, dtype=stream.dtype, depth=depth, blocks=blocks, members=members)
        index.write(path)
        return Written(sha256=index.sha256, bytes=path.stat().st_size + index.block_bytes)

    def keep(self, path: Path) -> bool:
        """Whether all blocks of the video at `path` stand where this run would write them; then go behind them."""
        try:
            index = read_index(path)
        except (OSError, DataFileError):
            return False
        if self._open is not None:
            return False
        mark = self._mark()
        video_id = path.relative_to(self._dataset).as_posix().removesuffix(self._layout.suffix)
        for block in index.blocks:
            row = (video_id, block.first_row, block.rows, block.begin, block.size, block.crc32)
            if not self._fits(block.size):
                if self._is_unfinished():
                    break
                self._next_shard()
            if block.shard != self._number or not self._stands(row):
                break
            self._go_behind(row)
        else:
            height, width = index.shape[1:]
            form = VideoForm(height=height, width=width, dtype=index.dtype, members=tuple(index.members))
            self._form = self._form or form
            return True
        self._return_to(mark)
        return False

    def drop(self, path: Path) -> bool:
        path.unlink(missing_ok=True)
        return True

    def commit(self) -> None:
        """Finish the last shard, remove those that no block is left for, and write `index.json`."""
        if self._rows:
            self._close_shard()
        self._wait()
        listed = ShardIndexFile(shards=[self._known[number] for number in range(self._number)])
        for path in self._layout.shards_in(self._dataset) - {self._dataset / one.file for one in listed.shards}:
            path.unlink()
        path, data = self._dataset / SHARD_INDEX_NAME, listed.text().encode()
        if not path.is_file() or path.read_bytes() != data:
            write_bytes_atomic(path, data)

    def close(self) -> None:
        if self._open is not None:
            self._open.discard()
            self._open = None
        self._finishing.shutdown(wait=True)
        self._hashing.shutdown(wait=True)

    def _take_form(self, form: VideoForm, video_id: str) -> None:
        """Raise DataFileError for a video unlike those before it, where the layout holds only one kind."""
        self._form = self._form or form
        if self._layout.one_form and self._form != form:
            raise DataFileError(
                f"{video_id!r} has {form}; the dataset has {self._form}, and this layout holds maps of one kind only.",
                hint="Give pack one --size HxW, or choose --layout webdataset.",
            )

    def _encoded(self, video_id: str, stream: MapStream) -> Iterator[tuple[BlockRow, EncodedBlock]]:
        """The blocks of a video, with row and checksum; where they begin is not known yet (0)."""
        count, height, width = stream.shape
        rows = max(1, min(_BLOCK_ROWS, _BLOCK_BYTES // (height * width * stream.dtype.itemsize)))
        first = 0
        for maps in _of_length(stream.blocks, rows):
            members = stream.rows(first, first + len(maps))
            content = BlockContent(
                video_id=video_id, first_row=first, video_rows=count, maps=np.ascontiguousarray(maps), members=members
            )
            encoded = self._layout.encode(content, self._options)
            yield (video_id, first, len(maps), 0, len(encoded.data), zlib.crc32(encoded.data)), encoded
            first += len(maps)

    def _append(self, row: BlockRow, encoded: EncodedBlock) -> ShardBlock:
        """Put the block at the next place, unless it stands there."""
        video_id, first_row, rows, _, size, crc32 = row
        if not self._fits(size):
            self._close_shard()
        begin = self._position or len(self._prelude())
        row = (video_id, first_row, rows, begin, size, crc32)
        if self._open is not None or not self._stands(row):
            self._opened().write(encoded.data)
        self._go_behind(row)
        return ShardBlock(
            first_row=first_row,
            rows=rows,
            shard=self._number,
            begin=begin,
            size=size,
            maps_at=begin + encoded.maps_at,
            crc32=crc32,
        )

    def _prelude(self) -> bytes:
        return b"" if self._form is None else self._layout.prelude(self._form)

    def _fits(self, size: int) -> bool:
        return not self._rows or self._position + size + len(self._layout.trailer) <= self._limit

    def _stands(self, row: BlockRow) -> bool:
        """Whether a finished shard has this block at the next place."""
        entry = self._known.get(self._number)
        return entry is not None and entry.blocks[len(self._rows) : len(self._rows) + 1] == [row]

    def _go_behind(self, row: BlockRow) -> None:
        self._rows.append(row)
        self._position = row[3] + row[4]

    def _is_unfinished(self) -> bool:
        """Whether the current shard differs from the finished one of its number: open, or with fewer blocks."""
        entry = self._known.get(self._number)
        return self._open is not None or entry is None or len(entry.blocks) != len(self._rows)

    def _next_shard(self) -> None:
        self._number, self._position, self._rows = self._number + 1, 0, []

    def _opened(self) -> OpenShard:
        """The unfinished shard, made where there is none: what precedes the next place, from the finished one."""
        if self._open is None:
            self._write_journal()
            self._open = OpenShard(self._layout.shard(self._dataset, self._number), self._hashing)
            if self._rows:
                self._wait()
                self._open.copy_head(self._open.final, self._position)
            else:
                self._open.write(self._prelude())
        return self._open

    def _close_shard(self) -> None:
        """Finish the current shard in another thread, and go to the next."""
        if self._is_unfinished():
            shard = self._opened()
            shard.write(self._layout.trailer)
            self._wait()
            self._pending = self._finishing.submit(self._finish, shard, self._number, self._rows)
            self._open = None
        self._next_shard()

    def _finish(self, shard: OpenShard, number: int, rows: list[BlockRow]) -> None:
        record = self._journal / f"{number:06d}.json"
        record.unlink(missing_ok=True)
        try:
            sha256, size = shard.finish()
        finally:
            shard.discard()
        name = shard.final.relative_to(self._dataset).as_posix()
        entry = ShardEntry(file=name, bytes=size, sha256=sha256, blocks=rows)
        self._record(number, entry)
        self._known[number] = entry

    def _wait(self) -> None:
        """Wait for the shard that is being finished. Raises its error."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.result()

    def _mark(self) -> _Mark:
        return _Mark(self._number, self._position, len(self._rows), self._form)

    def _return_to(self, mark: _Mark) -> None:
        """Take back everything behind `mark`."""
        self._wait()
        if self._open is not None and (self._number != mark.number or mark.position == 0):
            self._open.discard()
            self._open = None
        if self._number != mark.number:
            entry = self._known.get(mark.number)
            self._rows = [] if entry is None else list(entry.blocks)
        if self._open is not None:
            self._open.truncate(mark.position)
        del self._rows[mark.rows :]
        self._number, self._position, self._form = mark.number, mark.position, mark.form

    def _finished_shards(self) -> dict[int, ShardEntry]:
        """The shards of earlier runs that are there with their size; a record that can't be read is as none."""
        found: list[ShardEntry] = []
        with suppress(DataFileError, ValidationError):
            value = read_json(self._dataset / SHARD_INDEX_NAME, max_bytes=MAX_SHARD_INDEX_BYTES)
            found += ShardIndexFile.model_validate(value).shards
        for path in sorted(self._journal.glob("*.json")):
            with suppress(DataFileError, ValidationError):
                found.append(ShardEntry.model_validate(read_json(path)))
        known: dict[int, ShardEntry] = {}
        places = {self._layout.shard(Path(), number).as_posix(): number for number in range(len(found) + 1)}
        for entry in found:
            path = self._dataset / entry.file
            if entry.file in places and path.is_file() and path.stat().st_size == entry.bytes:
                known[places[entry.file]] = entry
        return known

    def _write_journal(self) -> None:
        """Before the first change: one record per shard instead of the list of all."""
        path = self._dataset / SHARD_INDEX_NAME
        if path.exists():
            for number, entry in self._known.items():
                self._record(number, entry)
            path.unlink()

    def _record(self, number: int, entry: ShardEntry) -> None:
        data = dumps(entry.model_dump(mode="json")).encode()
        write_bytes_atomic(self._journal / f"{number:06d}.json", data, durable=False)


def _of_length(blocks: Iterator[npt.NDArray[Any]], rows: int) -> Iterator[npt.NDArray[Any]]:
    """The maps of `blocks` in blocks of `rows`; the last may be shorter."""
    kept: npt.NDArray[Any] | None = None
    for block in blocks:
        maps = block if kept is None else np.concatenate([kept, block])
        full = len(maps) - len(maps) % rows
        for start in range(0, full, rows):
            yield maps[start : start + rows]
        kept = maps[full:] if full < len(maps) else None
    if kept is not None:
        yield kept
