"""Shards read by the libraries that they are made for: webdataset and Hugging Face datasets."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gazetools.heatmaps import HeatmapReader
from gazetools.packing import pack
from tests.helpers.stores import make_video

NEEDS_WEBDATASET = pytest.mark.skipif(
    importlib.util.find_spec("webdataset") is None,
    reason="the extra [webdataset] is not installed: pip install -e '.[webdataset]'",
)
NEEDS_DATASETS = pytest.mark.skipif(
    importlib.util.find_spec("datasets") is None, reason="the extra [hub] is not installed: pip install -e '.[hub]'"
)
pytestmark = pytest.mark.slow
IDS = ("P01/P01_01", "a.b/c.d", "a/" + "lang" * 30, "é-1")
ROWS = 400


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stores") / "store"
    for video_id in IDS:
        make_video(folder, video_id, frame_count=ROWS, people={f: [1] for f in range(ROWS) if f != 5}, size_hw=(24, 32))
    return folder


def _expected(folder: Path) -> dict[str, HeatmapReader]:
    return {video_id: HeatmapReader(folder, video_id) for video_id in IDS}


@NEEDS_WEBDATASET
@pytest.mark.parametrize("dtype", ["float16", "uint8"])
def test_webdataset_reads_every_row(store: Path, tmp_path: Path, dtype: str) -> None:
    import webdataset

    pack(store, tmp_path / "npz", dtype=dtype)
    pack(store, tmp_path / "out", layout="webdataset", shard_size=1, dtype=dtype)
    readers, done = _expected(tmp_path / "npz"), dict.fromkeys(IDS, 0)
    last = len(list((tmp_path / "out" / "shards").iterdir())) - 1
    assert last >= 1
    urls = f"{tmp_path}/out/shards/maps-{{000000..{last:06d}}}.tar"
    samples = list(webdataset.WebDataset(urls, shardshuffle=False, empty_check=False).decode())
    assert len({sample["__key__"] for sample in samples}) == len(samples) == len(IDS) * -(-ROWS // 128)
    for sample in samples:
        facts, maps = sample["json"], sample["npy"]
        rows = range(facts["first_row"], facts["first_row"] + facts["rows"])
        reader = readers[facts["video_id"]]
        np.testing.assert_array_equal(
            (maps.astype(np.float64) * float(facts["scale"])).astype(np.float32), reader.read(rows)
        )
        assert reader.pts_seconds is not None and facts["pts_seconds"] == reader.pts_seconds[list(rows)].tolist()
        assert facts["valid"] == reader.valid[list(rows)].tolist()
        done[facts["video_id"]] += len(maps)
    assert set(done.values()) == {ROWS}


@NEEDS_DATASETS
@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("dtype", ["float16", "float32", "uint8"])
def test_datasets_reads_every_row(
    store: Path, tmp_path: Path, dtype: str, streaming: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    pack(store, tmp_path / "npz", dtype=dtype)
    pack(store, tmp_path / "out", layout="hf", shard_size=1, dtype=dtype)
    loaded: Any = datasets.load_dataset(
        str(tmp_path / "out"), split="train", streaming=streaming, cache_dir=str(tmp_path / "cache")
    )
    assert loaded.features["heatmap"] == datasets.Array2D(shape=(24, 32), dtype=dtype)
    readers, number = _expected(tmp_path / "npz"), 0
    scale = 1 / 255 if dtype == "uint8" else 1.0
    for row in loaded.with_format("numpy"):
        video_id, index = IDS[number // ROWS], number % ROWS
        reader = readers[video_id]
        assert (row["video_id"], row["row"], row["valid"]) == (video_id, index, bool(reader.valid[index]))
        np.testing.assert_array_equal(
            (row["heatmap"].astype(np.float64) * scale).astype(np.float32), reader.read([index])[0]
        )
        assert reader.inout is not None and reader.pts_seconds is not None
        np.testing.assert_array_equal(np.float32(row["inout"]), reader.inout[index])
        # the format numpy makes float32 of a column of float64
        np.testing.assert_allclose(row["pts_seconds"], reader.pts_seconds[index], rtol=1e-6)
        number += 1
    assert number == ROWS * len(IDS)
    if not streaming:
        assert loaded[5]["pts_seconds"] == readers[IDS[0]].pts_seconds[5]  # type: ignore[index]
        mapped = datasets.Dataset.from_file(str(tmp_path / "out" / "shards" / "maps-000000.arrow"))
        assert mapped[1]["row"] == 1
