"""Pictures of heatmaps on their frames: contact sheets and overlay videos."""

from gazetools.preview.run import preview

__all__ = ["preview"]
