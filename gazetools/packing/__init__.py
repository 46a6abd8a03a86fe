"""Pack raw heatmaps of a store into a dataset for training."""

from gazetools.packing.run import pack

__all__ = ["pack"]
