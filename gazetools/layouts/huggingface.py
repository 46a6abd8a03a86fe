"""The layout `hf`: a folder that Hugging Face `datasets` reads without code, Arrow shards with one row per frame.

One row per frame, because `load_dataset` then gives maps that can be filtered by video and time, shuffled and streamed
without unpacking. Arrow, not Parquet: its numbers lie uncompressed and in order, so that the rows of a clip are read by
their position, at the speed of an .npz, and `Dataset.from_file` maps a shard into memory without a copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gazetools.layouts.shard_format import BlockContent, EncodedBlock, VideoForm
from gazetools.layouts.sharded import ShardedLayout
from gazetools.schemas.dataset import Manifest, PackedVideo, PackOptions
from gazetools.schemas.errors import EnvironmentLacksError, FaultError
from gazetools.schemas.shards import SHARD_FOLDER

if TYPE_CHECKING:
    import pyarrow

_VIDEO, _ROW, _MAP = "video_id", "row", "heatmap"
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
"""The hub's categories of sizes, as far as it takes; what has more rows gets the next one."""


class HuggingFaceLayout(ShardedLayout):
    """`shards/maps-000000.arrow`, Arrow streams; `<video_id>.arrowindex` finds the maps; README.md is the card."""

    suffix = ".arrowindex"
    shard_suffix = ".arrow"
    trailer = b"\xff\xff\xff\xff\x00\x00\x00\x00"  # end of stream: Arrow columnar format, "IPC Streaming Format"
    one_form = True

    def check_environment(self) -> None:
        _arrow()

    def prelude(self, form: VideoForm) -> bytes:
        return _schema_bytes(form)

    def encode(self, content: BlockContent, options: PackOptions) -> EncodedBlock:
        """A record batch. The maps are its last column, and the numbers of the last column its last buffer."""
        pa = _arrow()
        maps, count = content.maps, len(content.maps)
        columns = {
            _VIDEO: pa.array([content.video_id] * count, pa.string()),
            _ROW: pa.array(np.arange(content.first_row, content.first_row + count, dtype=np.int32)),
            **{name: pa.array(array, from_pandas=False) for name, array in content.members.items()},
            _MAP: _nested(maps),
        }
        data = pa.record_batch(columns).serialize()
        written, wanted = np.frombuffer(data, np.uint8), maps.reshape(-1).view(np.uint8)
        for alignment in (8, 64):  # a writer of Arrow may pad buffers to either
            start = data.size - -(-maps.nbytes // alignment) * alignment
            if start >= 0 and np.array_equal(written[start : start + maps.nbytes], wanted):
                return EncodedBlock(data=data.to_pybytes(), maps_at=start)
        raise FaultError("This pyarrow does not put the maps at the end of a batch.", hint="Install pyarrow 26.")

    def front_matter(self, manifest: Manifest, members: Sequence[str]) -> list[str]:
        """The metadata of the card: licence, size, where the rows are and what they have."""
        videos = list(manifest.videos.values())
        rows = sum(video.t for video in videos)
        size = next((name for limit, name in _SIZES if rows < limit), "n>1M")
        lines = [
            "---",
            "pretty_name: Gaze heatmaps (gazetools)",
            f"license: {manifest.options.license or 'unknown'}",
            "tags:",
            "- gaze",
            "- heatmap",
            "- video",
            "size_categories:",
            f"- {size}",
            "configs:",
            "- config_name: default",
            "  data_files:",
            "  - split: train",
            f"    path: {SHARD_FOLDER}/*.arrow",
        ]
        if videos:
            lines += _features(members, videos[0])
        return [*lines, "---", ""]

    def readme(self, file: str) -> str:
        return (
            "Or with Hugging Face `datasets` alone: `datasets.load_dataset('DATASET', split='train')`, also with the "
            "name of the dataset on the hub. One row is one frame of one video, in the order of `video_id` and `row`; "
            "`heatmap` is `[H,W]` as it is stored, `row` counts the rows of the video from 0, `valid` is False where "
            "no map was computed from this very frame, `inout` and `pts_seconds` are NaN where they are unknown. "
            "`index.json` lists the shards with their sha256."
        )


def _nested(maps: npt.NDArray[Any]) -> pyarrow.Array:
    """[n, H, W] as a column of lists of lists, in which `datasets` keeps an `Array2D`; the numbers are not copied."""
    pa = _arrow()
    count, height, width = maps.shape
    numbers = pa.Array.from_buffers(pa.from_numpy_dtype(maps.dtype), maps.size, [None, pa.py_buffer(maps)])
    lines = pa.ListArray.from_arrays(pa.array(np.arange(0, maps.size + 1, width, dtype=np.int32)), numbers)
    return pa.ListArray.from_arrays(pa.array(np.arange(0, count * height + 1, height, dtype=np.int32)), lines)


@lru_cache(maxsize=8)
def _schema_bytes(form: VideoForm) -> bytes:
    """The message that an Arrow stream begins with."""
    pa = _arrow()
    types = {"valid": pa.bool_(), "pts_seconds": pa.float64()}
    number = pa.from_numpy_dtype(form.dtype)
    fields = [
        (_VIDEO, pa.string()),
        (_ROW, pa.int32()),
        *((name, types.get(name, pa.float32())) for name in form.members),
        (_MAP, pa.list_(pa.list_(number))),
    ]
    return bytes(pa.schema(fields).serialize().to_pybytes())


def _features(members: Sequence[str], video: PackedVideo) -> list[str]:
    """The columns in the words of `datasets`, for maps like those of `video`."""
    types = {"valid": "bool", "pts_seconds": "float64"}
    columns = [(_VIDEO, "string"), (_ROW, "int32"), *((name, types.get(name, "float32")) for name in members)]
    lines = ["dataset_info:", "  features:"]
    for name, kind in columns:
        lines += [f"  - name: {name}", f"    dtype: {kind}"]
    shape = [f"        - {video.h}", f"        - {video.w}"]
    return [
        *lines,
        f"  - name: {_MAP}",
        "    dtype:",
        "      array2_d:",
        "        shape:",
        *shape,
        f"        dtype: {video.dtype}",
    ]


def _arrow() -> Any:
    """The package pyarrow. Raises EnvironmentLacksError where it is missing."""
    try:
        import pyarrow
    except ImportError as error:
        raise EnvironmentLacksError(
            f"The layout hf is written with the package pyarrow, which can't be imported ({error}).",
            hint="pip install 'gazetools[hub]'",
        ) from error
    return pyarrow
