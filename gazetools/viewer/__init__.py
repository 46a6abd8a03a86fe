"""`view`: a local page in the browser with videos, their heatmaps, findings and actions."""

from gazetools.viewer.run import export_clip, view

__all__ = ["export_clip", "view"]
