"""Pack raw heatmaps of a store into a dataset for training; convert datasets and other tools' heatmaps."""

from gazetools.packing.convert import convert
from gazetools.packing.run import pack

__all__ = ["convert", "pack"]
