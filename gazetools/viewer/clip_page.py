"""A clip as one HTML file that needs nothing else: its frames as pictures, its heatmaps, and a small player."""

from __future__ import annotations

from gazetools.progress import Progress
from gazetools.schemas.errors import UsageError
from gazetools.schemas.view import ViewOptions
from gazetools.viewer.showing import Showing


def write_clip_page(showing: Showing, options: ViewOptions, progress: Progress) -> int:
    """Commit the page; returns its number of frames."""
    raise UsageError("not yet")
