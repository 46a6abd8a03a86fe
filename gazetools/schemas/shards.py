"""`DATASET/index.json` of a dataset in shards: which blocks of rows each shard holds, and its checksum."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from gazetools.schemas.base import StrictModel

SHARD_FOLDER = "shards"
SHARD_INDEX_NAME = "index.json"
MAX_SHARD_INDEX_BYTES = 1 << 30
"""The index has about 80 bytes per block, which is 1 MiB of maps of 64x64."""


class ShardEntry(StrictModel):
    """One finished shard."""

    url: str
    """File of the shard, relative to the index."""
    nsamples: int = Field(ge=0)
    """Number of blocks."""
    filesize: int = Field(ge=0)
    """Bytes of the shard."""
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    blocks: list[tuple[str, int, int, int, int, int]]
    """(video id, first row, rows, first byte in the shard, bytes, CRC-32) of each block, in their order."""


class ShardIndexFile(StrictModel):
    """`index.json`, in the form that webdataset's `wids` reads, with more keys per shard."""

    kind: Literal["wids-shard-index-v1"] = Field(default="wids-shard-index-v1", alias="__kind__")
    wids_version: Literal[1] = 1
    shardlist: list[ShardEntry]
