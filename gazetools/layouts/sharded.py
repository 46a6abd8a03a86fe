"""What `webdataset` and `hf` share: blocks of all videos in shards of one size, and an index file for each video."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

from gazetools.io.arrays import ArrayHeader
from gazetools.layouts.base import PackedLayout, SideMembers, StoredMaps
from gazetools.layouts.shard_format import ShardFormat
from gazetools.layouts.shard_index import (
    AGAIN,
    IndexMembers,
    ShardBlock,
    ShardMaps,
    VideoIndex,
    check_shards,
    open_shard,
    read_index,
)
from gazetools.layouts.shard_run import ShardRun
from gazetools.layouts.stream import VideoWriter
from gazetools.schemas.dataset import HEATMAP_MEMBER, PackOptions
from gazetools.schemas.errors import DataFileError, UsageError
from gazetools.schemas.shards import SHARD_INDEX_NAME
from gazetools.schemas.video_id import check_below

_CHUNK = 8 << 20


class ShardedLayout(ShardFormat, PackedLayout):
    """`shards/maps-000000.*` with the blocks of all videos in the order of their ids; `<video_id>.*index` finds them.

    Blocks lie uncompressed, so that any rows are read by their position. All files have the same bytes for the same
    videos and options, whatever runs were interrupted before.
    """

    in_order = True

    def check_environment(self) -> None:
        """Raise EnvironmentLacksError where a package is missing that writes these shards."""

    def begin(self, dataset: Path, options: PackOptions, *, may_replace: bool) -> VideoWriter:
        self.check_environment()
        found = sorted(self.shards_in(dataset))
        if found and not may_replace:
            raise UsageError(
                f"{found[0]} exists and is in no manifest of gazetools.",
                hint="Choose another -o, or pass --overwrite.",
            )
        return ShardRun(self, dataset, options)

    def shards_of(self, path: Path, index: VideoIndex) -> dict[int, Path]:
        """Number and file of each shard that holds rows of the video with the index at `path`.

        Raises DataFileError for a shard that is a link out of the dataset.
        """
        root = index.root(path.absolute())
        shards = {number: self.shard(root, number) for number in sorted({block.shard for block in index.blocks})}
        for shard in shards.values():
            try:
                check_below(shard, root, path.stem)
            except UsageError as error:
                raise DataFileError(error.message, hint=error.hint) from None
        return shards

    def open_members(self, path: Path, *, required: bool) -> IndexMembers:
        return IndexMembers(path)

    def header(self, path: Path, members: SideMembers | None = None) -> tuple[ArrayHeader, str]:
        return (members or IndexMembers(path)).layout(HEATMAP_MEMBER), str(path)

    def open(self, path: Path, members: SideMembers | None = None) -> StoredMaps:
        """Raises DataFileError that names a shard which is missing or too short."""
        index = members.index if isinstance(members, IndexMembers) else read_index(path)
        return ShardMaps(index, self.shards_of(path, index))

    def sha256(self, path: Path) -> str:
        """The checksum of the content, after every block was compared with its own. Raises DataFileError."""
        index = read_index(path)
        shards = self.shards_of(path, index)
        check_shards(index.blocks, shards)
        for number, shard in shards.items():
            self._check_blocks(shard, [block for block in index.blocks if block.shard == number], path)
        return index.sha256

    def _check_blocks(self, shard: Path, blocks: Sequence[ShardBlock], path: Path) -> None:
        with open_shard(shard) as file:
            file.advise(0, 0, "POSIX_FADV_SEQUENTIAL")
            buffer = bytearray(_CHUNK)
            for block in blocks:
                crc = 0
                for start in range(block.begin, block.end, _CHUNK):
                    part = memoryview(buffer)[: min(_CHUNK, block.end - start)]
                    file.read_into(part, start)
                    crc = zlib.crc32(part, crc)
                if crc != block.crc32:
                    raise DataFileError(
                        f"The shard {shard} is damaged: rows {block.first_row} to {block.first_row + block.rows - 1} "
                        f"of {path.stem} (bytes {block.begin} to {block.end - 1}) do not have their checksum.",
                        hint=AGAIN,
                        finding="checksum-mismatch",
                    )

    def bytes_at(self, path: Path) -> int | None:
        """Size of the index and of those blocks that are there; None where the index is missing or damaged."""
        try:
            index = read_index(path)
        except (OSError, DataFileError):
            return None
        shards = self.shards_of(path, index)
        sizes = {number: shard.stat().st_size if shard.is_file() else 0 for number, shard in shards.items()}
        return path.stat().st_size + sum(block.size for block in index.blocks if block.end <= sizes[block.shard])

    def shared_files(self, dataset: Path) -> set[Path]:
        return {dataset / SHARD_INDEX_NAME} | self.shards_in(dataset)
