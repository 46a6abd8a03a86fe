"""Head boxes: where the heads of a frame's people are, from files, detectors or recordings."""

from gazetools.heads.spec import VideoHeads, heads_for_video, open_heads
from gazetools.heads.table import HeadTable

__all__ = ["HeadTable", "VideoHeads", "heads_for_video", "open_heads"]
