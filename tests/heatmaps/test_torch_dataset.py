"""HeatmapDataset: which rows a clip has, and the same batches from any kind of worker."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from gazetools.packing import pack
from gazetools.schemas.errors import UsageError
from gazetools.torch import HeatmapDataset
from tests.helpers.stores import MadeVideo, make_video


@pytest.fixture
def made(tmp_path: Path) -> dict[str, MadeVideo]:
    """Videos of 12, 30 and 3 frames, packed into `data`."""
    videos = {name: make_video(tmp_path / "store", name, frame_count=n) for name, n in (("a", 12), ("b", 30), ("c", 3))}
    pack(tmp_path / "store", tmp_path / "data")
    return videos


def test_clips_are_the_rows_they_say(tmp_path: Path, made: dict[str, MadeVideo]) -> None:
    clips = HeatmapDataset(tmp_path / "data", frames=4, stride=3, hop=5)
    # 4 rows 3 apart span 10: they begin at 0 in a (12 rows), at 0, 5, ..., 20 in b (30); c has too few
    assert [(c["video_id"], int(c["index"][0])) for c in (clips[i] for i in range(len(clips)))] == [
        ("a", 0),
        *(("b", first) for first in range(0, 21, 5)),
    ]
    assert clips.too_short == ["c"]
    clip = clips[2]
    assert clip["index"].tolist() == [5, 8, 11, 14]
    expected = np.stack([made["b"].maps[f, 1] for f in (5, 8, 11, 14)]).astype(np.float32)
    np.testing.assert_array_equal(clip["heatmap"].numpy(), expected)
    assert clip["valid"].all()
    np.testing.assert_allclose(clip["pts_seconds"], np.array([5, 8, 11, 14]) / 30)
    np.testing.assert_allclose(clip["inout"], [made["b"].inout[f, 1] for f in (5, 8, 11, 14)], rtol=1e-6)
    with pytest.raises(IndexError):
        clips[len(clips)]


@pytest.mark.parametrize("context", [None, "fork", "spawn"])
def test_every_kind_of_worker_gives_the_same_batches(
    tmp_path: Path, made: dict[str, MadeVideo], context: str | None
) -> None:
    clips = HeatmapDataset(tmp_path / "data", frames=3, size=(16, 16))
    wanted = torch.stack([clips[i]["heatmap"] for i in range(len(clips))])
    loader = DataLoader(clips, batch_size=4, num_workers=2 if context else 0, multiprocessing_context=context)
    batches = list(loader)
    assert torch.equal(torch.cat([batch["heatmap"] for batch in batches]), wanted)
    assert wanted.shape == (15, 3, 16, 16)
    assert [name for batch in batches for name in batch["video_id"]] == ["a"] * 4 + ["b"] * 10 + ["c"]


def test_more_videos_than_open_readers(tmp_path: Path) -> None:
    (tmp_path / "maps").mkdir()
    for number in range(40):
        np.savez(tmp_path / "maps" / f"v{number:02d}.npz", x=np.full((2, 3, 3), number / 64, np.float32))
    clips = HeatmapDataset(tmp_path / "maps", frames=2)
    assert [float(clips[i]["heatmap"][0, 0, 0]) for i in range(40)] == [i / 64 for i in range(40)]
    assert clips[0]["inout"].isnan().all()


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds no heatmaps"):
        HeatmapDataset(tmp_path / "empty", frames=2)
    with pytest.raises(UsageError, match="is not a folder"):
        HeatmapDataset(tmp_path / "nowhere", frames=2)
    with pytest.raises(UsageError, match="stride = 0"):
        HeatmapDataset(tmp_path / "empty", frames=2, stride=0)
