"""Head boxes: where the people of a frame are, from files or none at all."""

from gazetools.heads.spec import HeadSourceForVideo, heads_for_video, open_heads
from gazetools.heads.table import HeadTable

__all__ = ["HeadSourceForVideo", "HeadTable", "heads_for_video", "open_heads"]
