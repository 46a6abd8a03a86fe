"""`DATASET/index.json` of a dataset in shards: which blocks of rows each shard holds, and its checksum."""

from __future__ import annotations

import json
from typing import Literal

from pydantic import Field

from gazetools.schemas.base import StrictModel

SHARD_FOLDER = "shards"
SHARD_INDEX_NAME = "index.json"
MAX_SHARD_INDEX_BYTES = 1 << 30
"""The index has about 60 bytes per block, which is 1 MiB of maps of 64x64."""


class ShardEntry(StrictModel):
    """One finished shard."""

    file: str
    """The shard, relative to the dataset."""
    bytes: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    blocks: list[tuple[str, int, int, int, int, int]]
    """(video id, first row, rows, first byte in the shard, bytes, CRC-32) of each block, in their order."""


class ShardIndexFile(StrictModel):
    """`index.json`."""

    schema_name: Literal["gazetools.shards"] = "gazetools.shards"
    schema_version: Literal[1] = 1
    shards: list[ShardEntry]

    def text(self) -> str:
        """The file as text, one line per shard."""
        head = f'{{"schema_name": "{self.schema_name}", "schema_version": {self.schema_version}, "shards": ['
        lines = [json.dumps(one.model_dump(), sort_keys=True, ensure_ascii=False) for one in self.shards]
        return head + ",".join(f"\n{line}" for line in lines) + "\n]}\n"
