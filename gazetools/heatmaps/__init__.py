"""Read heatmaps of any layout, ours and others', by frame or by time."""

from gazetools.heatmaps.reader import HeatmapReader

__all__ = ["HeatmapReader"]
