"""What the names of pictures and videos in files of other tools say: the number of a frame, the id of a video."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

_UPLOAD = re.compile(r"^[0-9a-f]{8}-(?=.)")
"""Label Studio puts this in front of the names of uploaded files."""


def last_number(name: str) -> int | None:
    """The last number in a picture's name without its folder and suffix, such as 12 of `clip2/frame_000012.jpg`."""
    stem = re.sub(r"\.[A-Za-z]\w{1,4}$", "", name.replace("\\", "/").rsplit("/", 1)[-1])
    found = re.findall(r"\d+", stem)
    return int(found[-1]) if found and len(found[-1]) < 10 else None


def folder_of(name: str) -> str:
    """The folder of a picture's name, "" where it has none."""
    return name.replace("\\", "/").rpartition("/")[0]


def video_stem(name: str) -> str:
    """The path of a video's file name or address without its suffix, as ids are written.

    >>> video_stem("/data/local-files/?d=take%2Fcam01.mp4"), video_stem("http://host/upload/1/0f1e2d3c-clip.mp4")
    ('take/cam01', 'upload/1/clip')
    """
    parts = urlsplit(name.replace("\\", "/"))
    query = re.search(r"(?:^|&)d=([^&]*)", parts.query)
    path = unquote(query[1] if query else parts.path).strip("/")
    folder, _, last = path.rpartition("/")
    last = _UPLOAD.sub("", re.sub(r"\.[A-Za-z0-9]{2,4}$", "", last))
    return f"{folder}/{last}" if folder else last


def matching_videos(names: Sequence[str], video_id: str) -> list[str]:
    """Those of `names` that are of the video: its id, or a path that ends in it; else its last part alone."""
    stems = {name: video_stem(name) for name in names}
    whole = [name for name, stem in stems.items() if f"/{stem}".endswith(f"/{video_id}")]
    last = PurePosixPath(video_id).name
    return whole or [name for name, stem in stems.items() if PurePosixPath(stem).name == last]
