"""Head boxes: where the people of a frame are, from files or none at all."""

from gazetools.heads.spec import VideoHeads, heads_for_video, open_heads
from gazetools.heads.table import HeadTable

__all__ = ["HeadTable", "VideoHeads", "heads_for_video", "open_heads"]
