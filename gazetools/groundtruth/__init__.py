"""Ground truth: where the wearer looks, by eye tracking, as heatmaps in the same store format as extracted ones."""

from gazetools.groundtruth.run import groundtruth

__all__ = ["groundtruth"]
