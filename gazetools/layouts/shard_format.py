"""The interface of shards: how a block of rows of one video becomes bytes of a shard, and how shards begin and end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gazetools.schemas.dataset import PackOptions
from gazetools.schemas.shards import SHARD_FOLDER


@dataclass(frozen=True, kw_only=True)
class VideoForm:
    """What the maps of a video have in common."""

    height: int
    width: int
    dtype: np.dtype[Any]
    members: tuple[str, ...]
    """Names of the arrays [T] next to the maps."""

    def __str__(self) -> str:
        return f"{self.dtype} maps of {self.height}x{self.width} with {', '.join(self.members)}"


@dataclass(frozen=True, kw_only=True)
class BlockContent:
    """Consecutive rows of a video, to be written as one block."""

    video_id: str
    first_row: int
    video_rows: int
    """T of the whole video."""
    maps: npt.NDArray[Any]
    """[n, H, W] in the stored type, in C order."""
    members: dict[str, npt.NDArray[Any]]
    """The arrays [n] next to the maps."""


@dataclass(frozen=True, kw_only=True)
class EncodedBlock:
    """The bytes of a block."""

    data: bytes
    maps_at: int
    """Byte of `data` where the first map begins."""


class ShardFormat(ABC):
    """The bytes of shards. Objects have no state."""

    suffix: str
    """What follows the video id in the name of its index."""
    shard_suffix: str
    trailer: bytes
    """Last bytes of a shard."""
    one_form = False
    """All videos must have the same `VideoForm`."""

    @abstractmethod
    def prelude(self, form: VideoForm) -> bytes:
        """First bytes of a shard."""

    @abstractmethod
    def encode(self, content: BlockContent, options: PackOptions) -> EncodedBlock:
        """The bytes of a block; equal content gives equal bytes."""

    def shard(self, dataset: Path, number: int) -> Path:
        """The file of a shard."""
        return dataset / SHARD_FOLDER / f"maps-{number:06d}{self.shard_suffix}"

    def shards_in(self, dataset: Path) -> set[Path]:
        """All files that are named like shards."""
        return set((dataset / SHARD_FOLDER).glob(f"maps-*{self.shard_suffix}"))
