"""Batches of heatmap clips for your own training loop: python examples/clips_for_torch.py DATASET"""

from __future__ import annotations

import sys

from torch.utils.data import DataLoader

from gazetools.torch import HeatmapDataset


def main() -> None:
    clips = HeatmapDataset(sys.argv[1], frames=8, stride=2)
    print(f"{len(clips)} clips of {len(clips.video_ids)} videos, {len(clips.too_short)} too short")
    for batch in DataLoader(clips, batch_size=4, shuffle=False):
        heatmaps, valid = batch["heatmap"], batch["valid"]  # float32 [B, 8, H, W], bool [B, 8]
        print(batch["video_id"][0], tuple(heatmaps.shape), f"{valid.float().mean():.0%} of the frames have maps")


if __name__ == "__main__":
    main()
