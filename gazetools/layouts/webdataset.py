"""The layout `webdataset`: tar shards whose samples are an `.npy` of [n, H, W] and a `.json` that says what it is.

The tar headers are made by `tarfile.TarInfo`, the rest here, not by webdataset's `TarWriter`: time, owner and mode are
fixed, the place of every map is known while it is written, and neither writing nor reading needs another package.
Names follow webdataset's rule: everything up to the first dot in the last part of the name is the key of the sample.
"""

from __future__ import annotations

import json
import tarfile
from typing import Any

import numpy as np
import numpy.typing as npt

from gazetools.layouts.npz import npy_header
from gazetools.layouts.shard_format import BlockContent, EncodedBlock, VideoForm
from gazetools.layouts.sharded import ShardedLayout
from gazetools.schemas.dataset import PackOptions
from gazetools.schemas.shards import SHARD_FOLDER

_RECORD = tarfile.BLOCKSIZE


class WebDatasetLayout(ShardedLayout):
    """`shards/maps-000000.tar` with `<video_id>/<first row>.json` and `.npy`; `<video_id>.tarindex` finds the maps."""

    suffix = ".tarindex"
    shard_suffix = ".tar"
    trailer = bytes(2 * _RECORD)

    def prelude(self, form: VideoForm) -> bytes:
        return b""

    def encode(self, content: BlockContent, options: PackOptions) -> EncodedBlock:
        key = f"{content.video_id}/{content.first_row:09d}"
        text = json.dumps(_facts(content, options), sort_keys=True, ensure_ascii=False, allow_nan=False)
        described = _member(f"{key}.json", text.encode("utf-8"))
        header = npy_header(content.maps.shape, content.maps.dtype)
        start = _tar_header(f"{key}.npy", len(header) + content.maps.nbytes) + header
        data = b"".join((described, start, content.maps.data.cast("B"), _padding(len(header) + content.maps.nbytes)))
        return EncodedBlock(data=data, maps_at=len(described) + len(start))

    def readme(self, file: str) -> str:
        return (
            f"Or with webdataset alone: `webdataset.WebDataset('{SHARD_FOLDER}/maps-{{000000..N}}.tar', "
            "shardshuffle=False).decode()`; each sample has `npy`, maps `[n,H,W]` as they are stored, and `json` with "
            "`video_id`, `first_row`, `rows`, `pts_seconds`, `valid`, `inout` and the normalisation. `index.json` "
            "lists the shards with their sha256 and their blocks."
        )


def _facts(content: BlockContent, options: PackOptions) -> dict[str, Any]:
    """What the `.json` of a sample says; numbers that are unknown (NaN) are null."""
    dtype = content.maps.dtype
    return {
        "video_id": content.video_id,
        "first_row": content.first_row,
        "rows": len(content.maps),
        "video_rows": content.video_rows,
        "shape": list(content.maps.shape),
        "dtype": dtype.name,
        "scale": 1 / 255 if dtype == np.uint8 else 1.0,  # as `PackedVideo.scale`
        "normalisation": options.normalize,
        "temperature": options.temperature,
        "people": options.people,
        "align": options.align,
        "fps": options.fps,
        **{name: _listed(array) for name, array in content.members.items()},
    }


def _listed(array: npt.NDArray[Any]) -> list[Any]:
    if array.dtype.kind != "f":
        return list(array.tolist())
    return [value if known else None for value, known in zip(array.tolist(), np.isfinite(array), strict=True)]


def _member(name: str, data: bytes) -> bytes:
    return _tar_header(name, len(data)) + data + _padding(len(data))


def _tar_header(name: str, size: int) -> bytes:
    """The header of a file in POSIX pax format; names that ustar can't hold have a header more."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644  # time 0, owner 0 without a name are TarInfo's defaults
    return info.tobuf(tarfile.PAX_FORMAT)


def _padding(size: int) -> bytes:
    return bytes(-size % _RECORD)
